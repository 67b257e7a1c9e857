//! The functions against a naive model, in pieces and as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::{Column, ColumnBatch};
use crate::schema::{ColumnDef, ColumnType, Schema};
use crate::time::NANOS_PER_SECOND;
use crate::zone::Zone;

const S: i64 = NANOS_PER_SECOND;

fn batch(rows: &[(i64, f32, i32)]) -> ColumnBatch {
    let column = |name: &str, ty| ColumnDef::new(name, ty);
    let schema = Schema::new(vec![
        column("Open", ColumnType::F32),
        column("High", ColumnType::F32),
        column("Low", ColumnType::F32),
        column("Close", ColumnType::F32),
        column("Volume", ColumnType::I32),
    ]);
    let price = |add: f32| Column::from_values(rows.iter().map(|r| r.1 + add).collect::<Vec<_>>());
    let volume = Column::from_values(rows.iter().map(|r| r.2).collect::<Vec<_>>());
    let times = Column::from_values(rows.iter().map(|r| r.0).collect::<Vec<_>>());
    let columns = vec![price(0.0), price(2.0), price(-1.5), price(0.5), volume];
    ColumnBatch::new(schema.unwrap(), times, columns).unwrap()
}

/// As the recordings have them: a minute each from 14:28.
fn twelve_minutes() -> ColumnBatch {
    let row = |i: i64| {
        (
            (1_583_159_280 + i * 60) * S,
            100.0 + i as f32,
            10 + i as i32,
        )
    };
    batch(&(0..12).map(row).collect::<Vec<_>>())
}

fn site(zone: &Zone) -> Site<'_> {
    Site {
        zone,
        now: 7 * S,
        actions: None,
    }
}

fn call(text: &str, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
    run(&parse(text)?, rows, RowKind::Bar, &site(&Zone::utc()))
}

fn f32s(rows: &ColumnBatch, name: &str) -> Vec<f32> {
    rows.column(name).unwrap().values::<f32>().unwrap().to_vec()
}

fn f64s(rows: &ColumnBatch, name: &str) -> Vec<f64> {
    rows.column(name).unwrap().values::<f64>().unwrap().to_vec()
}

fn i64s(rows: &ColumnBatch, name: &str) -> Vec<i64> {
    rows.column(name).unwrap().values::<i64>().unwrap().to_vec()
}

#[test]
fn candles_are_those_of_the_recording() {
    let text = "CandleCandler('5Min',Open,High,Low,Close,Avg::Volume, Sum::Volume)";
    let candles = call(text, &twelve_minutes()).unwrap();
    let starts = [1_583_159_100, 1_583_159_400, 1_583_159_700].map(|s| s * S);
    assert_eq!(candles.times(), starts);
    assert_eq!(f32s(&candles, "Open"), [100.0, 102.0, 107.0]);
    assert_eq!(f32s(&candles, "High"), [103.0, 108.0, 113.0]);
    assert_eq!(f32s(&candles, "Low"), [98.5, 100.5, 105.5]);
    assert_eq!(f32s(&candles, "Close"), [101.5, 106.5, 111.5]);
    assert_eq!(f64s(&candles, "Volume_SUM"), [21.0, 70.0, 95.0]);
    assert_eq!(f64s(&candles, "Volume_AVG"), [10.5, 14.0, 19.0]);
    let names: Vec<&str> = candles
        .schema()
        .columns()
        .iter()
        .map(|c| &c.name[..])
        .collect();
    assert_eq!(names[4..], ["Volume_SUM", "Volume_AVG"]);
}

#[test]
fn several_columns_of_one_price_are_averaged() {
    let ticks = call(
        "tickcandler('1H', CandlePrice::High, CandlePrice::Low)",
        &twelve_minutes(),
    );
    let ticks = ticks.unwrap();
    assert_eq!(f32s(&ticks, "Open"), [100.25]);
    assert_eq!(f32s(&ticks, "Close"), [111.25]);
    let mixed = call(
        "tickcandler('1H', CandlePrice::High, CandlePrice::Volume)",
        &twelve_minutes(),
    );
    assert_eq!(f64s(&mixed.unwrap(), "Open"), [56.0]);
}

#[test]
fn aggregates_have_one_row_at_the_present_time() {
    let rows = twelve_minutes();
    let count = call("count(*)", &rows).unwrap();
    assert_eq!(
        (count.times(), &i64s(&count, "Count")[..]),
        (&[7 * S][..], &[12][..])
    );
    assert_eq!(f32s(&call("min(Low)", &rows).unwrap(), "Min"), [98.5]);
    assert_eq!(
        f32s(&call("MAX( `High` ) junk", &rows).unwrap(), "Max"),
        [113.0]
    );
    assert_eq!(f64s(&call("avg(Close)", &rows).unwrap(), "Avg"), [106.0]);
    assert_eq!(
        i64s(&call("max(Epoch)", &rows).unwrap(), "Max"),
        [1_583_159_940]
    );
}

#[test]
fn aggregates_of_no_rows_are_no_values() {
    let rows = batch(&[]);
    assert_eq!(i64s(&call("count(Close)", &rows).unwrap(), "Count"), [0]);
    assert!(f32s(&call("min(Low)", &rows).unwrap(), "Min")[0].is_nan());
    assert!(f64s(&call("avg(Low)", &rows).unwrap(), "Avg")[0].is_nan());
    assert!(
        call("candlecandler('5Min',Open,High,Low,Close)", &rows)
            .unwrap()
            .is_empty()
    );
    assert!(call("gap()", &rows).unwrap().is_empty());
    assert!(call("gap('5Min')", &rows).unwrap().is_empty());
}

#[test]
fn gaps_are_longer_than_asked_for() {
    let times = [0, 60, 120, 421, 481, 782];
    let rows = batch(&times.map(|t| (t * S, 1.0, 1)));
    let gaps = call("gap('5Min')", &rows).unwrap();
    assert_eq!(gaps.times(), [120 * S, 481 * S]);
    assert_eq!(i64s(&gaps, "End"), [421, 782]);
    assert_eq!(i64s(&gaps, "Length"), [301, 301]);
    assert!(
        call("gap('301Sec')", &rows).unwrap().is_empty(),
        "not longer"
    );
    // Of a hundred minutes one is missing: far more than three deviations.
    let minutes = (0..100).filter(|m| *m != 50).map(|m| (m * 60 * S, 1.0, 1));
    let rows = batch(&minutes.collect::<Vec<_>>());
    assert_eq!(call("gap()", &rows).unwrap().times(), [49 * 60 * S]);
    assert!(call("gap('11')", &rows).unwrap().is_empty());
}

#[test]
fn calls_run_one_behind_the_other() {
    let calls = ["candlecandler('5Min',Open,High,Low,Close)", "max(High)"];
    let calls = calls.map(|text| parse(text).unwrap());
    let zone = Zone::utc();
    let rows = twelve_minutes();
    let mut pipeline = Pipeline::new(&calls, rows.schema(), RowKind::Bar, &site(&zone)).unwrap();
    assert!(pipeline.push(&rows).unwrap().is_empty());
    assert_eq!(f32s(&pipeline.finish().unwrap(), "Max"), [113.0]);
}

#[test]
fn bad_calls_say_what_is_wrong() {
    let rows = twelve_minutes();
    for (text, wanted) in [
        ("", "unable to parse function call "),
        ("min(", "unable to parse function call min("),
        ("min", "unable to parse function call min"),
        ("(x)", "unable to parse function call (x)"),
        ("min(a,,b)", "unable to parse function call min(a,,b)"),
        ("min(a b", "unable to parse"),
        ("min(3)", "a number is neither"),
        ("gap('5Min)", "unclosed literal"),
        (
            "nosuch(Close)",
            "no function in the UDA Registry named \"nosuch\"",
        ),
        (
            "count()",
            "Argument mapping error for count: have [], need [*]",
        ),
        ("candlecandler()", "have [], need [Open High Low Close]"),
        (
            "candlecandler('5Min',Open)",
            "have [Open], need [Open High Low Close]",
        ),
        (
            "candlecandler('5Min',Open,High,Low,Close,Volume)",
            "extra args used",
        ),
        (
            "candlecandler('5Min',Open,High,Low,Close,Med::Volume)",
            "no parameter \"Med\"",
        ),
        ("candlecandler(Open,High,Low,Close)", "need 1 have 0"),
        (
            "candlecandler('5min',Open,High,Low,Close)",
            "unable to get timeframe from \"5min\"",
        ),
        (
            "candlecandler('5Min',Nope,High,Low,Close)",
            "unable to retrieve column named Nope",
        ),
        (
            "candlecandler('5Min',Open,High,Low,Close,Sum::Open,Sum::Open)",
            "\"Open_SUM\"",
        ),
        ("max('x',Close)", "takes no literal"),
        ("gap('often')", "gap('often')"),
        ("gap('1M')", "gap('1M')"),
        ("gap(Close)", "extra args used"),
        ("adjust('merger')", "adjust('merger')"),
        (
            "min(Nanoseconds)",
            "unable to retrieve column named Nanoseconds",
        ),
    ] {
        let error = call(text, &rows).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn text_is_counted_but_not_compared() {
    let schema = Schema::new(vec![ColumnDef::new("Side", ColumnType::Str16)]).unwrap();
    let text = Column::from_values(vec![[65_u32; 16]]);
    let rows = ColumnBatch::new(schema, Column::from_values(vec![0_i64]), vec![text]).unwrap();
    assert_eq!(i64s(&call("count(Side)", &rows).unwrap(), "Count"), [1]);
    for bad in ["min(Side)", "avg(Side)", "tickcandler('5Min',Side)"] {
        assert!(
            call(bad, &rows).unwrap_err().0.contains("which is text"),
            "{bad}"
        );
    }
}

/// One announcement: number, row it is about, status, kind, expiration, new and old rate, rate.
type Announcement = (i64, i64, u8, u8, i64, f64, f64, f64);

fn actions(rows: &[Announcement]) -> ColumnBatch {
    let i =
        |f: fn(&Announcement) -> i64| Column::from_values(rows.iter().map(f).collect::<Vec<_>>());
    let b =
        |f: fn(&Announcement) -> u8| Column::from_values(rows.iter().map(f).collect::<Vec<_>>());
    let d =
        |f: fn(&Announcement) -> f64| Column::from_values(rows.iter().map(f).collect::<Vec<_>>());
    let columns = [
        ("TextNumber", i(|r| r.0)),
        ("UpdateTextNumber", i(|r| r.1)),
        ("DeleteTextNumber", i(|r| r.1)),
        ("Status", b(|r| r.2)),
        ("NotificationType", b(|r| r.3)),
        ("ExpirationDate", i(|r| r.4)),
        ("NewRate", d(|r| r.5)),
        ("OldRate", d(|r| r.6)),
        ("Rate", d(|r| r.7)),
    ];
    let schema = columns
        .iter()
        .map(|(name, c)| ColumnDef::new(*name, c.ty()))
        .collect();
    let times = Column::from_values((0..rows.len() as i64).collect());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    ColumnBatch::new(Schema::new(schema).unwrap(), times, columns).unwrap()
}

#[test]
fn prices_before_a_split_are_divided_and_volumes_multiplied() {
    let actions = actions(&[
        (1, 0, b'N', b'7', 100, 0.0, 0.0, 7.0),
        (2, 0, b'N', b'7', 200, 4.0, 1.0, 0.0),
        (3, 0, b'N', b'/', 150, 0.0, 0.0, 1.5),
        (4, 0, b'N', b'+', 150, 0.0, 0.0, 0.5),
        (5, 4, b'D', b'+', 150, 0.0, 0.0, 0.0),
        (6, 0, b'N', b'7', 300, 0.0, 0.0, 9.0),
        (7, 6, b'U', b'7', 300, 0.0, 0.0, 1.0),
        (8, 0, b'N', b'8', 300, 0.0, 0.0, 3.0),
    ]);
    let zone = Zone::utc();
    let site = Site {
        actions: Some(&actions),
        ..site(&zone)
    };
    let rows = batch(&[
        (99 * S, 56.0, 1),
        (100 * S, 56.0, 1),
        (199 * S, 56.0, 3),
        (200 * S, 56.0, 3),
    ]);
    let run = |text: &str| run(&parse(text).unwrap(), &rows, RowKind::Bar, &site).unwrap();
    let split = run("adjust('split')");
    assert_eq!(f32s(&split, "Open"), [2.0, 14.0, 14.0, 56.0]);
    assert_eq!(
        split.column("Volume").unwrap().values::<i32>(),
        Some(&[28, 4, 12, 3][..])
    );
    assert_eq!(
        f32s(&run("adjust('dividend')"), "Open"),
        [56.0 / 1.5, 56.0 / 1.5, 56.0, 56.0]
    );
    assert_eq!(f32s(&run("adjust()"), "Open")[1], (56.0 / 6.0) as f32);
    assert_eq!(run("adjust()"), run("adjust('Split','DIVIDEND')"));
    assert_eq!(
        call("adjust()", &rows).unwrap(),
        rows,
        "without actions nothing changes"
    );
    let strange = Site {
        actions: Some(&rows),
        ..site
    };
    let error = super::run(&parse("adjust()").unwrap(), &rows, RowKind::Bar, &strange);
    assert!(error.unwrap_err().0.contains("TextNumber"));
}

#[test]
fn ticks_keep_their_nanoseconds() {
    let rows = batch(&[(S + 5, 1.0, 1), (S + 9, 2.0, 2)]);
    let zone = Zone::utc();
    let on = |text: &str| run(&parse(text).unwrap(), &rows, RowKind::Tick, &site(&zone)).unwrap();
    assert_eq!(
        on("max(Nanoseconds)").columns()[0].values::<i32>(),
        Some(&[9][..])
    );
    assert_eq!(on("adjust()").times(), rows.times());
}

/// A candle the slow way: open, high, low, close, volume, rows.
type Naive = BTreeMap<i64, (f32, f32, f32, f32, f64, i64)>;

fn naive(rows: &[(i64, f32, i32)], grid: &Grid) -> Naive {
    let mut candles = Naive::new();
    for (time, price, volume) in rows {
        let (high, low, close) = (price + 2.0, price - 1.5, price + 0.5);
        let start = grid.window(*time).start;
        let candle = candles
            .entry(start)
            .or_insert((*price, high, low, close, 0.0, 0));
        candle.1 = candle.1.max(high);
        candle.2 = candle.2.min(low);
        candle.3 = close;
        candle.4 += f64::from(*volume);
        candle.5 += 1;
    }
    candles
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_give_what_the_whole_gives(
        steps in prop::collection::vec((0_i64..9_000, 0_i16..500, -50_i32..50), 0..120),
        cuts in prop::collection::vec(0_usize..120, 0..12),
        which in 0_usize..6,
        zone in 0_usize..2,
    ) {
        let zone = Zone::parse(["UTC", "America/New_York"][zone]).unwrap();
        let step = ["1Min", "7Min", "1H", "1D", "1W", "1M"][which];
        let mut time = 1_583_500_000 * S;
        let rows: Vec<(i64, f32, i32)> = steps.iter().map(|(by, price, volume)| {
            time += by * S;
            (time, f32::from(*price), *volume)
        }).collect();
        let whole = batch(&rows);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(rows.len())).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let site = site(&zone);
        let texts = [
            format!("candlecandler('{step}',Open,High,Low,Close,Sum::Volume,Avg::Volume)"),
            format!("gap('{}')", if which < 5 { step } else { "2" }),
            "min(Low)".into(), "max(High)".into(), "avg(Volume)".into(), "count(*)".into(),
        ];
        for text in &texts {
            let call = parse(text).unwrap();
            let mut pipeline =
                Pipeline::new(std::slice::from_ref(&call), whole.schema(), RowKind::Bar, &site).unwrap();
            let mut out = crate::BatchBuilder::new(pipeline.schema().clone(), 0);
            for cut in cuts.windows(2) {
                out.append(&pipeline.push(&whole.slice(cut[0]..cut[1])).unwrap()).unwrap();
            }
            out.append(&pipeline.finish().unwrap()).unwrap();
            let at_once = run(&call, &whole, RowKind::Bar, &site).unwrap();
            let same = format!("{:?}", values(&out.finish())) == format!("{:?}", values(&at_once));
            prop_assert!(same, "{text}");
        }
        let candles = run(&parse(&texts[0]).unwrap(), &whole, RowKind::Bar, &site).unwrap();
        let wanted = naive(&rows, &Grid::new(Step::parse(step).unwrap(), zone.clone()));
        prop_assert_eq!(candles.times(), &wanted.keys().copied().collect::<Vec<_>>()[..]);
        for (row, candle) in wanted.values().enumerate() {
            let price = |name| f32s(&candles, name)[row];
            prop_assert_eq!(
                (price("Open"), price("High"), price("Low"), price("Close")),
                (candle.0, candle.1, candle.2, candle.3)
            );
            prop_assert_eq!(f64s(&candles, "Volume_SUM")[row], candle.4);
            prop_assert_eq!(f64s(&candles, "Volume_AVG")[row], candle.4 / candle.5 as f64);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "[a-z]{0,4}[('`\",:* )5]{0,12}[a-zA-Z':,)]{0,8}") {
        let _ = parse(&text);
        let _ = parse(&format!("tickcandler('5Min',{text}"));
    }
}

fn values(rows: &ColumnBatch) -> Vec<String> {
    let row = |row: usize| {
        let columns = rows
            .columns()
            .iter()
            .map(|c| format!("{:?}", c.scalar(row)));
        format!(
            "{} {}",
            rows.times()[row],
            columns.collect::<Vec<_>>().join(" ")
        )
    };
    (0..rows.rows()).map(row).collect()
}
