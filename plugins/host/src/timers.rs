//! Pending timers of one instance, in memory.
//!
//! Timers of an `exact` or `durable` instance ride in its plugin commits and come back after a crash
//! as far as the replayed log reaches, which is the last checkpoint: after an orderly stop, none do.
//! The state store will keep them. Timers of a `volatile` instance end with the server.

use std::collections::BTreeSet;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};

use crate::section::Change;

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

/// One pending timer per key.
#[derive(Debug, Clone)]
pub(crate) struct Timers {
    by_key: HashMap<Bytes, (i64, Bytes)>,
    by_due: BTreeSet<(i64, Bytes)>,
    /// Keys and payloads.
    bytes: usize,
}

/// A timer whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueTimer {
    pub(crate) key: Bytes,
    pub(crate) due: i64,
    pub(crate) payload: Bytes,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            by_key: HashMap::new(),
            by_due: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        if let Some((due, payload)) = self.by_key.remove(change.key()) {
            self.bytes -= change.key().len() + payload.len();
            self.by_due.remove(&(due, change.key().clone()));
        }
        if let Change::TimerSet { key, due, payload } = change {
            self.bytes += key.len() + payload.len();
            self.by_key.insert(key.clone(), (*due, payload.clone()));
            self.by_due.insert((*due, key.clone()));
        }
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
            .map(|(due, key)| DueTimer {
                key: key.clone(),
                due: *due,
                payload: self.by_key[key].1.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &'static str, due: i64) -> Change {
        Change::TimerSet {
            key: Bytes::from_static(key.as_bytes()),
            due,
            payload: Bytes::from(due.to_string()),
        }
    }

    #[test]
    fn one_timer_per_key_in_due_order() {
        let mut timers = Timers::new();
        for change in [set("a", 30), set("b", 10), set("a", 5), set("c", 7)] {
            timers.apply(&change);
        }
        timers.apply(&Change::TimerCancel {
            key: Bytes::from_static(b"c"),
        });
        assert_eq!((timers.len(), timers.next_due()), (2, Some(5)));
        // "a" with "5", "b" with "10".
        assert_eq!(timers.bytes(), 5);
        let keys = |now| -> Vec<Bytes> { timers.due(now, 9).into_iter().map(|t| t.key).collect() };
        assert_eq!(keys(4), Vec::<Bytes>::new());
        assert_eq!(keys(10), ["a", "b"]);
        assert_eq!(timers.due(30, 1)[0].payload, "5");
    }
}
