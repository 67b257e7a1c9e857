//! Where a server may die, and what its disk then has.
//!
//! The work is done to its end while the disk keeps what it was before each changing call; the moment
//! of the crash is chosen afterwards, and the store opened on the disk of that moment. Nothing that
//! was not synced survives.

use disk::SimDisk;
use disk::sim::{Call, CallKind};

use crate::watch::Fire;

/// Where the server dies. `n` is the commit of the rows that are fed, `p` the plugin commit of the
/// window that fires them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// Before `n` is durable: it never existed and never fires. Feed the rows again if they are to
    /// be there.
    BeforeDurable,
    /// `n` is durable, and nobody has seen it.
    Durable,
    /// In the middle of the fire.
    DuringFire,
    /// The fire is done, `p` is not written.
    BeforeCommit,
    /// `p` is written and not synced: it is gone, and the window fires again.
    CommitWritten,
    /// `p` is durable and not applied.
    CommitDurable,
    /// `p` is visible, its messages are not sent: they are lost.
    BeforeMessages,
    /// A checkpoint has written the state of plugins, and not yet where they stand.
    PluginFiles,
}

impl Point {
    /// Every point, in the order in which they come.
    pub const ALL: [Self; 8] = [
        Self::BeforeDurable,
        Self::Durable,
        Self::DuringFire,
        Self::BeforeCommit,
        Self::CommitWritten,
        Self::CommitDurable,
        Self::BeforeMessages,
        Self::PluginFiles,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeDurable => "before the rows are durable",
            Self::Durable => "rows durable",
            Self::DuringFire => "during the fire",
            Self::BeforeCommit => "before the plugin commit",
            Self::CommitWritten => "plugin commit written, not durable",
            Self::CommitDurable => "plugin commit durable",
            Self::BeforeMessages => "before messages are sent",
            Self::PluginFiles => "while plugin files are written",
        }
    }

    /// Whether messages of the moment itself have gone out.
    pub(crate) fn keeps_messages(self) -> bool {
        !matches!(self, Self::CommitDurable | Self::BeforeMessages)
    }

    /// How many of the calls have happened.
    pub(crate) fn find(self, calls: &[Call], fires: &[Fire], base: u64) -> Result<usize, String> {
        let first = fires.first();
        let began = first.map(|fire| (fire.calls.0.saturating_sub(base)) as usize);
        let ended = first.map(|fire| (fire.calls.1.saturating_sub(base)) as usize);
        let fired = || format!("crash_at({self:?}): the rows fired nothing; does `on` match them?");
        match self {
            Self::BeforeDurable => sync(calls, 0).ok_or_else(|| "no commit was written".to_owned()),
            Self::Durable => sync(calls, 0)
                .map(|at| at + 1)
                .ok_or_else(|| "no commit was written".to_owned()),
            Self::DuringFire => began.ok_or_else(fired),
            Self::BeforeCommit => ended.ok_or_else(fired),
            Self::CommitWritten => self.commit(calls, ended.ok_or_else(fired)?),
            Self::CommitDurable | Self::BeforeMessages => {
                Ok(self.commit(calls, ended.ok_or_else(fired)?)? + 1)
            }
            Self::PluginFiles => {
                let places = |call: &Call| {
                    call.kind == CallKind::Rename && call.path.ends_with("plugins/_instances")
                };
                let found = calls.iter().rposition(places);
                found.ok_or_else(|| "the checkpoint wrote no place of a plugin".to_owned())
            }
        }
    }

    /// The sync of the plugin commit behind the fire.
    fn commit(self, calls: &[Call], fired: usize) -> Result<usize, String> {
        sync(calls, fired).ok_or_else(|| {
            format!("crash_at({self:?}): the fire had no effects, so there was no plugin commit")
        })
    }
}

/// The first sync of the log behind a write to it, from `from` on.
fn sync(calls: &[Call], from: usize) -> Option<usize> {
    let is_log = |call: &Call| call.path.starts_with("wal");
    let written = calls[from..]
        .iter()
        .position(|call| call.kind == CallKind::Write && is_log(call))?;
    let synced = calls[from + written..]
        .iter()
        .position(|call| call.kind == CallKind::Sync && is_log(call))?;
    Some(from + written + synced)
}

/// The disk after a power cut in front of the call at `index`.
pub(crate) fn cut(disks: &[SimDisk], index: usize) -> Option<SimDisk> {
    disks.get(index).map(|disk| disk.reopen_with(&[]))
}
