//! `\gaps`: where rows are missing.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use model::{RowKind, Timeframe};

use super::commands::{bucket, go_duration, range};
use super::session::Session;
use crate::cli::Failure;
use crate::cli::words;

/// Gaps that are listed; of more the longest.
const LISTED_MAX: usize = 200;

/// A stretch without a row between two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// The row before.
    from: i64,
    /// The row behind.
    to: i64,
}

/// Finds gaps while rows go by.
#[derive(Debug, Default)]
struct Finder {
    last: Option<i64>,
    rows: u64,
    found: u64,
    missing: i64,
    gaps: Vec<Gap>,
}

impl Finder {
    /// `step` is the distance that is none.
    fn add(&mut self, times: &[i64], step: i64) {
        self.rows += times.len() as u64;
        for &to in times {
            if let Some(from) = self.last
                && to - from > step
            {
                self.found += 1;
                self.missing += (to - from) / step - 1;
                self.gaps.push(Gap { from, to });
                if self.gaps.len() >= 2 * LISTED_MAX {
                    self.keep_longest();
                }
            }
            self.last = Some(to);
        }
    }

    fn keep_longest(&mut self) {
        self.gaps
            .sort_by_key(|gap| std::cmp::Reverse(gap.to - gap.from));
        self.gaps.truncate(LISTED_MAX);
    }
}

pub(super) fn run(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let (key, from, to) = match args {
        // The whole bucket.
        [name] => (super::session::key(name)?, i64::MIN, i64::MAX),
        _ => range(args)?,
    };
    let mut bucket = bucket(session, &key)?;
    bucket.only_times();
    let timeframe = Timeframe::parse(key.timeframe());
    let step = timeframe
        .map_err(|error| Failure::new(error.to_string()))?
        .nanos();
    let mut finder = Finder::default();
    let interrupts = session.interrupts.clone();
    session.opened.rows(&bucket, from, to, &mut |batch| {
        finder.add(batch.times(), step);
        match interrupts.pressed() {
            true => Err(Failure::new("ended by Ctrl-C")),
            false => Ok(()),
        }
    })?;
    finder.keep_longest();
    finder.gaps.sort_by_key(|gap| gap.from);
    if !finder.gaps.is_empty() {
        print(session, &finder, step)?;
    }
    let what = match bucket.kind {
        RowKind::Bar => format!("{} missing", words::count(finder.missing as u64, "bar")),
        RowKind::Tick => format!("longer than {}", go_duration(step)),
    };
    println!(
        "{key}: {} with {}, {what}",
        words::count(finder.rows, "row"),
        words::count(finder.found, "gap"),
    );
    if finder.found > finder.gaps.len() as u64 {
        println!("the {LISTED_MAX} longest are listed");
    }
    Ok(())
}

fn print(session: &Session, finder: &Finder, step: i64) -> Result<(), Failure> {
    let times = |of: fn(&Gap) -> i64| {
        let times: Vec<i64> = finder.gaps.iter().map(of).collect();
        Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")) as ArrayRef
    };
    let gaps = finder.gaps.iter();
    let missing: Vec<i64> = gaps
        .clone()
        .map(|gap| (gap.to - gap.from) / step - 1)
        .collect();
    let lengths: Vec<String> = gaps.map(|gap| go_duration(gap.to - gap.from)).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("Last row before", times(|gap| gap.from)),
        ("First row after", times(|gap| gap.to)),
        ("Missing", Arc::new(Int64Array::from(missing))),
        ("Length", Arc::new(StringArray::from(lengths))),
    ];
    let batch = RecordBatch::try_from_iter(columns);
    let batch = batch.map_err(|error| Failure::new(error.to_string()))?;
    let mut printer = session.printer(&batch.schema())?;
    printer.add(&batch)?;
    printer.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_more_than_one_step() {
        let mut finder = Finder::default();
        finder.add(&[0, 10, 20], 10);
        finder.add(&[50, 60], 10);
        finder.add(&[60, 81], 10);
        assert_eq!((finder.rows, finder.found, finder.missing), (7, 2, 3));
        assert_eq!(finder.gaps[0], Gap { from: 20, to: 50 });
    }

    #[test]
    fn of_many_gaps_the_longest_are_kept() {
        let mut finder = Finder::default();
        let mut time = 0;
        for length in 2..2_000 {
            time += length;
            finder.add(&[time], 1);
        }
        finder.keep_longest();
        assert_eq!(finder.gaps.len(), LISTED_MAX);
        assert!(finder.gaps.iter().all(|gap| gap.to - gap.from > 1_700));
    }
}
