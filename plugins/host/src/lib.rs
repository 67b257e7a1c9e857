//! Runs plugins: registry, on-patterns, windows, cursors, dispatch, workers, sources.
//!
//! ```text
//! mkts.yml -> registry -> instance -> dispatcher thread
//!                                       |  follows the log from its cursor
//!                                       v
//!      engine <- one plugin commit <- fires of one window
//! ```
//!
//! A trigger is a reader of the log. Writers never wait for it, a crash loses no fire, and what the
//! fires of a window did becomes visible in one commit together with the cursor behind it. Plugins
//! that are linked in, loaded from a file ([`native`]) or run in a process of their own ([`process`])
//! are called through the same traits ([`plugin_sdk::Module`]).
//!
//! A background worker or a source has a thread, too, and the same commits, but no place in the log;
//! a source's token rides in the commit of its rows.
//!
//! What an instance keeps (state, timers, dead letters) changes with its plugin commits and is stored
//! at checkpoints ([`Host::state_get`], [`Host::dead_letters`]).
//!
//! The place of an instance that no entry names any more is kept, but no log for it.
#![deny(unsafe_code)]

mod backfill;
mod calls;
mod checkpoint;
mod circle;
mod clocks;
mod commit;
mod control;
mod cursor;
mod describe;
mod dispatch;
mod entry;
mod feed;
mod find;
mod fire;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod gap;
mod health;
mod host;
mod instances;
mod laps;
mod ledger;
mod lines;
mod logs;
mod message;
mod meter;
pub mod native;
mod on;
mod overflow;
pub mod process;
pub mod record;
mod registry;
mod replay;
mod restart;
mod run;
mod schedule;
mod secrets;
mod section;
mod settle;
mod start;
mod state;
mod status;
mod stop;
mod swap;
mod threads;
mod ticks;
mod timers;
mod window;
mod worker;
mod writes;

pub use control::{Place, Reloaded};
pub use describe::Described;
pub use entry::{
    Entry, EntryKind, HostMode, Join, Match, OnError, OnOverflow, ProcessLimits, Restart, Start,
    TIMEOUT, WAL_HOLD, WAL_HOLD_TIME, WindowOptions,
};
pub use find::{
    Found, How, Installed, Modules, NotFound, Removed, Search, install, installed, nearest, remove,
};
pub use follow::{Following, Step, What};
pub use health::{Ailment, Health};
pub use host::{Error, Host, Publisher};
pub use lines::Orphan;
pub use logs::{LogLine, Logs};
pub use registry::{Listed, Problem, check, list};
pub use replay::{BucketDiff, ColumnDiff, Difference, ReplayOptions, ReplayReport, RowDiff};
pub use restart::RestartOptions;
pub use schedule::{Cron, Schedule};
pub use secrets::Secrets;
pub use state::{DeadLetter, LetterId};
pub use status::{InstanceStatus, State};
