//! Runs a source: the host owns the loop and the place in the feed.
//!
//! ```text
//! open behind the stored token -> next_batch -> rows and token are one plugin commit -> next_batch
//! ```
//! A batch is asked for when the one before it is visible, so a source has at most one in memory and
//! a full queue or disk holds it back. A failure drops the batch and opens the feed anew behind the
//! last token committed: a feed that can be read again from a token is stored exactly once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_sdk::{
    AnySource, CloseReason, Code, HostCalls as _, Level, More, PluginError, SourceCalls, SourceOut,
    StateValue,
};

use crate::calls::{Calls, Effects, Owner as _};
use crate::commit::Committed;
use crate::entry::Restart;
use crate::restart::{Exit, RestartOptions, keep};
use crate::run::Run;
use crate::status::State;

/// State key of the token: `__resume` in the namespace of the instance.
pub(crate) const RESUME_KEY: &[u8] = b"\0__resume";

/// Longest token.
pub(crate) const RESUME_BYTES_MAX: usize = 1 << 20;

/// How often a source is asked for its progress, which may cost it a call over a border.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// One running source.
pub(crate) struct Feed {
    pub(crate) run: Run,
    pub(crate) restart: Restart,
    pub(crate) options: RestartOptions,
    /// Of the first run; each further one makes its own.
    pub(crate) object: Option<Box<dyn AnySource>>,
    pub(crate) place: Place,
}

/// Where a source is and how it is read.
pub(crate) struct Place {
    /// Handed to `open`.
    pub(crate) params: String,
    /// Rows and bytes of a batch.
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// How long a batch that is not full is waited for.
    pub(crate) linger: Duration,
    /// The token committed last.
    pub(crate) resume: Option<Bytes>,
    pub(crate) progress_at: Option<Instant>,
}

impl Feed {
    /// Runs until the end and says what it was.
    pub(crate) fn run(self) {
        let Self {
            mut run,
            restart,
            options,
            mut object,
            mut place,
        } = self;
        let end = keep(&mut run, restart, options, |run| {
            match object.take().map_or_else(|| create(run), Ok) {
                Ok(source) => live(run, source, &mut place),
                Err(why) => Exit::Failed(why),
            }
        });
        run.conclude(end);
    }
}

/// Makes an object of the plugin.
pub(crate) fn create(run: &Run) -> Result<Box<dyn AnySource>, String> {
    run.make(None, |module, config, init| module.source(config, init))
}

/// One run of one object, with its end.
fn live(run: &Run, mut source: Box<dyn AnySource>, place: &mut Place) -> Exit {
    run.stop.call_when_asked(source.cancel());
    let inside = run.inside(0);
    let result = catch_unwind(AssertUnwindSafe(|| follow(run, &mut *source, place)));
    drop(inside);
    run.stop.clocks.of(0).end();
    run.stop.call_when_asked(None);
    let (exit, why) = match result {
        Err(panic) => (Exit::Failed(run.panicked(&*panic)), CloseReason::Panic),
        Ok(exit @ Exit::Failed(_)) => (exit, CloseReason::Again),
        Ok(exit) => (exit, CloseReason::Stop),
    };
    let why = if run.stop.is_ending() {
        CloseReason::Stop
    } else {
        why
    };
    run.closing(move || {
        source.close(why);
        drop(source);
    });
    exit
}

/// Opens the feed and takes batches from it.
fn follow(run: &Run, source: &mut dyn AnySource, place: &mut Place) -> Exit {
    let opened = run.timed(|| source.open(&place.params, place.resume.as_deref()));
    if let Err(error) = opened {
        return Exit::of(error);
    }
    run.stand(State::Running, "");
    loop {
        if run.stop.is_ending() {
            return Exit::Done("stopped");
        }
        run.tick();
        let deadline = Instant::now() + place.linger;
        let mut out = Out::new(run, place);
        let more = run.timed(|| source.next_batch(&mut SourceOut::new(&mut out), deadline));
        let more = match more {
            Ok(more) => more,
            Err(error) => return Exit::of(error),
        };
        let (effects, token) = (out.calls.take(), out.token);
        let brought = !effects.writes.is_empty() || token.is_some();
        if let Err(exit) = place.commit(run, effects, token) {
            return exit;
        }
        place.ask_progress(run, source, more == More::End);
        if more == More::End {
            return Exit::Done("feed ended");
        }
        // A source that answers at once, without anything, would keep a core busy.
        let left = deadline.saturating_duration_since(Instant::now());
        if !brought && !left.is_zero() {
            run.stop.rest(left);
        }
    }
}

impl Place {
    /// Rows and token of a batch, together.
    fn commit(
        &mut self,
        run: &Run,
        mut effects: Effects,
        token: Option<Bytes>,
    ) -> Result<(), Exit> {
        let moved = token.filter(|token| self.resume.as_ref() != Some(token));
        if let Some(value) = &moved {
            effects.put_host(RESUME_KEY, StateValue::Bytes(value.clone()));
        }
        match run.commit(effects) {
            Ok(Committed::Yes) => {
                self.resume = moved.or(self.resume.take());
                Ok(())
            }
            Ok(Committed::Refused(why)) => Err(Exit::Failed(why)),
            Err(end) => Err(Exit::Final(end)),
        }
    }

    fn ask_progress(&mut self, run: &Run, source: &mut dyn AnySource, now: bool) {
        let is_due = self
            .progress_at
            .is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if now || is_due {
            self.progress_at = Some(Instant::now());
            *run.gauges.progress.lock() = source.progress();
        }
    }
}

/// One batch in the making.
struct Out<'a> {
    run: &'a Run,
    calls: Calls<'a>,
    token: Option<Bytes>,
    rows_left: usize,
    bytes_left: usize,
}

impl<'a> Out<'a> {
    fn new(run: &'a Run, place: &Place) -> Self {
        Self {
            run,
            calls: run.calls(),
            token: None,
            rows_left: place.rows,
            bytes_left: place.bytes,
        }
    }
}

impl SourceCalls for Out<'_> {
    /// Rows beyond the room are taken, up to what a commit holds: what a feed hands over in one
    /// piece may be larger than a batch, and cannot be made smaller without breaking its token.
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        let count = rows.rows();
        let before = self.calls.bytes();
        self.calls.write(key, kind, rows)?;
        self.rows_left = self.rows_left.saturating_sub(count);
        let bytes = self.calls.bytes() - before;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        Ok(())
    }

    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        if token.len() > RESUME_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!(
                    "LIMIT: a resume token of {} bytes (at most {RESUME_BYTES_MAX})",
                    token.len()
                ),
            ));
        }
        self.token = Some(Bytes::copy_from_slice(token));
        Ok(())
    }

    fn room(&self) -> (usize, usize) {
        (self.rows_left, self.bytes_left)
    }

    fn is_cancelled(&self) -> bool {
        self.run.is_cancelled()
    }

    fn log(&mut self, level: Level, text: &str) {
        self.calls.log(level, text);
    }
}
