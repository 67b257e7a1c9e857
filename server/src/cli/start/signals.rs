//! The signals a server answers to.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;

use crate::cli::Failure;

/// The signals a server answers to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Taken from the start on, so that none ends the process.
    pub(super) hangup: Option<Signal>,
    /// Ends when standard input does; `None` if nobody asked.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Signals {
    pub(super) fn new(until_stdin_ends: bool) -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("signals cannot be taken: {error}")))
        };
        let mut usr1 = take(SignalKind::user_defined1())?;
        tokio::spawn(async move {
            // MarketStore dumps its stacks here; its default action would end the process.
            while usr1.recv().await.is_some() {
                info!("SIGUSR1 is accepted and does nothing; see /metrics");
            }
        });
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: Some(take(SignalKind::hangup())?),
            stdin: until_stdin_ends.then(stdin_end),
        })
    }

    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = ended(&mut self.stdin) => {}
        }
    }

    /// A second wish to stop. Some supervisors signal a process and its group: that is one wish.
    pub(super) async fn stop_again(&mut self) {
        let first = Instant::now();
        loop {
            self.stop().await;
            if first.elapsed() > Duration::from_millis(250) {
                return;
            }
        }
    }
}

/// A thread, because a blocked read of standard input would keep the runtime from ending.
fn stdin_end() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // The end and an error mean the same: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
    end
}

/// Comes back once, when standard input has ended.
async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(end) => {
            // The sender is only ever dropped.
            let _ = end.await;
            *stdin = None;
        }
        None => std::future::pending().await,
    }
}
