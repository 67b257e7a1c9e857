//! The source against a host that keeps what it is given.

use std::io::Write as _;
use std::time::Duration;

use model::{BucketKey, ColumnBatch, ColumnType, RowKind, Zone};
use plugin_sdk::{Code, Level, SourceCalls, parse};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;

#[derive(Default)]
struct Kept {
    parts: Vec<(String, RowKind, ColumnBatch)>,
    token: Option<Vec<u8>>,
    rows: usize,
}

struct Host<'a> {
    kept: &'a mut Kept,
    rows_max: usize,
}

impl SourceCalls for Host<'_> {
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.kept.rows += rows.rows();
        self.kept.parts.push((key.as_str().into(), kind, rows));
        Ok(())
    }
    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        self.kept.token = Some(token.into());
        Ok(())
    }
    fn room(&self) -> (usize, usize) {
        (self.rows_max, 1 << 20)
    }
    fn is_cancelled(&self) -> bool {
        false
    }
    fn log(&mut self, _level: Level, _text: &str) {}
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn replay(config: Value) -> Replay {
    let zone = Zone::utc();
    let config = parse::<Replay>(&config).unwrap();
    Replay::new(config, &mut Init::new("t", 1, &zone)).unwrap()
}

fn open(config: Value, file: &NamedTempFile, token: Option<&[u8]>) -> Result<Replay, PluginError> {
    let mut replay = replay(config);
    replay.open(file.path().to_str().unwrap(), token)?;
    Ok(replay)
}

/// One batch of at most `rows_max` rows.
fn batch(replay: &mut Replay, kept: &mut Kept, rows_max: usize) -> Result<More, PluginError> {
    let mut host = Host { kept, rows_max };
    let deadline = Instant::now() + Duration::from_millis(1);
    replay.next_batch(&mut SourceOut::new(&mut host), deadline)
}

fn times(kept: &Kept) -> Vec<i64> {
    let all = kept.parts.iter().flat_map(|(_, _, rows)| rows.times());
    all.map(|time| time / 1_000_000_000).collect()
}

const BARS: &str = "Epoch,Open,Close,Volume\n10,1.5,2.5,100\r\n20,,3.5,200\n\n30,4,5,300\n40,5,6,7";

#[test]
fn every_line_is_a_row_and_the_file_has_an_end() {
    let file = file(BARS);
    let config = json!({"bucket": "IBM/1Min/OHLCV", "columns": {"Close": "f4", "Volume": "i8"}});
    let mut replay = open(config, &file, None).unwrap();
    let mut kept = Kept::default();
    assert_eq!(batch(&mut replay, &mut kept, 100).unwrap(), More::End);
    let (key, kind, rows) = &kept.parts[0];
    assert_eq!((key.as_str(), *kind), ("IBM/1Min/OHLCV", RowKind::Bar));
    let types: Vec<_> = rows.schema().columns().iter().map(|c| c.ty).collect();
    assert_eq!(types, [ColumnType::F32, ColumnType::I64]);
    assert_eq!(
        rows.column("Close").unwrap().values::<f32>(),
        Some(&[2.5, 3.5, 5.0, 6.0][..])
    );
    assert_eq!(
        rows.column("Volume").unwrap().values::<i64>(),
        Some(&[100, 200, 300, 7][..])
    );
    assert_eq!(times(&kept), [10, 20, 30, 40]);
    let progress = replay.progress().unwrap();
    assert_eq!((progress.share, progress.text.as_str()), (1.0, "line 7"));
}

/// Cut at every row, the parts make the whole: what a token says is where the next run goes on.
#[test]
fn a_token_is_behind_the_rows_brought() {
    let file = file(BARS);
    let config = || json!({"bucket": "IBM/1Min/OHLCV"});
    for step in 1..4 {
        let mut kept = Kept::default();
        loop {
            let token = kept.token.clone();
            let mut replay = open(config(), &file, token.as_deref()).unwrap();
            if batch(&mut replay, &mut kept, step).unwrap() == More::End {
                break;
            }
        }
        assert_eq!(times(&kept), [10, 20, 30, 40], "{step} rows at a time");
        let opens = kept.parts.iter().flat_map(|(_, _, rows)| {
            rows.column("Open")
                .unwrap()
                .values::<f64>()
                .unwrap()
                .to_vec()
        });
        let opens: Vec<f64> = opens.collect();
        assert!(opens[1].is_nan());
        assert_eq!([opens[0], opens[2], opens[3]], [1.5, 4.0, 5.0]);
    }
}

#[test]
fn ticks_of_many_symbols_go_to_their_buckets() {
    let file = file(
        "Symbol,Epoch,Nanoseconds,Price,Exchange\nA,1,5,1,\"N, Y\"\nA,1,6,2,Q\nB,2,0,3,\"\"\"x\"\nA,3,9,4,Q\n",
    );
    let mut replay = open(json!({"bucket": "{Symbol}/1Sec/TRADE"}), &file, None).unwrap();
    let mut kept = Kept::default();
    assert_eq!(batch(&mut replay, &mut kept, 100).unwrap(), More::End);
    let parts: Vec<_> = kept
        .parts
        .iter()
        .map(|(key, kind, rows)| (key.as_str(), *kind, rows.times().to_vec()))
        .collect();
    let tick = RowKind::Tick;
    assert_eq!(
        parts,
        [
            ("A/1Sec/TRADE", tick, vec![1_000_000_005, 1_000_000_006]),
            ("B/1Sec/TRADE", tick, vec![2_000_000_000]),
            ("A/1Sec/TRADE", tick, vec![3_000_000_009]),
        ]
    );
    let text = |part: usize, row: usize| {
        let rows = &kept.parts[part].2;
        let value = rows
            .column("Exchange")
            .unwrap()
            .values::<[u32; 16]>()
            .unwrap()[row];
        let chars = value.iter().filter(|c| **c != 0);
        chars
            .map(|c| char::from_u32(*c).unwrap())
            .collect::<String>()
    };
    assert_eq!([text(0, 0), text(0, 1), text(1, 0)], ["N, Y", "Q", "\"x"]);
}

#[test]
fn times_are_numbers_of_a_unit_or_rfc_3339() {
    for (unit, text, nanos) in [
        ("s", "-1", -1_000_000_000),
        ("ms", "1500", 1_500_000_000),
        ("us", "-1", -1_000),
        ("ns", "7", 7),
        ("s", "1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("s", "1969-12-31T23:59:59.5Z", -500_000_000),
        ("s", "1970-01-01T01:00:00+01:00", 0),
    ] {
        let file = file(&format!("When,Price\n{text},1\n"));
        let config = json!({"bucket": "A/1Sec/T", "time": "When", "unit": unit, "kind": "tick"});
        let mut replay = open(config, &file, None).unwrap();
        let mut kept = Kept::default();
        batch(&mut replay, &mut kept, 9).unwrap();
        assert_eq!(kept.parts[0].2.times(), [nanos], "{text} {unit}");
    }
}

/// The rows in front of a bad line are brought, its number is named, and mended it is met again.
#[test]
fn a_bad_line_is_named_behind_the_rows_before_it() {
    for (line, what) in [
        ("30,abc,1", "Open: \"abc\" is not a number"),
        ("30,1", "2 columns, the first line has 3"),
        (
            "today,1,1",
            "Epoch: \"today\" is no number and no time like 2024-01-31T09:30:00Z",
        ),
        ("99999999999999,1,1", "it looks like milliseconds"),
        ("30,1,x", "Size: \"x\" is not a whole number of its type"),
        ("30,1,99999999999", "is not a whole number of its type"),
    ] {
        let mut text = format!("Epoch,Open,Size\n10,1,1\n20,2,2\n{line}\n40,4,4\n");
        let bad = file(&text);
        let config = || json!({"bucket": "A/1Min/O", "columns": {"Open": "f8", "Size": "i4"}});
        let mut replay = open(config(), &bad, None).unwrap();
        let mut kept = Kept::default();
        assert_eq!(
            batch(&mut replay, &mut kept, 9).unwrap(),
            More::Full,
            "{line}"
        );
        assert_eq!(times(&kept), [10, 20], "{line}");
        let error = batch(&mut replay, &mut kept, 9).unwrap_err().to_string();
        let place = format!("{}:4: ", bad.path().display());
        assert!(error.starts_with(&place) && error.contains(what), "{error}");
        text = text.replace(line, "30,3,3");
        let mended = file(&text);
        let token = kept.token.clone();
        let mut replay = open(config(), &mended, token.as_deref()).unwrap();
        assert_eq!(batch(&mut replay, &mut kept, 9).unwrap(), More::End);
        assert_eq!(times(&kept), [10, 20, 30, 40], "{line}");
    }
}

#[test]
fn another_file_under_the_same_name_is_refused() {
    let first = file(BARS);
    let config = || json!({"bucket": "A/1Min/O"});
    let mut kept = Kept::default();
    batch(&mut open(config(), &first, None).unwrap(), &mut kept, 100).unwrap();
    let token = kept.token.unwrap();
    for text in [
        "Epoch,High\n10,1\n",
        "Epoch,Open,Close,Volume\n10,1.5,2.5,100\n",
    ] {
        let error = open(config(), &file(text), Some(&token)).err().unwrap();
        assert_eq!(error.code, Code::Config);
        assert!(error.text.contains("replayed up to line 7"), "{error}");
        assert!(error.text.contains("new \"name\""), "{error}");
    }
    let error = open(config(), &first, Some(b"x")).err().unwrap();
    assert!(error.text.contains("not one of this plugin"), "{error}");
}

#[test]
fn what_is_wrong_with_file_or_config_is_said() {
    let error = replay(json!({"bucket": "A/1Min/O"}))
        .open("/no/such.csv", None)
        .unwrap_err();
    assert!(error.text.starts_with("/no/such.csv: "), "{error}");
    let error = replay(json!({"bucket": "A/1Min/O"}))
        .open("", None)
        .unwrap_err();
    assert!(error.text.contains("path of a CSV file"), "{error}");
    for (config, text, what) in [
        (json!({"bucket": "A/1Min/O"}), "", "no line with the names"),
        (
            json!({"bucket": "A/1Min/O"}),
            "Time,Open\n",
            "no column \"Epoch\"; there are Time, Open",
        ),
        (
            json!({"bucket": "{X}/1Min/O"}),
            "Epoch,Open\n",
            "no column \"X\"",
        ),
        (
            json!({"bucket": "A/1Min/O", "columns": {"High": "f4"}}),
            "Epoch,Open\n",
            "no column \"High\"",
        ),
    ] {
        let error = open(config, &file(text), None).err().unwrap();
        assert!(error.text.contains(what), "{error}");
    }
    let zone = Zone::utc();
    for (config, what) in [
        (json!({"bucket": "A"}), "write it like IBM/1Min/OHLCV"),
        (json!({"bucket": "A/1Min/O", "speed": -1.0}), "speed: -1"),
        (json!({"bucket": "{A}/{B}/O"}), "one column in braces"),
    ] {
        let config = parse::<Replay>(&config).unwrap();
        let error = Replay::new(config, &mut Init::new("t", 1, &zone)).unwrap_err();
        assert_eq!(error.code, Code::Config);
        assert!(error.text.contains(what), "{error}");
    }
    let error = parse::<Replay>(&json!({"bucket": "A", "columns": {"B": "f9"}})).unwrap_err();
    assert!(error.path.contains("columns"), "{error}");
}

#[test]
fn a_file_that_is_followed_is_waited_for_up_to_the_end_of_its_line() {
    let mut growing = file("Epoch,Open\n10,1\n20,");
    let config = json!({"bucket": "A/1Min/O", "follow": true});
    let mut replay = open(config, &growing, None).unwrap();
    let mut kept = Kept::default();
    assert_eq!(batch(&mut replay, &mut kept, 9).unwrap(), More::Timeout);
    assert_eq!(times(&kept), [10]);
    growing.write_all(b"2\n30,3\n").unwrap();
    assert_eq!(batch(&mut replay, &mut kept, 9).unwrap(), More::Timeout);
    assert_eq!(times(&kept), [10, 20, 30]);
}

/// A row that is not due ends the batch and is the first of a later one.
#[test]
fn rows_keep_the_time_between_them() {
    let file = file("Epoch,Open\n10,1\n11,2\n1000000,3\n");
    let config = json!({"bucket": "A/1Min/O", "speed": 200.0});
    let mut replay = open(config, &file, None).unwrap();
    let mut kept = Kept::default();
    let began = Instant::now();
    while kept.rows < 2 {
        assert_eq!(batch(&mut replay, &mut kept, 9).unwrap(), More::Timeout);
    }
    assert!(began.elapsed() >= Duration::from_millis(5));
    assert_eq!(batch(&mut replay, &mut kept, 9).unwrap(), More::Timeout);
    assert_eq!(times(&kept), [10, 11]);
}
