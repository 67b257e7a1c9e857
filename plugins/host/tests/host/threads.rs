//! I17, T15, T37: keys fire on several threads, each in order and never twice at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use plugin_host::{Entry, Join, WindowOptions};
use plugin_sdk::{Event, FireError, StateValue};

use crate::support::{keeper, key, open, ticks};

const KEYS: i64 = 16;
const ROUNDS: i64 = 30;

fn bucket(n: i64) -> String {
    format!("S{n}/1Min/T")
}

/// Every third event fails once.
#[test]
fn keys_keep_their_order_and_their_state_on_four_threads() {
    for join in [Join::Key, Join::Commit] {
        let inside: Arc<Mutex<HashMap<String, ()>>> = Arc::default();
        let failures = Arc::new(AtomicUsize::new(0));
        let (seen, fails) = (Arc::clone(&inside), Arc::clone(&failures));
        let entry = Entry {
            parallelism: 4,
            window: WindowOptions {
                rows: 100,
                join: Some(join),
                ..WindowOptions::default()
            },
            ..keeper("keyed1", "k", "*/1Min/T", move |ctx, event| {
                let Event::Write(batch) = event else {
                    return Ok(());
                };
                let name = batch.key.to_string();
                let twice = seen.lock().unwrap().insert(name.clone(), ());
                assert!(twice.is_none(), "{name} twice at once");
                let first = batch.rows.times()[0];
                let is_failing = first % 3 == 0 && ctx.info().attempt == 1;
                for time in batch.rows.times() {
                    // Rounds follow each other without a hole.
                    assert_eq!(ctx.state().incr("n", 1)?, time + 1);
                    ctx.state().put("last", time.to_le_bytes())?;
                }
                ctx.set_timer(b"t", i64::MAX, name.as_bytes())?;
                ctx.write(
                    &key(&format!("{}/1Min/OUT", batch.key.symbol())),
                    batch.kind,
                    batch.rows.clone(),
                )?;
                seen.lock().unwrap().remove(&name);
                if is_failing {
                    fails.fetch_add(1, Ordering::Relaxed);
                    return Err(FireError::RetryAfter {
                        text: "once".into(),
                        after: Duration::ZERO,
                    });
                }
                Ok(())
            })
        };
        let disk = SimDisk::new(1);
        let store = open(&disk, vec![entry.clone()]);
        for round in 0..ROUNDS {
            for n in 0..KEYS {
                store.write(&bucket(n), &[round]);
            }
        }
        store.drain();
        let status = store.status("k");
        assert_eq!((status.panics, status.dead_letters), (0, 0));
        assert_eq!(status.timers, KEYS as u64);
        assert!(failures.load(Ordering::Relaxed) > 0);
        store.host.stop();
        let store = open(&disk.reopen(), vec![entry]);
        store.drain();
        let expected: Vec<i64> = (0..ROUNDS).collect();
        for n in 0..KEYS {
            let count = store.host.state_get("k", &bucket(n), b"n").unwrap();
            assert_eq!(count, Some(StateValue::Counter(ROUNDS)));
            assert_eq!(store.times(&format!("S{n}/1Min/OUT")), expected);
        }
        store.host.stop();
    }
}

/// Two keys of different threads wait for each other in their fires.
#[test]
fn threads_fire_at_the_same_time() {
    let inside = Arc::new((Mutex::new(0), Condvar::new()));
    let gate = Arc::clone(&inside);
    let entry = Entry {
        parallelism: 2,
        ..keeper("keyed1", "k", "*/1Min/T", move |_, event| {
            let Event::Write(batch) = event else {
                return Ok(());
            };
            if batch.rows.times()[0] > 0 {
                return Ok(());
            }
            let (count, changed) = &*gate;
            let mut count = count.lock().unwrap();
            *count += 1;
            changed.notify_all();
            let long = Duration::from_secs(20);
            let (count, waited) = changed
                .wait_timeout_while(count, long, |count| *count < 2)
                .unwrap();
            drop(count);
            assert!(!waited.timed_out(), "nobody else fires");
            Ok(())
        })
    };
    // Names whose hashes are even and odd.
    let of = |odd: u32| {
        let mut all = (0..).map(bucket);
        let found = all.find(|name| crc32fast::hash(name.as_bytes()) % 2 == odd);
        found.unwrap()
    };
    let store = open(&SimDisk::new(2), vec![entry]);
    // Both in one window, as one commit.
    let rows = [of(0), of(1)].map(|name| engine::Rows {
        key: key(&name),
        batch: ticks(&[0]),
        create: Some(model::RowKind::Tick),
    });
    let commit = engine::Commit {
        origin: engine::Origin::CLIENT,
        hops: 0,
        rows: rows.into(),
        section: None,
    };
    store.engine.write(commit).unwrap().wait().unwrap();
    store.drain();
    assert_eq!(store.status("k").panics, 0);
    store.close();
}

/// One state for all buckets has one writer.
#[test]
fn one_state_means_one_thread_and_a_warning() {
    let entry = Entry {
        parallelism: 4,
        ..keeper("keeper1", "k", "**", |_, _| Ok(()))
    };
    let store = open(&SimDisk::new(3), vec![entry]);
    let warnings = store.status("k").warnings;
    assert!(
        warnings.iter().any(|w| w.contains("parallelism")),
        "{warnings:?}"
    );
    store.close();
}
