//! Changes of state that are not committed yet: those of one fire, or of one window. One per key, the
//! last: a counter raised by every event of a window is one change of its plugin commit.

use std::collections::BTreeMap;
use std::iter::Peekable;

use bytes::Bytes;
use plugin_sdk::StateValue;

use crate::section::{CHANGE_HEADER_BYTES, Change};
use crate::timers::Timer;

/// Changes by state key; `None` takes away.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(super) values: BTreeMap<Bytes, Option<StateValue>>,
    pub(super) timers: BTreeMap<Bytes, Option<Timer>>,
    /// Bytes of these changes in a section.
    bytes: usize,
    /// By how much the table's bytes will grow.
    pub(super) growth: i64,
    /// Bytes of keys and payloads of timers set.
    timer_bytes: usize,
}

fn value_cost(key: &[u8], value: Option<&StateValue>) -> usize {
    let value = match value {
        Some(StateValue::Bytes(value)) => value.len(),
        Some(StateValue::Counter(_)) => 8,
        None => 0,
    };
    CHANGE_HEADER_BYTES + key.len() + value
}

fn timer_cost(key: &[u8], timer: Option<&Timer>) -> usize {
    CHANGE_HEADER_BYTES + key.len() + timer.map_or(0, Timer::bytes)
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.timers.is_empty()
    }

    /// Bytes of these changes in a section.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn timer_bytes(&self) -> usize {
        self.timer_bytes
    }

    /// How many timers are set or cancelled.
    pub(crate) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn set_value(&mut self, key: Bytes, value: Option<StateValue>) {
        self.bytes += value_cost(&key, value.as_ref());
        if let Some(old) = self.values.get(&key) {
            self.bytes -= value_cost(&key, old.as_ref());
        }
        self.values.insert(key, value);
    }

    pub(crate) fn set_timer(&mut self, key: Bytes, timer: Option<Timer>) {
        let payload = |timer: Option<&Timer>| timer.map_or(0, |t| key.len() + t.payload.len());
        self.bytes += timer_cost(&key, timer.as_ref());
        self.timer_bytes += payload(timer.as_ref());
        if let Some(old) = self.timers.get(&key) {
            self.bytes -= timer_cost(&key, old.as_ref());
            self.timer_bytes -= payload(old.as_ref());
        }
        self.timers.insert(key, timer);
    }

    /// Whether the timer of this key was set or cancelled.
    pub(crate) fn touches_timer(&self, key: &Bytes) -> bool {
        self.timers.contains_key(key)
    }

    /// Takes over the changes of a later fire.
    pub(crate) fn append(&mut self, later: Self) {
        for (key, value) in later.values {
            self.set_value(key, value);
        }
        for (key, timer) in later.timers {
            self.set_timer(key, timer);
        }
        self.growth += later.growth;
    }

    /// The changes of a section.
    pub(crate) fn changes(&self, out: &mut Vec<Change>) {
        out.extend(self.values.iter().map(|(key, value)| {
            let key = key.clone();
            match value {
                Some(StateValue::Bytes(value)) => Change::Put {
                    key,
                    value: value.clone(),
                },
                Some(StateValue::Counter(value)) => Change::Counter { key, value: *value },
                None => Change::Delete { key },
            }
        }));
        out.extend(self.timers.iter().map(|(key, timer)| {
            let key = key.clone();
            match timer {
                Some(timer) => Change::Timer {
                    key,
                    timer: timer.clone(),
                },
                None => Change::Cancel { key },
            }
        }));
    }

    pub(super) fn from(&self, first: &Bytes) -> impl Iterator<Item = Entry<'_>> {
        self.values
            .range(first.clone()..)
            .map(|(key, value)| (key, value.as_ref()))
    }
}

pub(super) type Entry<'a> = (&'a Bytes, Option<&'a StateValue>);

/// Two ascending runs as one; where both have a key, `upper` says what it has.
pub(super) fn layered<'a>(
    upper: impl Iterator<Item = Entry<'a>>,
    lower: impl Iterator<Item = Entry<'a>>,
) -> impl Iterator<Item = Entry<'a>> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    std::iter::from_fn(move || next_of(&mut upper, &mut lower))
}

fn next_of<'a>(
    upper: &mut Peekable<impl Iterator<Item = Entry<'a>>>,
    lower: &mut Peekable<impl Iterator<Item = Entry<'a>>>,
) -> Option<Entry<'a>> {
    let (Some(above), Some(below)) = (upper.peek(), lower.peek()) else {
        return upper.next().or_else(|| lower.next());
    };
    if below.0 < above.0 {
        return lower.next();
    }
    if below.0 == above.0 {
        lower.next();
    }
    upper.next()
}
