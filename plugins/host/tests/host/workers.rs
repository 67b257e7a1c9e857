//! Background workers: what they do is committed or dropped as a whole, and how they come back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use model::RowKind;
use plugin_host::{Entry, Restart, State};
use plugin_sdk::{CloseReason, Code, PluginError, Query, WorkerCtx};

use crate::support::{closed, copy_to, ended, key, labour, open, options, probe, ticks, try_open};

fn write(ctx: &mut WorkerCtx<'_>, times: &[i64]) -> Result<(), PluginError> {
    ctx.call()
        .write(&key("W/1Min/T"), RowKind::Tick, ticks(times))
}

/// Fails with what `count` says until it says nothing more.
fn times(count: usize) -> impl Fn() -> bool + Send + Sync {
    let seen = AtomicUsize::new(0);
    move || seen.fetch_add(1, Ordering::Relaxed) < count
}

#[test]
fn a_worker_commits_as_it_goes_and_the_rest_at_its_end() {
    let disk = SimDisk::new(1);
    let entry = labour("w", |ctx| {
        write(ctx, &[1])?;
        let query = Query {
            key: &key("W/1Min/T"),
            from: i64::MIN,
            to: i64::MAX,
            columns: None,
            limit: None,
        };
        assert!(ctx.call().query(&query)?.is_none(), "not visible yet");
        ctx.call().publish("news", "said".into());
        ctx.commit()?;
        assert_eq!(ctx.call().query(&query)?.unwrap().times(), [1]);
        write(ctx, &[2])
    });
    let store = open(&disk, vec![entry.clone()]);
    let status = store.until("w", State::Stopped);
    assert_eq!(
        (status.reason.as_str(), status.kind),
        ("finished", "bgworker")
    );
    assert_eq!((status.rows, status.restarts), (2, 0));
    assert_eq!(store.times("W/1Min/T"), [1, 2]);
    assert_eq!(ended(&entry), 1);
    let messages = store.messages.0.lock().unwrap();
    assert_eq!(messages[0].1, "news");
}

#[test]
fn triggers_fire_on_what_a_worker_writes_also_when_both_are_new() {
    let worker = labour("w", |ctx| write(ctx, &[1, 2]));
    let trigger = probe("copy", "W/**", copy_to("OUT/1Min/T"));
    let store = open(&SimDisk::new(2), vec![worker, trigger]);
    store.until("w", State::Stopped);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2]);
}

#[test]
fn an_error_drops_what_is_not_committed_and_the_worker_starts_again() {
    let fails = times(2);
    let entry = labour("w", move |ctx| {
        write(ctx, &[1])?;
        ctx.commit()?;
        write(ctx, &[7])?;
        if fails() {
            return Err("not yet".into());
        }
        Ok(())
    });
    let store = open(&SimDisk::new(3), vec![entry.clone()]);
    let status = store.until("w", State::Stopped);
    assert_eq!(status.restarts, 2);
    assert_eq!(store.times("W/1Min/T"), [1, 1, 1, 7]);
    assert_eq!(closed(&entry, CloseReason::Again), 2);
}

#[test]
fn a_panic_ends_the_object_and_not_the_server() {
    let fails = times(1);
    let entry = labour("w", move |ctx| {
        write(ctx, &[1])?;
        assert!(!fails(), "boom");
        Ok(())
    });
    let store = open(&SimDisk::new(4), vec![entry.clone()]);
    let status = store.until("w", State::Stopped);
    assert_eq!((status.panics, status.restarts), (1, 1));
    assert_eq!(store.times("W/1Min/T"), [1]);
    assert_eq!(closed(&entry, CloseReason::Panic), 1);
    assert_eq!(ended(&entry), 1);
}

#[test]
fn restart_decides_what_follows_an_end() {
    let fail = |_: &mut WorkerCtx<'_>| Err(PluginError::from("broken"));
    let with = |name: &str, restart, entry: Entry| Entry {
        restart,
        name: Some(name.into()),
        ..entry
    };
    let wrong = |_: &mut WorkerCtx<'_>| Err(PluginError::new(Code::Config, "wrong key"));
    let entries = vec![
        with("never", Restart::Never, labour("", fail)),
        with("on-failure", Restart::OnFailure, labour("", fail)),
        with("config", Restart::Always, labour("", wrong)),
        with("always", Restart::Always, labour("", |_| Ok(()))),
    ];
    let store = open(&SimDisk::new(5), entries);
    let never = store.until("never", State::Failed);
    assert_eq!((never.reason.as_str(), never.restarts), ("broken", 0));
    let often = store.until("on-failure", State::Failed);
    assert_eq!(
        often.reason,
        "failed 10 times in 600 s, the last time: broken"
    );
    assert_eq!(often.restarts, 9);
    let config = store.until("config", State::Failed);
    assert_eq!((config.reason.as_str(), config.restarts), ("wrong key", 0));
    // An end without an error is no reason to stop.
    store.until_it("always", |status| status.restarts > 30);
}

#[test]
fn stop_ends_a_sleep_and_commits_what_the_worker_leaves() {
    let disk = SimDisk::new(6);
    let slept = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&slept);
    let asleep = Arc::new(AtomicUsize::new(0));
    let sleeping = Arc::clone(&asleep);
    let entry = labour("w", move |ctx| {
        write(ctx, &[1])?;
        sleeping.store(1, Ordering::Release);
        let whole = ctx.sleep(Duration::from_secs(3600));
        *seen.lock().unwrap() = Some((whole, ctx.is_cancelled()));
        Ok(())
    });
    let store = open(&disk, vec![entry.clone()]);
    while asleep.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    store.host.stop();
    assert_eq!(*slept.lock().unwrap(), Some((false, true)));
    assert_eq!(store.status("w").state, State::Stopped);
    assert_eq!(store.times("W/1Min/T"), [1]);
    assert_eq!(ended(&entry), 1);
}

#[test]
fn what_does_not_fit_and_what_workers_cannot_have_is_refused_at_the_call() {
    let disk = SimDisk::new(7);
    let entry = labour("w", |ctx| {
        write(ctx, &[1])?;
        ctx.commit()?;
        ctx.call().set_timer(b"k", 5, b"").unwrap_err();
        assert!(
            ctx.call()
                .write(&key("W/1Min/T"), RowKind::Bar, ticks(&[2]))
                .is_err()
        );
        write(ctx, &[3])
    });
    let store = open(&disk, vec![entry]);
    store.until("w", State::Stopped);
    assert_eq!(store.times("W/1Min/T"), [1, 3]);
}

#[test]
fn a_worker_that_hangs_is_given_up_and_can_write_no_more() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (report, answer) = std::sync::mpsc::channel();
    let (released, report) = (Mutex::new(released), Mutex::new(report));
    let entry = labour("w", move |ctx| {
        write(ctx, &[1])?;
        ctx.commit()?;
        // Deaf until the host has given up.
        let _ = released.lock().unwrap().recv();
        let late = [write(ctx, &[2]), ctx.commit()];
        let _ = report.lock().unwrap().send(late);
        Ok(())
    });
    let store = open(&SimDisk::new(8), vec![entry]);
    store.until_it("w", |status| status.rows == 1);
    store.host.stop();
    release.send(()).unwrap();
    let late = answer.recv().unwrap().map(|late| late.unwrap_err().code);
    assert_eq!(late, [Code::Stale, Code::Cancelled]);
    assert_eq!(store.times("W/1Min/T"), [1]);
}

/// The epoch and the chain of plugin commits go on over restarts of the instance and the store.
#[test]
fn plugin_commits_of_a_worker_are_one_chain_over_restarts() {
    let mut disk = SimDisk::new(9);
    for life in 0..4 {
        let fails = times(1);
        let entry = labour("w", move |ctx| {
            write(ctx, &[life])?;
            ctx.commit()?;
            if fails() { Err("once".into()) } else { Ok(()) }
        });
        let store = try_open(&disk, vec![entry], options()).unwrap();
        store.until("w", State::Stopped);
        if life == 2 {
            store.engine.checkpoint().unwrap();
        }
        store.host.stop();
        assert_eq!(store.times("W/1Min/T").len() as i64, 2 * (life + 1));
        disk = disk.reopen();
    }
}
