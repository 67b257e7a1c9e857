//! I12, I16: whatever the moment of a crash, `exact` counts every row once, `durable` at least once.

use std::sync::{Arc, Mutex};

use disk::sim::SimDisk;
use plugin_host::Entry;
use plugin_sdk::{Delivery, Event};

use crate::support::{Store, copy_to, key, options, probe, try_open};

const COMMITS: i64 = 12;

fn entry(delivery: Delivery) -> Entry {
    Entry {
        delivery: Some(delivery),
        ..probe("count", "A/**", copy_to("OUT/1Min/T"))
    }
}

/// Writes until the disk crashes; the times acknowledged.
fn work(store: &Store) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for n in 0..COMMITS {
        if store.try_write("A/1Min/T", &[2 * n, 2 * n + 1]).is_err() {
            break;
        }
        acknowledged.extend([2 * n, 2 * n + 1]);
        if n % 5 == 4 {
            // An error is the crash, noticed here first.
            let _ = store.engine.checkpoint();
        }
    }
    acknowledged
}

/// One run with a crash after `calls` changing calls, then a second run to the end.
fn round(delivery: Delivery, seed: u64, calls: u64) -> (Vec<i64>, Vec<i64>) {
    let disk = SimDisk::new(seed);
    disk.crash_after(calls);
    let mut acknowledged = Vec::new();
    if let Ok(store) = try_open(&disk, vec![entry(delivery)], options()) {
        acknowledged = work(&store);
        store.host.drain(std::time::Duration::from_secs(20));
        store.host.stop();
    }
    let store = try_open(&disk.reopen(), vec![entry(delivery)], options()).unwrap();
    store.drain();
    let (rows, fired) = (store.times("A/1Min/T"), store.times("OUT/1Min/T"));
    for time in acknowledged {
        assert!(
            rows.contains(&time),
            "seed {seed}, {calls} calls: {time} lost"
        );
    }
    (rows, fired)
}

fn calls_of_a_whole_run() -> u64 {
    let disk = SimDisk::new(0);
    let store = try_open(&disk, vec![entry(Delivery::Exact)], options()).unwrap();
    assert_eq!(work(&store).len() as i64, 2 * COMMITS);
    store.drain();
    store.host.stop();
    disk.call_count()
}

#[test]
fn exact_counts_each_row_once_over_every_crash_point() {
    for calls in 0..calls_of_a_whole_run() {
        let (rows, fired) = round(Delivery::Exact, calls, calls);
        assert_eq!(fired, rows, "crash after {calls} calls");
    }
}

#[test]
fn durable_sees_every_row_over_crash_points() {
    for calls in (0..calls_of_a_whole_run()).step_by(3) {
        let (rows, mut fired) = round(Delivery::Durable, calls + 1000, calls);
        fired.dedup();
        assert_eq!(fired, rows, "crash after {calls} calls");
    }
}

/// A second trigger counts what the first wrote: chains are exact, too. Only the process dies, so
/// what it wrote is there again.
#[test]
fn a_chain_of_exact_triggers_counts_each_row_once() {
    let entries = || {
        vec![
            probe("first", "A/**", copy_to("MID/1Min/T")),
            probe("second", "MID/**", copy_to("OUT/1Min/T")),
        ]
    };
    for calls in (0..2 * calls_of_a_whole_run()).step_by(7) {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        if let Ok(store) = try_open(&disk, entries(), options()) {
            work(&store);
            store.host.drain(std::time::Duration::from_secs(20));
            store.host.stop();
        }
        let store = try_open(&disk.restart(), entries(), options()).unwrap();
        store.drain();
        let rows = store.times("A/1Min/T");
        assert_eq!(store.times("MID/1Min/T"), rows, "crash after {calls} calls");
        assert_eq!(store.times("OUT/1Min/T"), rows, "crash after {calls} calls");
    }
}

/// Whoever was not there when a bucket was dropped is told of it later, once, and gets none of its
/// rows.
#[test]
fn a_drop_is_told_once_over_restarts() {
    for is_clean in [true, false] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let entry = probe("d", "A/**", move |_, event| {
            record.lock().unwrap().push(match event {
                Event::Write(batch) => format!("{:?}", batch.rows.times()),
                Event::Deleted(key) => format!("deleted {key}"),
                other => format!("{other:?}"),
            });
            Ok(())
        });
        let end = |store: Store, disk: SimDisk| {
            if is_clean {
                store.close();
            } else {
                store.host.stop();
            }
            disk.reopen()
        };
        let disk = SimDisk::new(3);
        let store = try_open(&disk, vec![entry.clone()], options()).unwrap();
        store.write("A/1Min/T", &[1]);
        store.drain();
        let disk = end(store, disk);
        let store = try_open(&disk, vec![], options()).unwrap();
        store.write("A/1Min/T", &[2]);
        store.engine.drop_buckets(&[key("A/1Min/T")]).unwrap();
        store.write("A/1Min/T", &[3]);
        let mut disk = end(store, disk);
        for _ in 0..2 {
            let store = try_open(&disk, vec![entry.clone()], options()).unwrap();
            store.drain();
            disk = end(store, disk);
        }
        assert_eq!(*seen.lock().unwrap(), ["[1]", "deleted A/1Min/T", "[3]"]);
    }
}

/// One store, many lives: epochs, chains and files of many starts add up.
#[test]
fn exact_counts_each_row_once_over_many_crashes_in_a_row() {
    let mut disk = SimDisk::new(77);
    for life in 0..25 {
        disk.crash_after(40 + 13 * life);
        if let Ok(store) = try_open(&disk, vec![entry(Delivery::Exact)], options()) {
            let start = 1000 * life as i64;
            for n in 0..30 {
                if store.try_write("A/1Min/T", &[start + n]).is_err() {
                    break;
                }
                if n % 9 == 8 {
                    let _ = store.engine.checkpoint();
                }
            }
            store.host.drain(std::time::Duration::from_secs(20));
            store.host.stop();
        }
        disk = disk.reopen();
    }
    let store = try_open(&disk, vec![entry(Delivery::Exact)], options()).unwrap();
    store.drain();
    let rows = store.times("A/1Min/T");
    assert!(rows.len() > 100, "{}", rows.len());
    assert_eq!(store.times("OUT/1Min/T"), rows);
}
