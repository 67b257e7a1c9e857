//! The child's copy of its state: so that most reads need no round trip.
//!
//! Invariant: between fires every value known here is the one the server has, once it has taken the
//! effects of all fires answered with OK. A fire that fails is undone.

use std::collections::BTreeMap;

use bytes::Bytes;
use plugin_proto::v1;

use crate::state::StateValue;

/// A copy larger than this forgets, and asks again.
const BYTES_MAX: usize = 64 << 20;

/// Bytes an entry costs besides key and value.
const ENTRY_BYTES: usize = 96;

#[derive(Default)]
pub(super) struct Copy {
    /// Whether a key that is not among `values` is not in the state either.
    is_complete: bool,
    /// What is known; `None` of a key that is known not to be there.
    values: BTreeMap<Bytes, Option<StateValue>>,
    bytes: usize,
    /// What the fire under way has changed, as it was before.
    undo: Vec<(Bytes, Option<Option<StateValue>>)>,
}

/// A value as it came.
pub(super) fn value_of(value: Option<v1::StateValue>) -> Option<StateValue> {
    match value?.value? {
        v1::state_value::Value::Bytes(bytes) => Some(StateValue::Bytes(bytes)),
        v1::state_value::Value::Counter(number) => Some(StateValue::Counter(number)),
    }
}

impl Copy {
    pub(super) fn new(entries: Vec<v1::StateEntry>, is_complete: bool) -> Self {
        let mut copy = Self {
            is_complete,
            ..Self::default()
        };
        for entry in entries {
            copy.note(entry.key, value_of(entry.value));
        }
        copy
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// `None` if the server must be asked.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<StateValue>> {
        match self.values.get(key) {
            Some(known) => Some(known.clone()),
            None if self.is_complete => Some(None),
            None => None,
        }
    }

    /// Keeps what the server has answered.
    pub(super) fn note(&mut self, key: Bytes, value: Option<StateValue>) {
        self.bytes += ENTRY_BYTES + key.len() + size(value.as_ref());
        if let Some(before) = self.values.insert(key.clone(), value) {
            self.bytes -= ENTRY_BYTES + key.len() + size(before.as_ref());
        }
    }

    /// A change of the fire under way.
    pub(super) fn set(&mut self, key: Bytes, value: Option<StateValue>) {
        let before = self.values.get(&key).cloned();
        self.undo.push((key.clone(), before));
        self.note(key, value);
    }

    /// Known values with a prefix, ascending; `None` of keys that are not there.
    pub(super) fn with_prefix<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Option<StateValue>)> {
        self.values
            .range::<[u8], _>((
                std::ops::Bound::Included(prefix),
                std::ops::Bound::Unbounded,
            ))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The fire has succeeded.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
        if self.bytes > BYTES_MAX {
            self.forget();
        }
    }

    /// The fire has failed.
    pub(super) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.note(key, value),
                None => {
                    if let Some(value) = self.values.remove(&key) {
                        self.bytes -= ENTRY_BYTES + key.len() + size(value.as_ref());
                    }
                }
            }
        }
    }

    /// From now on the server is asked.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn size(value: Option<&StateValue>) -> usize {
    match value {
        Some(StateValue::Bytes(bytes)) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(number: i64) -> Option<StateValue> {
        Some(StateValue::Counter(number))
    }

    #[test]
    fn a_failed_fire_is_undone_in_reverse() {
        let mut copy = Copy::new(Vec::new(), true);
        let key = Bytes::from_static(b"n");
        copy.set(key.clone(), counter(1));
        copy.keep();
        let bytes = copy.bytes;
        copy.set(key.clone(), counter(2));
        copy.set(key.clone(), None);
        copy.set(Bytes::from_static(b"other"), counter(9));
        copy.roll_back();
        assert_eq!(copy.get(b"n"), Some(counter(1)));
        assert_eq!((copy.get(b"other"), copy.bytes), (Some(None), bytes));
    }

    #[test]
    fn a_copy_that_is_not_complete_does_not_know_what_is_missing() {
        let mut copy = Copy::new(Vec::new(), false);
        assert_eq!(copy.get(b"n"), None);
        copy.note(Bytes::from_static(b"n"), None);
        assert_eq!(copy.get(b"n"), Some(None));
        copy.set(Bytes::from_static(b"m"), counter(1));
        copy.roll_back();
        assert_eq!(copy.get(b"m"), None);
    }

    #[test]
    fn a_large_copy_is_forgotten_between_fires() {
        let mut copy = Copy::new(Vec::new(), true);
        let value = Some(StateValue::Bytes(vec![0; BYTES_MAX].into()));
        copy.set(Bytes::from_static(b"n"), value);
        assert!(copy.is_complete());
        copy.keep();
        assert_eq!(
            (copy.get(b"n"), copy.is_complete(), copy.bytes),
            (None, false, 0)
        );
    }
}
