//! The harness sees what happens, and says so when something else was wanted.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use counter::Counter;
use plugin_test::{Feed, Harness, Point, StateValue, Table, json};

const KEY: &str = "AAPL/1Min/OHLCV";
const COUNT: &str = "COUNT/1Sec/ROWS";

fn bars(times: &[i64]) -> Table {
    let close: Vec<f64> = times.iter().map(|time| *time as f64).collect();
    Table::seconds(times.iter().copied()).column("Close", close)
}

fn counts(times: &[i64], counts: &[i64]) -> Table {
    Table::seconds(times.iter().copied()).column("Rows", counts.iter().copied())
}

fn counter() -> Harness<Counter> {
    Harness::new(json!({"remind_after": 60_000_000_000_i64}))
}

/// The text of a failure.
fn failure(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it must fail");
    *panic.downcast::<String>().expect("a text")
}

#[test]
fn rows_state_timers_and_messages_are_seen() {
    let mut counter = counter();
    counter.feed(KEY, bars(&[60, 120])).feed(KEY, bars(&[180]));
    counter.assert_rows(COUNT, counts(&[120, 180], &[2, 3]));
    counter.assert_counter("rows", 3).assert_timers(1);
    counter
        .assert_no_state("other")
        .assert_no_rows("OTHER/1Min/T");
    assert_eq!(counter.state("rows"), Some(StateValue::Counter(3)));
    assert_eq!(counter.fires().len(), 2);
    assert!(counter.cursor() > 0);
    counter.assert_messages::<&[u8]>("remind", &[]);
    counter.advance(Duration::from_secs(61));
    counter.assert_messages("remind", &[3_i64.to_le_bytes()]);
    counter.assert_timers(0).assert_caught_up();
    counter
        .drop_bucket(KEY)
        .assert_log("AAPL/1Min/OHLCV is gone");
}

#[test]
fn every_crash_point_is_where_it_says() {
    for point in Point::ALL {
        let mut counter = counter();
        counter.feed(KEY, bars(&[60]));
        let before = counter.fires().len();
        counter.crash_at(point).feed(KEY, bars(&[120]));
        let fires = counter.fires().split_off(before);
        let replayed = fires.iter().filter(|fire| fire.is_replay).count();
        // The first fire of the rows is undone with its server, the second counts.
        let (rows, fired_again) = match point {
            Point::BeforeDurable => (1, 0),
            Point::CommitDurable | Point::BeforeMessages | Point::PluginFiles => (2, 0),
            _ => (2, 1),
        };
        assert_eq!(replayed, fired_again, "{point:?}: {fires:?}");
        assert_eq!(counter.rows(KEY).unwrap().rows(), rows, "{point:?}");
        counter.assert_counter("rows", rows as i64);
        counter
            .feed(KEY, bars(&[180]))
            .assert_counter("rows", rows as i64 + 1);
    }
}

#[test]
fn fire_twice_fires_twice_and_counts_once() {
    let mut counter = counter();
    counter.fire_twice().feed(KEY, bars(&[60, 120]));
    assert_eq!(counter.fires().len(), 2);
    counter.assert_counter("rows", 2);
    counter.assert_rows(COUNT, counts(&[120], &[2]));
}

#[test]
fn faults_are_tried_again_and_then_given_up() {
    let mut counter = counter();
    counter.timeout_next().feed(KEY, bars(&[60]));
    counter.panic_next().feed(KEY, bars(&[120]));
    counter.limit_next().feed(KEY, bars(&[180]));
    counter.assert_no_dead_letters().assert_counter("rows", 3);
    let attempts: Vec<u32> = counter.fires().iter().map(|fire| fire.attempt).collect();
    assert_eq!(attempts, [1, 2, 1, 2, 1, 2]);
    counter
        .fail_next("no")
        .fail_next("no luck")
        .feed(KEY, bars(&[240]));
    counter
        .assert_dead_letter("no luck")
        .assert_counter("rows", 3);
    counter.restart().assert_dead_letter("no luck").power_cut();
    counter
        .assert_dead_letter("no luck")
        .assert_counter("rows", 3);
}

#[test]
fn a_gap_has_the_range_of_the_test() {
    let mut counter = counter();
    counter.feed(KEY, bars(&[60, 120, 180]));
    counter.gap(KEY, 100_000_000_000, 150_000_000_000);
    counter.assert_counter("rows", 4);
    counter.delete(KEY, 0, 60_000_000_000);
    assert_eq!(counter.rows(KEY).unwrap().rows(), 2);
}

#[test]
fn files_are_fed() {
    let csv = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/AAPL_1Min_OHLCV.csv");
    let mut counter = counter();
    counter.replay(&csv).assert_counter("rows", 90);
    let text = failure(|| {
        counter.replay("no/such_1Min_X.csv");
    });
    assert!(text.contains("no/such_1Min_X.csv: No such file"), "{text}");
}

/// What a server records is what a harness feeds.
#[test]
fn a_recording_is_fed() {
    let mut counter = counter();
    counter.feed(KEY, bars(&[60]));
    let host = counter.host();
    let id = counter.status().id;
    let recorded = std::thread::scope(|scope| {
        let recording = scope.spawn(|| host.record(&id, 3, Duration::from_secs(60)));
        // Rows before the recording has begun are not in it: they go on until there are enough.
        let mut at = 2;
        while !recording.is_finished() {
            counter.feed(KEY, bars(&[at * 60]));
            at += 1;
        }
        recording.join().unwrap().unwrap()
    });
    let events = plugin_host::record::read(&recorded).unwrap();
    assert_eq!(events.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.rec");
    std::io::Write::write_all(&mut tempfile_at(&file), &recorded).unwrap();
    let mut other = self::counter();
    other.replay(&file).assert_counter("rows", 3);
    assert_eq!(plugin_test::feeds(&file).unwrap().len(), 3);
}

#[allow(clippy::disallowed_methods, reason = "a file of a test")]
fn tempfile_at(path: &Path) -> std::fs::File {
    std::fs::File::create(path).unwrap()
}

#[test]
fn failures_say_what_was_wanted_and_what_was_found() {
    let mut counter = counter();
    counter.feed(KEY, bars(&[60])).feed(KEY, bars(&[120]));
    let text = failure(|| {
        counter.assert_rows(COUNT, counts(&[60, 120], &[1, 3]));
    });
    let wanted = "counter: the rows of COUNT/1Sec/ROWS differ:\n  \
                  2 wanted, 2 found, line 2 is the first that differs\n    \
                  60 Rows=1\n  - 120 Rows=3\n  + 120 Rows=2";
    assert!(text.starts_with(wanted), "{text}");
    let text = failure(|| {
        counter.assert_counter("rows", 3);
    });
    assert!(
        text.starts_with("counter: counter \"rows\" is 2, wanted is 3"),
        "{text}"
    );
    let text = failure(|| {
        counter.assert_rows("NONE/1Min/T", counts(&[], &[]));
    });
    assert!(
        text.contains("there is no bucket NONE/1Min/T; there are"),
        "{text}"
    );
    let text = failure(|| {
        Harness::<Counter>::new(json!({"target": "nonsense"})).start();
    });
    assert!(
        text.contains("it does not run: failed: config: target: "),
        "{text}"
    );
    let error = Harness::<Counter>::check(&json!({"remind_after": "soon"})).unwrap_err();
    assert!(
        error.to_string().starts_with("config.remind_after: "),
        "{error}"
    );
    let text = failure(|| {
        Feed::new("A/B", &bars(&[60]));
    });
    assert!(text.starts_with("bucket \"A/B\": "), "{text}");
}
