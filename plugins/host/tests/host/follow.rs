//! Other entries while the host runs: what is new begins, what has changed goes on where it was, what
//! is gone ends; and every commit fires once, whatever the moment of a crash.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};

use disk::sim::SimDisk;
use plugin_host::{Entry, Problem, State, Step, What};
use plugin_sdk::{Delivery, Event, More, StateValue};

use crate::support::{Store, copy_to, feed, keeper, labour, open, options, probe, try_open};

/// Counts rows in its state, under `key`.
fn counting(name: &str, on: &str, key: &'static str) -> Entry {
    keeper("keeper1", name, on, move |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.state().incr(key, batch.rows.rows() as i64)?;
        }
        Ok(())
    })
}

fn count(store: &Store, id: &str, key: &str) -> i64 {
    match store.host.state_get(id, "", key.as_bytes()) {
        Ok(Some(StateValue::Counter(count))) => count,
        _ => 0,
    }
}

fn try_follow(store: &Store, entries: &[Entry]) -> Result<Vec<Step>, String> {
    let told = |problems: Vec<Problem>| {
        let lines = problems
            .iter()
            .map(|p| format!("{}: {}", p.place, p.message));
        lines.collect::<Vec<_>>().join("\n")
    };
    let following = store.host.compare(entries).map_err(told)?;
    let steps = following.steps().to_vec();
    store.host.follow(following).map_err(|e| e.to_string())?;
    Ok(steps)
}

fn follow(store: &Store, entries: &[Entry]) -> Vec<Step> {
    try_follow(store, entries).unwrap()
}

fn ids(store: &Store) -> Vec<String> {
    let all = store.host.status();
    all.into_iter().map(|one| one.id).collect()
}

fn whats(steps: &[Step]) -> Vec<(&str, &What)> {
    steps.iter().map(|step| (&*step.id, &step.what)).collect()
}

#[test]
fn entries_come_change_and_go() {
    let disk = SimDisk::new(1);
    let (one, two) = (counting("one", "A/**", "n"), counting("two", "A/**", "n"));
    let store = open(&disk, vec![one.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    assert!(follow(&store, std::slice::from_ref(&one)).is_empty());

    // New ones begin at the newest commit; the order is that of the entries.
    let steps = follow(&store, &[two.clone(), one.clone()]);
    assert_eq!(whats(&steps), [("two", &What::Added)]);
    assert_eq!(steps[0].list, "triggers");
    assert_eq!(ids(&store), ["two", "one"]);
    store.write("A/1Min/T", &[2]);
    store.drain();
    assert_eq!(
        (count(&store, "one", "n"), count(&store, "two", "n")),
        (2, 1)
    );

    // A changed one goes on at its place, with its state.
    let before = store.host.cursor("one").unwrap().epoch;
    let other = Entry {
        on: vec!["{A,B}/**".into()],
        timeout: one.timeout * 2,
        ..one.clone()
    };
    let steps = follow(&store, &[two.clone(), other.clone()]);
    let keys = What::Changed(vec!["on".into(), "timeout".into()]);
    assert_eq!(whats(&steps), [("one", &keys)]);
    assert!(store.host.cursor("one").unwrap().epoch > before);
    store.write("B/1Min/T", &[3]);
    store.drain();
    assert_eq!(
        (count(&store, "one", "n"), count(&store, "two", "n")),
        (3, 1)
    );

    // What is gone does not fire, is kept, and goes on if it comes back in time.
    let steps = follow(&store, std::slice::from_ref(&other));
    assert_eq!(whats(&steps), [("two", &What::Removed)]);
    assert_eq!(ids(&store), ["one"]);
    assert_eq!(store.host.orphans()[0].id, "two");
    assert!(store.host.restart("two").is_err());
    store.write("A/1Min/T", &[4]);
    store.drain();
    follow(&store, &[other.clone(), two]);
    store.drain();
    assert_eq!(
        (count(&store, "one", "n"), count(&store, "two", "n")),
        (4, 2)
    );
    follow(&store, &[other]);
    assert_eq!(store.host.gc().unwrap().len(), 1);
    follow(&store, &[]);
    assert!(ids(&store).is_empty());
    store.close();
}

/// Nothing is touched if one entry cannot run; an entry that moved in the file is no difference.
#[test]
fn what_cannot_run_keeps_the_old_entries() {
    let disk = SimDisk::new(2);
    let one = counting("one", "A/**", "n");
    let store = open(&disk, vec![one.clone()]);
    let epoch = store.host.cursor("one").unwrap().epoch;
    let changed = Entry {
        on: vec!["B/**".into()],
        ..one.clone()
    };
    for (bad, why) in [
        (Entry::trigger("nowhere.so"), "nowhere"),
        (
            Entry {
                kind: plugin_host::EntryKind::Source,
                ..counting("x", "A/**", "n")
            },
            "is a trigger",
        ),
        (
            Entry {
                name: Some("a/b".into()),
                ..counting("x", "A/**", "n")
            },
            "use 1 to",
        ),
        (
            Entry {
                name: Some("one".into()),
                ..changed.clone()
            },
            "is there already",
        ),
    ] {
        let told = try_follow(&store, &[changed.clone(), bad]).unwrap_err();
        assert!(told.contains(why), "{told}");
        assert_eq!(ids(&store), ["one"]);
    }
    let moved = Entry {
        place: "mkts.yml:99".into(),
        ..one
    };
    assert!(follow(&store, &[moved]).is_empty());
    assert_eq!(store.status("one").place, "mkts.yml:99");
    assert_eq!(
        store.host.cursor("one").unwrap().epoch,
        epoch,
        "it was not started again"
    );
    store.close();
}

/// A module that is found and checked, and whose object cannot be made: what was done is undone.
#[test]
fn what_does_not_begin_is_undone() {
    let disk = SimDisk::new(3);
    let (one, two) = (counting("one", "A/**", "n"), counting("two", "A/**", "n"));
    let store = open(&disk, vec![one.clone(), two.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    // The state of `two` is refused by the newer version.
    store.host.pause("two").unwrap();
    let refuse = StateValue::Bytes(bytes::Bytes::from_static(b"yes"));
    store
        .host
        .state_put("two", "", b"refuse", Some(refuse))
        .unwrap();
    store.host.resume("two").unwrap();
    let one_changed = Entry {
        on: vec!["{A,B}/**".into()],
        ..one.clone()
    };
    let two_changed = Entry {
        module: "keeper2".into(),
        ..two.clone()
    };
    let three = counting("three", "A/**", "n");
    let told = try_follow(&store, &[three, one_changed, two_changed]).unwrap_err();
    assert!(told.contains("this state is refused"), "{told}");
    assert_eq!(ids(&store), ["one", "two"]);
    store.write("A/1Min/T", &[2]);
    store.write("B/1Min/T", &[3]);
    store.drain();
    for id in ["one", "two"] {
        assert_eq!(store.status(id).state, State::Running, "{id}");
        assert_eq!(count(&store, id, "n"), 2, "{id}");
    }
    assert!(follow(&store, &[one, two]).is_empty());
    store.close();
}

/// What an operator or the entry has switched off stays so; what was paused stays paused.
#[test]
fn what_is_off_stays_off() {
    let disk = SimDisk::new(4);
    let entries: Vec<Entry> = ["paused", "disabled", "off"]
        .iter()
        .map(|name| counting(name, "A/**", "n"))
        .collect();
    let store = open(&disk, entries.clone());
    store.host.pause("paused").unwrap();
    store.host.disable("disabled").unwrap();
    let with = |enabled: Option<bool>, on: &str| {
        let change = |entry: &Entry| Entry {
            enabled,
            on: vec![on.into()],
            ..entry.clone()
        };
        entries.iter().map(change).collect::<Vec<_>>()
    };
    let states = || ["paused", "disabled", "off"].map(|id| store.status(id).state);
    follow(&store, &with(None, "B/**"));
    assert_eq!(states(), [State::Paused, State::Disabled, State::Running]);
    follow(&store, &with(Some(false), "B/**"));
    assert_eq!(states(), [State::Disabled; 3]);
    assert!(store.status("off").reason.contains("enabled: false"));
    follow(&store, &with(Some(true), "A/**"));
    assert_eq!(states(), [State::Running; 3]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    for id in ["paused", "disabled", "off"] {
        assert_eq!(count(&store, id, "n"), 1, "{id}");
    }
    store.close();
}

/// Rows written while its delivery changes are missed by neither.
#[test]
fn another_delivery_goes_on_where_the_old_one_was() {
    let disk = SimDisk::new(5);
    let copy = probe("copy", "A/**", copy_to("C/1Min/T"));
    let with = |delivery| Entry {
        delivery: Some(delivery),
        ..copy.clone()
    };
    let store = open(&disk, vec![with(Delivery::Volatile)]);
    let all = [Delivery::Durable, Delivery::Exact, Delivery::Volatile];
    for (at, delivery) in all.into_iter().cycle().take(9).enumerate() {
        store.write("A/1Min/T", &[at as i64]);
        // The last commit may not have fired yet.
        follow(&store, &[with(delivery)]);
    }
    store.drain();
    assert_eq!(store.times("C/1Min/T").len(), 9);
    store.close();
}

#[test]
fn workers_and_sources_begin_again() {
    let disk = SimDisk::new(6);
    let (tell, told) = mpsc::channel();
    let work = labour("work", move |ctx| {
        tell.send(()).unwrap();
        while !ctx.is_cancelled() {
            ctx.sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    });
    let opened = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&opened);
    let source = feed("source", move |feed, out, _| {
        seen.fetch_add(1, SeqCst);
        // Three rows of each params, behind those before.
        if feed.next % 10 < 3 {
            feed.bring(out, 1)?;
            return Ok(More::Full);
        }
        Ok(More::End)
    });
    let store = open(&disk, vec![work.clone()]);
    told.recv().unwrap();
    follow(&store, &[source.clone(), work.clone()]);
    store.until("source", State::Stopped);
    let work = Entry {
        restart: plugin_host::Restart::Always,
        ..work
    };
    let steps = follow(&store, &[work, source]);
    assert_eq!(
        whats(&steps),
        [("work", &What::Changed(vec!["restart".into()]))]
    );
    told.recv().unwrap();
    assert_eq!(
        store.status("source").state,
        State::Stopped,
        "it has not changed"
    );
    assert!(opened.load(SeqCst) >= 3);
    store.close();
}

/// Under load: two counters, one of which changes all the time, count the same.
#[test]
fn nothing_fires_twice_or_never_under_load() {
    let disk = SimDisk::new(7);
    let steady = counting("steady", "A/**", "n");
    let changing = counting("changing", "A/**", "n");
    let store = open(&disk, vec![steady.clone(), changing.clone()]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for time in 0..400 {
                store.write("A/1Min/T", &[time]);
            }
            done.store(true, SeqCst);
        });
        let mut round = 0_u32;
        while !done.load(SeqCst) {
            round += 1;
            let changed = Entry {
                timeout: changing.timeout + std::time::Duration::from_millis(round.into()),
                ..changing.clone()
            };
            let entries = match round % 3 {
                0 => vec![changed, steady.clone()],
                _ => vec![steady.clone(), changed, counting("visitor", "A/**", "n")],
            };
            follow(&store, &entries);
        }
    });
    store.drain();
    assert_eq!(count(&store, "steady", "n"), 400);
    assert_eq!(count(&store, "changing", "n"), 400);
    store.close();
}

/// A crash at every changing call of the disk, before, in and behind the change of the entries: the
/// next start, with the old entries or the new ones, counts every row once.
#[test]
fn a_crash_in_the_middle_counts_each_row_once() {
    let (one, two) = (counting("one", "A/**", "n"), counting("two", "A/**", "n"));
    let changed = Entry {
        timeout: one.timeout * 2,
        ..one.clone()
    };
    let (old, new) = (vec![one], vec![two, changed]);
    let run = |disk: &SimDisk| {
        let Ok(store) = try_open(disk, old.clone(), options()) else {
            return;
        };
        let put = |time: i64| drop(store.try_write("A/1Min/T", &[time]));
        put(1);
        put(2);
        let _ = try_follow(&store, &new);
        put(3);
        let _ = store.engine.checkpoint();
        let _ = try_follow(&store, &old);
        put(4);
        let _ = try_follow(&store, &new);
        put(5);
        store.host.drain(std::time::Duration::from_secs(20));
        store.host.stop();
    };
    let whole = SimDisk::new(0);
    run(&whole);
    for calls in 0..=whole.call_count() {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        run(&disk);
        let disk = disk.reopen();
        for entries in [&old, &new] {
            let store = try_open(&disk, entries.clone(), options()).unwrap();
            store.drain();
            let rows = store.times("A/1Min/T").len() as i64;
            assert_eq!(count(&store, "one", "n"), rows, "crash after {calls} calls");
            store.close();
        }
    }
}
