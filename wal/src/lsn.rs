//! `Lsn`: a byte position in the endless log.

use std::fmt;

/// A byte position in the endless log; ordering is the commit order (I4).
///
/// The endless log is the chain of WAL segments, headers included: byte `n` of the segment whose
/// first LSN is `f` has the LSN `f + n`. A frame's own LSN is where its header begins. Marks
/// (durable, visible, checkpoint, cursors) lie between frames and cover every frame that begins
/// below them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first frame of any log.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` further on.
    #[must_use]
    pub fn advanced(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
