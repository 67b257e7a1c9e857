//! What is delivered, in which order, to whom.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use disk::sim::SimDisk;
use model::RowKind;
use plugin_host::{Entry, Join, State};
use plugin_sdk::{CloseReason, Delivery, Event, Query, QueryLimit};

use crate::support::{closed, copy_to, key, open, probe, ticks};

type Seen = Arc<Mutex<Vec<(String, Vec<i64>, u64)>>>;

fn recorder(name: &str, on: &str) -> (Entry, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let entry = probe(name, on, move |ctx, event| {
        if let Event::Write(batch) = event {
            let times = batch.rows.times().to_vec();
            let first = ctx.info().first_lsn;
            record
                .lock()
                .unwrap()
                .push((batch.key.to_string(), times, first));
        }
        Ok(())
    });
    (entry, seen)
}

/// Each key sees its commits in order, each row once, whatever windows were cut.
#[test]
fn rows_of_a_key_arrive_in_commit_order() {
    let (entry, seen) = recorder("r", "*/1Min/*");
    let store = open(&SimDisk::new(1), vec![entry]);
    for n in 0..150 {
        store.write(["A/1Min/T", "B/1Min/T", "C/1D/T"][n % 3], &[n as i64]);
    }
    store.drain();
    let seen = seen.lock().unwrap();
    for (name, rest) in [("A/1Min/T", 0), ("B/1Min/T", 1)] {
        let of_key = seen.iter().filter(|(k, ..)| k == name);
        let times: Vec<i64> = of_key.clone().flat_map(|(_, t, _)| t.clone()).collect();
        let expected: Vec<i64> = (0..150).filter(|n| n % 3 == rest).collect();
        assert_eq!(times, expected);
        assert!(of_key.map(|(.., lsn)| lsn).is_sorted());
    }
    assert!(!seen.iter().any(|(k, ..)| k == "C/1D/T"));
}

/// A backlog joins into one event per key, or stays one event per commit.
#[test]
fn join_decides_how_a_backlog_is_cut() {
    let (by_key, joined) = recorder("k", "A/**");
    let (mut by_commit, single) = recorder("c", "A/**");
    by_commit.window.join = Some(Join::Commit);
    let disk = SimDisk::new(2);
    open(&disk, vec![by_key.clone(), by_commit.clone()]).close();
    let store = open(&disk, vec![]);
    for n in 0..10 {
        store.write("A/1Min/T", &[n]);
    }
    store.close();
    open(&disk, vec![by_key, by_commit]).drain();
    let expected: Vec<i64> = (0..10).collect();
    let joined = joined.lock().unwrap();
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].1, expected);
    let single = single.lock().unwrap();
    assert_eq!(single.len(), 10);
    assert_eq!(
        single
            .iter()
            .flat_map(|(_, t, _)| t.clone())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn an_instance_does_not_fire_on_its_own_rows() {
    let disk = SimDisk::new(3);
    let own = probe("own", "**", copy_to("OUT/1Min/T"));
    let store = open(&disk, vec![own]);
    store.write("A/1Min/T", &[1, 2]);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2]);
    assert_eq!(store.host.status()[0].fires, 1);
}

/// Two triggers that write to each other end at the hops limit, which is counted.
#[test]
fn a_circle_of_triggers_ends_at_the_hops_limit() {
    let entries = vec![
        probe("ab", "A/**", copy_to("B/1Min/T")),
        probe("ba", "B/**", copy_to("A/1Min/T")),
    ];
    let store = open(&SimDisk::new(4), entries);
    store.write("A/1Min/T", &[7]);
    store.drain();
    // Hops 0 to 7 are offered, the commit at hops 8 is stored only.
    assert_eq!(
        store.times("A/1Min/T").len() + store.times("B/1Min/T").len(),
        9
    );
    let status = store.host.status();
    assert_eq!(status[0].fires + status[1].fires, 8);
    assert_eq!(status[0].dropped + status[1].dropped, 1);
}

/// Fires see what is stored, not what their window writes; messages follow the commit.
#[test]
fn a_fire_reads_the_store_and_publishes_after_its_commit() {
    let act = |ctx: &mut plugin_sdk::FireCtx<'_>, event: &Event<'_>| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let missing = Query {
            key: &key("NONE/1Min/T"),
            from: 0,
            to: 9,
            columns: None,
            limit: None,
        };
        assert!(ctx.query(&missing)?.is_none());
        let columns = ["Price", "Nothing"];
        let query = Query {
            key: batch.key,
            from: i64::MIN,
            to: i64::MAX,
            columns: Some(&columns),
            limit: Some(QueryLimit::Last(2)),
        };
        let rows = ctx
            .query(&query)?
            .ok_or(plugin_sdk::PluginError::from("no bucket"))?;
        let text = format!("{:?}", rows.times());
        ctx.publish("last", text.into());
        ctx.write(&key("OUT/1Min/T"), RowKind::Tick, batch.rows.clone())?;
        Ok(())
    };
    let store = open(&SimDisk::new(5), vec![probe("q", "A/**", act)]);
    store.write("A/1Min/T", &[1, 2, 3]);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2, 3]);
    let messages = store.messages.0.lock().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0], ("q".into(), "last".into(), "[2, 3]".into()));
}

/// A timer fires once when its time has come, and its own effects are committed.
#[test]
fn timers_fire_once_and_can_be_replaced_and_cancelled() {
    let (sent, got) = mpsc::channel();
    let sent = Mutex::new(sent);
    let act = move |ctx: &mut plugin_sdk::FireCtx<'_>, event: &Event<'_>| {
        let now = ctx.info().now;
        match event {
            Event::Timer { key, due, payload } => {
                let text = format!(
                    "{}:{}",
                    String::from_utf8_lossy(key),
                    String::from_utf8_lossy(payload)
                );
                assert!(*due <= now);
                sent.lock().unwrap().send(text).unwrap();
            }
            _ => {
                ctx.set_timer(b"a", now + 5_000_000_000, b"old")?;
                ctx.set_timer(b"a", now + 9_000_000_000, b"new")?;
                ctx.set_timer(b"b", now + 1_000_000_000, b"never")?;
                ctx.cancel_timer(b"b");
                ctx.set_timer(b"c", now + 2_000_000_000, b"soon")?;
                assert!(ctx.set_timer(&[0; 600], now, b"").is_err());
            }
        }
        Ok(())
    };
    let store = open(&SimDisk::new(6), vec![probe("t", "A/**", act)]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    assert_eq!(store.host.status()[0].timers, 2);
    for (seconds, expected) in [(2, "c:soon"), (7, "a:new")] {
        assert!(got.try_recv().is_err());
        store.clock.advance(Duration::from_secs(seconds));
        store.engine.wake_followers();
        assert_eq!(got.recv_timeout(Duration::from_secs(30)).unwrap(), expected);
    }
    store.drain();
    store.host.stop();
    assert_eq!(store.host.status()[0].timers, 0);
}

/// What a dropped bucket still had to fire is of no use; the drop itself is told.
#[test]
fn a_dropped_bucket_is_told_instead_of_its_backlog() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (entered, inside) = mpsc::channel();
    let entered = Mutex::new(entered);
    let entry = probe("d", "A/**", move |_, event| {
        record.lock().unwrap().push(match event {
            Event::Write(batch) => format!("{:?}", batch.rows.times()),
            Event::Deleted(key) => format!("deleted {key}"),
            other => format!("{other:?}"),
        });
        let _ = entered.lock().unwrap().send(());
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    let store = open(&SimDisk::new(7), vec![entry]);
    store.write("A/1Min/T", &[1]);
    inside.recv().unwrap();
    store.write("A/1Min/T", &[2]);
    store.engine.drop_buckets(&[key("A/1Min/T")]).unwrap();
    store.write("A/1Min/T", &[3]);
    drop(release);
    store.drain();
    assert_eq!(*seen.lock().unwrap(), ["[1]", "deleted A/1Min/T", "[3]"]);
}

/// I20: a trigger that hangs costs the writers nothing; stop gives it up.
#[test]
fn a_stuck_trigger_does_not_block_writers() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (entered, inside) = mpsc::channel();
    let entered = Mutex::new(entered);
    let mut entry = probe("stuck", "A/**", move |_, _| {
        entered.lock().unwrap().send(()).unwrap();
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    entry.timeout = Duration::from_secs(5);
    let store = open(&SimDisk::new(8), vec![entry]);
    store.write("A/1Min/T", &[0]);
    inside.recv().unwrap();
    for n in 1..200 {
        store.write("A/1Min/T", &[n]);
    }
    assert_eq!(store.times("A/1Min/T").len(), 200);
    assert!(!store.host.drain(Duration::from_millis(1)));
    assert!(store.host.status()[0].lag_bytes > 0);
    store.clock.advance(Duration::from_secs(11));
    assert_eq!(store.host.status()[0].state, State::Hung);
    store.host.stop();
    drop(release);
}

/// An old mode of delivery for what nobody wants twice.
#[test]
fn volatile_starts_at_now_and_never_repeats() {
    let (mut entry, seen) = recorder("v", "A/**");
    entry.delivery = Some(Delivery::Volatile);
    let disk = SimDisk::new(9);
    let store = open(&disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let crashed = disk.reopen();
    drop(store);
    let store = open(&crashed, vec![entry]);
    store.write("A/1Min/T", &[2]);
    store.drain();
    let times: Vec<i64> = seen
        .lock()
        .unwrap()
        .iter()
        .flat_map(|(_, t, _)| t.clone())
        .collect();
    assert_eq!(times, [1, 2]);
}

/// Timers wait in memory: their number and their bytes have a limit.
#[test]
fn timers_over_their_bytes_fail_their_fire() {
    let mut entry = probe("hoard", "A/**", |ctx, event| {
        if let Event::Write(batch) = event {
            for n in 0..10 {
                let key = format!("{} {n}", batch.rows.times()[0]);
                ctx.set_timer(key.as_bytes(), i64::MAX, &vec![7; 1 << 20])?;
            }
        }
        Ok(())
    });
    entry.max_attempts = Some(1);
    let options = engine::Options::default();
    let store = crate::support::try_open(&SimDisk::new(9), vec![entry], options).unwrap();
    for time in 0..7 {
        store.write("A/1Min/T", &[time]);
        store.drain();
    }
    let status = &store.host.status()[0];
    // Of 64 MiB, six times ten are taken.
    assert_eq!((status.timers, status.dead_letters), (60, 1));
}

/// Effects that do not fit one frame together are committed in several windows, each once.
#[test]
fn effects_over_the_limit_halve_the_window() {
    let act = |ctx: &mut plugin_sdk::FireCtx<'_>, event: &Event<'_>| {
        if let Event::Write(batch) = event {
            for time in batch.rows.times() {
                // 4 MiB for each row: 10 rows are over the 24 MiB of a window.
                let times: Vec<i64> = (0..1 << 18).map(|n| time * 1_000_000 + n).collect();
                ctx.write(&key("OUT/1Min/T"), RowKind::Tick, ticks(&times))?;
            }
        }
        Ok(())
    };
    let mut entry = probe("big", "A/**", act);
    entry.window.join = Some(Join::Commit);
    let disk = SimDisk::new(10);
    let options = engine::Options {
        wal_segment_bytes: 64 << 20,
        frame_bytes_max: 32 << 20,
        ..engine::Options::default()
    };
    let open = |entries| crate::support::try_open(&disk, entries, options.clone()).unwrap();
    open(vec![entry.clone()]).close();
    let store = open(vec![]);
    for n in 0..10 {
        store.write("A/1Min/T", &[n]);
    }
    store.close();
    let store = open(vec![entry.clone()]);
    store.drain();
    // An object that saw a dropped window is told so: it did not panic.
    assert!(closed(&entry, CloseReason::Again) > 0);
    assert_eq!(closed(&entry, CloseReason::Panic), 0);
    let status = &store.host.status()[0];
    assert_eq!((status.state, status.dead_letters), (State::Running, 0));
    // More calls than events: some windows were fired again.
    assert!(status.fires > 10, "{}", status.fires);
    let bucket = store.engine.bucket(&key("OUT/1Min/T")).unwrap();
    let snapshot = store.engine.snapshot(&[bucket.id]);
    assert_eq!(
        snapshot.scan(0, &engine::Scan::all()).unwrap().rows(),
        10 << 18
    );
}

/// A store closed first ends nothing by itself and starts nothing new: stop still joins.
#[test]
fn a_store_closed_before_the_host_stops_is_no_trouble() {
    let (entry, seen) = recorder("r", "A/**");
    let store = open(&SimDisk::new(11), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.engine.close().unwrap();
    store.host.stop();
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert_eq!(store.host.status()[0].state, State::Stopped);
}

/// The cursor of a `durable` trigger without effects is stored by itself soon after.
#[test]
fn a_durable_cursor_is_stored_without_effects() {
    let replays = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&replays);
    let mut entry = probe("d", "A/**", move |ctx, event| {
        if let Event::Write(batch) = event {
            let time = batch.rows.times()[0];
            record.lock().unwrap().push((time, ctx.info().is_replay));
        }
        Ok(())
    });
    entry.delivery = Some(Delivery::Durable);
    let disk = SimDisk::new(12);
    let store = open(&disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[1]);
    let written = store.engine.marks().visible;
    let stored = store.engine.wait_visible(written, Duration::from_secs(60));
    assert!(stored > written);
    let crashed = disk.reopen();
    drop(store);
    let store = open(&crashed, vec![]);
    store.write("A/1Min/T", &[2]);
    store.close();
    let store = open(&crashed, vec![entry]);
    store.write("A/1Min/T", &[3]);
    store.drain();
    assert_eq!(
        *replays.lock().unwrap(),
        [(1, false), (2, true), (3, false)]
    );
}

/// Timers ride in the plugin commit of their window, so a crash brings them back.
#[test]
fn timers_of_an_exact_trigger_survive_a_crash() {
    let entry = probe("t", "A/**", |ctx, event| {
        match event {
            Event::Write(batch) => ctx.set_timer(b"k", batch.rows.times()[0], b"")?,
            Event::Timer { due, .. } => {
                ctx.write(&key("OUT/1Min/T"), RowKind::Tick, ticks(&[*due]))?;
            }
            _ => {}
        }
        Ok(())
    });
    let due = 1_600_000_100_000_000_000;
    let disk = SimDisk::new(13);
    let store = open(&disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[due]);
    store.drain();
    let crashed = disk.reopen();
    drop(store);
    let store = open(&crashed, vec![entry.clone()]);
    assert_eq!(store.host.status()[0].timers, 1);
    let before = store.engine.marks().visible;
    store.clock.advance(Duration::from_secs(100));
    store.engine.wake_followers();
    assert!(store.engine.wait_visible(before, Duration::from_secs(60)) > before);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [due]);
    // Removal and effects were one commit: it does not fire again.
    let crashed = crashed.reopen();
    drop(store);
    let store = open(&crashed, vec![entry]);
    store.drain();
    assert_eq!(store.host.status()[0].timers, 0);
    assert_eq!(store.times("OUT/1Min/T"), [due]);
}
