//! State as one call of a plugin sees it: its own changes over its window's over the table.

use bytes::Bytes;
use plugin_sdk::{Code, PluginError, StateCalls, StateValue};

use super::overlay::{Overlay, layered};
use super::table::entry_bytes;
use super::{HOST_PREFIX, KEY_BYTES_MAX, STATE_BYTES_MAX, SharedTable, VALUE_BYTES_MAX, state_key};

/// Most changes of one fire.
pub(crate) const CHANGES_MAX: usize = 10_000;

/// The calls on state of one fire, of `new` or of `migrate`.
pub(crate) struct StateView<'a> {
    pub(crate) table: &'a SharedTable,
    /// Changes of the fires before in the window, if there is one.
    window: Option<&'a Overlay>,
    /// Changes made here.
    pub(crate) own: Overlay,
    /// Empty, or the bucket key with `state_scope: key`.
    pub(crate) namespace: Bytes,
    /// Bytes of changes the window still takes; 0 where state may only be read.
    pub(crate) room: usize,
    /// Whether more was asked for than that.
    pub(crate) is_over: bool,
    changes: usize,
    changes_max: usize,
    is_read_only: bool,
    /// The call was given up: nothing of it happens any more.
    pub(crate) is_given_up: bool,
}

/// The answer to a call of a fire that was given up.
pub(crate) fn stale() -> PluginError {
    PluginError::new(
        Code::Stale,
        "STALE: this call took too long and was given up",
    )
}

fn limit(text: String) -> PluginError {
    PluginError::new(Code::Limit, format!("LIMIT: {text}"))
}

fn named(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn wrong_type(key: &[u8], found: &str) -> PluginError {
    let key = named(key);
    PluginError::new(Code::Type, format!("TYPE: state \"{key}\" has {found}"))
}

impl<'a> StateView<'a> {
    pub(crate) fn new(
        table: &'a SharedTable,
        window: Option<&'a Overlay>,
        namespace: Bytes,
        room: usize,
    ) -> Self {
        Self {
            table,
            window,
            own: Overlay::default(),
            namespace,
            room,
            is_over: false,
            changes: 0,
            changes_max: CHANGES_MAX,
            is_read_only: false,
            is_given_up: false,
        }
    }

    /// For `new`, whose object is not the state's owner.
    pub(crate) fn read_only(table: &'a SharedTable, window: Option<&'a Overlay>) -> Self {
        Self {
            is_read_only: true,
            ..Self::new(table, window, Bytes::new(), 0)
        }
    }

    /// For `migrate`, which may have to change every key.
    pub(crate) fn without_count(self) -> Self {
        Self {
            changes_max: usize::MAX,
            ..self
        }
    }

    /// The changes made since the last time.
    pub(crate) fn take(&mut self) -> Overlay {
        self.changes = 0;
        std::mem::take(&mut self.own)
    }

    /// Timers pending, and bytes of their keys and payloads; a little too many, as replaced ones
    /// count twice.
    pub(crate) fn timers(&self) -> (usize, usize) {
        let layer = |overlay: &Overlay| (overlay.timer_count(), overlay.timer_bytes());
        let (own, window) = (layer(&self.own), self.window.map_or((0, 0), layer));
        let table = self.table.read();
        (
            table.timers.len() + window.0 + own.0,
            table.timers.bytes() + window.1 + own.1,
        )
    }

    /// Counts one change of `bytes` bytes, of state or timers.
    pub(crate) fn count_change(&mut self, bytes: usize) -> Result<(), PluginError> {
        if self.is_read_only {
            return Err(PluginError::unsupported("a change of state"));
        }
        if self.changes >= self.changes_max {
            return Err(limit(format!(
                "a fire may change state and timers {} times",
                self.changes_max
            )));
        }
        if self.own.bytes().saturating_add(bytes) > self.room {
            self.is_over = true;
            return Err(limit(format!(
                "the effects of a window have {} bytes left, this fire wants {} more",
                self.room.saturating_sub(self.own.bytes()),
                bytes
            )));
        }
        self.changes += 1;
        Ok(())
    }

    fn check_key(&self, key: &[u8]) -> Result<(), PluginError> {
        if self.is_given_up {
            return Err(stale());
        }
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(limit(format!(
                "a state key has 1 to {KEY_BYTES_MAX} bytes, not {}",
                key.len()
            )));
        }
        Ok(())
    }

    fn check_own_key(&self, key: &[u8]) -> Result<(), PluginError> {
        self.check_key(key)?;
        if key.starts_with(HOST_PREFIX) {
            return Err(PluginError::from(format!(
                "state \"{}\": keys that begin with \"__\" are the host's, use another",
                named(key)
            )));
        }
        Ok(())
    }

    fn find(&self, key: &Bytes) -> Option<StateValue> {
        let changed = self.own.values.get(key);
        match changed.or_else(|| self.window?.values.get(key)) {
            Some(value) => value.clone(),
            None => self.table.read().get(key).cloned(),
        }
    }

    fn set(
        &mut self,
        key: Bytes,
        old: Option<&StateValue>,
        value: Option<StateValue>,
    ) -> Result<(), PluginError> {
        let size = |value: Option<&StateValue>| {
            let bytes = value.map_or(0, |value| entry_bytes(&key, value));
            i64::try_from(bytes).expect("a value has 1 MiB at most")
        };
        let growth = size(value.as_ref()) - size(old);
        let table = i64::try_from(self.table.read().bytes()).expect("memory is smaller than that");
        let window = self.window.map_or(0, |window| window.growth);
        let bytes = table + window + self.own.growth + growth;
        if growth > 0 && bytes > STATE_BYTES_MAX as i64 {
            return Err(limit(format!(
                "the state of an instance has {STATE_BYTES_MAX} bytes at most, this would be {bytes}"
            )));
        }
        let cost = key.len() + value.as_ref().map_or(0, |value| entry_bytes(&key, value));
        self.count_change(cost)?;
        self.own.growth += growth;
        self.own.set_value(key, value);
        Ok(())
    }
}

impl StateCalls for StateView<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        self.check_key(key)?;
        match self.find(&state_key(&self.namespace, key)) {
            None => Ok(None),
            Some(StateValue::Bytes(value)) => Ok(Some(value)),
            Some(StateValue::Counter(_)) => Err(wrong_type(key, "a counter, read it as one")),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        self.check_own_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(limit(format!(
                "a state value has {VALUE_BYTES_MAX} bytes at most, not {}",
                value.len()
            )));
        }
        let full = state_key(&self.namespace, key);
        let old = self.find(&full);
        if let Some(StateValue::Counter(_)) = old {
            return Err(wrong_type(key, "a counter, delete it before it gets bytes"));
        }
        let value = StateValue::Bytes(Bytes::copy_from_slice(value));
        self.set(full, old.as_ref(), Some(value))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        self.check_own_key(key)?;
        let full = state_key(&self.namespace, key);
        match self.find(&full) {
            None => Ok(()),
            old => self.set(full, old.as_ref(), None),
        }
    }

    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        self.check_own_key(key)?;
        let full = state_key(&self.namespace, key);
        let old = self.find(&full);
        let before = match old {
            None => 0,
            Some(StateValue::Counter(count)) => count,
            Some(StateValue::Bytes(_)) => return Err(wrong_type(key, "bytes, it cannot count")),
        };
        let sum = before.checked_add(by).ok_or_else(|| {
            limit(format!(
                "counter \"{}\" has {before}, {by} more do not fit 64 bits",
                named(key)
            ))
        })?;
        self.set(full, old.as_ref(), Some(StateValue::Counter(sum)))?;
        Ok(sum)
    }

    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        self.check_key(key)?;
        match self.find(&state_key(&self.namespace, key)) {
            None => Ok(0),
            Some(StateValue::Counter(count)) => Ok(count),
            Some(StateValue::Bytes(_)) => Err(wrong_type(key, "bytes, it does not count")),
        }
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        if self.is_given_up {
            return Err(stale());
        }
        let first = state_key(&self.namespace, prefix);
        let skip = self.namespace.len() + 1;
        let table = self.table.read();
        let stored = table.from(&first).map(|(key, value)| (key, Some(value)));
        let window = self
            .window
            .into_iter()
            .flat_map(|window| window.from(&first));
        let window = layered(window, stored);
        let found = layered(self.own.from(&first), window)
            .take_while(|(key, _)| key.starts_with(&first))
            .filter_map(|(key, value)| Some((key.slice(skip..), value?.clone())));
        Ok(found.take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn view<'a>(
        table: &'a SharedTable,
        window: &'a Overlay,
        namespace: &'static str,
    ) -> StateView<'a> {
        StateView::new(table, Some(window), namespace.into(), 24 << 20)
    }

    fn code<T: std::fmt::Debug>(result: Result<T, PluginError>) -> Code {
        result.unwrap_err().code
    }

    #[test]
    fn kinds_do_not_mix_and_sums_do_not_wrap() {
        let (table, window) = (SharedTable::default(), Overlay::default());
        let mut state = view(&table, &window, "");
        assert_eq!(state.incr(b"n", 5).unwrap(), 5);
        assert_eq!(state.incr(b"n", -7).unwrap(), -2);
        assert_eq!(
            (state.counter(b"n").unwrap(), state.counter(b"x").unwrap()),
            (-2, 0)
        );
        state.put(b"b", b"v").unwrap();
        assert_eq!(state.get(b"b").unwrap().unwrap(), "v");
        assert_eq!(code(state.get(b"n")), Code::Type);
        assert_eq!(code(state.put(b"n", b"v")), Code::Type);
        assert_eq!(code(state.incr(b"b", 1)), Code::Type);
        assert_eq!(code(state.counter(b"b")), Code::Type);
        state.incr(b"max", i64::MAX).unwrap();
        assert_eq!(code(state.incr(b"max", 1)), Code::Limit);
        assert_eq!(state.counter(b"max").unwrap(), i64::MAX);
        state.delete(b"n").unwrap();
        state.put(b"n", b"bytes now").unwrap();
        assert_eq!(code(state.put(b"__resume", b"")), Code::Error);
    }

    #[test]
    fn limits_of_keys_values_changes_and_room() {
        let (table, window) = (SharedTable::default(), Overlay::default());
        let mut state = view(&table, &window, "");
        for key in [&[][..], &[b'k'; KEY_BYTES_MAX + 1]] {
            assert_eq!(code(state.put(key, b"")), Code::Limit);
            assert_eq!(code(state.get(key)), Code::Limit);
            assert_eq!(code(state.delete(key)), Code::Limit);
            assert_eq!(code(state.incr(key, 1)), Code::Limit);
        }
        state
            .put(&[b'k'; KEY_BYTES_MAX], &vec![0; VALUE_BYTES_MAX])
            .unwrap();
        assert_eq!(
            code(state.put(b"k", &vec![0; VALUE_BYTES_MAX + 1])),
            Code::Limit
        );
        for _ in 1..CHANGES_MAX {
            state.incr(b"n", 1).unwrap();
        }
        assert_eq!(code(state.incr(b"n", 1)), Code::Limit);
        assert!(!state.is_over);
        let mut state = StateView::new(&table, Some(&window), Bytes::new(), 1000);
        state.put(b"a", &[0; 600]).unwrap();
        assert_eq!(code(state.put(b"b", &[0; 600])), Code::Limit);
        assert!(state.is_over);
        let mut state = StateView::read_only(&table, None);
        assert_eq!(code(state.put(b"a", b"")), Code::Unsupported);
    }

    #[test]
    fn the_state_of_an_instance_has_a_limit_that_deletes_give_back() {
        let (table, window) = (SharedTable::default(), Overlay::default());
        // Values that share their bytes: the limit counts what a start would have to load.
        let value = Bytes::from(vec![0; VALUE_BYTES_MAX]);
        let put = |n: usize| crate::section::Change::Put {
            key: state_key(b"", format!("{n}").as_bytes()),
            value: value.clone(),
        };
        let most: Vec<_> = (0..255).map(put).collect();
        table.write().apply(1, &most);
        let mut state = view(&table, &window, "");
        assert_eq!(code(state.put(b"more", &value)), Code::Limit);
        state.put(b"less", &value[..1000]).unwrap();
        state.delete(b"7").unwrap();
        state.put(b"more", &value).unwrap();
        assert_eq!(code(state.put(b"again", &value)), Code::Limit);
    }

    #[test]
    fn namespaces_do_not_see_each_other() {
        let (table, window) = (Arc::default(), Overlay::default());
        let mut of_a = view(&table, &window, "A/1Min/T");
        of_a.put(b"k", b"a").unwrap();
        let own = of_a.own;
        let mut out = Vec::new();
        own.changes(&mut out);
        table.write().apply(1, &out);
        assert_eq!(
            view(&table, &window, "A/1Min/T")
                .get(b"k")
                .unwrap()
                .unwrap(),
            "a"
        );
        for other in ["", "A/1Min/TT", "B/1Min/T"] {
            let mut state = view(&table, &window, other);
            assert_eq!(state.get(b"k").unwrap(), None);
            assert_eq!(state.scan(b"", 9).unwrap(), []);
        }
        assert_eq!(table.read().namespaces(), ["A/1Min/T"]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8),
        Delete(u8),
        Incr(u8, i8),
        /// The fire succeeds, or fails.
        EndOfFire(bool),
        EndOfWindow(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0_u8..12;
        prop::collection::vec(
            prop_oneof![
                (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
                key.clone().prop_map(Step::Delete),
                (key, any::<i8>()).prop_map(|(k, by)| Step::Incr(k, by)),
                any::<bool>().prop_map(Step::EndOfFire),
                any::<bool>().prop_map(Step::EndOfWindow),
            ],
            0..80,
        )
    }

    fn do_step(state: &mut StateView<'_>, step: &Step) {
        // Refused for their kind, some of them, by state and model alike.
        let _ = match step {
            Step::Put(key, value) => state.put(&[*key], &[*value]),
            Step::Delete(key) => state.delete(&[*key]),
            Step::Incr(key, by) => state.incr(&[*key], i64::from(*by)).map(drop),
            _ => Ok(()),
        };
    }

    type Model = std::collections::BTreeMap<u8, StateValue>;

    fn do_model(model: &mut Model, step: &Step) {
        match step {
            Step::Put(key, _) if matches!(model.get(key), Some(StateValue::Counter(_))) => {}
            Step::Put(key, value) => {
                model.insert(*key, StateValue::Bytes(vec![*value].into()));
            }
            Step::Delete(key) => drop(model.remove(key)),
            Step::Incr(key, by) => match model.get(key) {
                Some(StateValue::Bytes(_)) => {}
                None => drop(model.insert(*key, StateValue::Counter(i64::from(*by)))),
                Some(StateValue::Counter(n)) => {
                    let sum = StateValue::Counter(n + i64::from(*by));
                    model.insert(*key, sum);
                }
            },
            _ => {}
        }
    }

    proptest! {
        /// I19: a fire that failed and a window that was dropped leave nothing; reads see all else.
        #[test]
        fn three_layers_read_like_one_map(steps in steps()) {
            let table = SharedTable::default();
            let (mut committed, mut in_window) = (Model::new(), Model::new());
            let mut window = Overlay::default();
            let mut lsn = 0;
            for fires in steps.split_inclusive(|s| matches!(s, Step::EndOfFire(_) | Step::EndOfWindow(_))) {
                let mut model = in_window.clone();
                let mut state = StateView::new(&table, Some(&window), "N".into(), 1 << 20);
                for step in fires {
                    do_step(&mut state, step);
                    do_model(&mut model, step);
                }
                let expected: Vec<_> = model.iter().map(|(k, v)| (Bytes::from(vec![*k]), v.clone())).collect();
                prop_assert_eq!(&state.scan(b"", 99).unwrap(), &expected);
                prop_assert_eq!(&state.scan(b"", 3).unwrap(), &expected[..expected.len().min(3)]);
                let own = state.own;
                if !matches!(fires.last(), Some(Step::EndOfFire(false))) {
                    window.append(own);
                    in_window = model;
                }
                let Some(Step::EndOfWindow(is_committed)) = fires.last() else { continue };
                if *is_committed {
                    let mut changes = Vec::new();
                    window.changes(&mut changes);
                    let bytes: usize = changes.iter().map(crate::section::Change::bytes).sum();
                    prop_assert_eq!(bytes, window.bytes());
                    let before = table.read().bytes() as i64;
                    lsn += 1;
                    table.write().apply(lsn, &changes);
                    prop_assert_eq!(table.read().bytes() as i64 - before, window.growth);
                    committed = in_window;
                }
                in_window = committed.clone();
                window = Overlay::default();
            }
        }
    }
}
