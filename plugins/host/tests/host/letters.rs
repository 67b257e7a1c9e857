//! T21: dead letters are stored with the cursor, survive checkpoints and crashes, and fire again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use disk::Disk as _;
use disk::sim::SimDisk;
use plugin_host::{DeadLetter, Entry};
use plugin_sdk::{Code, Event, FireError};

use crate::support::{Store, copy_to, key, open, probe};

/// Fails on rows with odd times while `fails`, else copies them.
fn entry(fails: &Arc<AtomicBool>) -> Entry {
    let fails = Arc::clone(fails);
    let copy = copy_to("OUT/1Min/T");
    Entry {
        max_attempts: Some(2),
        ..probe("one", "A/**", move |ctx, event| {
            if let Event::Write(batch) = event
                && batch.rows.times()[0] % 2 == 1
                && fails.load(Ordering::Relaxed)
            {
                return Err(FireError::Retry("the odd ones fail".into()));
            }
            copy(ctx, event)
        })
    }
}

fn times(letters: &[DeadLetter]) -> Vec<i64> {
    letters.iter().map(|one| one.times.unwrap().0).collect()
}

impl Store {
    fn letters(&self) -> Vec<DeadLetter> {
        self.host.dead_letters("one").unwrap()
    }

    /// Orders are worked on between two windows.
    fn wait_for_letters(&self, count: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.letters().len() != count && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(self.letters().len(), count);
    }
}

#[test]
fn dead_letters_survive_and_fire_again_exactly_once() {
    for is_clean in [true, false] {
        let fails = Arc::new(AtomicBool::new(true));
        let disk = SimDisk::new(1);
        let end = |store: Store, disk: SimDisk| {
            if is_clean {
                store.close();
            } else {
                store.host.stop();
            }
            disk.reopen()
        };
        let store = open(&disk, vec![entry(&fails)]);
        for n in 1..=4 {
            store.write("A/1Min/T", &[n]);
            store.drain();
        }
        store.engine.checkpoint().unwrap();
        store.write("A/1Min/T", &[5]);
        store.drain();
        assert_eq!(store.times("OUT/1Min/T"), [2, 4]);
        let before = store.letters();
        assert_eq!(times(&before), [1, 3, 5]);
        let first = &before[0];
        assert_eq!((first.attempts, first.code), (2, Code::Error as i32));
        assert_eq!(
            (first.message.as_str(), first.event, first.rows),
            ("the odd ones fail", "write", 1)
        );
        assert_eq!(first.key, Some(key("A/1Min/T")));
        let (_, rows) = store
            .host
            .dead_letter_rows("one", first.id)
            .unwrap()
            .unwrap();
        assert_eq!(rows.times(), [1]);
        assert_eq!(store.status("one").dead_letters, 3);
        let disk = end(store, disk);

        let store = open(&disk, vec![entry(&fails)]);
        assert_eq!(store.letters(), before);
        // It fails again: it stays.
        assert_eq!(
            store
                .host
                .replay_dead_letters("one", Some(&[first.id]))
                .unwrap(),
            1
        );
        store.write("A/1Min/T", &[6]);
        store.drain();
        assert_eq!(store.letters(), before);
        fails.store(false, Ordering::Relaxed);
        let some = [before[0].id, before[2].id];
        assert_eq!(
            store.host.replay_dead_letters("one", Some(&some)).unwrap(),
            2
        );
        store.wait_for_letters(1);
        assert_eq!(store.times("OUT/1Min/T"), [1, 2, 4, 5, 6]);
        let disk = end(store, disk);

        let store = open(&disk, vec![entry(&fails)]);
        assert_eq!(times(&store.letters()), [3]);
        let error = store
            .host
            .drop_dead_letters("one", Some(&some))
            .unwrap_err();
        assert!(error.to_string().contains(&some[0].to_string()), "{error}");
        assert_eq!(store.host.drop_dead_letters("one", None).unwrap(), 1);
        store.wait_for_letters(0);
        let disk = end(store, disk);

        let store = open(&disk, vec![entry(&fails)]);
        assert_eq!(store.letters(), []);
        assert_eq!(store.times("OUT/1Min/T"), [1, 2, 4, 5, 6]);
        store.close();
        if is_clean {
            assert_eq!(disk.list("plugins/one/dlq").unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn dead_letters_of_an_instance_that_is_off_can_be_dropped_not_fired() {
    let fails = Arc::new(AtomicBool::new(true));
    let disk = SimDisk::new(2);
    let store = open(&disk, vec![entry(&fails)]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.write("A/1Min/T", &[3]);
    store.drain();
    store.close();
    let off = Entry {
        enabled: Some(false),
        ..entry(&fails)
    };
    let store = open(&disk, vec![off.clone()]);
    let letters = store.letters();
    let error = store.host.replay_dead_letters("one", None).unwrap_err();
    assert!(
        error.to_string().contains("is disabled: start it"),
        "{error}"
    );
    store
        .host
        .drop_dead_letters("one", Some(&[letters[1].id]))
        .unwrap();
    assert_eq!(times(&store.letters()), [1]);
    store.host.stop();
    let store = open(&disk.reopen(), vec![off]);
    assert_eq!(times(&store.letters()), [1]);
    assert_eq!(letters[1].id.to_string().parse(), Ok(letters[1].id));
    store.close();
}

/// Every crash point of a run with letters, checkpoints and a replay: each odd row is a dead letter
/// or copied, never both, never neither.
#[test]
fn a_row_is_copied_or_a_dead_letter_over_every_crash_point() {
    // A second attempt would wait for a tenth of a second.
    let entry = |fails: &Arc<AtomicBool>| Entry {
        max_attempts: Some(1),
        ..entry(fails)
    };
    let life = |disk: &SimDisk, fails: &Arc<AtomicBool>| -> Option<()> {
        let store =
            crate::support::try_open(disk, vec![entry(fails)], crate::support::options()).ok()?;
        let wait = Duration::from_secs(20);
        fails.store(true, Ordering::Relaxed);
        for n in 1..=4 {
            if store.try_write("A/1Min/T", &[n]).is_err() {
                break;
            }
            store.host.drain(wait);
            if n == 2 {
                let _ = store.engine.checkpoint();
            }
        }
        fails.store(false, Ordering::Relaxed);
        let _ = store.host.replay_dead_letters("one", None);
        let _ = store.try_write("A/1Min/T", &[6]);
        store.host.drain(wait);
        let _ = store.engine.checkpoint();
        store.host.stop();
        let _ = store.engine.close();
        Some(())
    };
    let fails = Arc::new(AtomicBool::new(true));
    let whole = SimDisk::new(0);
    life(&whole, &fails).unwrap();
    for calls in 0..whole.call_count() {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        life(&disk, &fails);
        fails.store(true, Ordering::Relaxed);
        let store = open(&disk.reopen(), vec![entry(&fails)]);
        store.drain();
        let mut all = store.times("OUT/1Min/T");
        all.extend(times(&store.letters()));
        all.sort_unstable();
        assert_eq!(all, store.times("A/1Min/T"), "crash after {calls} calls");
        store.host.stop();
    }
}
