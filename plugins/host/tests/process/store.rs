//! A child on a real store: its rows, its state and its place are one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use disk::sim::SimDisk;
use disk::{Clock, SystemClock};
use engine::{Commit, Engine, Options, Origin, Rows, Scan};
use model::{BucketKey, RowKind, Zone};
use plugin_host::{Entry, Host, Modules, Publisher, ReplayOptions, State};
use plugin_sdk::Delivery;
use serde_json::json;

use crate::support::{probe, rounds, rows};

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _instance: &str, _stream: &str, _payload: Bytes) {}
}

struct Store {
    engine: Engine,
    host: Host,
}

/// A host whose one trigger dies in the first attempt of every event.
fn open(disk: &SimDisk) -> Store {
    open_with(disk, json!({"act": "kill", "once": true}))
}

fn open_with(disk: &SimDisk, config: serde_json::Value) -> Store {
    let entry = Entry {
        name: Some("mortal".into()),
        on: vec!["IN/1Min/*".into()],
        delivery: Some(Delivery::Exact),
        config,
        ..Entry::trigger("probe")
    };
    let modules = Modules::default().with(probe());
    let host = Host::new(vec![entry], modules, Zone::utc(), Arc::new(Nobody)).unwrap();
    let options = Options {
        wal_segment_bytes: 1 << 20,
        frame_bytes_max: 512 << 10,
        ..Options::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(disk, clock, options, host.hook()).unwrap();
    host.start(engine.clone()).unwrap();
    Store { engine, host }
}

impl Store {
    fn write(&self, times: &[i64]) {
        let commit = Commit {
            origin: Origin::CLIENT,
            hops: 0,
            rows: vec![Rows {
                key: BucketKey::parse("IN/1Min/T").unwrap(),
                batch: rows(times),
                create: Some(RowKind::Tick),
            }],
            section: None,
        };
        self.engine.write(commit).unwrap().wait().unwrap();
    }

    fn times(&self, key: &str) -> Vec<i64> {
        let bucket = self.engine.bucket(&BucketKey::parse(key).unwrap()).unwrap();
        let snapshot = self.engine.snapshot(&[bucket.id]);
        snapshot.scan(0, &Scan::all()).unwrap().times().to_vec()
    }

    fn drain(&self) {
        let drained = self.host.drain(Duration::from_secs(60));
        assert!(drained, "{:#?}", self.host.status());
    }
}

/// Asks for the rows that go in, again and again.
struct Asking {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Asking {
    fn of(engine: &Engine) -> Self {
        let (engine, stop) = (engine.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut asked, mut seen) = (0, 0);
            while !stopped.load(Relaxed) {
                let key = BucketKey::parse("IN/1Min/T").unwrap();
                if let Some(bucket) = engine.bucket(&key) {
                    let snapshot = engine.snapshot(&[bucket.id]);
                    let rows = snapshot.scan(0, &Scan::all()).unwrap().rows();
                    assert!(rows >= seen, "{rows} after {seen}");
                    (asked, seen) = (asked + 1, rows);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            asked
        });
        Self { stop, thread }
    }

    /// How often it got an answer.
    fn end(self) -> usize {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn every_row_is_copied_once_though_each_fire_kills_the_child() {
    let disk = SimDisk::new(3);
    let each = rounds(5).cast_signed();
    for run in 0..2 {
        let store = open(&disk);
        let asking = Asking::of(&store.engine);
        for number in run * each..(run + 1) * each {
            store.write(&[number]);
            if number % 2 == 0 {
                store.drain();
            }
        }
        store.drain();
        let expected: Vec<i64> = (0..(run + 1) * each).collect();
        // Queries went on all the while, and never saw a row go.
        assert!(asking.end() > 0);
        assert_eq!(store.times("OUT/1Min/T"), expected);
        let status = store.host.status().remove(0);
        assert!(status.restarts > 0 && status.pid.is_some(), "{status:?}");
        assert_eq!((status.dead_letters, status.dropped), (0, 0));
        store.host.stop();
        assert_eq!(store.host.status()[0].pid, None);
        store.engine.close().unwrap();
    }
}

/// A replay has a child of its own, beside that of the instance.
#[test]
fn a_trigger_in_a_child_is_replayed() {
    let disk = SimDisk::new(4);
    let store = open_with(&disk, json!({}));
    for time in [1, 2, 3] {
        store.write(&[time]);
    }
    store.drain();
    let pid = store.host.status()[0].pid;
    let all = ReplayOptions::dry_run(0, 10);
    let report = store.host.replay("mortal", &all).unwrap();
    assert!(report.is_equal() && report.buckets.len() == 1, "{report:?}");
    assert_eq!((report.rows, report.failures), (3, 0));
    let gone = engine::DeleteRange {
        key: BucketKey::parse("OUT/1Min/T").unwrap(),
        from: 2,
        to: 2,
    };
    store.engine.delete(&[gone]).unwrap();
    let report = store.host.replay("mortal", &all).unwrap();
    let bucket = &report.buckets[0];
    assert_eq!((bucket.equal, bucket.missing, bucket.extra), (2, 1, 0));
    assert_eq!(store.host.status()[0].pid, pid);
    store.host.stop();
    store.engine.close().unwrap();
}

/// An idle child that is killed runs again without an event to fire.
#[test]
fn an_idle_child_is_there_again() {
    let store = open_with(&SimDisk::new(5), json!({}));
    let pid = store.host.status()[0].pid.unwrap();
    let child = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    crate::support::wait_for("another child", || {
        let status = store.host.status().remove(0);
        status.state == State::Running && status.pid.is_some_and(|now| now != pid)
    });
    store.host.stop();
    store.engine.close().unwrap();
}
