//! The state of one instance in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use plugin_sdk::StateValue;

use super::{ENTRY_BYTES, Letters, VERSION_KEY, split_key, state_key};
use crate::section::Change;
use crate::timers::{Timer, Timers};

/// What plugin commits have made of an instance's state. Keys are state keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(super) values: BTreeMap<Bytes, StateValue>,
    pub(crate) timers: Timers,
    /// By bucket key: rows that are to be read again.
    pub(super) ranges: BTreeMap<Bytes, (i64, i64)>,
    pub(crate) letters: Letters,
    /// Of `values`: keys, values, and what an entry costs.
    bytes: usize,
    /// The last plugin commit applied.
    covered: u64,
    /// Plus one with each change that `state.snap` would show.
    version: u64,
}

/// Bytes an entry counts for.
pub(crate) fn entry_bytes(key: &[u8], value: &StateValue) -> usize {
    let value = match value {
        StateValue::Bytes(bytes) => bytes.len(),
        StateValue::Counter(_) => 8,
    };
    ENTRY_BYTES + key.len() + value
}

impl Table {
    /// Applies the changes of the plugin commit at `lsn`. What is covered already is passed over,
    /// dead letters excepted: their files say themselves what they have.
    pub(crate) fn apply(&mut self, lsn: u64, changes: &[Change]) {
        let is_new = lsn > self.covered;
        let mut letters = 0;
        for change in changes {
            match change {
                Change::Letter(letter) => {
                    self.letters.add(lsn, letters, letter.clone());
                    letters += 1;
                }
                Change::LetterGone(id) => self.letters.remove(*id),
                change if is_new => self.change(change),
                _ => {}
            }
        }
        self.covered = self.covered.max(lsn);
    }

    /// Applies changes of an instance that stores no place.
    pub(crate) fn apply_volatile(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.change(change));
    }

    fn change(&mut self, change: &Change) {
        self.version += 1;
        match change {
            Change::Put { key, value } => self.set(key, Some(StateValue::Bytes(value.clone()))),
            Change::Counter { key, value } => self.set(key, Some(StateValue::Counter(*value))),
            Change::Delete { key } => self.set(key, None),
            Change::Timer { key, timer } => self.timers.set(key.clone(), timer.clone()),
            Change::Cancel { key } => self.timers.cancel(key),
            Change::Dirty { key, from, to } => {
                self.ranges.insert(key.clone(), (*from, *to));
            }
            Change::Done { key } => {
                self.ranges.remove(key);
            }
            Change::Reset => self.clear(),
            Change::Letter(_) | Change::LetterGone(_) => {}
        }
    }

    /// Dead letters stay: they are the operator's to drop.
    fn clear(&mut self) {
        self.values.clear();
        self.timers = Timers::default();
        self.ranges.clear();
        self.bytes = 0;
    }

    fn set(&mut self, key: &Bytes, value: Option<StateValue>) {
        let added = value.as_ref().map_or(0, |value| entry_bytes(key, value));
        let old = match value {
            Some(value) => self.values.insert(key.clone(), value),
            None => self.values.remove(key),
        };
        let removed = old.map_or(0, |old| entry_bytes(key, &old));
        self.bytes = self.bytes + added - removed;
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&StateValue> {
        self.values.get(key)
    }

    /// Keys from `first` on, ascending.
    pub(crate) fn from(&self, first: &[u8]) -> impl Iterator<Item = (&Bytes, &StateValue)> {
        self.values.range(Bytes::copy_from_slice(first)..)
    }

    /// Keys, values, and what an entry costs.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The range of a bucket that is to be read again.
    pub(crate) fn range(&self, key: &[u8]) -> Option<(i64, i64)> {
        self.ranges.get(key).copied()
    }

    /// The first ranges, by key.
    pub(crate) fn first_ranges(&self, count: usize) -> Vec<(Bytes, (i64, i64))> {
        let ranges = self.ranges.iter().take(count);
        ranges.map(|(key, range)| (key.clone(), *range)).collect()
    }

    pub(crate) fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Whether plugin and host keep no value.
    pub(crate) fn has_no_values(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn covered(&self) -> u64 {
        self.covered
    }

    /// The value of a host's own key.
    pub(crate) fn host_value(&self, key: &[u8]) -> Option<&StateValue> {
        self.get(&state_key(b"", key))
    }

    /// Which version of the plugin's state this is, if that was ever said.
    pub(crate) fn state_version(&self) -> Option<u32> {
        match self.host_value(VERSION_KEY) {
            Some(StateValue::Counter(version)) => u32::try_from(*version).ok(),
            _ => None,
        }
    }

    /// Every namespace with a key in it.
    pub(crate) fn namespaces(&self) -> Vec<Bytes> {
        let mut found: Vec<Bytes> = Vec::new();
        for key in self.values.keys() {
            let (namespace, _) = split_key(key).expect("only state keys are applied");
            if found.last().is_none_or(|last| last != namespace) {
                found.push(key.slice(..namespace.len()));
            }
        }
        found
    }

    /// What `state.snap` said; the commit it covers.
    pub(super) fn restore(&mut self, changes: &[Change], covered: u64) {
        changes.iter().for_each(|change| self.change(change));
        (self.covered, self.version) = (covered, 0);
    }

    /// As changes that make it anew, in the order of `state.snap`.
    pub(crate) fn contents(&self) -> Vec<Change> {
        let bytes = |(key, value): (&Bytes, &StateValue)| match value {
            StateValue::Bytes(value) => Some(Change::Put {
                key: key.clone(),
                value: value.clone(),
            }),
            StateValue::Counter(_) => None,
        };
        let counter = |(key, value): (&Bytes, &StateValue)| match value {
            StateValue::Counter(value) => Some(Change::Counter {
                key: key.clone(),
                value: *value,
            }),
            StateValue::Bytes(_) => None,
        };
        let mut timers: Vec<(&Bytes, &Timer)> = self.timers.iter().collect();
        timers.sort_unstable_by_key(|(key, _)| *key);
        let timers = timers.into_iter().map(|(key, timer)| Change::Timer {
            key: key.clone(),
            timer: timer.clone(),
        });
        let ranges = self.ranges.iter().map(|(key, (from, to))| Change::Dirty {
            key: key.clone(),
            from: *from,
            to: *to,
        });
        let values = self.values.iter().filter_map(bytes);
        let counters = self.values.iter().filter_map(counter);
        values.chain(counters).chain(timers).chain(ranges).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Bytes {
        state_key(b"", text.as_bytes())
    }

    fn put(text: &str, value: &'static str) -> Change {
        Change::Put {
            key: key(text),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    #[test]
    fn bytes_follow_every_change_and_a_commit_counts_once() {
        let mut table = Table::default();
        let counter = Change::Counter {
            key: key("n"),
            value: 5,
        };
        table.apply(10, &[put("a", "12345"), counter.clone(), put("a", "1")]);
        assert_eq!(table.bytes(), 2 * ENTRY_BYTES + 2 + 1 + 2 + 8);
        table.apply(10, &[put("a", "replayed")]);
        assert_eq!(table.get(&key("a")), Some(&StateValue::Bytes("1".into())));
        table.apply(
            11,
            &[
                Change::Delete { key: key("a") },
                Change::Delete { key: key("x") },
            ],
        );
        assert_eq!(table.bytes(), ENTRY_BYTES + 2 + 8);
        assert_eq!((table.covered(), table.contents()), (11, vec![counter]));
    }
}
