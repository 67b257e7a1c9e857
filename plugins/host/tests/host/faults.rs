//! Fires that fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use disk::sim::SimDisk;
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_host::{OnError, State};
use plugin_sdk::{CloseReason, Event, FireError};

use crate::support::{closed, copy_to, key, open, options, probe, try_open};

/// The effects before the panic are gone, a new object takes over, other keys go on meanwhile.
#[test]
fn a_panic_is_contained_and_its_event_retried() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (record, calls) = (Arc::clone(&order), AtomicUsize::new(0));
    let entry = probe("p", "*/1Min/T", move |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        ctx.write(&key("OUT/1Min/X"), RowKind::Tick, batch.rows.clone())?;
        if batch.key.symbol() == "BAD" && calls.fetch_add(1, Ordering::Relaxed) < 2 {
            panic!("told to");
        }
        record
            .lock()
            .unwrap()
            .push(format!("{} {}", batch.key, ctx.info().attempt));
        Ok(())
    });
    let disk = SimDisk::new(1);
    open(&disk, vec![entry.clone()]).close();
    let store = open(&disk, vec![]);
    store.write("BAD/1Min/T", &[1]);
    store.write("GOOD/1Min/T", &[2]);
    store.close();
    let store = open(&disk, vec![entry.clone()]);
    store.drain();
    assert_eq!(closed(&entry, CloseReason::Panic), 2);
    assert_eq!(closed(&entry, CloseReason::Again), 0);
    assert_eq!(*order.lock().unwrap(), ["GOOD/1Min/T 1", "BAD/1Min/T 3"]);
    assert_eq!(store.times("OUT/1Min/X"), [1, 2]);
    let status = &store.host.status()[0];
    assert_eq!(status.state, State::Running);
    assert_eq!((status.fires, status.panics, status.failures), (4, 2, 2));
    assert_eq!(status.retries, 2);
}

/// I19, for each way to end.
#[test]
fn a_failing_fire_leaves_no_trace() {
    for (on_error, dead, dropped, state) in [
        (OnError::DeadLetter, 1, 0, State::Running),
        (OnError::Skip, 0, 1, State::Running),
        (OnError::Disable, 0, 0, State::Disabled),
    ] {
        let mut entry = probe("f", "A/**", |ctx, event| {
            let Event::Write(batch) = event else {
                return Ok(());
            };
            ctx.write(&key("OUT/1Min/T"), RowKind::Tick, batch.rows.clone())?;
            ctx.publish("s", "gone".into());
            ctx.set_timer(b"t", 0, b"")?;
            if batch.rows.times() == [1] {
                return Err(FireError::Retry("told to".into()));
            }
            ctx.cancel_timer(b"t");
            Ok(())
        });
        entry.on_error = Some(on_error);
        entry.max_attempts = Some(2);
        let store = open(&SimDisk::new(2), vec![entry]);
        store.write("A/1Min/T", &[1]);
        store.drain();
        assert_eq!(store.times("OUT/1Min/T"), [0; 0]);
        assert!(store.messages.0.lock().unwrap().is_empty());
        store.write("A/1Min/T", &[2]);
        store.drain();
        let status = &store.host.status()[0];
        assert_eq!(status.state, state, "{}", status.reason);
        assert_eq!((status.dead_letters, status.dropped), (dead, dropped));
        let expected: &[i64] = if state == State::Running { &[2] } else { &[] };
        assert_eq!(store.times("OUT/1Min/T"), expected);
        assert_eq!(status.timers, 0);
    }
}

#[test]
fn a_fire_may_skip_or_end_the_instance() {
    let skip = probe("s", "A/**", |_, _| {
        Err(FireError::Skip("not wanted".into()))
    });
    let fatal = probe("f", "A/**", |_, _| Err(FireError::Fatal("cannot".into())));
    let store = open(&SimDisk::new(3), vec![skip, fatal]);
    store.write("A/1Min/T", &[1, 2]);
    store.drain();
    let status = store.host.status();
    assert_eq!((status[0].state, status[0].fires), (State::Running, 1));
    assert_eq!(status[0].dropped, 2);
    assert_eq!(
        (status[1].state, &*status[1].reason),
        (State::Failed, "cannot")
    );
}

/// Rows that do not fit their bucket fail the fire that wrote them, not the window.
#[test]
fn a_write_that_cannot_be_stored_fails_its_fire() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&errors);
    let entry = probe("w", "A/**", move |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let other = Schema::new(vec![ColumnDef::new("Other", ColumnType::I8)]).unwrap();
        let columns = vec![Column::from_values(vec![1_i8])];
        let wrong = ColumnBatch::new(other, Column::from_values(vec![1_i64]), columns).unwrap();
        let rows = batch.rows.clone();
        let results = [
            ctx.write(&key("A/1Min/T"), RowKind::Tick, wrong),
            ctx.write(&key("A/1Min/T"), RowKind::Bar, rows.clone()),
            ctx.write(&key("A/Never/T"), RowKind::Bar, rows),
        ];
        record
            .lock()
            .unwrap()
            .extend(results.map(|r| r.unwrap_err().text));
        Ok(())
    });
    let store = open(&SimDisk::new(4), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let errors = errors.lock().unwrap();
    assert!(
        errors[0].contains("unable to match data columns"),
        "{}",
        errors[0]
    );
    assert!(errors[1].contains("holds rows of kind"), "{}", errors[1]);
    assert!(errors[2].contains("timeframe"), "{}", errors[2]);
}

/// Two writes that only contradict each other are found by the engine: the event is given up, the
/// instance goes on.
#[test]
fn a_window_the_engine_refuses_is_given_up() {
    let mut entry = probe("w", "A/**", |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        if batch.rows.times() == [1] {
            let rows = batch.rows.clone();
            let schema = Schema::new(vec![ColumnDef::new("Other", ColumnType::F64)]).unwrap();
            let columns = rows.columns().to_vec();
            let other = ColumnBatch::new(schema, rows.time_column().clone(), columns).unwrap();
            ctx.write(&key("NEW/1Min/T"), RowKind::Tick, rows)?;
            ctx.write(&key("NEW/1Min/T"), RowKind::Tick, other)?;
            return Ok(());
        }
        copy_to("OUT/1Min/T")(ctx, event)
    });
    entry.max_attempts = Some(1);
    let store = open(&SimDisk::new(5), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.write("A/1Min/T", &[2]);
    store.drain();
    let status = &store.host.status()[0];
    assert_eq!(status.state, State::Running, "{}", status.reason);
    assert_eq!(store.times("OUT/1Min/T"), [2]);
    assert_eq!((status.dropped, store.times("NEW/1Min/T").len()), (1, 0));
}

/// After a failed sync dispatch stops and the cursor stays; the restart fires.
#[test]
fn a_poisoned_store_stops_dispatch_and_a_restart_goes_on() {
    let disk = SimDisk::new(6);
    let shared = disk.clone();
    let armed = Arc::new(AtomicUsize::new(0));
    let is_armed = Arc::clone(&armed);
    let entry = probe("c", "A/**", move |ctx, event| {
        copy_to("OUT/1Min/T")(ctx, event)?;
        if is_armed.load(Ordering::Relaxed) == 1 {
            shared.fail_sync_after(0);
        }
        Ok(())
    });
    let store = open(&disk, vec![entry.clone()]);
    store.write("A/1Min/T", &[0]);
    store.drain();
    armed.store(1, Ordering::Relaxed);
    let mut written = vec![0];
    // The next sync is the plugin commit's, unless a segment of the log is being prepared.
    while store.host.status()[0].state == State::Running {
        let next = written.len() as i64;
        store.write("A/1Min/T", &[next]);
        written.push(next);
        store.drain();
    }
    let status = &store.host.status()[0];
    assert_eq!(status.state, State::Failed);
    assert!(status.reason.contains("disk error"), "{}", status.reason);
    assert_eq!(store.times("OUT/1Min/T").len(), written.len() - 1);
    armed.store(0, Ordering::Relaxed);
    store.host.stop();
    let next = disk.reopen();
    drop(store);
    let store = try_open(&next, vec![entry], options()).unwrap();
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), written);
}

/// A full disk is waited out: the same effects are committed once there is room.
#[test]
fn a_full_disk_pauses_dispatch() {
    let disk = SimDisk::new(7);
    let small = engine::Options {
        wal_segment_bytes: 128 << 10,
        frame_bytes_max: 96 << 10,
        ..options()
    };
    let (report, full) = std::sync::mpsc::channel();
    let (report, shared) = (Mutex::new(report), disk.clone());
    let entry = probe("d", "A/**", move |ctx, event| {
        // From here on no new segment of the log can be made.
        shared.set_capacity(Some(shared.used_bytes()));
        let _ = report.lock().unwrap().send(());
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let first = batch.rows.times()[0] * 4000;
        let times: Vec<i64> = (first..first + 4000).collect();
        ctx.write(
            &key("OUT/1Min/T"),
            RowKind::Tick,
            crate::support::ticks(&times),
        )?;
        Ok(())
    });
    let store = try_open(&disk, vec![entry], small).unwrap();
    for n in 0..40 {
        store.write("A/1Min/T", &[n]);
        full.recv().unwrap();
        // Until a plugin commit meets the full disk.
        while store.host.status()[0].state == State::Running {
            if store.host.drain(std::time::Duration::from_millis(20)) {
                break;
            }
        }
        if store.host.status()[0].state == State::Backoff {
            break;
        }
    }
    let status = &store.host.status()[0];
    assert_eq!(status.state, State::Backoff);
    assert!(status.reason.contains("disk is full"), "{}", status.reason);
    let fires = status.fires;
    disk.set_capacity(None);
    store.drain();
    let status = &store.host.status()[0];
    assert_eq!((status.state, status.fires), (State::Running, fires));
    assert_eq!(store.times("OUT/1Min/T").len(), 4000 * fires as usize);
}
