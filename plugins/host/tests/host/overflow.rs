//! What becomes of a backlog that is more than `wal_hold`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use engine::{DeleteRange, Options};
use model::RowKind;
use plugin_host::{Entry, OnOverflow, State};
use plugin_sdk::{Event, FireCtx, FireError};

use crate::support::{Store, key, options, probe, ticks, try_open};

/// Segments so small that a few commits fill several.
fn small() -> Options {
    Options {
        wal_segment_bytes: 256 << 10,
        frame_bytes_max: 64 << 10,
        follow_bytes: 1,
        ..options()
    }
}

fn open(disk: &SimDisk, entry: &Entry) -> Store {
    try_open(disk, vec![entry.clone()], small()).unwrap()
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Records its events, once the test lets it: until then each fails and is tried again.
fn stuck(module: &str, policy: Option<OnOverflow>) -> (Entry, Seen, Arc<AtomicBool>) {
    let (seen, goes) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let (record, may) = (Arc::clone(&seen), Arc::clone(&goes));
    let act = move |ctx: &mut FireCtx<'_>, event: &Event<'_>| {
        if !may.load(SeqCst) {
            let after = Duration::from_millis(1);
            return Err(FireError::RetryAfter {
                text: "not yet".into(),
                after,
            });
        }
        // Effects show whether a window counts.
        ctx.state().incr("events", 1)?;
        record.lock().unwrap().push(match event {
            Event::Gap { key, from, to } => format!("gap {key} {from}..={to}"),
            Event::Write(batch) => format!("{} {} rows", batch.key, batch.rows.rows()),
            other => format!("{other:?}"),
        });
        Ok(())
    };
    let entry = Entry {
        module: module.into(),
        on_overflow: policy,
        max_attempts: Some(0),
        wal_hold: 300_000,
        ..probe("o", "{A,B,C}/**", act)
    };
    (entry, seen, goes)
}

/// Writes `count` commits of 500 rows.
fn write_backlog(store: &Store, from: i64, count: i64) {
    for n in from..from + count {
        let times: Vec<i64> = (n * 500..n * 500 + 500).collect();
        store.write("A/1Min/T", &times);
    }
}

/// Whether the log still reaches back to where an instance stands.
fn is_held(store: &Store) -> bool {
    let cursor = engine::Lsn(store.status("o").cursor);
    match store.engine.follow(cursor) {
        Ok(mut log) => log.next_commit().is_ok(),
        Err(_) => false,
    }
}

/// T17, T23: the log stays up to `wal_hold`; then a checkpoint asks, and what it asked for becomes
/// ranges, drops and deletes included, before it is let go.
#[test]
fn a_backlog_becomes_one_range_per_bucket() {
    let (entry, seen, goes) = stuck("gapprobe", None);
    let store = open(&SimDisk::new(1), &entry);
    store.write("B/1Min/T", &[5, 9]);
    store.write("C/1Min/T", &[1]);
    write_backlog(&store, 0, 10);
    store.engine.checkpoint().unwrap();
    assert!(is_held(&store));
    let range = |name, from, to| DeleteRange {
        key: key(name),
        from,
        to,
    };
    store.engine.delete(&[range("B/1Min/T", -7, 5)]).unwrap();
    store.engine.drop_buckets(&[key("C/1Min/T")]).unwrap();
    write_backlog(&store, 10, 90);
    let end = store.engine.marks().visible.0;
    store.engine.checkpoint().unwrap();
    // The window that failed is left for the ranges.
    store.until_it("o", |status| status.cursor >= end);
    store.engine.checkpoint().unwrap();
    goes.store(true, SeqCst);
    store.drain();
    store.write("A/1Min/T", &[-3]);
    store.drain();
    let mut seen = seen.lock().unwrap();
    // Buckets have no order among each other once they were tried again.
    seen[..3].sort();
    assert_eq!(
        *seen,
        [
            "Deleted(BucketKey(C/1Min/T))",
            "gap A/1Min/T 0..=49999",
            "gap B/1Min/T -7..=9",
            "A/1Min/T 1 rows",
        ]
    );
    assert_eq!(store.status("o").gaps, 2);
    store.close();
}

/// A second backlog joins what is left of the first, and a restart finds it.
#[test]
fn ranges_join_and_outlive_the_server() {
    for is_clean in [true, false] {
        let (entry, seen, goes) = stuck("gapprobe", None);
        let disk = SimDisk::new(2);
        let store = open(&disk, &entry);
        for part in 0..2 {
            write_backlog(&store, part * 200, 100);
            // Not merely further than before: it also passes commits of its own.
            let end = store.engine.marks().visible.0;
            store.engine.checkpoint().unwrap();
            store.until_it("o", |status| status.cursor >= end);
        }
        let disk = if is_clean {
            store.close();
            disk
        } else {
            store.host.stop();
            disk.reopen()
        };
        goes.store(true, SeqCst);
        let store = open(&disk, &entry);
        store.drain();
        assert_eq!(*seen.lock().unwrap(), ["gap A/1Min/T 0..=149999"]);
        let disk = disk.reopen();
        drop(store);
        let store = open(&disk, &entry);
        store.drain();
        assert_eq!(seen.lock().unwrap().len(), 1);
        store.close();
    }
}

#[test]
fn disable_stops_until_it_is_enabled_and_then_begins_anew() {
    let (entry, seen, goes) = stuck("probe", None);
    let disk = SimDisk::new(3);
    let store = open(&disk, &entry);
    store.write("A/1Min/T", &[1]);
    goes.store(true, SeqCst);
    store.drain();
    goes.store(false, SeqCst);
    write_backlog(&store, 0, 100);
    store.engine.checkpoint().unwrap();
    let status = store.until("o", State::Disabled);
    assert!(
        status.reason.contains("on_overflow: disable"),
        "{}",
        status.reason
    );
    store.engine.checkpoint().unwrap();
    // Its log is let go.
    write_backlog(&store, 100, 100);
    store.engine.checkpoint().unwrap();
    assert!(!is_held(&store));
    store.close();
    // A restart is no reason to go on.
    goes.store(true, SeqCst);
    let store = open(&disk, &entry);
    store.until("o", State::Disabled);
    assert_eq!(seen.lock().unwrap().len(), 1);
    store.host.enable("o").unwrap();
    store.write("A/1Min/T", &[7, 8]);
    store.drain();
    assert_eq!(
        *seen.lock().unwrap(),
        ["A/1Min/T 1 rows", "A/1Min/T 2 rows"]
    );
    // Its state is kept.
    let events = store.host.state_get("o", "", b"events").unwrap();
    assert_eq!(events, Some(plugin_sdk::StateValue::Counter(2)));
    store.close();
    let store = open(&disk, &entry);
    store.drain();
    assert_eq!(store.status("o").state, State::Running);
    store.close();
}

#[test]
fn drop_counts_the_rows_it_passes_over() {
    let (entry, seen, goes) = stuck("probe", Some(OnOverflow::Drop));
    let store = open(&SimDisk::new(4), &entry);
    write_backlog(&store, 0, 100);
    let before = store.status("o").cursor;
    store.engine.checkpoint().unwrap();
    store.until_it("o", |status| status.cursor > before);
    goes.store(true, SeqCst);
    store.write("A/1Min/T", &[-1]);
    store.drain();
    assert_eq!(*seen.lock().unwrap(), ["A/1Min/T 1 rows"]);
    assert_eq!(store.status("o").dropped, 100 * 500);
    store.close();
}

#[test]
fn hold_keeps_the_log_whatever_its_size() {
    let (entry, seen, goes) = stuck("probe", Some(OnOverflow::Hold));
    let store = open(&SimDisk::new(5), &entry);
    for part in 0..4 {
        write_backlog(&store, part * 100, 100);
        store.engine.checkpoint().unwrap();
    }
    assert!(is_held(&store));
    goes.store(true, SeqCst);
    store.drain();
    let rows: usize = seen
        .lock()
        .unwrap()
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(rows, 400 * 500);
    store.close();
}

/// T23: the age of the oldest commit counts as well, by the host's clock, while it runs.
#[test]
fn log_is_kept_for_its_time() {
    let (mut entry, seen, goes) = stuck("gapprobe", None);
    entry.wal_hold = 1 << 30;
    entry.wal_hold_time = Duration::from_secs(3600);
    let disk = SimDisk::new(6);
    let store = open(&disk, &entry);
    write_backlog(&store, 0, 10);
    let pass = |store: &Store, seconds: i64| {
        store
            .clock
            .set_wall(1_600_000_000_000_000_000 + seconds * 1_000_000_000);
        store.write("B/1Min/T", &[seconds]);
        store.engine.checkpoint().unwrap();
    };
    pass(&store, 3599);
    assert!(is_held(&store));
    let cursor = store.status("o").cursor;
    pass(&store, 3601);
    store.until_it("o", |status| status.cursor > cursor);
    goes.store(true, SeqCst);
    store.drain();
    let ranges = ["gap A/1Min/T 0..=4999", "gap B/1Min/T 3599..=3601"];
    // Buckets have no order among each other once they were tried again.
    seen.lock().unwrap().sort();
    assert_eq!(*seen.lock().unwrap(), ranges);
    // A server that was off has had no time to fire: what is there is fired.
    goes.store(false, SeqCst);
    store.write("A/1Min/T", &[-9]);
    store.close();
    let store = open(&disk, &entry);
    store
        .clock
        .set_wall(1_600_000_000_000_000_000 + 7200 * 1_000_000_000);
    store.host.stop();
    drop(store);
    goes.store(true, SeqCst);
    let store = open(&disk, &entry);
    store.drain();
    assert_eq!(seen.lock().unwrap().last().unwrap(), "A/1Min/T 1 rows");
    store.close();
}

/// Coalescing what a plugin cannot read again would lose it.
#[test]
fn coalesce_is_for_plugins_that_accept_gaps() {
    let (entry, ..) = stuck("probe", Some(OnOverflow::Coalesce));
    let store = open(&SimDisk::new(7), &entry);
    let status = store.status("o");
    assert_eq!(status.state, State::Failed);
    assert!(
        status
            .reason
            .contains("coalesce needs a plugin that accepts gaps"),
        "{}",
        status.reason
    );
    store.close();
}

/// A model of rows kept with the help of gaps: what is stored, again, elsewhere.
fn mirror(ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
    let target = key("OUT/1Min/T");
    let (from, to) = match event {
        Event::Write(batch) => {
            let times = batch.rows.times();
            (times[0], times[times.len() - 1])
        }
        Event::Gap { from, to, .. } => (*from, *to),
        _ => return Ok(()),
    };
    let query = plugin_sdk::Query {
        key: &key("A/1Min/T"),
        from,
        to,
        columns: None,
        limit: None,
    };
    let rows = ctx.query(&query)?;
    ctx.delete(&target, from, to)?;
    if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
        // Effects of many small windows: the ranges are cut.
        let times = rows.times().to_vec();
        ctx.write(&target, RowKind::Tick, ticks(&times))?;
    }
    Ok(())
}

/// T17 over crash points: whenever the disk ends, no range is lost, and one that is done is not
/// done again in a way that shows.
#[test]
fn ranges_are_done_once_over_every_crash_point() {
    let entry = || Entry {
        module: "gapprobe".into(),
        wal_hold: 20_000,
        ..probe("o", "A/**", mirror)
    };
    let mut crashes = 0;
    for calls in (0..260).step_by(3) {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        let mut model: BTreeMap<i64, ()> = BTreeMap::new();
        if let Ok(store) = try_open(&disk, vec![entry()], small()) {
            for n in 0..40 {
                let times: Vec<i64> = (n * 50..n * 50 + 50).collect();
                if store.try_write("A/1Min/T", &times).is_err() {
                    break;
                }
                if n % 7 == 6 {
                    let (from, to) = (n * 40, n * 40 + 60);
                    let range = DeleteRange {
                        key: key("A/1Min/T"),
                        from,
                        to,
                    };
                    let _ = store.engine.delete(&[range]);
                    let _ = store.engine.checkpoint();
                }
            }
            store.host.drain(Duration::from_secs(20));
            store.host.stop();
        }
        crashes += u32::from(disk.crashed());
        let store = try_open(&disk.reopen(), vec![entry()], small()).unwrap();
        store.drain();
        model.extend(store.times("A/1Min/T").into_iter().map(|time| (time, ())));
        let expected: Vec<i64> = model.into_keys().collect();
        assert_eq!(
            store.times("OUT/1Min/T"),
            expected,
            "crash after {calls} calls"
        );
        store.close();
    }
    assert!(crashes > 40, "{crashes}");
}

/// T24: what one event alone wants above the limit is its fault, and no other's.
#[test]
fn one_event_over_the_limit_fails_with_limit() {
    let mut entry = probe("o", "A/**", |ctx: &mut FireCtx<'_>, event: &Event<'_>| {
        if let Event::Write(batch) = event {
            let first = batch.rows.times()[0];
            let count = if first == 5 { 40_000 } else { 1 };
            let times: Vec<i64> = (0..count).map(|n| first * 100_000 + n).collect();
            ctx.write(&key("OUT/1Min/T"), RowKind::Tick, ticks(&times))?;
        }
        Ok(())
    });
    entry.max_attempts = Some(2);
    entry.window.join = Some(plugin_host::Join::Commit);
    let disk = SimDisk::new(8);
    try_open(&disk, vec![entry.clone()], options())
        .unwrap()
        .close();
    let store = try_open(&disk, vec![], options()).unwrap();
    for time in 0..10 {
        store.write("A/1Min/T", &[time]);
    }
    store.close();
    let store = try_open(&disk, vec![entry], options()).unwrap();
    store.drain();
    let letters = store.host.dead_letters("o").unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].code, plugin_sdk::Code::Limit as i32);
    assert_eq!(letters[0].times, Some((5, 5)));
    assert_eq!(store.times("OUT/1Min/T").len(), 9);
    store.close();
}
