//! Sources: T40, T41. Rows and token are one commit, so a feed that can be read again is stored once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use disk::sim::SimDisk;
use plugin_host::{Entry, Restart, State, WindowOptions};
use plugin_sdk::{CloseReason, Code, More, PluginError};

use crate::support::{closed, copy_to, ended, feed, open, options, probe, try_open};

/// How many numbers a feed of these tests has.
const LENGTH: i64 = 60;

/// A feed that brings one to four numbers a batch and ends behind the last.
fn numbers() -> Entry {
    feed("numbers", |feed, out, _| {
        let left = LENGTH - feed.next;
        if left == 0 {
            return Ok(More::End);
        }
        feed.bring(out, left.min(1 + feed.next % 4))?;
        Ok(More::Full)
    })
}

fn all() -> Vec<i64> {
    (0..LENGTH).collect()
}

#[test]
fn a_feed_is_stored_and_its_end_is_the_end() {
    let entry = numbers();
    let store = open(&SimDisk::new(1), vec![entry.clone()]);
    let status = store.until("numbers", State::Stopped);
    assert_eq!(
        (status.reason.as_str(), status.kind),
        ("feed ended", "source")
    );
    let progress = status.progress.unwrap();
    assert_eq!((progress.share, progress.text.as_str()), (0.6, "at 60"));
    assert_eq!(store.times("FEED/1Min/T"), all());
    assert_eq!(ended(&entry), 1);
}

/// T40: whatever the moment of a crash, the feed goes on behind what is stored.
#[test]
fn a_feed_that_can_be_read_again_is_stored_once_over_every_crash_point() {
    let run = |disk: &SimDisk| {
        let Ok(store) = try_open(disk, vec![numbers()], options()) else {
            return false;
        };
        // Checkpoints in between: the token must outlive the log.
        while !matches!(
            store.status("numbers").state,
            State::Stopped | State::Failed
        ) {
            let _ = store.engine.checkpoint();
        }
        let is_whole = store.times("FEED/1Min/T").len() as i64 == LENGTH;
        store.host.stop();
        is_whole
    };
    let rounds: u64 = std::env::var("MKTS_PLUGIN_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20);
    for round in 0..rounds {
        let mut disk = SimDisk::new(round);
        let mut calls = 20 + 7 * round;
        let mut lives = 0;
        loop {
            disk.crash_after(calls);
            let is_whole = run(&disk);
            disk = disk.reopen();
            lives += 1;
            if is_whole {
                break;
            }
            calls += 3;
            assert!(lives < 200, "round {round}");
        }
        let store = open(&disk, vec![numbers()]);
        store.until("numbers", State::Stopped);
        assert_eq!(
            store.times("FEED/1Min/T"),
            all(),
            "round {round}, {lives} lives"
        );
    }
}

#[test]
fn a_failure_drops_its_batch_and_opens_behind_the_last_token() {
    let failures = AtomicUsize::new(0);
    let entry = feed("numbers", move |feed, out, _| {
        if feed.next >= LENGTH {
            return Ok(More::End);
        }
        feed.bring(out, 5)?;
        match failures.fetch_add(1, Ordering::Relaxed) {
            2 => Err("line lost".into()),
            5 => panic!("boom"),
            _ => Ok(More::Timeout),
        }
    });
    let store = open(&SimDisk::new(2), vec![entry.clone()]);
    let status = store.until("numbers", State::Stopped);
    assert_eq!((status.restarts, status.panics), (2, 1));
    assert_eq!(store.times("FEED/1Min/T"), all());
    assert_eq!(closed(&entry, CloseReason::Again), 1);
    assert_eq!(closed(&entry, CloseReason::Panic), 1);
    assert_eq!(ended(&entry), 1);
}

/// T41: a batch has the room and the time that `window:` gives it, and a source that has nothing is
/// not asked again before the time is over.
#[test]
fn a_batch_has_the_room_and_the_time_of_its_entry() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let linger = Duration::from_millis(40);
    let entry = Entry {
        params: "BTC-USD".into(),
        window: WindowOptions {
            rows: 7,
            bytes: 10_000,
            wait: linger,
            join: None,
        },
        ..feed("f", move |feed, out, deadline| {
            let now = Instant::now();
            assert_eq!(feed.params, "BTC-USD");
            assert!(deadline <= now + linger);
            let room = out.room();
            let count = note.lock().unwrap().len();
            note.lock().unwrap().push((now, room.0));
            assert!(room.1 > 9_000);
            match count {
                0 => {
                    feed.bring(out, 5)?;
                    assert_eq!((out.room().0, out.is_full()), (2, false));
                    assert!(out.room().1 < room.1);
                    feed.bring(out, 5)?;
                    assert!(out.is_full());
                    Ok(More::Full)
                }
                1 | 2 => Ok(More::Timeout),
                _ => Ok(More::End),
            }
        })
    };
    let store = open(&SimDisk::new(3), vec![entry]);
    store.until("f", State::Stopped);
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(_, rows)| *rows == 7));
    // Two empty answers that came at once were each made to last.
    assert!(seen[3].0 - seen[1].0 >= 2 * linger - Duration::from_millis(2));
    assert_eq!(store.times("FEED/1Min/T").len(), 10);
}

/// T41: no batch is asked for before the one before it is durable; a full disk holds the feed back,
/// and what it brought is tried again.
#[test]
fn a_full_disk_holds_the_feed_back_and_nothing_is_lost() {
    const ROWS: i64 = 4000;
    let disk = SimDisk::new(4);
    let small = engine::Options {
        wal_segment_bytes: 128 << 10,
        frame_bytes_max: 96 << 10,
        ..options()
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, shared) = (Arc::clone(&asked), disk.clone());
    let entry = feed("numbers", move |feed, out, _| {
        if feed.next >= 12 * ROWS {
            return Ok(More::End);
        }
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            // From here on no new segment of the log can be made.
            shared.set_capacity(Some(shared.used_bytes()));
        }
        feed.bring(out, ROWS)?;
        Ok(More::Full)
    });
    let store = try_open(&disk, vec![entry], small).unwrap();
    let status = store.until("numbers", State::Backoff);
    assert!(status.reason.contains("full"), "{}", status.reason);
    let before = asked.load(Ordering::Relaxed);
    assert!(before < 12);
    store.until_it("numbers", |now| now.state == State::Backoff);
    assert_eq!(asked.load(Ordering::Relaxed), before);
    disk.set_capacity(None);
    let status = store.until("numbers", State::Stopped);
    assert_eq!((status.reason.as_str(), status.restarts), ("feed ended", 0));
    let stored = store.times("FEED/1Min/T");
    assert_eq!(stored, (0..12 * ROWS).collect::<Vec<_>>());
}

#[test]
fn a_feed_that_ended_is_opened_again_if_the_entry_says_always() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let places = Arc::clone(&opened);
    let entry = Entry {
        restart: Restart::Always,
        ..feed("f", move |feed, out, _| {
            places.lock().unwrap().push(feed.next);
            feed.bring(out, 3)?;
            Ok(More::End)
        })
    };
    let store = open(&SimDisk::new(5), vec![entry]);
    store.until_it("f", |status| status.restarts >= 3);
    store.host.stop();
    assert_eq!(opened.lock().unwrap()[..3], [0, 3, 6]);
    let times = store.times("FEED/1Min/T");
    assert_eq!(times, (0..times.len() as i64).collect::<Vec<_>>());
}

#[test]
fn a_source_may_stand_among_the_bgworkers_and_triggers_fire_on_its_rows() {
    let source = numbers();
    let entries = vec![
        Entry {
            kind: plugin_host::EntryKind::BgWorker,
            ..source
        },
        probe("copy", "FEED/**", copy_to("OUT/1Min/T")),
    ];
    let store = open(&SimDisk::new(6), entries);
    store.until("numbers", State::Stopped);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), all());
}

#[test]
fn stop_ends_a_feed_that_waits() {
    let entry = Entry {
        window: WindowOptions {
            wait: Duration::from_secs(3600),
            ..WindowOptions::source()
        },
        ..feed("f", |_, out, _| {
            while !out.is_cancelled() {
                std::thread::yield_now();
            }
            Err(PluginError::new(Code::Cancelled, "told to end"))
        })
    };
    let waits = Entry {
        window: WindowOptions {
            wait: Duration::from_secs(3600),
            ..WindowOptions::source()
        },
        ..feed("g", |_, _, _| Ok(More::Timeout))
    };
    let store = open(&SimDisk::new(7), vec![entry.clone(), waits.clone()]);
    store.host.stop();
    assert_eq!(store.status("f").state, State::Stopped);
    assert_eq!(store.status("g").state, State::Stopped);
    assert_eq!(ended(&entry), 1);
    assert_eq!(ended(&waits), 1);
}

#[test]
fn a_token_that_is_too_long_is_refused() {
    let entry = Entry {
        restart: Restart::Never,
        ..feed("f", |_, out, _| {
            out.set_resume(&vec![0; (1 << 20) + 1])?;
            Ok(More::Full)
        })
    };
    let store = open(&SimDisk::new(8), vec![entry]);
    let status = store.until("f", State::Failed);
    assert_eq!(
        status.reason,
        "LIMIT: a resume token of 1048577 bytes (at most 1048576)"
    );
}
