//! A replay of a trigger from a library: on a real store, with state of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::sim::SimDisk;
use disk::{Clock, SystemClock};
use engine::{Commit, Engine, Options, Origin, Rows};
use model::{RowKind, Zone};
use plugin_host::{Entry, Host, HostMode, Modules, Publisher, ReplayOptions};

use crate::support::{bars, key, library, load};

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _instance: &str, _stream: &str, _payload: Bytes) {}
}

#[test]
fn a_trigger_of_a_library_is_replayed() {
    let entry = Entry {
        name: Some("count".into()),
        on: vec![key().to_string()],
        host: Some(HostMode::Builtin),
        ..Entry::trigger("counter")
    };
    let modules = Modules::default().with(load(&library("counter")));
    let host = Host::new(vec![entry], modules, Zone::utc(), Arc::new(Nobody)).unwrap();
    let options = Options {
        wal_segment_bytes: 1 << 20,
        frame_bytes_max: 512 << 10,
        ..Options::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk = Arc::new(SimDisk::new(1));
    let (engine, _) = Engine::open_on(disk, clock, options, host.hook()).unwrap();
    host.start(engine.clone()).unwrap();
    let rows = |key: model::BucketKey, batch| Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![Rows {
            key,
            batch,
            create: Some(RowKind::Bar),
        }],
        section: None,
    };
    engine
        .write(rows(key().clone(), bars(1)))
        .unwrap()
        .wait()
        .unwrap();
    assert!(host.drain(Duration::from_secs(60)), "{:#?}", host.status());
    let all = ReplayOptions::dry_run(i64::MIN, i64::MAX);
    for _ in 0..2 {
        // One again: its counter begins anew each time.
        let report = host.replay("count", &all).unwrap();
        assert!(report.is_equal(), "{report:?}");
        assert_eq!((report.rows, report.buckets[0].computed), (1, 1));
    }
    assert!(host.drain(Duration::from_secs(60)));
    host.stop();
    engine.close().unwrap();
}
