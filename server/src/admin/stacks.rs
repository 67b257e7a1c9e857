//! Where the processor's time goes, by the stacks of all threads: a timer of the process's own time
//! interrupts it so many times a second, and whoever runs then notes where.
//!
//! Invariants:
//! * Nothing is sampled unless somebody asks, and never twice at a time: the timer is the process's.
//! * A thread that is interrupted inside of libc or of the unwinder is not looked at, because it may
//!   hold their locks. Its time is missing, and `perf` sees it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::time::Duration;

use hyper::StatusCode;
use pprof::ProfilerGuardBuilder;

use super::call::{Call, File, Refusal};
use super::stack_formats::{self as formats, Frame, Stack};

/// Longest time of a look.
const SECONDS_MAX: u64 = 60;
/// Looks at each second of the processor's time, unless another number is asked for: beside the beat
/// of what runs every 10 ms.
const HERTZ: u64 = 99;
const HERTZ_MAX: u64 = 999;

/// Libraries that may hold a lock which the unwinder takes.
const LOCKING: &[&str] = &["libc", "libgcc", "pthread", "vdso"];

static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// The only one who samples.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!IS_BUSY.swap(true, AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        IS_BUSY.store(false, Release);
    }
}

/// Stacks over `seconds=` (5) of `hertz=` (99) looks, as `format=`: `flamegraph`, `pprof`, `folded`.
pub(super) fn cpu(call: &Call<'_>) -> Result<File, Refusal> {
    let mut query = call.query()?;
    let seconds = query.number("seconds", 5)?;
    let hertz = query.number("hertz", HERTZ)?;
    let format = query.text("format")?;
    query.end()?;
    let within = |name: &str, number: u64, most: u64| match (1..=most).contains(&number) {
        true => Ok(()),
        false => Err(Refusal::bad(format!("{name}: use 1 to {most}"))),
    };
    within("seconds", seconds, SECONDS_MAX)?;
    within("hertz", hertz, HERTZ_MAX)?;
    let encode = match &*format {
        "" | "flamegraph" => formats::flamegraph,
        "pprof" => formats::pprof,
        "folded" => formats::folded,
        other => {
            let what = format!("format: \"{other}\" is not flamegraph, pprof or folded");
            return Err(Refusal::bad(what));
        }
    };
    let Some(_turn) = Turn::take() else {
        let what = "stacks are being sampled already: one at a time";
        return Err(Refusal::new(StatusCode::CONFLICT, what));
    };
    let stacks = sample(Duration::from_secs(seconds), hertz)?;
    encode(&stacks, hertz).map_err(internal)
}

fn internal(what: impl ToString) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, what.to_string())
}

fn sample(time: Duration, hertz: u64) -> Result<Vec<Stack>, Refusal> {
    let hertz = i32::try_from(hertz).map_err(internal)?;
    let guard = ProfilerGuardBuilder::default()
        .frequency(hertz)
        .blocklist(LOCKING)
        .build()
        .map_err(internal)?;
    std::thread::sleep(time);
    let report = guard.report().build().map_err(internal)?;
    // No timer any more: what follows is not looked at.
    drop(guard);
    let mut names = HashMap::new();
    let stacks = report.data.iter().map(|(found, count)| Stack {
        thread: found.thread_name_or_id(),
        // Inlined functions are symbols of one frame, the innermost first.
        frames: found
            .frames
            .iter()
            .flatten()
            .map(|symbol| {
                let name = names.entry(symbol.raw_name().to_owned());
                let name: &String = name.or_insert_with(|| plain(&symbol.name()));
                Frame {
                    name: name.clone(),
                    file: symbol.filename().into_owned(),
                    line: symbol.lineno(),
                }
            })
            .collect(),
        count: u64::try_from(*count).unwrap_or(0),
    });
    Ok(stacks.collect())
}

/// A name without the hash that the compiler puts behind it.
fn plain(name: &str) -> String {
    let cut = name.rsplit_once("::h").filter(|(_, hash)| {
        hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    cut.map_or(name, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let turn = Turn::take().unwrap();
        assert!(Turn::take().is_none());
        drop(turn);
        assert!(Turn::take().is_some());
    }

    #[test]
    fn names_lose_their_hash() {
        assert_eq!(plain("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(plain("a::hello"), "a::hello");
    }

    #[inline(never)]
    fn burns_time(stop: &AtomicBool) -> u64 {
        let mut sum = 0_u64;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            for _ in 0..1000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
        }
        sum
    }

    /// A thread that works is found at work, by its name and its function.
    #[test]
    fn a_busy_function_is_found() {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("burner".into());
        let burner = thread.spawn(move || burns_time(&seen)).unwrap();
        let is_found = |stacks: &[Stack]| {
            let mut burning = stacks.iter().filter(|stack| stack.thread == "burner");
            burning.any(|stack| {
                let mut frames = stack.frames.iter();
                frames.any(|frame| frame.name.contains("burns_time"))
            })
        };
        // On a machine that is busy with something else it may take some looks.
        let found = (0..50).any(|_| is_found(&sample(Duration::from_millis(100), 999).unwrap()));
        stop.store(true, Release);
        burner.join().unwrap();
        assert!(found);
    }
}
