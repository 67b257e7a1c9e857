//! Stored rows fire, then the log is followed: without a hole, without an overlap.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use engine::{DeleteRange, Options};
use plugin_host::{Entry, Start, State};
use plugin_sdk::{Delivery, Event};

use crate::support::{Store, copy_to, key, options, probe, try_open};

fn opened(disk: &SimDisk, entries: Vec<Entry>) -> Store {
    try_open(disk, entries, options()).unwrap()
}

/// Counts every row it sees: a copy of ticks shows both a hole and an overlap.
fn copier(start: Start) -> Entry {
    let mut entry = probe("copy", "{A,B,C}/**", copy_to("OUT/1Min/T"));
    entry.start = start;
    entry
}

fn sorted(mut times: Vec<i64>) -> Vec<i64> {
    times.sort_unstable();
    times
}

fn stored(store: &Store) -> Vec<i64> {
    let all = ["A/1Min/T", "B/1Min/T", "C/1Min/T"].map(|name| store.times(name));
    sorted(all.concat())
}

#[test]
fn stored_rows_fire_in_order_with_the_replay_flag_and_in_bounded_batches() {
    for (start, expected) in [
        (Start::Latest, vec![]),
        (
            Start::Earliest,
            vec![
                ("A/1Min/T", vec![1, 2]),
                ("A/1Min/T", vec![3, 3, 3]),
                ("A/1Min/T", vec![5, 8]),
                ("B/1Min/T", vec![2, 7]),
            ],
        ),
        (
            Start::Time(3),
            vec![
                ("A/1Min/T", vec![3, 3, 3]),
                ("A/1Min/T", vec![5, 8]),
                ("B/1Min/T", vec![7]),
            ],
        ),
    ] {
        let disk = SimDisk::new(1);
        let store = opened(&disk, vec![]);
        store.write("B/1Min/T", &[7]);
        store.write("A/1Min/T", &[8, 3, 3, 1]);
        store.write("B/1Min/T", &[2]);
        store.write("A/1Min/T", &[5, 3, 2]);
        store.write("X/1Min/T", &[1]);
        store.close();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let mut entry = probe("p", "{A,B}/**", move |ctx, event| {
            if let Event::Write(batch) = event {
                let line = (
                    batch.key.to_string(),
                    batch.rows.times().to_vec(),
                    ctx.info().is_replay,
                );
                record.lock().unwrap().push(line);
            }
            Ok(())
        });
        entry.start = start;
        // Two rows: what has one time stays together all the same.
        entry.window.rows = 2;
        let store = opened(&disk, vec![entry]);
        store.drain();
        let fired: Vec<_> = seen.lock().unwrap().drain(..).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, times)| (key.to_owned(), times, true))
            .collect();
        assert_eq!(fired, expected, "{start:?}");
        assert_eq!(store.status("p").progress, None);
        // Then the log.
        store.write("A/1Min/T", &[1]);
        store.drain();
        assert_eq!(
            *seen.lock().unwrap(),
            [("A/1Min/T".to_owned(), vec![1], false)]
        );
        store.close();
    }
}

/// T20: a writer runs on while stored rows fire, late rows and new buckets included, and the disk
/// ends at every call.
#[test]
fn a_row_fires_once_over_every_crash_point_of_a_backfill() {
    let mut crashes = 0;
    // The writer's next time; it writes from inside the fires, so between any two windows.
    for calls in (0..330).step_by(2) {
        let disk = SimDisk::new(calls);
        let store = opened(&disk, vec![]);
        for n in 0..30 {
            store.write("A/1Min/T", &[10 * n]);
            store.write("C/1Min/T", &[10 * n + 1]);
        }
        store.close();
        let mut disk = disk.restart();
        disk.crash_after(calls);
        let next = Arc::new(AtomicI64::new(0));
        for _life in 0..2 {
            let entry = || Entry {
                window: plugin_host::WindowOptions {
                    rows: 4,
                    ..Default::default()
                },
                ..copier(Start::Earliest)
            };
            if let Ok(store) = try_open(&disk, vec![entry()], options()) {
                for _ in 0..25 {
                    let n = next.fetch_add(1, SeqCst);
                    let name = ["A/1Min/T", "B/1Min/T", "C/1Min/T"][n as usize % 3];
                    // In front of the place, behind it, and at the end.
                    let time = [n * 5 + 2, 299 - n, 1000 + n][n as usize / 3 % 3];
                    if store.try_write(name, &[time]).is_err() {
                        break;
                    }
                    if n % 9 == 8 {
                        let _ = store.engine.checkpoint();
                    }
                }
                store.host.drain(Duration::from_secs(20));
                store.host.stop();
            }
            crashes += u32::from(disk.crashed());
            disk = disk.reopen();
            disk.crash_after(calls / 2);
        }
        let store = opened(&disk.reopen(), vec![copier(Start::Earliest)]);
        store.drain();
        let expected = stored(&store);
        assert!(expected.len() >= 60);
        assert_eq!(
            store.times("OUT/1Min/T"),
            expected,
            "crash after {calls} calls"
        );
        store.close();
    }
    assert!(crashes > 50, "{crashes}");
}

/// The writer is a thread of its own, without a crash, over many windows and rounds.
#[test]
fn a_writer_that_never_stops_is_followed_once() {
    for seed in 0..4 {
        let disk = SimDisk::new(seed);
        let store = opened(&disk, vec![]);
        for n in 0..50 {
            store.write("B/1Min/T", &(n * 100..n * 100 + 100).collect::<Vec<i64>>());
        }
        store.close();
        let mut entry = copier(Start::Earliest);
        entry.window.rows = 100;
        // So little log that snapshots are given up again and again.
        entry.wal_hold = 16 << 10;
        let small = Options {
            follow_bytes: 1,
            ..options()
        };
        let store = try_open(&disk, vec![entry], small).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..300_i64 {
                    let name = ["A/1Min/T", "B/1Min/T", "C/1Min/T"][n as usize % 3];
                    store.write(name, &[n * 17, 5000 - n]);
                }
            });
        });
        store.drain();
        assert_eq!(store.times("OUT/1Min/T"), stored(&store));
        assert_eq!(store.status("copy").state, State::Running);
        store.close();
    }
}

/// Asked for while it runs, all that is stored fires again, and goes on after a restart.
#[test]
fn an_instance_that_runs_is_backfilled_once_more() {
    for delivery in [Delivery::Exact, Delivery::Durable, Delivery::Volatile] {
        let disk = SimDisk::new(3);
        let mut entry = copier(Start::Latest);
        entry.delivery = Some(delivery);
        let store = opened(&disk, vec![entry.clone()]);
        store.write("A/1Min/T", &[1, 2]);
        store.write("B/1Min/T", &[3]);
        store.drain();
        store.host.backfill("copy").unwrap();
        store.drain();
        store.write("A/1Min/T", &[4]);
        store.drain();
        // A volatile one waits for no commit.
        store.until_it("copy", |_| store.times("OUT/1Min/T").len() == 7);
        assert_eq!(
            store.times("OUT/1Min/T"),
            [1, 1, 2, 2, 3, 3, 4],
            "{delivery:?}"
        );
        let error = store.host.backfill("nobody").unwrap_err().to_string();
        assert!(error.contains("no entry has this id"), "{error}");
        store.close();
    }
}

/// A place is kept while an instance is away, and deletes and drops meanwhile leave no trace.
#[test]
fn what_is_gone_before_its_turn_does_not_fire() {
    let disk = SimDisk::new(4);
    let store = opened(&disk, vec![]);
    store.write("A/1Min/T", &[1, 2, 3]);
    store.write("B/1Min/T", &[4]);
    store.write("C/1Min/T", &[5]);
    store.close();
    // It fails at its second row, for good.
    let (act, at) = (copy_to("OUT/1Min/T"), Arc::new(AtomicI64::new(1)));
    let last = Arc::clone(&at);
    let mut entry = probe("copy", "{A,B,C}/**", move |ctx, event| {
        if let Event::Write(batch) = event
            && batch.rows.times()[0] > last.load(SeqCst)
        {
            return Err(plugin_sdk::FireError::Fatal("told to".into()));
        }
        act(ctx, event)
    });
    entry.start = Start::Earliest;
    entry.window.rows = 1;
    let store = opened(&disk, vec![entry.clone()]);
    store.until("copy", State::Failed);
    let range = DeleteRange {
        key: key("A/1Min/T"),
        from: 0,
        to: 2,
    };
    store.engine.delete(&[range]).unwrap();
    store.engine.drop_buckets(&[key("B/1Min/T")]).unwrap();
    store.write("B/1Min/T", &[6]);
    store.write("A/1Min/T", &[0]);
    store.close();
    at.store(i64::MAX, SeqCst);
    let store = opened(&disk, vec![entry]);
    store.drain();
    // 1 had fired; 0 came behind the place; 2 and 4 are gone.
    assert_eq!(store.times("OUT/1Min/T"), [0, 1, 3, 5, 6]);
    store.close();
}
