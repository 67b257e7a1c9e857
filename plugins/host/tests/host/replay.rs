//! What a trigger would write, beside what is stored.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use engine::{Commit, DeleteRange, Origin, Rows};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Scalar, Schema};
use plugin_host::{BucketDiff, Difference, Entry, ReplayOptions, ReplayReport, Restart, Schedule};
use plugin_sdk::{Event, FireCtx, FireError, Query, QueryLimit};

use crate::support::{Store, key, labour, open, probe, ticks};

const MINUTE: i64 = 60_000_000_000;

fn bars(rows: &[(i64, f64)]) -> ColumnBatch {
    let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F64)]).unwrap();
    let times = rows.iter().map(|(time, _)| time * MINUTE).collect();
    let prices: Vec<f64> = rows.iter().map(|(_, price)| *price).collect();
    let columns = vec![Column::from_values(prices)];
    ColumnBatch::new(schema, Column::from_values::<i64>(times), columns).unwrap()
}

fn write_bars(store: &Store, to: &str, rows: &[(i64, f64)]) {
    let commit = Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![Rows {
            key: key(to),
            batch: bars(rows),
            create: Some(RowKind::Bar),
        }],
        section: None,
    };
    store.engine.write(commit).unwrap().wait().unwrap();
}

/// The sum of the prices of each five minutes, from what is stored, as a trigger that aggregates.
fn five(ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
    let Event::Write(batch) = event else {
        return Ok(());
    };
    let mut windows: Vec<i64> = batch
        .rows
        .times()
        .iter()
        .map(|t| t / MINUTE / 5 * 5)
        .collect();
    windows.dedup();
    for window in windows {
        let rows = ctx.query(&Query {
            key: batch.key,
            from: window * MINUTE,
            to: (window + 5) * MINUTE - 1,
            columns: None,
            limit: None,
        })?;
        let rows = rows.unwrap();
        let prices = rows.columns()[0].values::<f64>().unwrap();
        let to = key(&format!("{}/5Min/S", batch.key.symbol()));
        let sum = bars(&[(window, prices.iter().sum())]);
        ctx.write(&to, RowKind::Bar, sum)?;
    }
    Ok(())
}

fn counts(bucket: &BucketDiff) -> (&str, u64, u64, u64, u64, u64) {
    (
        bucket.key.as_str(),
        bucket.computed,
        bucket.equal,
        bucket.different,
        bucket.missing,
        bucket.extra,
    )
}

fn all() -> ReplayOptions {
    ReplayOptions::dry_run(i64::MIN, i64::MAX)
}

fn replay(store: &Store, id: &str) -> ReplayReport {
    store.host.replay(id, &all()).unwrap()
}

#[test]
fn exactly_what_is_wrong_is_found_and_mended() {
    let store = open(&SimDisk::new(1), vec![probe("five", "*/1Min/T", five)]);
    for symbol in ["A", "B"] {
        for minute in 0..40 {
            write_bars(&store, &format!("{symbol}/1Min/T"), &[(minute, 1.0)]);
        }
    }
    write_bars(&store, "A/1Min/Other", &[(1, 9.0)]);
    store.drain();
    let before = store.status("five");
    let report = replay(&store, "five");
    assert!(report.is_equal() && report.shown.is_empty(), "{report:?}");
    assert_eq!((report.rows, report.failures, report.written), (80, 0, 0));
    let expected = [("A/5Min/S", 8, 8, 0, 0, 0), ("B/5Min/S", 8, 8, 0, 0, 0)];
    assert_eq!(
        report.buckets.iter().map(counts).collect::<Vec<_>>(),
        expected
    );

    write_bars(&store, "A/5Min/S", &[(10, 7.0), (500, 2.0)]);
    let gone = DeleteRange {
        key: key("B/5Min/S"),
        from: 15 * MINUTE,
        to: 15 * MINUTE,
    };
    store.engine.delete(&[gone]).unwrap();
    let report = replay(&store, "five");
    let expected = [("A/5Min/S", 8, 7, 1, 0, 1), ("B/5Min/S", 8, 7, 0, 1, 0)];
    assert_eq!(
        report.buckets.iter().map(counts).collect::<Vec<_>>(),
        expected
    );
    let shown = report.shown.iter().map(|row| {
        let [column] = &row.columns[..] else {
            panic!("{row:?}");
        };
        assert_eq!(column.name, "Price");
        let value = |value| match value {
            None => 0.0,
            Some(Scalar::F64(value)) => value,
            other => panic!("{other:?}"),
        };
        let (stored, computed) = (value(column.stored.clone()), value(column.computed.clone()));
        (
            row.key.as_str(),
            row.time / MINUTE,
            row.found,
            stored,
            computed,
        )
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("A/5Min/S", 10, Difference::Different, 7.0, 5.0),
            ("A/5Min/S", 500, Difference::Extra, 2.0, 0.0),
            ("B/5Min/S", 15, Difference::Missing, 0.0, 5.0),
        ]
    );
    // Only as many as are asked for; the counts are of all.
    let one = ReplayOptions { shown: 1, ..all() };
    let report = store.host.replay("five", &one).unwrap();
    assert_eq!((report.shown.len(), report.buckets[1].missing), (1, 1));
    // Of a narrower range, only what belongs to it.
    let range = ReplayOptions::dry_run(12 * MINUTE, 16 * MINUTE);
    let report = store.host.replay("five", &range).unwrap();
    let expected = [("A/5Min/S", 2, 1, 1, 0, 0), ("B/5Min/S", 2, 1, 0, 1, 0)];
    assert_eq!(
        report.buckets.iter().map(counts).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(report.rows, 10);

    // A dry run has changed nothing; what is written are the two rows that were wrong.
    let after = store.status("five");
    assert_eq!(
        (after.fires, after.rows, after.timers),
        (before.fires, before.rows, before.timers)
    );
    let report = store.host.replay(
        "five",
        &ReplayOptions {
            write: true,
            ..all()
        },
    );
    assert_eq!(report.unwrap().written, 2);
    let report = replay(&store, "five");
    let expected = [("A/5Min/S", 8, 8, 0, 0, 1), ("B/5Min/S", 8, 8, 0, 0, 0)];
    assert_eq!(
        report.buckets.iter().map(counts).collect::<Vec<_>>(),
        expected
    );
    store.close();
}

/// State begins empty, and neither it nor messages, timers and logs reach the instance.
#[test]
fn a_replay_has_state_of_its_own() {
    let entry = probe("sum", "A/1Min/T", |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        for time in batch.rows.times() {
            let sum = ctx.state().incr("n", 1)?;
            ctx.write(
                &key("SUM/1Min/S"),
                RowKind::Bar,
                bars(&[(time / MINUTE, sum as f64)]),
            )?;
        }
        ctx.publish("s", "message".into());
        ctx.set_timer(b"t", i64::MAX, b"")?;
        Ok(())
    });
    let store = open(&SimDisk::new(2), vec![entry]);
    for minute in 0..10 {
        write_bars(&store, "A/1Min/T", &[(minute, 1.0)]);
    }
    store.drain();
    let (cursor, sent) = (
        store.status("sum").cursor,
        store.messages.0.lock().unwrap().len(),
    );
    for _ in 0..2 {
        let range = ReplayOptions::dry_run(0, 60 * MINUTE);
        let report = store.host.replay("sum", &range).unwrap();
        assert!(report.is_equal(), "{report:?}");
        assert_eq!((report.rows, report.messages), (10, report.events));
        assert_eq!((report.timers, report.timers_pending), (0, 1));
    }
    assert_eq!(store.counter("sum", "", "n"), 10);
    assert_eq!(store.messages.0.lock().unwrap().len(), sent);
    assert_eq!(store.status("sum").cursor, cursor);
    store.close();
}

/// Of ticks those count that only one side has, as often as they are there.
#[test]
fn ticks_of_one_time_are_told_apart_by_what_they_hold() {
    let entry = probe("copy", "A/1Min/T", |ctx, event| match event {
        Event::Write(batch) => ctx
            .write(&key("OUT/1Min/T"), RowKind::Tick, batch.rows.clone())
            .map_err(Into::into),
        _ => Ok(()),
    });
    let store = open(&SimDisk::new(3), vec![entry]);
    store.write("A/1Min/T", &[5, 5, 7]);
    store.drain();
    assert!(replay(&store, "copy").is_equal());
    store.write("OUT/1Min/T", &[5]);
    store
        .engine
        .delete(&[DeleteRange {
            key: key("OUT/1Min/T"),
            from: 7,
            to: 7,
        }])
        .unwrap();
    let report = replay(&store, "copy");
    assert_eq!(counts(&report.buckets[0]), ("OUT/1Min/T", 3, 2, 0, 1, 1));
    let write = ReplayOptions {
        write: true,
        ..all()
    };
    assert_eq!(store.host.replay("copy", &write).unwrap().written, 1);
    assert_eq!(store.times("OUT/1Min/T"), [5, 5, 5, 7]);
    store.close();
}

/// Time is that of the rows: a timer set by one fires before the rows behind it.
#[test]
fn timers_fire_in_the_time_of_the_rows() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let mut entry = probe("shelf", "*/1Min/T", move |ctx, event| {
        let now = ctx.info().now;
        if !ctx.info().is_replay {
            return Ok(());
        }
        let mut seen = record.lock().unwrap();
        match event {
            Event::Write(batch) => {
                for time in batch.rows.times() {
                    let window = (time / MINUTE / 5 + 1) * 5;
                    let name = format!("{} until {window}", batch.key.symbol());
                    ctx.set_timer(name.as_bytes(), window * MINUTE, b"shelf")?;
                    seen.push(format!("{} {}", batch.key.symbol(), time / MINUTE));
                }
                assert_eq!(
                    now,
                    batch.rows.times().iter().copied().max().unwrap().max(now)
                );
            }
            Event::Timer { key, due, payload } => {
                assert_eq!((now, *payload), (*due, &b"shelf"[..]));
                let key = String::from_utf8_lossy(key);
                seen.push(format!("({key})"));
            }
            _ => {}
        }
        Ok(())
    });
    // The clock of the wall is another: its ticks do not come.
    entry.schedule = Some(Schedule::parse("every 100ms").unwrap());
    let store = open(&SimDisk::new(4), vec![entry]);
    write_bars(
        &store,
        "A/1Min/T",
        &[(0, 1.0), (1, 1.0), (5, 1.0), (11, 1.0), (14, 1.0)],
    );
    write_bars(&store, "B/1Min/T", &[(2, 1.0), (11, 1.0)]);
    store.drain();
    let until = |minute: i64| ReplayOptions::dry_run(0, minute * MINUTE);
    let report = store.host.replay("shelf", &until(12)).unwrap();
    let expected = [
        "A 0",
        "A 1",
        "B 2",
        "(A until 5)",
        "(B until 5)",
        "A 5",
        "(A until 10)",
        "A 11",
        "B 11",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!((report.timers, report.timers_pending), (3, 2));
    seen.lock().unwrap().clear();
    let report = store.host.replay("shelf", &until(20)).unwrap();
    assert_eq!((report.timers, report.timers_pending), (5, 0));
    assert_eq!(seen.lock().unwrap().last().unwrap(), "(B until 15)");
    store.close();
}

#[test]
fn what_fails_is_counted_and_what_cannot_be_replayed_is_said() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let bad = probe("bad", "A/1Min/T", move |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        if !ctx.info().is_replay {
            return Ok(());
        }
        count.fetch_add(1, Ordering::Relaxed);
        ctx.write(&key("OUT/1Min/T"), RowKind::Tick, batch.rows.clone())?;
        match (batch.rows.times()[0], ctx.info().attempt) {
            (1, 1) => panic!("told to"),
            (1, _) => Ok(()),
            (_, _) => Err(FireError::Retry("never".into())),
        }
    });
    let fatal = probe("fatal", "A/1Min/T", |ctx, _| match ctx.info().is_replay {
        true => Err(FireError::Fatal("cannot".into())),
        false => Ok(()),
    });
    let worker = Entry {
        restart: Restart::Never,
        ..labour("worker", |_| Ok(()))
    };
    let off = Entry {
        enabled: Some(false),
        ..probe("off", "A/1Min/T", |_, _| Ok(()))
    };
    let store = open(&SimDisk::new(5), vec![bad, fatal, worker, off]);
    store.write("A/1Min/T", &[1]);
    // Far enough away for another slice of time.
    store.write("A/1Min/T", &[5 * MINUTE]);
    store.drain();
    let report = replay(&store, "bad");
    assert_eq!((report.events, report.failures), (2, 1));
    assert_eq!(calls.load(Ordering::Relaxed), 2 + 5);
    let first = report.first_failure.unwrap();
    assert!(
        first.ends_with("never") && first.contains("1 rows of A/1Min/T"),
        "{first}"
    );
    assert_eq!(counts(&report.buckets[0]), ("OUT/1Min/T", 1, 0, 0, 1, 0));
    let refused = |id: &str, options: ReplayOptions| {
        let error = store.host.replay(id, &options).unwrap_err();
        error.to_string()
    };
    for (id, options, why) in [
        ("fatal", all(), "cannot"),
        ("worker", all(), "it is a bgworker; only triggers are fired"),
        ("off", all(), "enabled: false"),
        ("nobody", all(), "nobody"),
        ("bad", ReplayOptions::dry_run(2, 1), "from is behind to"),
    ] {
        let error = refused(id, options);
        assert!(error.contains(why), "{error}");
    }
    store.close();
}

/// A replay waits in a fire: writers, the instance itself and a second replay do not wait for it.
#[test]
fn nobody_waits_for_a_replay() {
    let (go, wait) = channel::<()>();
    let (told, began) = channel();
    let (wait, told) = (Mutex::new(wait), Mutex::new(told));
    let entry = probe("slow", "A/1Min/T", move |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        if ctx.info().is_replay {
            told.lock().unwrap().send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        }
        ctx.write(&key("OUT/1Min/T"), RowKind::Tick, batch.rows.clone())
            .map_err(Into::into)
    });
    let store = open(&SimDisk::new(6), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let host = store.host.clone();
    let range = ReplayOptions::dry_run(0, 1);
    let replaying = std::thread::spawn(move || host.replay("slow", &range));
    began.recv().unwrap();
    store.write("A/1Min/T", &[2]);
    store.drain();
    store.engine.checkpoint().unwrap();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2]);
    let error = store.host.replay("slow", &all()).unwrap_err().to_string();
    assert!(
        error.contains("another replay of it is under way"),
        "{error}"
    );
    go.send(()).unwrap();
    let report = replaying.join().unwrap().unwrap();
    assert!(report.is_equal(), "{report:?}");
    store.close();
}

/// A fire that does not end is left alone: its late effects are refused as STALE.
#[test]
fn a_fire_that_hangs_ends_the_replay() {
    let (go, wait) = channel::<()>();
    let (told, ended) = channel();
    let (wait, told) = (Mutex::new(wait), Mutex::new(told));
    let is_first = AtomicBool::new(true);
    let mut entry = probe("hang", "A/1Min/T", move |ctx, event| {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        if ctx.info().is_replay && is_first.swap(false, Ordering::Relaxed) {
            let _ = wait.lock().unwrap().recv();
            let out = key("OUT/1Min/T");
            let query = Query {
                key: batch.key,
                from: 0,
                to: 9,
                columns: None,
                limit: Some(QueryLimit::First(1)),
            };
            let codes = [
                ctx.write(&out, RowKind::Tick, ticks(&[1]))
                    .unwrap_err()
                    .code,
                ctx.query(&query).unwrap_err().code,
                ctx.set_timer(b"t", 1, b"").unwrap_err().code,
                ctx.state().put("k", b"v").unwrap_err().code,
                ctx.state().counter("n").unwrap_err().code,
            ];
            assert!(ctx.is_cancelled());
            told.lock().unwrap().send(codes).unwrap();
        }
        Ok(())
    });
    entry.timeout = Duration::from_millis(20);
    let store = open(&SimDisk::new(7), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let error = store.host.replay("hang", &all()).unwrap_err().to_string();
    assert!(error.contains("a fire hangs"), "{error}");
    assert!(replay(&store, "hang").is_equal());
    go.send(()).unwrap();
    assert_eq!(ended.recv().unwrap(), [plugin_sdk::Code::Stale; 5]);
    store.close();
}
