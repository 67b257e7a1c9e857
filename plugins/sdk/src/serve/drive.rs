//! Who moves the messages of a session: a runtime without threads of its own.
//!
//! Waking another thread costs tens of microseconds where processors sleep, and a fire would need it
//! four times. So the thread that waits for a message polls the socket itself. While it runs code of
//! the plugin nobody does; a stand-in looks now and then, and takes over until the thread is back:
//! heartbeats go on, and a request to end the work arrives.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// How often the stand-in looks while there is work, and while there is none.
const LOOK_BUSY: Duration = Duration::from_millis(20);
const LOOK_IDLE: Duration = Duration::from_millis(200);

/// How long answers may lie while there is more to do.
const PASSING: Duration = Duration::from_micros(100);

/// Rounds of the runtime that bring everything queued onto the socket.
const ROUNDS: usize = 8;

pub(super) struct Drive {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    /// When messages were moved last, by the thread of the plugin between two of them.
    driven: Instant,
}

#[derive(Default)]
struct Shared {
    /// Odd while the plugin's thread is away; each time another number.
    turns: AtomicU64,
    /// Whether the stand-in moves messages.
    stands_in: AtomicBool,
    /// Ends its turn.
    back: Notify,
}

const fn is_away(turn: u64) -> bool {
    turn % 2 == 1
}

impl Shared {
    fn is_still_away(&self, turn: u64) -> bool {
        is_away(turn) && self.turns.load(SeqCst) == turn
    }
}

impl Drive {
    /// # Errors
    /// If the system refuses a poller or a thread.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        let shared = Arc::new(Shared::default());
        let (stand_in, seen) = (Arc::clone(&runtime), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("stand-in".into())
            .spawn(move || look_after(&stand_in, &seen))?;
        Ok(Self {
            runtime,
            shared,
            driven: Instant::now(),
        })
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits, and moves messages meanwhile.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// The thread goes into code of the plugin.
    pub(super) fn away(&self) {
        self.shared.turns.fetch_add(1, SeqCst);
    }

    /// The thread is back from where it went with [`Self::away`].
    pub(super) fn back(&self) {
        if !is_away(self.shared.turns.load(SeqCst)) {
            return;
        }
        self.shared.turns.fetch_add(1, SeqCst);
        // The stand-in says that it begins before it looks at the number once more: one of us sees
        // the other.
        if self.shared.stands_in.load(SeqCst) {
            self.shared.back.notify_one();
        }
    }

    /// Waits as [`Self::wait`] does; notes that nothing lies queued then.
    pub(super) fn wait_at_rest<T>(&mut self, what: impl Future<Output = T>) -> T {
        let result = self.wait(what);
        self.driven = Instant::now();
        result
    }

    /// Moves what has gathered, if the last time is some time ago.
    pub(super) fn in_passing(&mut self) {
        if self.driven.elapsed() >= PASSING {
            self.flush();
            self.driven = Instant::now();
        }
    }

    /// Moves all that is queued.
    pub(super) fn flush(&self) {
        self.runtime.block_on(async {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// The stand-in's thread.
fn look_after(runtime: &Runtime, shared: &Shared) {
    let mut seen = 0;
    loop {
        let turn = shared.turns.load(SeqCst);
        if turn == seen && is_away(turn) {
            shared.stands_in.store(true, SeqCst);
            if shared.is_still_away(turn) {
                runtime.block_on(shared.back.notified());
            }
            shared.stands_in.store(false, SeqCst);
        }
        let pause = if turn == seen { LOOK_IDLE } else { LOOK_BUSY };
        seen = turn;
        std::thread::sleep(pause);
    }
}
