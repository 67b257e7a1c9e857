//! Pending timers of one instance, in memory; part of its [`crate::state::Table`].
//!
//! Timers of an `exact` or `durable` instance ride in its plugin commits and lie in its `state.snap`.
//! Those of a `volatile` instance end with the server. Keys here are state keys: a namespace, a zero
//! byte, the key the plugin gave.

use std::collections::BTreeSet;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use foldhash::HashMap;

/// Longest timer key.
pub(crate) const KEY_BYTES_MAX: usize = 512;
/// Longest timer payload.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Most pending timers of an instance.
pub(crate) const TIMERS_MAX: usize = 1_000_000;
/// Most bytes of keys and payloads of an instance's pending timers: they are kept in memory.
pub(crate) const TIMERS_BYTES_MAX: usize = 64 << 20;
/// Most timers fired in one window.
pub(crate) const WINDOW_TIMERS_MAX: usize = 1000;

/// A timer as set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timer {
    /// Wall clock (ns).
    pub(crate) due: i64,
    /// Key of the bucket whose event set it: it fires in that bucket's order. May be empty.
    pub(crate) lane: Bytes,
    pub(crate) payload: Bytes,
}

/// One pending timer per key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timers {
    by_key: HashMap<Bytes, Timer>,
    by_due: BTreeSet<(i64, Bytes)>,
    /// Keys and payloads.
    bytes: usize,
}

/// A timer whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueTimer {
    /// State key.
    pub(crate) key: Bytes,
    pub(crate) timer: Timer,
}

impl Timer {
    /// Bytes of [`Timer::encode`].
    pub(crate) fn bytes(&self) -> usize {
        10 + self.lane.len() + self.payload.len()
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_i64_le(self.due);
        out.put_u16_le(u16::try_from(self.lane.len()).expect("a bucket key has 767 bytes at most"));
        out.put_slice(&self.lane);
        out.put_slice(&self.payload);
    }

    pub(crate) fn decode(mut input: &[u8]) -> Option<Self> {
        let due = input.try_get_i64_le().ok()?;
        let lane_bytes = usize::from(input.try_get_u16_le().ok()?);
        let (lane, payload) = input.split_at_checked(lane_bytes)?;
        Some(Self {
            due,
            lane: Bytes::copy_from_slice(lane),
            payload: Bytes::copy_from_slice(payload),
        })
    }
}

impl Timers {
    pub(crate) fn set(&mut self, key: Bytes, timer: Timer) {
        self.cancel(&key);
        self.bytes += key.len() + timer.payload.len();
        self.by_due.insert((timer.due, key.clone()));
        self.by_key.insert(key, timer);
    }

    pub(crate) fn cancel(&mut self, key: &Bytes) {
        if let Some(timer) = self.by_key.remove(key) {
            self.bytes -= key.len() + timer.payload.len();
            self.by_due.remove(&(timer.due, key.clone()));
        }
    }

    pub(crate) fn get(&self, key: &Bytes) -> Option<&Timer> {
        self.by_key.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Bytes of keys and payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// The timers due by now, in order of their times. They stay until a commit cancels them.
    pub(crate) fn due(&self, now: i64, max: usize) -> Vec<DueTimer> {
        let due = self.by_due.iter().take_while(|(due, _)| *due <= now);
        due.take(max)
            .map(|(_, key)| DueTimer {
                key: key.clone(),
                timer: self.by_key[key].clone(),
            })
            .collect()
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Timer)> {
        self.by_key.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(timers: &mut Timers, key: &'static str, due: i64) {
        let timer = Timer {
            due,
            lane: Bytes::new(),
            payload: Bytes::from(due.to_string()),
        };
        timers.set(Bytes::from_static(key.as_bytes()), timer);
    }

    #[test]
    fn one_timer_per_key_in_due_order() {
        let mut timers = Timers::default();
        for (key, due) in [("a", 30), ("b", 10), ("a", 5), ("c", 7)] {
            set(&mut timers, key, due);
        }
        timers.cancel(&Bytes::from_static(b"c"));
        timers.cancel(&Bytes::from_static(b"nobody"));
        assert_eq!((timers.len(), timers.next_due()), (2, Some(5)));
        // "a" with "5", "b" with "10".
        assert_eq!(timers.bytes(), 5);
        let keys = |now| -> Vec<Bytes> { timers.due(now, 9).into_iter().map(|t| t.key).collect() };
        assert_eq!(keys(4), Vec::<Bytes>::new());
        assert_eq!(keys(10), ["a", "b"]);
        assert_eq!(timers.due(30, 1)[0].timer.payload, "5");
    }
}
