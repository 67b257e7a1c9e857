//! T39: ticks of `schedule:`.

use std::sync::{Arc, Mutex};

use disk::sim::SimDisk;
use plugin_host::{Entry, OnError, Schedule};
use plugin_sdk::{Delivery, Event, FireCtx, FireError};

use crate::support::{Store, copy_to, key, open, probe, ticks};

/// The clock of a test store begins here: a multiple of 5 minutes and 100 s behind.
const START: i64 = 1_600_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// First tick of "every 5m" behind [`START`].
const FIRST: i64 = START + 200 * SECOND;

type Seen = Arc<Mutex<Vec<(Vec<u8>, i64)>>>;

/// Writes a row for each tick, at its due time.
fn ticking(schedule: &str, delivery: Delivery) -> (Entry, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let mut entry = probe("t", "A/**", move |ctx, event| {
        if let Event::Timer { key: of, due, .. } = event {
            record.lock().unwrap().push((of.to_vec(), *due));
            ctx.write(&key("OUT/1Min/T"), model::RowKind::Tick, ticks(&[*due]))?;
        }
        copy_to("COPY/1Min/T")(ctx, event)
    });
    entry.schedule = Some(Schedule::parse(schedule).unwrap());
    entry.delivery = Some(delivery);
    (entry, seen)
}

/// Puts the clock to a time and waits for the tick that is due.
fn pass(store: &Store, to: i64, fires: u64) {
    store.clock.set_wall(to);
    // Also what wakes a dispatcher that waits for news.
    store.write("B/1Min/T", &[to]);
    store.until_it("t", |status| status.fires >= fires);
    // In a later window: then the tick's is committed.
    store.write("B/1Min/T", &[to]);
    store.drain();
}

#[test]
fn ticks_come_with_the_clock_and_missed_ones_are_one() {
    for delivery in [Delivery::Volatile, Delivery::Durable, Delivery::Exact] {
        let (entry, seen) = ticking("every 5m", delivery);
        let disk = SimDisk::new(1);
        let store = open(&disk, vec![entry.clone()]);
        assert_eq!(store.status("t").timers, 1);
        pass(&store, FIRST, 1);
        // Three are missed.
        pass(&store, FIRST + 1000 * SECOND, 2);
        pass(&store, FIRST + 1200 * SECOND, 3);
        let due = [0, 300, 1200].map(|s| FIRST + s * SECOND);
        assert_eq!(store.times("OUT/1Min/T"), due);
        let expected: Vec<_> = due
            .iter()
            .map(|due| (b"__schedule".to_vec(), *due))
            .collect();
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(store.status("t").timers, 1);
        store.close();
    }
}

/// An overdue tick fires once after a crash; one that has fired does not come again.
#[test]
fn a_tick_is_as_durable_as_its_commit() {
    let (entry, seen) = ticking("every 5m", Delivery::Exact);
    let disk = SimDisk::new(2);
    let store = open(&disk, vec![entry.clone()]);
    pass(&store, FIRST, 1);
    store.host.stop();
    let disk = disk.reopen();
    let store = open(&disk, vec![entry.clone()]);
    // The clock of a new store begins at the start again: the tick that fired is not due twice.
    store.write("A/1Min/T", &[1]);
    store.drain();
    assert_eq!(seen.lock().unwrap().len(), 1);
    store.host.stop();
    let store = open(&disk.reopen(), vec![entry]);
    pass(&store, FIRST + 900 * SECOND, 1);
    let due: Vec<i64> = seen.lock().unwrap().iter().map(|(_, due)| *due).collect();
    assert_eq!(due[0], FIRST);
    assert_eq!(due.len(), 2, "{due:?}");
    store.close();
}

/// Another schedule takes the place of the one before, none takes its timer away.
#[test]
fn a_changed_schedule_counts_from_the_next_start() {
    let (mut entry, seen) = ticking("every 5m", Delivery::Exact);
    let disk = SimDisk::new(3);
    open(&disk, vec![entry.clone()]).close();
    entry.schedule = Some(Schedule::parse("every 7m").unwrap());
    let store = open(&disk, vec![entry.clone()]);
    assert_eq!(store.status("t").timers, 1);
    pass(&store, FIRST, 1);
    assert_eq!(seen.lock().unwrap()[0].1, START + 80 * SECOND);
    store.close();
    entry.schedule = None;
    let store = open(&disk, vec![entry]);
    assert_eq!(store.status("t").timers, 0);
    store.close();
}

/// A tick that fails to the end is given up, and the next one comes all the same.
#[test]
fn a_tick_given_up_is_not_the_last() {
    for on_error in [OnError::DeadLetter, OnError::Skip] {
        let mut entry = probe("t", "A/**", |ctx: &mut FireCtx<'_>, event: &Event<'_>| {
            let Event::Timer { due, .. } = event else {
                return Ok(());
            };
            // The host's timers are not the plugin's.
            ctx.cancel_timer(b"__schedule");
            let error = ctx.set_timer(b"__schedule", 0, b"").unwrap_err();
            assert!(error.text.contains("are the host's"), "{}", error.text);
            match *due {
                FIRST => Err(FireError::Retry("told to fail".into())),
                _ => Ok(()),
            }
        });
        entry.schedule = Some(Schedule::parse("every 5m").unwrap());
        entry.max_attempts = Some(1);
        entry.on_error = Some(on_error);
        let store = open(&SimDisk::new(4), vec![entry]);
        pass(&store, FIRST, 1);
        pass(&store, FIRST + 300 * SECOND, 2);
        let status = store.status("t");
        assert_eq!((status.failures, status.timers), (1, 1));
        store.close();
    }
}
