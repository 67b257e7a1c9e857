//! I12, I16 with an operator at work: whatever the moment of a crash, a verb was done or not begun,
//! and `exact` counts every row once.

use std::time::Duration;

use disk::sim::SimDisk;
use plugin_host::{Entry, State};
use plugin_sdk::{Event, StateValue};

use crate::support::{Store, keeper, options, try_open};

fn counting(name: &str) -> Entry {
    keeper("keeper1", name, "A/**", |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.state().incr("n", batch.rows.rows() as i64)?;
        }
        Ok(())
    })
}

fn count(store: &Store, id: &str) -> i64 {
    match store.host.state_get(id, "", b"n") {
        Ok(Some(StateValue::Counter(count))) => count,
        _ => 0,
    }
}

/// Writes a row; whether it is durable.
fn put(store: &Store, time: i64) -> bool {
    store.try_write("A/1Min/T", &[time]).is_ok()
}

fn settle(store: &Store) {
    store.host.drain(Duration::from_secs(20));
}

/// Runs `work` on a disk that crashes after each number of changing calls there is, and `check` on
/// what is left of it.
fn over_every_crash(
    entries: impl Fn() -> Vec<Entry>,
    work: impl Fn(&Store),
    check: impl Fn(&Store, u64),
) {
    let run = |disk: &SimDisk| {
        if let Ok(store) = try_open(disk, entries(), options()) {
            work(&store);
            store.host.stop();
        }
    };
    let whole = SimDisk::new(0);
    run(&whole);
    for calls in 0..=whole.call_count() {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        run(&disk);
        let disk = disk.reopen();
        // Twice: what the first start makes of it lasts.
        for _ in 0..2 {
            let store = try_open(&disk, entries(), options()).unwrap();
            settle(&store);
            check(&store, calls);
            store.close();
        }
    }
}

#[test]
fn pause_resume_restart_and_enable_count_each_row_once() {
    let entry = counting("one");
    over_every_crash(
        || vec![entry.clone()],
        |store| {
            let host = &store.host;
            put(store, 1);
            let _ = host.pause("one");
            put(store, 2);
            let _ = store.engine.checkpoint();
            let _ = host.resume("one");
            put(store, 3);
            let _ = host.restart("one");
            put(store, 4);
            let _ = host.disable("one");
            put(store, 5);
            let _ = host.enable("one");
            put(store, 6);
            settle(store);
        },
        |store, calls| {
            // A crash between the two leaves it disabled.
            if store.status("one").state == State::Disabled {
                store.host.enable("one").unwrap();
                settle(store);
            }
            let rows = store.times("A/1Min/T").len() as i64;
            assert_eq!(count(store, "one"), rows, "crash after {calls} calls");
        },
    );
}

#[test]
fn a_reset_is_whole_or_not_begun() {
    let entry = counting("one");
    over_every_crash(
        || vec![entry.clone()],
        |store| {
            put(store, 1);
            put(store, 2);
            settle(store);
            let _ = store.engine.checkpoint();
            put(store, 3);
            settle(store);
            let _ = store.host.reset("one");
            let _ = store.engine.checkpoint();
            put(store, 4);
            settle(store);
        },
        |store, calls| {
            assert_eq!(store.status("one").state, State::Running);
            let (rows, counted) = (store.times("A/1Min/T").len() as i64, count(store, "one"));
            // All of them, or those behind the reset.
            let after = rows - 3;
            assert!(
                counted == rows || (rows >= 3 && counted == after),
                "crash after {calls} calls: {counted} of {rows}"
            );
        },
    );
}

#[test]
fn a_cursor_is_set_or_not() {
    let entry = counting("one");
    over_every_crash(
        || vec![entry.clone()],
        |store| {
            put(store, 1);
            settle(store);
            let Ok(place) = store.host.cursor("one") else {
                return;
            };
            put(store, 2);
            put(store, 3);
            settle(store);
            let _ = store.host.pause("one");
            let _ = store.engine.checkpoint();
            let _ = store.host.set_cursor("one", place.cursor);
            let _ = store.engine.checkpoint();
            let _ = store.host.resume("one");
            settle(store);
        },
        |store, calls| {
            let (rows, counted) = (store.times("A/1Min/T").len() as i64, count(store, "one"));
            assert!(
                counted == rows || (rows == 3 && counted == 5),
                "crash after {calls} calls: {counted} of {rows}"
            );
        },
    );
}

/// The instance that stays is never touched; of the other nothing is left in the end.
#[test]
fn gc_ends_what_a_crash_left_of_it() {
    let (one, two) = (counting("one"), counting("two"));
    let prepare = |disk: &SimDisk| {
        let store = try_open(disk, vec![one.clone(), two.clone()], options()).unwrap();
        put(&store, 1);
        settle(&store);
        store.engine.checkpoint().unwrap();
        put(&store, 2);
        settle(&store);
        store.host.stop();
    };
    let collect = |disk: &SimDisk| {
        if let Ok(store) = try_open(disk, vec![two.clone()], options()) {
            let _ = store.host.gc();
            put(&store, 3);
            settle(&store);
            store.host.stop();
        }
    };
    let whole = SimDisk::new(0);
    prepare(&whole);
    let whole = whole.reopen();
    collect(&whole);
    for calls in 0..=whole.call_count() {
        let disk = SimDisk::new(calls);
        prepare(&disk);
        let disk = disk.reopen();
        disk.crash_after(calls);
        collect(&disk);
        let disk = disk.reopen();
        let store = try_open(&disk, vec![two.clone()], options()).unwrap();
        settle(&store);
        let rows = store.times("A/1Min/T").len() as i64;
        assert_eq!(count(&store, "two"), rows, "crash after {calls} calls");
        store.host.gc().unwrap();
        assert_eq!(store.host.orphans(), []);
        assert!(!disk::Disk::exists(&disk, "plugins/one").unwrap());
        store.close();
        // The name is free: a new instance, in good order.
        let store = try_open(&disk, vec![one.clone(), two.clone()], options()).unwrap();
        assert_eq!(store.status("one").state, State::Running);
        assert!(put(&store, 9));
        settle(&store);
        assert_eq!((count(&store, "one"), count(&store, "two")), (1, rows + 1));
        store.close();
    }
}
