//! Fires in our own process that take too long: nothing can end them, and nobody waits for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::sim::SimDisk;
use model::RowKind;
use plugin_host::{Entry, State};
use plugin_sdk::{CloseReason, Code, Event, FireCtx, FireError};

use crate::support::{closed, copy_to, keeper, key, open, probe, ticks};

/// Blocks a fire until the test lets it go.
struct Gate {
    go: Sender<()>,
    wait: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    fn new() -> Self {
        let (go, wait) = channel();
        let wait = Arc::new(Mutex::new(wait));
        Self { go, wait }
    }

    fn waiter(&self) -> impl Fn() + Send + Sync + use<> {
        let wait = Arc::clone(&self.wait);
        move || {
            let _ = wait.lock().unwrap().recv();
        }
    }
}

fn soon(entry: Entry) -> Entry {
    Entry {
        timeout: Duration::from_millis(30),
        ..entry
    }
}

/// At its time it is asked to end, at twice the time it is given up: then its calls are STALE, and
/// when it returns nothing of it has happened and another object is tried.
#[test]
fn a_fire_that_hangs_is_given_up_and_tried_again_when_it_returns() {
    let gate = Gate::new();
    let (wait, tries) = (gate.waiter(), AtomicUsize::new(0));
    let (report, codes) = channel();
    let report = Mutex::new(report);
    let entry = soon(probe("h", "A/**", move |ctx, event| {
        ctx.state().incr("n", 1)?;
        copy_to("OUT/1Min/T")(ctx, event)?;
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            while !ctx.is_cancelled() {
                std::thread::yield_now();
            }
            wait();
            let row = ticks(&[1]);
            let codes = [
                ctx.write(&key("OUT/1Min/T"), RowKind::Tick, row)
                    .unwrap_err()
                    .code,
                ctx.set_timer(b"t", 0, b"").unwrap_err().code,
                ctx.state().incr("n", 1).unwrap_err().code,
            ];
            report.lock().unwrap().send(codes).unwrap();
        }
        Ok(())
    }));
    let other = probe("other", "A/**", copy_to("OTHER/1Min/T"));
    let store = open(&SimDisk::new(1), vec![entry.clone(), other]);
    store.write("A/1Min/T", &[1]);
    // The clocks of a test store stand until they are told.
    store.until_it("h", |_| {
        store.clock.advance(Duration::from_millis(1));
        store.status("h").state == State::Hung
    });
    // Asked, and given up by the watch as well.
    store.until_it("other", |_| store.times("OTHER/1Min/T") == [1]);
    store.write("A/1Min/T", &[2]);
    store.until_it("other", |_| store.times("OTHER/1Min/T") == [1, 2]);
    assert_eq!(store.status("h").state, State::Hung);
    std::thread::sleep(Duration::from_millis(40));
    gate.go.send(()).unwrap();
    assert_eq!(codes.recv().unwrap(), [Code::Stale; 3]);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2]);
    assert_eq!(store.counter("h", "", "n"), 2);
    let status = store.status("h");
    assert_eq!(
        (status.state, status.failures, status.timers),
        (State::Running, 1, 0)
    );
    assert_eq!(closed(&entry, CloseReason::Again), 1);
    store.close();
}

/// A thread among several hangs: it shows, though the others have long finished.
#[test]
fn one_hung_thread_of_several_is_shown() {
    let gate = Gate::new();
    let wait = gate.waiter();
    let mut entry = soon(keeper("keyed1", "k", "*/1Min/T", move |ctx, event| {
        if let Event::Write(batch) = event
            && batch.key.symbol() == "A"
            && ctx.info().attempt == 1
        {
            wait();
        }
        copy_to("OUT/1Min/T")(ctx, event)
    }));
    entry.parallelism = 4;
    let store = open(&SimDisk::new(2), vec![entry]);
    for symbol in ["A", "B", "C", "D", "E"] {
        store.write(&format!("{symbol}/1Min/T"), &[1]);
    }
    store.until_it("k", |_| {
        store.clock.advance(Duration::from_millis(1));
        store.status("k").state == State::Hung
    });
    gate.go.send(()).unwrap();
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1; 5]);
    store.close();
}

/// Neither a stop nor a restart of the instance waits for a fire that never returns.
#[test]
fn a_stop_waits_for_no_fire_that_hangs() {
    let gate = Gate::new();
    let wait = gate.waiter();
    let entry = soon(probe(
        "h",
        "A/**",
        move |ctx: &mut FireCtx<'_>, event: &Event<'_>| {
            if ctx.info().attempt == 1 {
                wait();
            }
            copy_to("OUT/1Min/T")(ctx, event).map_err(|_| FireError::Retry("late".into()))
        },
    ));
    let store = open(&SimDisk::new(3), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.until_it("h", |_| {
        store.clock.advance(Duration::from_millis(1));
        store.status("h").state == State::Hung
    });
    store.host.stop();
    store.engine.close().unwrap();
    assert_eq!(store.times("OUT/1Min/T"), [0; 0]);
    drop(gate);
}
