//! The last log lines of each instance, for `mkts plugin logs`.
//!
//! Memory is bounded: [`LINES_MAX`] lines and [`BYTES_MAX`] bytes of an instance, the oldest go first;
//! lines of more than [`INSTANCES_MAX`] instances are not kept. Whoever pushes has hidden secrets.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Lines kept of an instance.
const LINES_MAX: usize = 1000;

/// Bytes of text kept of an instance.
const BYTES_MAX: usize = 256 << 10;

/// Bytes of one line; what is longer is cut.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Instances with lines; more than any sensible `mkts.yml` has.
const INSTANCES_MAX: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Number among the lines of its instance, from 1.
    pub seq: u64,
    /// When (wall clock, ns).
    pub time: i64,
    /// `error`, `warn`, `info` or `debug`.
    pub level: &'static str,
    /// Text.
    pub text: String,
}

/// The last lines of all instances.
#[derive(Debug, Default)]
pub struct Logs {
    rings: Mutex<BTreeMap<String, Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Number of the newest line.
    seq: u64,
}

impl Logs {
    /// Without any line.
    pub const fn new() -> Self {
        Self {
            rings: Mutex::new(BTreeMap::new()),
        }
    }

    /// Keeps a line.
    pub fn push(&self, instance: &str, time: i64, level: &'static str, text: &str) {
        let text = text[..text.floor_char_boundary(LINE_BYTES_MAX)].to_owned();
        let mut rings = self.rings.lock();
        if !rings.contains_key(instance) {
            if rings.len() >= INSTANCES_MAX {
                return;
            }
            rings.insert(instance.to_owned(), Ring::default());
        }
        let ring = rings.get_mut(instance).expect("inserted above");
        ring.push(time, level, text);
    }

    /// The newest lines of an instance behind a number, oldest first, and how many behind that
    /// number are gone.
    pub fn last(&self, instance: &str, lines: usize, after: u64) -> (Vec<LogLine>, u64) {
        let rings = self.rings.lock();
        let Some(ring) = rings.get(instance) else {
            return (Vec::new(), 0);
        };
        let newer = ring.lines.partition_point(|line| line.seq <= after);
        let from = newer.max(ring.lines.len().saturating_sub(lines));
        let found: Vec<LogLine> = ring.lines.range(from..).cloned().collect();
        let first = found.first().map_or(ring.seq + 1, |line| line.seq);
        (found, first.saturating_sub(after + 1))
    }
}

impl Ring {
    fn push(&mut self, time: i64, level: &'static str, text: String) {
        self.seq += 1;
        self.bytes += text.len();
        self.lines.push_back(LogLine {
            seq: self.seq,
            time,
            level,
            text,
        });
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(logs: &Logs, lines: usize, after: u64) -> (Vec<String>, u64) {
        let (lines, missed) = logs.last("a", lines, after);
        (lines.into_iter().map(|line| line.text).collect(), missed)
    }

    #[test]
    fn the_newest_lines_of_an_instance_come_oldest_first() {
        let logs = Logs::new();
        for n in 1..=5 {
            logs.push("a", n, "info", &format!("line {n}"));
            logs.push("b", n, "warn", "other");
        }
        assert_eq!(
            texts(&logs, 2, 0),
            (vec!["line 4".into(), "line 5".into()], 3)
        );
        assert_eq!(texts(&logs, 10, 4), (vec!["line 5".into()], 0));
        assert_eq!(texts(&logs, 10, 5), (vec![], 0));
        assert_eq!(logs.last("nobody", 10, 0), (vec![], 0));
        let (b, _) = logs.last("b", 1, 0);
        assert_eq!((b[0].seq, b[0].level, b[0].time), (5, "warn", 5));
    }

    #[test]
    fn a_flood_takes_bounded_memory_and_says_what_is_gone() {
        let logs = Logs::new();
        let long = "\u{20ac}".repeat(LINE_BYTES_MAX);
        for _ in 0..LINES_MAX {
            logs.push("a", 0, "info", &long);
        }
        let ring_bytes = logs.rings.lock()["a"].bytes;
        assert!(ring_bytes <= BYTES_MAX && ring_bytes > BYTES_MAX / 2);
        for _ in 0..2 * LINES_MAX {
            logs.push("a", 0, "info", "x");
        }
        let (lines, missed) = logs.last("a", usize::MAX, 0);
        assert_eq!((lines.len(), missed), (LINES_MAX, 2 * LINES_MAX as u64));
        for n in 0..2 * INSTANCES_MAX {
            logs.push(&n.to_string(), 0, "info", "x");
        }
        assert_eq!(logs.rings.lock().len(), INSTANCES_MAX);
    }
}
