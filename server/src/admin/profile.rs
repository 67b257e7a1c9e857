//! Calls about what the process spends: processor time of each thread, memory.
//!
//! Threads have names and one task each (`mkts-io`, the committer, merges, an instance), so time by
//! thread says which part of the server works; `stacks` says which functions.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Refusal};

/// Longest time of a look.
const SECONDS_MAX: u64 = 60;

/// Which thread: its number, and its name.
type Thread = (u64, String);

/// Nanoseconds that a thread has run, and waited for a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spent {
    running: u64,
    waiting: u64,
}

/// Processor time of each thread over `seconds=` (5), the busiest first; threads that did nothing are
/// left out.
pub(super) fn threads(call: &Call<'_>) -> Answer {
    let mut query = call.query()?;
    let seconds = query.number("seconds", 5)?;
    query.end()?;
    if seconds == 0 || seconds > SECONDS_MAX {
        return Err(Refusal::bad(format!("seconds: use 1 to {SECONDS_MAX}")));
    }
    let (before, began) = (sample()?, Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, elapsed) = (sample()?, began.elapsed());
    let mut busy: Vec<(Thread, Spent)> = after
        .into_iter()
        .map(|(thread, spent)| {
            let since = before
                .get(&thread)
                .map_or(spent, |before| spent.since(*before));
            (thread, since)
        })
        .filter(|(_, spent)| spent.running > 0)
        .collect();
    busy.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.running));
    let share = |nanos: u64| nanos as f64 / elapsed.as_nanos().max(1) as f64 * 100.0;
    let threads = busy.iter().map(|((id, name), spent)| {
        json!({
            "thread": id,
            "name": name,
            "running_ms": spent.running as f64 / 1e6,
            "waiting_ms": spent.waiting as f64 / 1e6,
            "cpu_percent": share(spent.running),
        })
    });
    Ok(json!({
        "seconds": elapsed.as_secs_f64(),
        "cpu_percent": share(busy.iter().map(|(_, spent)| spent.running).sum()),
        "threads": threads.collect::<Vec<_>>(),
    }))
}

impl Spent {
    fn since(self, before: Self) -> Self {
        Self {
            running: self.running.saturating_sub(before.running),
            waiting: self.waiting.saturating_sub(before.waiting),
        }
    }

    /// `schedstat`: running, waiting, turns.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        let (running, waiting) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { running, waiting })
    }
}

fn sample() -> Result<BTreeMap<Thread, Spent>, Refusal> {
    let tasks = fs::read_dir("/proc/self/task").map_err(|_| unknown_here())?;
    let mut threads = BTreeMap::new();
    // A thread that ends meanwhile has nothing to say.
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
        let id = task.file_name().to_str().and_then(|id| id.parse().ok());
        let spent = read("schedstat").as_deref().and_then(Spent::parse);
        if let (Some(id), Some(name), Some(spent)) = (id, read("comm"), spent) {
            threads.insert((id, name.trim_end().to_owned()), spent);
        }
    }
    match threads.is_empty() {
        true => Err(unknown_here()),
        false => Ok(threads),
    }
}

fn unknown_here() -> Refusal {
    let what = "this system does not say (/proc of Linux is needed)";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, what)
}

/// What the process has of the machine's memory, and what of it is the store's.
pub(super) fn memory(call: &Call<'_>) -> Answer {
    call.query()?.end()?;
    let status = fs::read_to_string("/proc/self/status").map_err(|_| unknown_here())?;
    let store = call.app.engine.status();
    Ok(json!({
        "process": process(&status),
        "store": {
            "tail_bytes": store.tail_bytes,
            "tail_bytes_max": call.app.engine.options().tail_bytes_max,
            "follow_bytes_max": call.app.engine.options().follow_bytes,
            "mapped_segment_bytes": store.segment_bytes,
            "buckets": store.buckets,
        },
        "stream_subscribers": call.app.hub.connections(),
    }))
}

/// Lines of `status` about memory, in bytes: `rss` what is there, `rss_anon` what is its own, `rss_file`
/// pages of data files, which the system takes back when it needs them.
fn process(status: &str) -> Value {
    const LINES: [(&str, &str); 6] = [
        ("VmRSS", "rss"),
        ("VmHWM", "rss_highest"),
        ("RssAnon", "rss_anon"),
        ("RssFile", "rss_file"),
        ("VmSwap", "swap"),
        ("VmSize", "address_space"),
    ];
    let mut out = Map::new();
    for line in status.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let number = value.split_ascii_whitespace().next();
        let number = number.and_then(|n| n.parse::<u64>().ok());
        if let (Some((_, key)), Some(kib)) = (LINES.iter().find(|(n, _)| *n == name), number) {
            out.insert(format!("{key}_bytes"), (kib << 10).into());
        } else if let ("Threads", Some(count)) = (name, number) {
            out.insert("threads".into(), count.into());
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read() {
        let spent = Spent::parse("1700000 300 12\n").unwrap();
        let before = Spent::parse("700000 400 2\n").unwrap();
        let since = spent.since(before);
        assert_eq!((since.running, since.waiting), (1_000_000, 0));
        assert!(Spent::parse("").is_none() && Spent::parse("x 1").is_none());
        let status = "Name:\tmkts\nVmRSS:\t   12 kB\nVmSwap:\t 0 kB\nThreads:\t7\nVmRSSx: 1\n";
        let expected = json!({"rss_bytes": 12_288, "swap_bytes": 0, "threads": 7});
        assert_eq!(process(status), expected);
    }

    /// A thread that works is seen at work.
    #[test]
    fn a_busy_thread_has_spent_time() {
        if !std::path::Path::new("/proc/self/task").exists() {
            return;
        }
        let name = std::thread::Builder::new().name("spends-time".into());
        let (tell, told) = std::sync::mpsc::channel();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let busy = name.spawn(move || {
            let began = Instant::now();
            let mut sum = 0_u64;
            while began.elapsed() < Duration::from_millis(20) {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            tell.send(sum).unwrap();
            let _ = wait.recv();
        });
        told.recv().unwrap();
        let threads = sample().unwrap();
        let found = threads.iter().find(|((_, name), _)| name == "spends-time");
        assert!(found.unwrap().1.running > 0);
        drop(end);
        busy.unwrap().join().unwrap();
    }
}
