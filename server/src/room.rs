//! Memory that requests under way share. Nobody waits for it: those that hold some and wait for
//! more would wait for each other for ever.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted: a semaphore gives at most 2^32 - 1 permits at once.
const UNIT_BYTES: u64 = 1 << 10;

/// So many bytes for everybody together.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// A part of the room, given back when it is dropped; `None` if so much is not left.
    pub(crate) fn take(&self, bytes: u64) -> Option<Held> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let permit = self.0.clone().try_acquire_many_owned(units).ok()?;
        Some(Held(Some(permit)))
    }
}

/// A part of a room.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// The same bytes; the part is held until they are gone.
    pub(crate) fn with(self, bytes: Bytes) -> Bytes {
        match self.0 {
            None => bytes,
            Some(_) => Bytes::from_owner(Holding { bytes, _held: self }),
        }
    }

    /// Takes over another part of the same room.
    pub(crate) fn merge(&mut self, mut other: Self) {
        match (&mut self.0, other.0.take()) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
    }
}

/// Bytes and what ends with them.
struct Holding {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_given_twice() {
        let room = Room::new(10 << 10);
        let mut held = room.take(6 << 10).unwrap();
        assert!(room.take(5 << 10).is_none());
        held.merge(room.take(4 << 10).unwrap());
        assert!(room.take(1).is_none());
        drop(held);
        assert!(room.take(10 << 10).is_some());
    }
}
