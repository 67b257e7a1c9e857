//! What instances keep: counted once over crashes, apart from each other, whole or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use disk::Disk as _;
use disk::sim::SimDisk;
use plugin_host::{Entry, State};
use plugin_sdk::{Code, Delivery, Event, FireCtx, FireError, StateValue};

use crate::support::{Store, found, keeper, open, options, probe, try_open};

const COMMITS: i64 = 12;
const MS: i64 = 1_000_000;

/// Counts the rows of every write, for all and for its bucket, and remembers the last.
fn count(ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
    let Event::Write(batch) = event else {
        return Ok(());
    };
    let rows = batch.rows.rows() as i64;
    let mut state = ctx.state();
    let before = state.counter("n")?;
    assert_eq!(state.incr("n", rows)?, before + rows);
    state.incr(batch.key.as_str(), rows)?;
    let last = batch.rows.times()[batch.rows.rows() - 1];
    if last % 3 == 0 {
        state.delete("last")?;
    } else {
        state.put("last", last.to_le_bytes())?;
    }
    Ok(())
}

impl Store {
    pub(crate) fn counter(&self, id: &str, namespace: &str, key: &str) -> i64 {
        match self.host.state_get(id, namespace, key.as_bytes()).unwrap() {
            None => 0,
            Some(StateValue::Counter(count)) => count,
            Some(other) => panic!("{key} has {other:?}"),
        }
    }
}

fn entries(delivery: Delivery) -> Vec<Entry> {
    vec![Entry {
        delivery: Some(delivery),
        ..probe("count", "A/**", count)
    }]
}

fn work(store: &Store) {
    for n in 0..COMMITS {
        if store.try_write("A/1Min/T", &[2 * n, 2 * n + 1]).is_err() {
            break;
        }
        if n % 4 == 3 {
            store.host.drain(std::time::Duration::from_secs(20));
            // An error is the crash, noticed here first.
            let _ = store.engine.checkpoint();
        }
    }
    store.host.drain(std::time::Duration::from_secs(20));
}

/// I16: state counts what rows there are, whatever the moment of a crash: between the files of a
/// checkpoint, too.
#[test]
fn exact_state_counts_each_row_once_over_every_crash_point() {
    let whole = {
        let disk = SimDisk::new(0);
        let store = try_open(&disk, entries(Delivery::Exact), options()).unwrap();
        work(&store);
        store.close();
        disk.call_count()
    };
    for calls in 0..whole {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        if let Ok(store) = try_open(&disk, entries(Delivery::Exact), options()) {
            work(&store);
            store.host.stop();
            let _ = store.engine.close();
        }
        let disk = disk.reopen();
        // The second opening finds what the first one made of it.
        for round in 0..2 {
            let store = try_open(&disk, entries(Delivery::Exact), options()).unwrap();
            store.drain();
            let rows = store.times("A/1Min/T");
            for key in ["n", "A/1Min/T"] {
                let counted = store.counter("count", "", key);
                assert_eq!(counted, rows.len() as i64, "{calls} calls, round {round}");
            }
            let last = rows.last().filter(|last| *last % 3 != 0);
            let kept = store.host.state_get("count", "", b"last").unwrap();
            let kept = kept.map(|value| match value {
                StateValue::Bytes(bytes) => i64::from_le_bytes(bytes[..].try_into().unwrap()),
                other => panic!("{other:?}"),
            });
            assert_eq!(kept.as_ref(), last, "{calls} calls, round {round}");
            store.close();
        }
    }
}

/// I19: whatever a fire did before it failed is not there, and its window's is.
#[test]
fn a_failed_fire_leaves_no_state() {
    for how in 0..4 {
        let disk = SimDisk::new(1);
        let tries = AtomicUsize::new(0);
        let entry = Entry {
            max_attempts: Some(2),
            ..keeper("keeper1", "k", "A/**", move |ctx, event| {
                count(ctx, event)?;
                ctx.set_timer(b"t", i64::MAX, b"")?;
                let Event::Write(batch) = event else {
                    return Ok(());
                };
                if batch.rows.times().contains(&7) {
                    tries.fetch_add(1, Ordering::Relaxed);
                    assert_ne!(how, 0, "a panic");
                    ctx.state().put("7", "")?;
                    return Err(match how {
                        1 => FireError::Retry("retry".into()),
                        2 => FireError::Skip("skip".into()),
                        _ => ctx.state().incr("last", 1).unwrap_err().into(),
                    });
                }
                Ok(())
            })
        };
        let store = open(&disk, vec![entry.clone()]);
        store.write("A/1Min/T", &[1]);
        store.drain();
        store.write("A/1Min/T", &[7, 8]);
        store.drain();
        store.write("A/1Min/T", &[10]);
        store.drain();
        assert_eq!(store.counter("k", "", "n"), 2, "{how}");
        let keys = store.host.state_scan("k", "", b"", 9).unwrap();
        let keys: Vec<_> = keys.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, ["A/1Min/T", "last", "n"]);
        // The object made after a panic reads what was there.
        let made = found(&entry);
        assert_eq!(made.last(), Some(&i64::from(how == 0)), "{how} {made:?}");
        store.close();
    }
}

/// T34: the codes a plugin sees.
#[test]
fn limits_have_their_codes() {
    let codes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&codes);
    let entry = probe("limits", "A/**", move |ctx, _| {
        let mut state = ctx.state();
        let note = |result: Result<(), plugin_sdk::PluginError>| {
            seen.lock()
                .unwrap()
                .push(result.map_err(|error| error.code));
        };
        state.put("bytes", "b")?;
        note(state.put("k".repeat(513), ""));
        note(state.put("k", vec![0; (1 << 20) + 1]));
        note(state.incr("bytes", 1).map(drop));
        note(state.put("__resume", ""));
        for n in 1..10_000 {
            state.incr("n", n % 2)?;
        }
        note(state.delete("bytes"));
        note(state.incr("n", 1).map(drop));
        note(ctx.set_timer(b"t", 0, b""));
        Ok(())
    });
    let store = open(&SimDisk::new(2), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let limit = Err(Code::Limit);
    assert_eq!(
        *codes.lock().unwrap(),
        [
            limit,
            limit,
            Err(Code::Type),
            Err(Code::Error),
            limit,
            limit,
            limit
        ]
    );
    assert_eq!(store.counter("limits", "", "n"), 5000);
    store.close();
}

/// T37: namespaces of instances and of buckets.
#[test]
fn instances_and_buckets_are_kept_apart() {
    let disk = SimDisk::new(3);
    let entries = vec![
        keeper("keyed1", "keyed", "**", count),
        keeper("keeper1", "all", "**", count),
        keeper("keeper1", "only-a", "A/**", count),
    ];
    let store = open(&disk, entries.clone());
    for n in 0..6 {
        store.write(["A/1Min/T", "B/1Min/T"][n % 2], &[n as i64]);
    }
    store.drain();
    store.close();
    let store = open(&disk, entries);
    store.write("B/1Min/T", &[9]);
    store.drain();
    assert_eq!(store.counter("all", "", "n"), 7);
    assert_eq!(store.counter("only-a", "", "n"), 3);
    assert_eq!(store.counter("keyed", "A/1Min/T", "n"), 3);
    assert_eq!(store.counter("keyed", "B/1Min/T", "n"), 4);
    assert_eq!(store.counter("keyed", "", "n"), 0);
    let namespaces = store.host.state_namespaces("keyed").unwrap();
    assert_eq!(namespaces, ["A/1Min/T", "B/1Min/T"]);
    store.close();
}

/// T36: older state is brought forward once, in one commit; newer is refused.
#[test]
fn state_is_migrated_once_and_never_back() {
    for (old, new, namespace) in [("keeper1", "keeper2", ""), ("keyed1", "keyed2", "A/1Min/T")] {
        for is_clean in [true, false] {
            let disk = SimDisk::new(4);
            let store = open(&disk, vec![keeper(old, "m", "A/**", count)]);
            store.write("A/1Min/T", &[1, 2, 3]);
            store.drain();
            if is_clean {
                store.close();
            } else {
                store.host.stop();
            }
            let mut disk = disk.reopen();
            // Crashed behind the migration, then opened again: not migrated twice.
            for _ in 0..2 {
                let keep = |_: &mut FireCtx<'_>, _: &Event<'_>| Ok(());
                let store = open(&disk, vec![keeper(new, "m", "A/**", keep)]);
                let value = store.host.state_get("m", namespace, b"m").unwrap();
                let expected = "3 of version 1";
                assert_eq!(value, Some(StateValue::Bytes(expected.into())));
                assert_eq!(store.counter("m", namespace, "n"), 0);
                store.host.stop();
                disk = disk.reopen();
            }
            let store = open(&disk, vec![keeper(old, "m", "A/**", count)]);
            let status = store.status("m");
            assert_eq!(status.state, State::Failed);
            assert!(
                status.reason.contains("version 2") && status.reason.contains("knows 1"),
                "{}",
                status.reason
            );
            store.close();
        }
    }
}

#[test]
fn a_migration_that_fails_leaves_the_state_as_it_was() {
    let disk = SimDisk::new(5);
    let refuse = |ctx: &mut FireCtx<'_>, event: &Event<'_>| {
        count(ctx, event)?;
        Ok(ctx.state().put("refuse", "")?)
    };
    let store = open(&disk, vec![keeper("keeper1", "m", "A/**", refuse)]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.close();
    let store = open(&disk, vec![keeper("keeper2", "m", "A/**", count)]);
    let status = store.status("m");
    assert!(
        status.reason.contains("this state is refused"),
        "{}",
        status.reason
    );
    assert_eq!(store.counter("m", "", "n"), 1);
    store.close();
    let store = open(&disk, vec![keeper("keeper1", "m", "A/**", count)]);
    store.write("A/1Min/T", &[2]);
    store.drain();
    assert_eq!(store.counter("m", "", "n"), 2);
    store.close();
}

/// T35: a damaged or missing file stops its instance, and no other; nothing is written over it.
#[test]
fn a_state_file_that_does_not_read_back_stops_its_instance_only() {
    const FILE: &str = "plugins/one/state.snap";
    let entries = || vec![probe("one", "A/**", count), probe("two", "A/**", count)];
    let disk = SimDisk::new(6);
    let store = open(&disk, entries());
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.close();
    let whole = disk.read_all(FILE).unwrap();
    for cut in [0, 20, whole.len() - 20, whole.len() - 8, whole.len() - 1] {
        let disk = disk.copy();
        disk.rot(FILE, |bytes| bytes.truncate(cut)).unwrap();
        for _ in 0..2 {
            let store = open(&disk, entries());
            store.write("A/1Min/T", &[2]);
            store.drain();
            let status = store.status("one");
            assert_eq!(status.state, State::Failed);
            assert!(status.reason.contains(FILE), "{}", status.reason);
            assert!(store.counter("two", "", "n") > 1);
            store.close();
            assert_eq!(disk.read_all(FILE).unwrap(), whole[..cut]);
        }
    }
    disk.unlink(FILE).unwrap();
    let store = open(&disk, entries());
    assert!(store.status("one").reason.contains("is missing"));
    store.close();
}

/// Kept in memory only.
#[test]
fn volatile_state_ends_with_the_server() {
    let disk = SimDisk::new(7);
    let store = open(&disk, entries(Delivery::Volatile));
    for n in 0..3 {
        store.write("A/1Min/T", &[n]);
        store.drain();
    }
    assert_eq!(store.counter("count", "", "n"), 3);
    store.close();
    assert!(!disk.exists("plugins/count").unwrap());
    let store = open(&disk, entries(Delivery::Volatile));
    assert_eq!(store.counter("count", "", "n"), 0);
    store.close();
}

/// T39: one per key; after an orderly stop and after a crash the overdue fire in due order, once.
#[test]
fn timers_outlive_a_stop_and_a_crash_and_fire_in_due_order() {
    for is_clean in [true, false] {
        for keyed in ["keeper1", "keyed1"] {
            let fired = Arc::new(Mutex::new(Vec::new()));
            let record = Arc::clone(&fired);
            let entry = keeper(keyed, "t", "A/**", move |ctx, event| {
                match event {
                    Event::Write(batch) => {
                        // Commits may come joined.
                        for due in batch.rows.times() {
                            let key = format!("{}", due / MS % 4);
                            ctx.set_timer(key.as_bytes(), *due, &due.to_le_bytes())?;
                        }
                    }
                    Event::Timer { key, due, payload } => {
                        assert_eq!(*payload, due.to_le_bytes());
                        // In the namespace of the bucket that set it.
                        ctx.state().incr("fired", 1)?;
                        let key = String::from_utf8_lossy(key).into_owned();
                        record.lock().unwrap().push((key, *due));
                    }
                    _ => {}
                }
                Ok(())
            });
            let now = 1_600_000_000_000_000_000;
            let disk = SimDisk::new(8);
            let store = open(&disk, vec![entry.clone()]);
            // 0, 1 and 2 are set, 1 twice.
            for after in [42, 1, 20, 5] {
                store.write("A/1Min/T", &[now + after * MS]);
            }
            store.drain();
            store.engine.checkpoint().unwrap();
            store.write("A/1Min/T", &[now + 11 * MS]);
            store.drain();
            assert_eq!(store.status("t").timers, 4);
            if is_clean {
                store.close();
            } else {
                store.host.stop();
            }
            let mut disk = disk.reopen();
            for _ in 0..2 {
                let store = open(&disk, vec![entry.clone()]);
                store.clock.advance(std::time::Duration::from_secs(1));
                store.write("B/1Min/T", &[1]);
                let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
                while store.status("t").timers > 0 && std::time::Instant::now() < until {
                    store.write("B/1Min/T", &[1]);
                }
                store.drain();
                let namespace = if keyed == "keyed1" { "A/1Min/T" } else { "" };
                assert_eq!(store.counter("t", namespace, "fired"), 4);
                store.host.stop();
                disk = disk.reopen();
            }
            let due = |key: &str, after| (key.to_owned(), now + after * MS);
            assert_eq!(
                *fired.lock().unwrap(),
                [due("1", 5), due("3", 11), due("0", 20), due("2", 42)]
            );
        }
    }
}

/// An operator changes state between two runs.
#[test]
fn state_is_put_while_the_instance_does_not_run() {
    let disk = SimDisk::new(9);
    let store = open(&disk, vec![probe("one", "A/**", count)]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let value = |n| Some(StateValue::Counter(n));
    let error = store.host.state_put("one", "", b"n", value(5)).unwrap_err();
    assert!(
        error.to_string().contains("is running: pause it"),
        "{error}"
    );
    assert!(store.host.state_get("nobody", "", b"n").is_err());
    store.close();
    let off = Entry {
        enabled: Some(false),
        ..probe("one", "A/**", count)
    };
    let store = open(&disk, vec![off]);
    store.host.state_put("one", "", b"n", value(50)).unwrap();
    store.host.state_put("one", "", b"last", None).unwrap();
    store.host.stop();
    let store = open(&disk.reopen(), vec![probe("one", "A/**", count)]);
    store.write("A/1Min/T", &[3]);
    store.drain();
    assert_eq!(store.counter("one", "", "n"), 51);
    assert_eq!(store.host.state_get("one", "", b"last").unwrap(), None);
    store.close();
}
