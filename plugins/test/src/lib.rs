//! What a plugin author tests with.
//!
//! A [`Harness`] runs a plugin on a store of its own: host and engine, on a simulated disk and clock.
//! It feeds rows, lets the server die where it hurts, lets time pass, and looks at what came of it:
//!
//! ```
//! use counter::Counter;
//! use plugin_test::{Harness, Point, Table, json};
//!
//! let mut counter = Harness::<Counter>::new(json!({"remind_after": 60_000_000_000_i64}));
//! let bar = |time, close| Table::seconds([time]).column("Close", [close]);
//!
//! counter.feed("AAPL/1Min/OHLCV", bar(60, 1.0));
//! counter.crash_at(Point::DuringFire).feed("AAPL/1Min/OHLCV", bar(120, 2.0));
//! counter.fail_next("no luck").feed("AAPL/1Min/OHLCV", bar(180, 3.0));
//! counter.assert_counter("rows", 3).assert_timers(1);
//!
//! counter.advance(std::time::Duration::from_secs(60));
//! counter.assert_messages("remind", &[3_i64.to_le_bytes()]);
//! counter.assert_no_dead_letters().assert_caught_up();
//! ```
//!
//! [`conformance!`] makes tests that the same plugin does the same linked in, as a library and as a
//! process, and that crashes, panics, retries and full windows change nothing of it.
#![forbid(unsafe_code)]

mod bench;
mod crash;
mod form;
mod harness;
mod logs;
mod look;
mod replay;
mod suite;
mod table;
mod watch;

pub use bench::{Message, START};
pub use crash::Point;
pub use form::Form;
pub use harness::{Harness, Loaded};
pub use logs::LogLine;
pub use plugin_host::process::Program;
pub use plugin_sdk::{BuiltIn, StateValue};
pub use replay::feeds;
pub use serde_json::json;
pub use suite::{Done, Effects, Report, Suite};
pub use table::{Feed, Table, lines, sample};
pub use watch::Fire;
