//! Ctrl-C in a session: it ends the work under way, not the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

type Stop = Box<dyn Fn() + Send>;

/// What is to be ended.
#[derive(Clone, Default)]
pub(super) struct Interrupts(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether it was pressed since the work began.
    pressed: AtomicBool,
    /// Whether a prompt waits, at which the editor itself sees the key.
    at_prompt: AtomicBool,
    stop: Mutex<Option<Stop>>,
}

/// Exit code of a process that ended by SIGINT.
const ENDED: i32 = 130;

impl Interrupts {
    /// Listens for SIGINT from now on.
    pub(super) fn listen(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut signals = {
            let _guard = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let state = Arc::clone(&self.0);
        let listen = move || {
            runtime.block_on(async {
                while signals.recv().await.is_some() {
                    state.press();
                }
            });
        };
        let thread = std::thread::Builder::new().name("interrupts".into());
        thread.spawn(listen).map(|_| ())
    }

    /// Work begins.
    pub(super) fn begin(&self) {
        self.0.at_prompt.store(false, Ordering::SeqCst);
        self.0.pressed.store(false, Ordering::SeqCst);
    }

    /// What ends the work, besides [`Interrupts::pressed`].
    pub(super) fn stop_with(&self, stop: impl Fn() + Send + 'static) {
        if self.pressed() {
            stop();
        }
        *self.0.stop.lock() = Some(Box::new(stop));
    }

    /// Work is over. Whether it was ended.
    pub(super) fn end(&self) -> bool {
        *self.0.stop.lock() = None;
        self.0.at_prompt.store(true, Ordering::SeqCst);
        self.pressed()
    }

    /// Whether the work is to end.
    pub(super) fn pressed(&self) -> bool {
        self.0.pressed.load(Ordering::SeqCst)
    }
}

impl State {
    fn press(&self) {
        if self.at_prompt.load(Ordering::SeqCst) {
            std::process::exit(ENDED);
        }
        let again = self.pressed.swap(true, Ordering::SeqCst);
        match &*self.stop.lock() {
            Some(stop) => stop(),
            // Nothing that could be ended, and it was pressed twice.
            None if again => std::process::exit(ENDED),
            None => {}
        }
    }
}
