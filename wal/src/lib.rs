//! The write-ahead log: one order of all commits, durable by a sync that many writers share.
//!
//! ```text
//! append -> queue -> number -> one write -> one sync -> durable LSN -> Sink::durable
//! callers            \------------- the committer thread --------------/
//! ```
//!
//! What it promises (docs/wal.md has the bytes):
//! * I2: [`Sink::durable`] gets a commit only after the sync that covers it returned Ok.
//! * I3: what the sink was given as durable is there after every crash, in the same order.
//! * I4: a frame's LSN is its position; the order of LSNs is the order of commits.
//! * I11: after the first failed write or sync nothing is written any more.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use disk::{Disk, SimDisk, SystemClock};
//! use wal::{Committed, Lsn, Options, Payload, Sink, WalError};
//!
//! struct Print;
//! impl Sink<&'static str> for Print {
//!     fn durable(&mut self, group: Vec<Committed<&'static str>>) {
//!         for commit in group {
//!             println!("{} is durable at {}", commit.token, commit.lsn);
//!         }
//!     }
//!     fn failed(&mut self, tokens: Vec<&'static str>, error: &WalError) {
//!         println!("{tokens:?}: {error}");
//!     }
//! }
//!
//! let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
//! let clock = Arc::new(SystemClock::new());
//! let options = Options { segment_bytes: 1 << 16, ..Options::default() };
//! let store_id = [7; 16];
//! let (log, _) = wal::open::<WalError>(
//!     disk.clone(), clock.clone(), store_id, options.clone(), Lsn::ZERO, &mut |_| Ok(()))?;
//! let wal = log.start(Box::new(Print))?;
//! wal.append(Payload::new(1, 0, 0, Bytes::from_static(b"row")), "the first row")?;
//! wal.close()?;
//!
//! let mut replayed = 0;
//! wal::open::<WalError>(disk, clock, store_id, options, Lsn::ZERO, &mut |frame| {
//!     assert_eq!(&frame.payload[..], b"row");
//!     replayed += 1;
//!     Ok(())
//! })?;
//! assert_eq!(replayed, 1);
//! # Ok::<(), WalError>(())
//! ```
//!
//! What it is not: it does not know what a payload means, keeps no index, and never reads a
//! frame back on its own. There is no lock that callers hold while anything is written.
#![forbid(unsafe_code)]

mod commit;
mod error;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod inspect;
mod lsn;
mod options;
mod prepare;
mod queue;
mod reader;
mod recover;
mod replay;
mod scan;
mod segment;
mod shared;

pub use error::{Result, WalError};
pub use frame::{FRAME_HEADER_BYTES, FrameView, KIND_SEGMENT_END, Payload};
pub use handle::{Committed, Sink, Wal};
pub use inspect::{
    FileState, InspectedFile, Inspection, Torn, inspect, quarantine_path, set_aside, store_id,
};
pub use lsn::Lsn;
pub use options::{Options, SyncMode};
pub use reader::Reader;
pub use recover::{Damage, Log, Recovered, open};
pub use shared::Part;

#[cfg(test)]
mod tests;
