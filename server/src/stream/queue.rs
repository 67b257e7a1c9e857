//! Messages waiting for one subscriber.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::Limits;

/// A bounded queue. Full, it keeps only the newest message of each key; still full, it is overrun
/// for good and empty.
#[derive(Debug)]
pub(super) struct Queue {
    messages: VecDeque<(Arc<str>, Bytes)>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    overrun: bool,
}

impl Queue {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            messages_max: limits.stream_queue_messages,
            bytes_max: limits.stream_queue_bytes,
            overrun: false,
        }
    }

    /// Appends a message.
    pub(super) fn push(&mut self, key: &Arc<str>, message: &Bytes) {
        if self.overrun {
            return;
        }
        if !self.has_room(message.len()) {
            self.conflate(key);
        }
        if !self.has_room(message.len()) {
            metrics::counter!("mkts_stream_closed_total").increment(1);
            self.overrun = true;
            self.messages = VecDeque::new();
            self.bytes = 0;
            return;
        }
        self.bytes += message.len();
        self.messages.push_back((key.clone(), message.clone()));
    }

    /// Takes the oldest message.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let (_, message) = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    /// Whether messages were lost beyond what conflation may lose.
    pub(super) fn is_overrun(&self) -> bool {
        self.overrun
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.messages.len() < self.messages_max && self.bytes + bytes <= self.bytes_max
    }

    /// Keeps the newest message of each key, in order; none of `key`, whose newest comes now.
    fn conflate(&mut self, key: &Arc<str>) {
        let before = self.messages.len();
        let mut seen: HashSet<Arc<str>> = HashSet::from([key.clone()]);
        let mut kept = VecDeque::with_capacity(before);
        for (key, message) in self.messages.drain(..).rev() {
            if seen.insert(key.clone()) {
                kept.push_front((key, message));
            }
        }
        self.bytes = kept.iter().map(|m| m.1.len()).sum();
        self.messages = kept;
        let lost = (before - self.messages.len()) as u64;
        metrics::counter!("mkts_stream_conflated_total").increment(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(messages: usize, bytes: usize) -> Queue {
        Queue::new(&Limits {
            stream_queue_messages: messages,
            stream_queue_bytes: bytes,
            ..Limits::default()
        })
    }

    fn push(queue: &mut Queue, key: &str, message: &'static str) {
        queue.push(&key.into(), &Bytes::from_static(message.as_bytes()));
    }

    fn drain(mut queue: Queue) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_full_queue_keeps_the_newest_of_each_key() {
        let mut full = queue(4, 1000);
        for (key, message) in [
            ("a", "a1"),
            ("b", "b1"),
            ("a", "a2"),
            ("c", "c1"),
            ("b", "b2"),
        ] {
            push(&mut full, key, message);
        }
        assert!(!full.is_overrun());
        assert_eq!(drain(full), ["a2", "c1", "b2"]);
    }

    #[test]
    fn a_queue_of_too_many_keys_is_overrun_and_empty() {
        for mut full in [queue(3, 1000), queue(100, 6)] {
            for key in ["a", "b", "c", "d"] {
                push(&mut full, key, "xx");
            }
            assert!(full.is_overrun());
            push(&mut full, "a", "yy");
            assert!(drain(full).is_empty());
        }
    }
}
