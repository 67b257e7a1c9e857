//! Who moves the messages of a session: a runtime without threads of its own.
//!
//! Waking another thread costs tens of microseconds where processors sleep. So a proxy that waits for
//! its child polls the child's socket itself. While nobody waits, a pump does so now and then, for all
//! sessions: heartbeats and log lines come in a little later.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// How long a message may lie while nobody waits for one.
const PUMP_EVERY: Duration = Duration::from_millis(50);

/// Rounds of a runtime in which it polls its socket and does what came.
const ROUNDS: usize = 8;

/// Dropping it closes the session's socket.
pub(super) struct Drive(Arc<Own>);

struct Own(Option<Runtime>);

impl Own {
    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("taken when it is dropped")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Not waited for: a thread that serves others may be the one that lets go.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drive {
    /// # Errors
    /// If the system refuses a poller.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let own = Arc::new(Own(Some(runtime)));
        PUMP.add(&own)?;
        Ok(Self(own))
    }

    /// Runs what needs the runtime around it.
    pub(super) fn inside<T>(&self, what: impl FnOnce() -> T) -> T {
        let _inside = self.0.runtime().enter();
        what()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime().spawn(task);
    }

    /// Waits, and moves messages meanwhile.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.0.runtime().block_on(what)
    }
}

static PUMP: Pump = Pump(Mutex::new(State {
    sessions: Vec::new(),
    runs: false,
}));

/// A thread that runs while there are sessions.
struct Pump(Mutex<State>);

struct State {
    sessions: Vec<Weak<Own>>,
    runs: bool,
}

impl Pump {
    fn add(&'static self, own: &Arc<Own>) -> std::io::Result<()> {
        let mut state = self.0.lock();
        if !state.runs {
            let thread = std::thread::Builder::new().name("plugin-pump".into());
            thread.spawn(|| self.run())?;
            state.runs = true;
        }
        state.sessions.push(Arc::downgrade(own));
        Ok(())
    }

    fn run(&self) {
        while let Some(sessions) = self.living() {
            for own in sessions {
                own.runtime().block_on(async {
                    for _ in 0..ROUNDS {
                        tokio::task::yield_now().await;
                    }
                });
            }
            std::thread::sleep(PUMP_EVERY);
        }
    }

    /// The sessions there are; `None` ends the thread.
    fn living(&self) -> Option<Vec<Arc<Own>>> {
        let mut state = self.0.lock();
        state.sessions.retain(|session| session.strong_count() > 0);
        state.runs = !state.sessions.is_empty();
        let sessions = state.sessions.iter().filter_map(Weak::upgrade).collect();
        state.runs.then_some(sessions)
    }
}
