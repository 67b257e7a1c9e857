//! Instances whose log is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use engine::{DeleteRange, Options, RetentionRule, SchemaChange};
use model::{ColumnDef, ColumnType, KeyPattern};
use plugin_host::{Entry, State};
use plugin_sdk::{Delivery, Event};

use crate::support::{Store, copy_to, key, options, probe, try_open};

/// Segments so small that a few commits fill several.
fn small() -> Options {
    Options {
        wal_segment_bytes: 256 << 10,
        frame_bytes_max: 64 << 10,
        follow_bytes: 1,
        ..options()
    }
}

fn open(disk: &SimDisk, entries: Vec<Entry>) -> Store {
    try_open(disk, entries, small()).unwrap()
}

/// Writes a backlog while the instance is switched off and lets go of the log.
fn fall_behind(disk: &SimDisk, entry: &Entry) {
    let store = open(disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.close();
    let off = Entry {
        enabled: Some(false),
        ..entry.clone()
    };
    let store = open(disk, vec![off]);
    for n in 0..400 {
        let times: Vec<i64> = (n * 500..n * 500 + 500).map(|t| t + 10).collect();
        store.write("A/1Min/T", &times);
        if n % 50 == 0 {
            // Released segments can be read until they are used again.
            store.engine.checkpoint().unwrap();
        }
    }
    store.write("B/1Min/T", &[-5, 5]);
    store.engine.checkpoint().unwrap();
    store.close();
}

/// Aggregates follow deletes; retention is no event, and neither is a change of columns.
#[test]
fn a_deleted_range_is_told_as_a_gap() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let entry = |name, module: &str| {
        let record = Arc::clone(&seen);
        Entry {
            module: module.into(),
            ..probe(name, "A/**", move |_, event| {
                record.lock().unwrap().push(match event {
                    Event::Gap { key, from, to } => format!("{name} {key} {from}..={to}"),
                    Event::Write(batch) => {
                        format!("{name} {:?} {:?}", batch.rows.schema(), batch.rows.times())
                    }
                    other => format!("{other:?}"),
                });
                Ok(())
            })
        }
    };
    let disk = SimDisk::new(1);
    let store = open(&disk, vec![entry("g", "gapprobe")]);
    store.write("A/1Min/T", &[1, 5]);
    store.write("B/1Min/T", &[1, 5]);
    let range = |name, from, to| DeleteRange {
        key: key(name),
        from,
        to,
    };
    let ranges = [range("A/1Min/T", 4, 9), range("B/1Min/T", 0, 9)];
    store.engine.delete(&ranges).unwrap();
    let rule = RetentionRule {
        on: KeyPattern::any(),
        keep: Duration::ZERO,
    };
    store.write("A/1Min/T", &[8]);
    assert_eq!(store.engine.retain(&[rule], 7).unwrap()[0].rows, 1);
    let added = SchemaChange::Add(ColumnDef::new("W", ColumnType::U8));
    store.engine.alter(&key("A/1Min/T"), &[added]).unwrap();
    store.drain();
    let seen = seen.lock().unwrap();
    // Rows come in the schema of the time of reading.
    let writes = seen.iter().filter(|line| line.starts_with("g [")).count();
    assert_eq!((writes, seen.len()), (2, 3), "{seen:?}");
    assert_eq!(seen[1], "g A/1Min/T 4..=9");
}

#[test]
fn a_plugin_that_accepts_gaps_reads_the_stored_rows_again() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let entry = Entry {
        module: "gapprobe".into(),
        ..probe("g", "{A,B}/**", move |_, event| {
            record.lock().unwrap().push(match event {
                Event::Gap { key, from, to } => format!("{key} {from}..={to}"),
                Event::Write(batch) => format!("{} {} rows", batch.key, batch.rows.rows()),
                other => format!("{other:?}"),
            });
            Ok(())
        })
    };
    let disk = SimDisk::new(1);
    fall_behind(&disk, &entry);
    let store = open(&disk, vec![entry]);
    store.drain();
    store.write("A/1Min/T", &[7]);
    store.drain();
    let expected = [
        "A/1Min/T 1 rows",
        "A/1Min/T 1..=200009",
        "B/1Min/T -5..=5",
        "A/1Min/T 1 rows",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(store.host.status()[0].gaps, 2);
}

#[test]
fn a_plugin_that_cannot_skip_rows_is_disabled_and_says_what_to_do() {
    let entry = probe("d", "A/**", copy_to("OUT/1Min/T"));
    let disk = SimDisk::new(2);
    fall_behind(&disk, &entry);
    let store = open(&disk, vec![entry.clone()]);
    store.drain();
    let status = &store.host.status()[0];
    assert_eq!(status.state, State::Disabled);
    assert!(
        status.reason.contains("after \"enable\""),
        "{}",
        status.reason
    );
    assert_eq!(store.times("OUT/1Min/T"), [1]);
}

/// A `volatile` instance holds no log: it skips ahead and says so.
#[test]
fn a_volatile_instance_that_lags_skips_ahead() {
    let (entered, inside) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (entered, held) = (Mutex::new(entered), Mutex::new(held));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let mut entry = probe("v", "A/**", move |_, event| {
        if let Event::Write(batch) = event {
            record.lock().unwrap().push(batch.rows.times()[0]);
        }
        let _ = entered.lock().unwrap().send(());
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    entry.delivery = Some(Delivery::Volatile);
    let store = open(&SimDisk::new(3), vec![entry]);
    store.write("A/1Min/T", &[-1]);
    inside.recv().unwrap();
    for n in 0..200 {
        let times: Vec<i64> = (n * 500..n * 500 + 500).collect();
        store.write("A/1Min/T", &times);
    }
    store.engine.checkpoint().unwrap();
    drop(release);
    store.drain();
    store.write("A/1Min/T", &[1_000_000]);
    store.drain();
    assert_eq!(*seen.lock().unwrap(), [-1, 1_000_000]);
    assert_eq!(store.host.status()[0].gaps, 1);
}

/// I21: an instance that runs holds the log at its cursor, up to `wal_hold`.
#[test]
fn a_running_instance_holds_the_log_it_has_not_fired() {
    let (entered, inside) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (entered, held) = (Mutex::new(entered), Mutex::new(held));
    let entry = probe("h", "A/**", move |ctx, event| {
        let _ = entered.lock().unwrap().send(());
        let _ = held.lock().unwrap().recv();
        copy_to("OUT/1Min/T")(ctx, event)
    });
    let store = open(&SimDisk::new(4), vec![entry]);
    let mut expected = vec![-1];
    store.write("A/1Min/T", &[-1]);
    inside.recv().unwrap();
    for n in 0..200 {
        let times: Vec<i64> = (n * 500..n * 500 + 500).collect();
        store.write("A/1Min/T", &times);
        expected.extend(times);
    }
    store.engine.checkpoint().unwrap();
    drop(release);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), expected);
}

/// A plugin commit that names another one before it, which the log does not have.
fn break_chain(disk: &SimDisk, entry: &Entry) -> SimDisk {
    let store = open(disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[1, 9]);
    store.drain();
    let mut section = vec![1, 0, 0, 0, 0, 0, 0, 0];
    for number in [1_u64, 12345, store.engine.marks().visible.0] {
        section.extend(number.to_le_bytes());
    }
    let commit = engine::Commit {
        origin: store.engine.origin(entry.name.as_deref().unwrap()).unwrap(),
        hops: 0,
        rows: Vec::new(),
        section: Some(section.into()),
    };
    store.engine.write(commit).unwrap().wait_visible().unwrap();
    store.host.stop();
    disk.reopen()
}

/// Effects are missing, so nothing runs on: they are computed again, or the instance says so.
#[test]
fn a_lost_plugin_commit_is_not_passed_over() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let gaps = Entry {
        module: "gapprobe".into(),
        ..probe("g", "A/**", move |_, event| {
            if let Event::Gap { key, from, to } = event {
                record.lock().unwrap().push(format!("{key} {from}..={to}"));
            }
            Ok(())
        })
    };
    let disk = break_chain(&SimDisk::new(5), &gaps);
    let store = open(&disk, vec![gaps.clone()]);
    store.drain();
    assert_eq!(*seen.lock().unwrap(), ["A/1Min/T 1..=9"]);
    store.close();
    // Mended once and for all.
    open(&disk, vec![gaps]).drain();
    assert_eq!(seen.lock().unwrap().len(), 1);

    let entry = probe("n", "A/**", |_, _| Ok(()));
    let disk = break_chain(&SimDisk::new(6), &entry);
    for _ in 0..2 {
        let store = open(&disk, vec![entry.clone()]);
        let status = &store.host.status()[0];
        assert_eq!(status.state, State::Failed);
        assert!(
            status.reason.contains("state incomplete"),
            "{}",
            status.reason
        );
        store.close();
    }
}
