use super::*;
use bytes::Bytes;
use model::{Column, ColumnDef, ColumnType, NANOS_PER_SECOND, Schema};
use plugin_sdk::{FireInfo, HostCalls, Level};
use serde_json::json;

const OPENING: i64 = 1_583_159_400 * NANOS_PER_SECOND; // Monday 2020-03-02 14:30 UTC.
const HOUR: i64 = 60 * MINUTE_NANOS;

/// Notes what a fire did.
#[derive(Default)]
struct Host {
    now: i64,
    published: Vec<(String, Bytes)>,
    timers: Vec<(Vec<u8>, i64, Vec<u8>)>,
    last_row: Option<ColumnBatch>,
}

impl HostCalls for Host {
    fn info(&self) -> FireInfo {
        FireInfo {
            first_lsn: 1,
            last_lsn: 1,
            attempt: 1,
            is_replay: false,
            now: self.now,
            deadline: i64::MAX,
        }
    }
    fn write(&mut self, _: &BucketKey, _: RowKind, _: ColumnBatch) -> Result<(), PluginError> {
        unreachable!("a stream writes nothing")
    }
    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        assert_eq!(query.limit, Some(QueryLimit::Last(1)));
        Ok(self.last_row.clone())
    }
    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.timers.retain(|timer| timer.0 != key);
        self.timers.push((key.to_vec(), due, payload.to_vec()));
        Ok(())
    }
    fn cancel_timer(&mut self, _: &[u8]) {}
    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.published.push((stream.into(), payload));
    }
    fn log(&mut self, _: Level, _: &str) {}
}

struct Bench {
    host: Host,
    stream: Stream,
}

impl Bench {
    fn new(zone: &str, config: serde_json::Value, now: i64) -> Self {
        let zone = Zone::parse(zone).unwrap();
        let mut init = Init::new("test", 1, &zone);
        let stream = Stream::new(serde_json::from_value(config).unwrap(), &mut init).unwrap();
        let host = Host {
            now,
            ..Host::default()
        };
        Self { host, stream }
    }

    fn write(&mut self, key: &str, kind: RowKind, rows: &ColumnBatch) {
        let key = BucketKey::parse(key).unwrap();
        let event = Event::Write(Batch {
            key: &key,
            kind,
            timeframe: Timeframe::parse(key.timeframe()).unwrap(),
            rows,
        });
        let mut ctx = FireCtx::new(&mut self.host);
        self.stream.fire(&mut ctx, &event).unwrap();
    }

    /// Fires every timer on the shelf.
    fn ring(&mut self) {
        for (key, due, payload) in std::mem::take(&mut self.host.timers) {
            let event = Event::Timer {
                key: &key,
                due,
                payload: &payload,
            };
            let mut ctx = FireCtx::new(&mut self.host);
            self.stream.fire(&mut ctx, &event).unwrap();
        }
    }

    fn dues(&self) -> Vec<i64> {
        self.host.timers.iter().map(|timer| timer.1).collect()
    }
}

fn closes(times: &[i64], closes: &[f32]) -> ColumnBatch {
    let schema = Schema::new(vec![ColumnDef::new("Close", ColumnType::F32)]).unwrap();
    let times = Column::from_values(times.to_vec());
    ColumnBatch::new(schema, times, vec![Column::from_values(closes.to_vec())]).unwrap()
}

/// The value of `Close` in a message.
fn close_of(payload: &[u8]) -> f64 {
    let value = rmpv::decode::read_value(&mut &payload[..]).unwrap();
    let field = |value: &rmpv::Value, name: &str| {
        let mut fields = value.as_map().unwrap().iter();
        fields
            .find(|(key, _)| key.as_str() == Some(name))
            .unwrap()
            .1
            .clone()
    };
    field(&field(&value, "data"), "Close").as_f64().unwrap()
}

#[test]
fn a_message_has_the_bytes_of_marketstore() {
    let types = [("Open", ColumnType::F32), ("Volume", ColumnType::I32)];
    let defs = types.map(|(name, ty)| ColumnDef::new(name, ty)).to_vec();
    let columns = vec![
        Column::from_values(vec![1.5_f32]),
        Column::from_values(vec![7_i32]),
    ];
    let times = Column::from_values(vec![0x5e0d_34d8 * NANOS_PER_SECOND]);
    let rows = ColumnBatch::new(Schema::new(defs).unwrap(), times, columns).unwrap();
    let mut bench = Bench::new("UTC", json!({}), 0);
    bench.write("S/1Min/OHLCV", RowKind::Bar, &rows);
    let mut expected = vec![0x82, 0xa3];
    expected.extend_from_slice(b"key\xacS/1Min/OHLCV\xa4data\x83");
    expected.extend_from_slice(b"\xa5Epoch\xd3\0\0\0\0\x5e\x0d\x34\xd8");
    expected.extend_from_slice(b"\xa4Open\xca\x3f\xc0\0\0\xa6Volume\xd2\0\0\0\x07");
    assert_eq!(
        bench.host.published,
        [("S/1Min/OHLCV".into(), expected.into())]
    );
}

#[test]
fn every_type_has_its_width() {
    let mut text = [0_u32; 16];
    text[0] = 0x65e5;
    let columns = vec![
        ("f8", Column::from_values(vec![1.0_f64])),
        ("i8", Column::from_values(vec![-1_i64])),
        ("i2", Column::from_values(vec![-2_i16])),
        ("i1", Column::from_values(vec![-1_i8])),
        ("u1", Column::from_values(vec![1_u8])),
        ("u2", Column::from_values(vec![1_u16])),
        ("u4", Column::from_values(vec![1_u32])),
        ("u8", Column::from_values(vec![1_u64])),
        ("s", Column::from_values(vec![text])),
    ];
    let defs = columns
        .iter()
        .map(|(name, c)| ColumnDef::new(*name, c.ty()))
        .collect();
    let times = Column::from_values(vec![5_000_000_007_i64]);
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let rows = ColumnBatch::new(Schema::new(defs).unwrap(), times, columns).unwrap();
    let key = BucketKey::parse("S/1Sec/T").unwrap();
    let bytes = message(&key, RowKind::Tick, &rows, 0);
    let has = |part: &[u8]| {
        assert!(
            bytes.windows(part.len()).any(|w| w == part),
            "{part:x?} in {bytes:x?}"
        );
    };
    has(b"\x8b\xa5Epoch\xd3\0\0\0\0\0\0\0\x05");
    has(b"\xa2f8\xcb\x3f\xf0\0\0\0\0\0\0");
    has(b"\xa2i8\xd3\xff\xff\xff\xff\xff\xff\xff\xff");
    has(b"\xa2i2\xd1\xff\xfe\xa2i1\xcc\xff\xa2u1\xcc\x01\xa2u2\xcd\0\x01\xa2u4\xce\0\0\0\x01");
    has(b"\xa2u8\xcf\0\0\0\0\0\0\0\x01\xa1s\xdc\0\x10\xd2\0\0\x65\xe5\xd2\0\0\0\0");
    has(b"\xabNanoseconds\xd2\0\0\0\x07");
    rmpv::decode::read_value(&mut &bytes[..]).unwrap();
}

#[test]
fn one_message_has_the_newest_row_at_once() {
    let mut bench = Bench::new("UTC", json!({}), i64::MAX);
    let times = [OPENING + MINUTE_NANOS, OPENING + 2 * MINUTE_NANOS, OPENING];
    bench.write(
        "A/1Min/OHLCV",
        RowKind::Bar,
        &closes(&times, &[1.0, 2.0, 3.0]),
    );
    assert_eq!(bench.host.published.len(), 1);
    assert_eq!(close_of(&bench.host.published[0].1), 2.0);
    // Of equal times the last written is the stored one.
    let same = closes(&[OPENING, OPENING, OPENING - 1], &[4.0, 5.0, 6.0]);
    bench.write("A/1Sec/TRADE", RowKind::Tick, &same);
    assert_eq!(close_of(&bench.host.published[1].1), 5.0);
    bench.write("A/1Min/OHLCV", RowKind::Bar, &closes(&[], &[]));
    assert_eq!(bench.host.published.len(), 2);
    assert!(bench.host.timers.is_empty());
}

#[test]
fn a_longer_bar_is_pushed_once_at_its_end_with_its_last_content() {
    let mut bench = Bench::new("UTC", json!({}), OPENING + MINUTE_NANOS);
    let key = "A/5Min/OHLCV";
    for close in [1.0, 2.0] {
        bench.write(key, RowKind::Bar, &closes(&[OPENING], &[close]));
    }
    // The next bar does not take the place of this one.
    let next = OPENING + 5 * MINUTE_NANOS;
    bench.write(key, RowKind::Bar, &closes(&[next], &[3.0]));
    // What is over is not pushed.
    bench.write(
        key,
        RowKind::Bar,
        &closes(&[OPENING - 5 * MINUTE_NANOS], &[4.0]),
    );
    assert_eq!(bench.dues(), [next, next + 5 * MINUTE_NANOS]);
    assert!(bench.host.published.is_empty());
    bench.ring();
    let pushed = &bench.host.published;
    assert_eq!(
        pushed.iter().map(|p| close_of(&p.1)).collect::<Vec<_>>(),
        [2.0, 3.0]
    );
    assert!(pushed.iter().all(|(stream, _)| stream == key));
}

#[test]
fn a_deadline_that_is_now_has_passed() {
    let end = OPENING + 5 * MINUTE_NANOS;
    for (now, count) in [(end - 1, 1), (end, 0)] {
        let mut bench = Bench::new("UTC", json!({}), now);
        bench.write("A/5Min/OHLCV", RowKind::Bar, &closes(&[OPENING], &[1.0]));
        assert_eq!(bench.host.timers.len(), count);
    }
}

#[test]
fn a_late_tick_does_not_hide_the_last() {
    let mut bench = Bench::new("UTC", json!({}), OPENING);
    bench.host.last_row = Some(closes(&[OPENING + 9], &[9.0]));
    bench.write(
        "A/5Min/TRADE",
        RowKind::Tick,
        &closes(&[OPENING + 3], &[3.0]),
    );
    bench.ring();
    assert_eq!(close_of(&bench.host.published[0].1), 9.0);
}

#[test]
fn days_end_by_the_zone_or_with_the_session() {
    let midnight = OPENING - 14 * HOUR - 30 * MINUTE_NANOS;
    let due = |zone: &str, filter: &str, key: &str, time: i64| {
        let mut bench = Bench::new(zone, json!({"filter": filter}), time);
        bench.write(key, RowKind::Bar, &closes(&[time], &[1.0]));
        let due = bench.dues();
        assert!(due.len() <= 1);
        due.first().map(|due| (due - midnight) / MINUTE_NANOS)
    };
    let day = "A/1D/OHLCV";
    assert_eq!(due("UTC", "", day, midnight), Some(24 * 60));
    assert_eq!(
        due("America/New_York", "", day, midnight + 5 * HOUR),
        Some(29 * 60)
    );
    // The close is 21:00 UTC, whatever the zone of the server.
    assert_eq!(due("UTC", "nasdaq", day, midnight), Some(21 * 60));
    assert_eq!(
        due("America/New_York", "nasdaq", day, midnight + 5 * HOUR),
        Some(21 * 60)
    );
    assert_eq!(
        due("Asia/Tokyo", "nasdaq", day, midnight - 9 * HOUR),
        Some(21 * 60)
    );
    // A week ends with its last session, on Friday; hours are not filtered.
    assert_eq!(
        due("UTC", "nasdaq", "A/1W/OHLCV", midnight),
        Some((4 * 24 + 21) * 60)
    );
    assert_eq!(due("UTC", "nasdaq", "A/1H/OHLCV", midnight), Some(60));
    // Sunday has no session; Thanksgiving has none, the day after ends at 18:00 UTC.
    assert_eq!(due("UTC", "nasdaq", day, midnight - DAY_NANOS), None);
    let thanksgiving = midnight + 269 * DAY_NANOS;
    assert_eq!(due("UTC", "nasdaq", day, thanksgiving), None);
    assert_eq!(
        due("UTC", "nasdaq", day, thanksgiving + DAY_NANOS),
        Some((270 * 24 + 18) * 60)
    );
}

#[test]
fn a_wrong_config_names_its_key() {
    let error = |config| BUILT_IN.module().check(&config).unwrap_err().to_string();
    assert!(error(json!({"filter": "nyse"})).contains("config.filter"));
    assert!(error(json!({"filters": "nasdaq"})).contains("filters"));
    BUILT_IN.module().check(&serde_json::Value::Null).unwrap();
    BUILT_IN
        .module()
        .check(&json!({"filter": "nasdaq"}))
        .unwrap();
}
