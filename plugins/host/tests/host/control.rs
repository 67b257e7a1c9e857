//! What an operator does with instances that run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use disk::Disk as _;
use disk::sim::SimDisk;
use engine::{Lsn, Options};
use plugin_host::{Entry, Error, State};
use plugin_sdk::{CloseReason, Delivery, Event, FireError, PluginError, StateValue};

use crate::support::{
    Store, closed, copy_to, feed, found, keeper, labour, open, options, probe, quick, try_open,
};

const A: &str = "A/1Min/T";
const OUT: &str = "OUT/1Min/T";

fn copier(name: &str) -> Entry {
    probe(name, "A/**", copy_to(OUT))
}

fn state_error(error: Error, state: State) {
    match &error {
        Error::Conflict { state: found, .. } if *found == state => {}
        other => panic!("{other:?}"),
    }
}

/// A trigger that waits in each fire until it is told to go on.
fn gated(name: &str) -> (Entry, mpsc::Receiver<i64>, mpsc::Sender<()>) {
    let (entered, enters) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let gate = Mutex::new((entered, goes));
    let copy = copy_to(OUT);
    let entry = probe(name, "A/**", move |ctx, event| {
        if let Event::Write(batch) = event {
            let gate = gate.lock().unwrap();
            gate.0.send(batch.rows.times()[0]).unwrap();
            gate.1.recv().unwrap();
        }
        copy(ctx, event)
    });
    (entry, enters, go)
}

/// The window under way is committed, and nothing behind it fires until `resume`; then all does.
#[test]
fn a_pause_takes_effect_behind_the_window() {
    let (entry, enters, go) = gated("one");
    let store = open(&SimDisk::new(1), vec![entry]);
    store.write(A, &[1]);
    assert_eq!(enters.recv().unwrap(), 1);
    store.write(A, &[2]);
    let host = store.host.clone();
    let pausing = std::thread::spawn(move || host.pause("one"));
    store.until("one", State::Draining);
    go.send(()).unwrap();
    pausing.join().unwrap().unwrap();
    let status = store.status("one");
    assert_eq!(
        (status.state, &*status.reason),
        (State::Paused, "by an operator")
    );
    assert_eq!(store.times(OUT), [1]);
    store.host.pause("one").unwrap();
    store.write(A, &[3]);
    // Nothing waits for what is paused.
    store.drain();
    assert!(enters.try_recv().is_err());
    store.host.resume("one").unwrap();
    store.host.resume("one").unwrap();
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    store.drain();
    assert_eq!(store.times(OUT), [1, 2, 3]);
    store.close();
}

/// One that only waits for another attempt is not waited for; what it did in that window has not
/// happened.
#[test]
fn a_pause_does_not_wait_for_attempts_that_fail() {
    let fails = Arc::new(AtomicBool::new(true));
    let does = Arc::clone(&fails);
    let copy = copy_to(OUT);
    let entry = Entry {
        max_attempts: Some(0),
        ..probe("one", "{A,B}/**", move |ctx, event| {
            if let Event::Write(batch) = event
                && batch.key.as_str() == "B/1Min/T"
                && does.load(Ordering::Relaxed)
            {
                return Err(FireError::Retry("no".into()));
            }
            copy(ctx, event)
        })
    };
    let store = open(&SimDisk::new(2), vec![entry]);
    store.write("B/1Min/T", &[1]);
    store.until("one", State::Backoff);
    store.host.pause("one").unwrap();
    assert_eq!(store.status("one").state, State::Paused);
    assert_eq!(store.times(OUT), Vec::<i64>::new());
    fails.store(false, Ordering::Relaxed);
    store.host.resume("one").unwrap();
    store.drain();
    assert_eq!(store.times(OUT), [1]);
    store.close();
}

#[test]
fn a_pause_ends_with_the_server_and_keeps_the_place() {
    let disk = SimDisk::new(3);
    let entry = copier("one");
    let store = open(&disk, vec![entry.clone()]);
    store.write(A, &[1]);
    store.drain();
    store.host.pause("one").unwrap();
    store.write(A, &[2]);
    store.close();
    let store = open(&disk, vec![entry]);
    store.drain();
    assert_eq!(store.status("one").state, State::Running);
    assert_eq!(store.times(OUT), [1, 2]);
    store.close();
}

#[test]
fn verbs_that_make_no_sense_say_what_would() {
    let entries = vec![
        copier("one"),
        Entry {
            enabled: Some(false),
            place: "mkts.yml:9".into(),
            ..copier("off")
        },
        Entry {
            name: Some("gone".into()),
            ..Entry::trigger("nothing")
        },
        labour("worker", |_| Ok(())),
    ];
    let store = open(&SimDisk::new(4), entries);
    store.until("worker", State::Stopped);
    let host = &store.host;
    for error in [
        host.pause("nobody").unwrap_err(),
        host.cursor("nobody").unwrap_err(),
        host.reset("nobody").unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoInstance { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("\"nobody\": no entry has this id")
        );
    }
    state_error(host.pause("off").unwrap_err(), State::Disabled);
    state_error(host.pause("worker").unwrap_err(), State::Stopped);
    state_error(host.resume("worker").unwrap_err(), State::Stopped);
    state_error(host.resume("gone").unwrap_err(), State::Missing);
    state_error(host.restart("gone").unwrap_err(), State::Missing);
    state_error(host.restart("off").unwrap_err(), State::Disabled);
    let error = host.enable("off").unwrap_err();
    assert!(error.to_string().contains("(mkts.yml:9)"), "{error}");
    state_error(error, State::Disabled);
    let error = host.enable("gone").unwrap_err();
    assert!(
        error.to_string().contains("no module \"nothing\""),
        "{error}"
    );
    assert_eq!(store.status("gone").state, State::Missing);
    state_error(host.set_cursor("one", Lsn(1)).unwrap_err(), State::Running);
    let error = host.set_cursor("worker", Lsn(1)).unwrap_err();
    assert!(
        error.to_string().contains("does not follow the log"),
        "{error}"
    );
    host.stop();
    let error = host.pause("one").unwrap_err();
    assert!(
        matches!(error, Error::Engine(engine::Error::Closed)),
        "{error:?}"
    );
}

/// Over restarts, and in an instance that never stored anything; the place stays.
#[test]
fn disable_survives_a_restart_unless_the_entry_says_otherwise() {
    let disk = SimDisk::new(5);
    let entry = copier("one");
    let worker = || labour("worker", while_asked);
    let store = open(&disk, vec![entry.clone(), worker()]);
    store.write(A, &[1]);
    store.drain();
    for id in ["one", "worker"] {
        store.host.disable(id).unwrap();
        let status = store.status(id);
        assert_eq!(status.state, State::Disabled);
        assert!(status.is_off && status.reason.contains("by an operator"));
    }
    assert!(store.host.health().degraded.is_empty());
    // Without a checkpoint since: the verb itself is durable.
    store.host.stop();
    let disk = disk.reopen();
    let store = open(&disk, vec![entry.clone(), worker()]);
    for id in ["one", "worker"] {
        assert_eq!(store.status(id).state, State::Disabled);
    }
    store.write(A, &[2]);
    store.close();
    let says = Entry {
        enabled: Some(true),
        ..entry.clone()
    };
    let store = open(&disk, vec![says]);
    store.drain();
    assert_eq!(store.times(OUT), [1, 2]);
    store.close();
    let store = open(&disk, vec![entry.clone(), worker()]);
    assert_eq!(store.status("one").state, State::Disabled);
    store.write(A, &[3]);
    for id in ["one", "worker"] {
        store.host.enable(id).unwrap();
        assert_eq!(store.status(id).state, State::Running);
    }
    store.drain();
    assert_eq!(store.times(OUT), [1, 2, 3]);
    store.close();
    let store = open(&disk, vec![entry]);
    assert_eq!(store.status("one").state, State::Running);
    store.close();
}

fn while_asked(ctx: &mut plugin_sdk::WorkerCtx<'_>) -> Result<(), PluginError> {
    while ctx.sleep(Duration::from_secs(3600)) {}
    Ok(())
}

/// Segments so small that a few commits fill several.
fn small() -> Options {
    Options {
        wal_segment_bytes: 256 << 10,
        frame_bytes_max: 64 << 10,
        follow_bytes: 1,
        ..options()
    }
}

fn write_much(store: &Store) {
    for n in 0..200 {
        let times: Vec<i64> = (n * 500..n * 500 + 500).map(|t| t + 10).collect();
        store.write("B/1Min/T", &times);
        if n % 50 == 0 {
            store.engine.checkpoint().unwrap();
        }
    }
    store.engine.checkpoint().unwrap();
}

#[test]
fn log_is_kept_for_what_is_paused_and_not_for_what_is_disabled() {
    for is_disabled in [false, true] {
        let store = try_open(&SimDisk::new(6), vec![copier("one")], small()).unwrap();
        store.write(A, &[1]);
        store.drain();
        let cursor = store.host.cursor("one").unwrap();
        if is_disabled {
            store.host.disable("one").unwrap();
        } else {
            store.host.pause("one").unwrap();
        }
        write_much(&store);
        assert_eq!(store.engine.follow(cursor.cursor).is_err(), is_disabled);
        store.close();
    }
}

#[test]
fn a_restart_makes_a_new_object_and_misses_nothing() {
    for delivery in [Delivery::Exact, Delivery::Durable, Delivery::Volatile] {
        let entry = Entry {
            delivery: Some(delivery),
            ..copier("one")
        };
        let store = open(&SimDisk::new(7), vec![entry.clone()]);
        for n in 0..20 {
            store.write(A, &[n]);
            if n % 5 == 4 {
                store.host.restart("one").unwrap();
            }
        }
        store.drain();
        // Rows of a volatile instance are visible when they are.
        store.until_it("one", |_| store.times(OUT).len() >= 20);
        assert_eq!(store.times(OUT), (0..20).collect::<Vec<_>>());
        // One is that of the check.
        assert_eq!(closed(&entry, CloseReason::Stop), 5);
        store.close();
    }
}

/// Sources and workers end at their next batch or call, and come back where they were.
#[test]
fn sources_and_workers_pause_and_go_on_where_they_were() {
    let entry = feed("feed", |feed, out, deadline| {
        if feed.next >= 200 {
            std::thread::sleep(deadline.saturating_duration_since(std::time::Instant::now()));
            return Ok(plugin_sdk::More::Timeout);
        }
        feed.bring(out, 10)?;
        Ok(plugin_sdk::More::Full)
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let worker = labour("worker", move |ctx| {
        count.fetch_add(1, Ordering::Relaxed);
        while_asked(ctx)
    });
    let store = open(&SimDisk::new(8), vec![entry, worker]);
    for _ in 0..3 {
        for id in ["feed", "worker"] {
            store.host.pause(id).unwrap();
            assert_eq!(store.status(id).state, State::Paused);
            store.host.resume(id).unwrap();
            store.host.restart(id).unwrap();
        }
    }
    store.until_it("feed", |_| store.times("FEED/1Min/T").len() == 200);
    assert_eq!(store.times("FEED/1Min/T"), (0..200).collect::<Vec<_>>());
    store.host.reset("feed").unwrap();
    // From the beginning: the same rows once more.
    store.until_it("feed", |_| store.times("FEED/1Min/T").len() == 400);
    store.close();
    assert_eq!(runs.load(Ordering::Relaxed), 7);
}

/// T29: the breaker opens; `enable` closes it.
#[test]
fn enable_ends_a_breaker_that_opened() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let worker = labour("worker", move |ctx| {
        if broken.load(Ordering::Relaxed) {
            return Err(PluginError::from("broken"));
        }
        while_asked(ctx)
    });
    let store = open(&SimDisk::new(9), vec![worker]);
    let failed = store.until("worker", State::Failed);
    assert!(
        failed.reason.contains("failed 10 times"),
        "{}",
        failed.reason
    );
    let health = store.host.health();
    assert!(health.ready && health.degraded.len() == 1);
    assert!(health.degraded[0].reason.contains("broken"));
    store.host.set_restart(quick());
    store.host.enable("worker").unwrap();
    store.until("worker", State::Failed);
    is_broken.store(false, Ordering::Relaxed);
    store.host.enable("worker").unwrap();
    assert_eq!(store.status("worker").state, State::Running);
    assert!(store.host.health().degraded.is_empty());
    store.close();
}

/// After `on_error: disable` the event fires again.
#[test]
fn enable_starts_in_front_of_the_event_that_disabled() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let copy = copy_to(OUT);
    let entry = Entry {
        max_attempts: Some(1),
        on_error: Some(plugin_host::OnError::Disable),
        required: true,
        ..probe("one", "A/**", move |ctx, event| {
            if broken.load(Ordering::Relaxed) {
                return Err(FireError::Retry("broken".into()));
            }
            copy(ctx, event)
        })
    };
    let store = open(&SimDisk::new(10), vec![entry]);
    assert!(store.host.health().ready);
    store.write(A, &[1]);
    let status = store.until("one", State::Disabled);
    assert!(!status.is_off, "{status:?}");
    let health = store.host.health();
    assert!(!health.ready && health.degraded[0].required);
    is_broken.store(false, Ordering::Relaxed);
    store.host.enable("one").unwrap();
    store.drain();
    assert_eq!(store.times(OUT), [1]);
    assert!(store.host.health().ready);
    store.close();
}

#[test]
fn a_cursor_is_shown_and_set_back_and_ahead() {
    let disk = SimDisk::new(11);
    let entry = copier("one");
    let store = open(&disk, vec![entry.clone()]);
    store.write(A, &[1]);
    store.drain();
    let first = store.host.cursor("one").unwrap();
    assert!(first.cursor <= first.visible && first.last_commit.is_some());
    store.write(A, &[2]);
    store.drain();
    store.write(A, &[3]);
    store.drain();
    store.host.pause("one").unwrap();
    store.engine.checkpoint().unwrap();
    let place = store.host.cursor("one").unwrap();
    assert_eq!(place.checkpointed, Some(place.cursor));
    assert_eq!(place.epoch, first.epoch);

    for (to, why) in [
        (Lsn(0), "is not between 1 and"),
        (Lsn(place.visible.0 + 1), "the newest commit"),
        (Lsn(first.cursor.0 + 1), "no commit begins at"),
        (Lsn(1), "no longer"),
    ] {
        let error = store.host.set_cursor("one", to).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        if to != Lsn(1) {
            assert!(error.to_string().contains(why), "{error}");
        }
    }
    store.host.set_cursor("one", first.cursor).unwrap();
    assert_eq!(store.host.cursor("one").unwrap().cursor, first.cursor);
    // Durable, as a plugin commit is.
    store.host.stop();
    let disk = disk.reopen();
    let store = open(&disk, vec![entry.clone()]);
    store.drain();
    assert_eq!(store.times(OUT), [1, 2, 2, 3, 3]);
    store.host.pause("one").unwrap();
    store.write(A, &[4]);
    let visible = store.engine.marks().visible;
    store.host.set_cursor("one", visible).unwrap();
    store.write(A, &[5]);
    store.host.resume("one").unwrap();
    store.drain();
    assert_eq!(store.times(OUT), [1, 2, 2, 3, 3, 5]);
    store.close();
    let store = open(&disk, vec![entry]);
    store.drain();
    assert_eq!(store.times(OUT), [1, 2, 2, 3, 3, 5]);
    store.close();
}

fn counting(name: &str) -> Entry {
    keeper("keeper1", name, "A/**", |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.state().incr("n", batch.rows.rows() as i64)?;
            ctx.set_timer(b"t", i64::MAX, b"")?;
        }
        Ok(())
    })
}

fn count(store: &Store) -> i64 {
    match store.host.state_get("one", "", b"n").unwrap() {
        Some(StateValue::Counter(count)) => count,
        None => 0,
        other => panic!("{other:?}"),
    }
}

/// State and timers are gone, what is behind is not counted again, and that is durable.
#[test]
fn a_reset_begins_like_a_new_instance() {
    let entry = counting("one");
    for is_paused in [false, true] {
        let disk = SimDisk::new(12);
        let store = open(&disk, vec![entry.clone()]);
        store.write(A, &[1, 2, 3]);
        store.drain();
        store.engine.checkpoint().unwrap();
        assert_eq!((count(&store), store.status("one").timers), (3, 1));
        if is_paused {
            store.host.pause("one").unwrap();
            store.write(A, &[4]);
        }
        store.host.reset("one").unwrap();
        assert_eq!(count(&store), 0);
        if is_paused {
            assert_eq!(store.status("one").state, State::Paused);
            store.host.resume("one").unwrap();
        }
        assert_eq!(store.status("one").timers, 0);
        assert_eq!(found(&entry).last(), Some(&0));
        store.write(A, &[5, 6]);
        store.drain();
        assert_eq!(count(&store), 2);
        store.host.stop();
        let disk = disk.reopen();
        for _ in 0..2 {
            let store = open(&disk, vec![entry.clone()]);
            store.drain();
            assert_eq!(count(&store), 2);
            store.close();
        }
    }
}

#[test]
fn a_reset_of_a_volatile_instance_empties_its_memory() {
    let entry = Entry {
        delivery: Some(Delivery::Volatile),
        ..counting("one")
    };
    let store = open(&SimDisk::new(13), vec![entry]);
    store.write(A, &[1]);
    store.drain();
    store.host.restart("one").unwrap();
    assert_eq!(count(&store), 1);
    store.host.reset("one").unwrap();
    store.write(A, &[2, 3]);
    store.drain();
    assert_eq!(count(&store), 2);
    store.close();
}

/// A state file that is damaged stops its instance until somebody gives the state up.
#[test]
fn a_reset_ends_an_incomplete_state() {
    const FILE: &str = "plugins/one/state.snap";
    let disk = SimDisk::new(14);
    let entry = counting("one");
    let store = open(&disk, vec![entry.clone()]);
    store.write(A, &[1]);
    store.drain();
    store.close();
    disk.rot(FILE, |bytes| bytes.truncate(20)).unwrap();
    let store = open(&disk, vec![entry.clone()]);
    let status = store.status("one");
    assert_eq!(status.state, State::Failed);
    assert!(
        status.reason.contains("`mkts plugin reset`"),
        "{}",
        status.reason
    );
    let error = store.host.enable("one").unwrap_err();
    assert!(error.to_string().contains("state incomplete"), "{error}");
    store.host.reset("one").unwrap();
    assert_eq!(store.status("one").state, State::Running);
    store.write(A, &[2, 3]);
    store.drain();
    assert_eq!(count(&store), 2);
    // A crash: the file is still the damaged one, the log mends it.
    store.host.stop();
    let disk = disk.reopen();
    let store = open(&disk, vec![entry.clone()]);
    store.drain();
    assert_eq!(
        (store.status("one").state, count(&store)),
        (State::Running, 2)
    );
    store.close();
    let store = open(&disk, vec![entry]);
    assert_eq!(
        (store.status("one").state, count(&store)),
        (State::Running, 2)
    );
    store.close();
}

/// What fell too far behind and cannot skip begins anew, without its state; so it stays.
#[test]
fn a_reset_ends_a_lag_without_log() {
    let disk = SimDisk::new(19);
    let entry = Entry {
        wal_hold: 1,
        ..counting("one")
    };
    let store = try_open(&disk, vec![entry.clone()], small()).unwrap();
    store.write(A, &[1]);
    store.drain();
    store.host.pause("one").unwrap();
    store.write(A, &[2]);
    write_much(&store);
    store.host.resume("one").unwrap();
    store.until("one", State::Disabled);
    assert_eq!(count(&store), 1);
    store.host.reset("one").unwrap();
    store.write(A, &[3, 4]);
    store.drain();
    assert_eq!(count(&store), 2);
    store.close();
    let store = try_open(&disk, vec![entry], small()).unwrap();
    store.drain();
    assert_eq!(
        (store.status("one").state, count(&store)),
        (State::Running, 2)
    );
    store.close();
}

/// An instance that no entry names is shown, and forgotten when asked; one that an entry names never
/// is, even if it cannot run.
#[test]
fn gc_forgets_what_no_entry_names() {
    let disk = SimDisk::new(15);
    let entry = counting("one");
    let other = counting("two");
    let store = open(&disk, vec![entry.clone(), other.clone()]);
    store.write(A, &[1]);
    store.drain();
    assert_eq!(store.host.orphans(), []);
    assert_eq!(store.host.gc().unwrap(), []);
    store.close();
    let missing = Entry {
        module: "nothing".into(),
        ..other.clone()
    };
    let store = open(&disk, vec![missing]);
    let orphans = store.host.orphans();
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].id, "one");
    assert!(orphans[0].cursor > Lsn(0) && orphans[0].state_bytes > 0);
    assert!(store.host.state_get("one", "", b"n").unwrap().is_some());
    assert_eq!(store.host.gc().unwrap(), orphans);
    assert_eq!(store.host.orphans(), []);
    assert!(!disk.exists("plugins/one").unwrap());
    assert!(disk.exists("plugins/two/state.snap").unwrap());
    assert!(store.host.state_get("one", "", b"n").is_err());
    store.host.stop();
    let disk = disk.reopen();
    let store = open(&disk, vec![entry, other]);
    assert_eq!(store.host.orphans(), []);
    store.write(A, &[2]);
    store.drain();
    // A new instance, and one that went on.
    assert_eq!(count(&store), 1);
    let two = store.host.state_get("two", "", b"n").unwrap();
    assert_eq!(two, Some(StateValue::Counter(2)));
    store.close();
}

/// T22: where an entry stands in the list says nothing about its place.
#[test]
fn entries_that_changed_places_keep_their_cursors() {
    let disk = SimDisk::new(16);
    let unnamed = Entry {
        name: None,
        on: vec!["A/1Min/*".into()],
        ..copy_entry("MID/1Min/T")
    };
    let (one, two) = (copier("one"), counting("two"));
    let store = open(&disk, vec![one.clone(), two.clone(), unnamed.clone()]);
    store.write(A, &[1]);
    store.drain();
    store.close();
    for order in [[2, 0, 1], [1, 2, 0], [0, 1, 2]] {
        let entries = [one.clone(), two.clone(), unnamed.clone()];
        let entries = order.map(|at: usize| entries[at].clone()).to_vec();
        let store = open(&disk, entries);
        let before = store.times(A).len() as i64;
        store.write(A, &[before + 1]);
        store.drain();
        let rows = store.times(A);
        assert_eq!(store.times(OUT), rows);
        assert_eq!(store.times("MID/1Min/T"), rows);
        let two = store.host.state_get("two", "", b"n").unwrap();
        assert_eq!(two, Some(StateValue::Counter(rows.len() as i64)));
        assert_eq!(store.host.orphans(), []);
        store.close();
    }
}

fn copy_entry(target: &'static str) -> Entry {
    probe("-", "A/**", copy_to(target))
}

/// Verbs of many at once: one after the other, and nothing is lost or doubled.
#[test]
fn verbs_at_the_same_time_take_turns() {
    let store = open(&SimDisk::new(17), vec![copier("one")]);
    std::thread::scope(|scope| {
        for number in 0..4_usize {
            let host = store.host.clone();
            scope.spawn(move || {
                for turn in 0..6 {
                    // What a verb of another made of it may stand in the way.
                    let _ = match (number + turn) % 4 {
                        0 => host.pause("one"),
                        1 => host.resume("one"),
                        2 => host.restart("one"),
                        _ => host.disable("one").and_then(|()| host.enable("one")),
                    };
                }
            });
        }
        for n in 0..60 {
            store.write(A, &[n]);
        }
    });
    store.host.enable("one").unwrap();
    store.drain();
    assert_eq!(store.times(OUT), (0..60).collect::<Vec<_>>());
    store.close();
}

/// A thread that hangs in its event is given up: its successor goes on, and whatever it does when it
/// comes back has no effect.
#[test]
fn a_restart_gives_up_an_event_that_hangs() {
    let (entered, enters) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let gate = Mutex::new((entered, goes, true));
    let copy = copy_to(OUT);
    let entry = Entry {
        timeout: Duration::from_millis(1),
        ..probe("one", "A/**", move |ctx, event| {
            let hangs = gate
                .try_lock()
                .is_ok_and(|mut gate| std::mem::take(&mut gate.2));
            if hangs {
                let gate = gate.lock().unwrap();
                gate.0.send(()).unwrap();
                gate.1.recv().unwrap();
            }
            copy(ctx, event)
        })
    };
    let store = open(&SimDisk::new(18), vec![entry]);
    store.write(A, &[1]);
    enters.recv().unwrap();
    store.clock.advance(Duration::from_secs(1));
    store.until("one", State::Hung);
    store.host.restart("one").unwrap();
    store.write(A, &[2]);
    store.drain();
    assert_eq!(store.times(OUT), [1, 2]);
    go.send(()).unwrap();
    store.write(A, &[3]);
    store.drain();
    store.host.pause("one").unwrap();
    assert_eq!(store.times(OUT), [1, 2, 3]);
    store.close();
}
