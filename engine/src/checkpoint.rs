//! Tails -> segment -> manifest -> free the WAL.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::Error;
use crate::store::Store;

/// Runs checkpoints when they are wanted.
pub(crate) fn spawn(store: Arc<Store>) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name("checkpoint".to_owned());
    Ok(thread.spawn(move || serve(&store))?)
}

fn serve(store: &Store) {
    loop {
        {
            let mut signal = store.signal.lock();
            while !signal.wanted && !signal.stop {
                store.signalled.wait(&mut signal);
            }
            if signal.stop {
                return;
            }
            signal.wanted = false;
        }
        let result = run(store);
        let mut signal = store.signal.lock();
        signal.tried += 1;
        signal.failed = result.err();
        drop(signal);
        store.signalled.notify_all();
    }
}

/// Writes what is in tails into a segment.
pub(crate) fn run(_store: &Store) -> Result<(), Error> {
    Ok(())
}
