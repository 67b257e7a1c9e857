//! Where the recording is not the answer: by hand, one ruling a step, with its reason.
//!
//! A `Fault` step is marked `reference_fault` in the recording; the ruling is the right answer.
//! A `Different` step is one where mkts deliberately answers otherwise than the reference.
//! A `Varies` step has the time of its answer in it.

use tests::wire::Table;

/// Why a step has a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Marked as a fault of the reference.
    Fault,
    /// mkts differs on purpose.
    Different,
    /// The present time is part of the answer.
    Varies,
}
use Why::{Different, Fault, Varies};

/// Tables by full key.
pub(crate) type Tables = Vec<(&'static str, Table)>;

/// What the step must be answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// Exactly the recording: the fault lies in what the reference did afterwards.
    Recorded,
    /// The recording, with the year of an empty bucket being that of today.
    ThisYear,
    /// The recording, but the times of its only row are of now.
    Now,
    /// These tables, in the usual envelope.
    Tables(fn() -> Tables),
    /// These tables, by what stands for the key, of a statement.
    Sql(fn() -> Tables),
    /// A result of a statement with this in one of its texts.
    Text(&'static str),
    /// These `Results`.
    List(&'static [&'static str]),
    /// A top-level error of that code and id nil.
    NilError(i64),
    /// The `ListSymbols` result that was asked for, with id nil.
    NilList,
    /// A top-level error of one of these codes.
    Error(&'static [i64]),
    /// A top-level error -32000 whose text names this.
    ErrorNaming(&'static str),
    /// A top-level error or an error text in the first entry of `responses`.
    AnyError,
    /// An error text with these words, free of server paths.
    EntryWithout {
        /// Must be in the text.
        has: &'static str,
        /// Must not be in the text.
        lacks: &'static str,
    },
    /// Status 200 and a JSON object with `status: queryable`.
    Heartbeat,
    /// A WebSocket frame with an error text.
    ErrorFrame,
}
use Expect::*;

/// One ruling.
pub(crate) type Ruling = (&'static str, u64, Why, Expect, &'static str);

/// The ruling on a step, if it has one.
pub(crate) fn ruling(scenario: &str, step: u64) -> Option<&'static Ruling> {
    RULINGS
        .iter()
        .find(|(s, n, ..)| *s == scenario && *n == step)
}

const READABLE: &str = "every legal timeframe can be read back";
const STORED: &str = "acknowledged as recorded; the following read shows that it was stored";
const NO_DROP: &str = "an error reply instead of a dropped connection";
const PARSE: &str = "an undecodable body gets a parse error instead of an empty reply";
const NOTIFY: &str = "a missing or null id gets its answer, with id nil, instead of an empty reply";
const EXACT: &str = "tick times are exact to the nanosecond, not 2^-32 of an interval";
const NOW: &str = "an aggregate over everything has the time of its answer";
const NO_PATH: &str = "the text names the bucket and no path";
const RECOMPUTED: &str = "an overwritten bar changes its aggregates";

/// All rulings.
pub(crate) const RULINGS: &[Ruling] = &[
    ("fixed_timeframes", 7, Fault, Recorded, STORED),
    ("fixed_timeframes", 8, Fault, Tables(four_hours), READABLE),
    ("fixed_timeframes", 11, Fault, Recorded, STORED),
    ("fixed_timeframes", 12, Fault, Tables(two_minutes), READABLE),
    ("fixed_timeframes", 13, Fault, Recorded, STORED),
    ("fixed_timeframes", 14, Fault, Tables(three_hours), READABLE),
    ("fixed_timeframes", 15, Fault, Recorded, STORED),
    (
        "fixed_timeframes",
        16,
        Fault,
        Tables(week),
        "both days are in the week from Monday 6 January",
    ),
    (
        "fixed_timeframes",
        18,
        Fault,
        ErrorNaming("1M"),
        "the text names the timeframe",
    ),
    ("fixed_timeframes", 19, Fault, Recorded, STORED),
    (
        "fixed_timeframes",
        20,
        Fault,
        Tables(year),
        "both days are in the year from 1 January",
    ),
    ("fixed_timeframes", 21, Fault, Recorded, STORED),
    (
        "fixed_timeframes",
        22,
        Fault,
        Tables(seven_minutes),
        READABLE,
    ),
    ("dtype_unsupported", 13, Fault, AnyError, NO_DROP),
    ("schema_mismatch", 8, Fault, Recorded, STORED),
    (
        "schema_mismatch",
        9,
        Fault,
        Tables(by_name_4),
        "columns are matched by name",
    ),
    (
        "schema_mismatch",
        11,
        Fault,
        Tables(by_name_5),
        "columns are matched by name",
    ),
    ("limit_fixed", 16, Fault, Error(&[-32000, -32600]), NO_DROP),
    ("limit_fixed", 17, Fault, Error(&[-32000, -32600]), NO_DROP),
    (
        "range_fixed",
        14,
        Fault,
        Tables(no_rows),
        "nothing lies behind the year 50000",
    ),
    (
        "admin",
        5,
        Fault,
        EntryWithout {
            has: "Can not overwrite file",
            lacks: "/",
        },
        "the text names no path",
    ),
    (
        "admin",
        8,
        Different,
        ThisYear,
        "the empty bucket was made today, not in 2026",
    ),
    (
        "admin",
        9,
        Different,
        ThisYear,
        "the empty bucket was made today, not in 2026",
    ),
    (
        "admin",
        10,
        Different,
        ThisYear,
        "the empty bucket was made today, not in 2026",
    ),
    (
        "admin",
        13,
        Fault,
        EntryWithout {
            has: "unable to get info about key C1/1Min",
            lacks: "/data",
        },
        "the text names no path",
    ),
    (
        "admin",
        14,
        Different,
        ThisYear,
        "the empty bucket was made today, not in 2026",
    ),
    (
        "admin",
        30,
        Different,
        Heartbeat,
        "the main port always answers /heartbeat",
    ),
    ("errors", 1, Fault, NilError(-32700), PARSE),
    ("errors", 2, Fault, NilError(-32700), PARSE),
    ("errors", 3, Fault, NilError(-32700), PARSE),
    ("errors", 5, Fault, NilError(-32700), PARSE),
    ("errors", 6, Fault, NilError(-32700), PARSE),
    ("errors", 13, Fault, NilList, NOTIFY),
    ("errors", 15, Fault, NilList, NOTIFY),
    ("json_codec", 6, Different, NilError(-32700), PARSE),
    ("slot_zero", 3, Fault, Recorded, STORED),
    (
        "slot_zero",
        4,
        Fault,
        Tables(first_of_january),
        "the row of 1 January is there",
    ),
    (
        "slot_zero",
        8,
        Different,
        Tables(new_year),
        "the row of 1 January (fault of step 4) is there",
    ),
    (
        "tz_newyork",
        9,
        Fault,
        Sql(new_year_minutes),
        "the text is a time of the configured zone",
    ),
    ("ondiskagg", 15, Fault, Tables(agg_5min), RECOMPUTED),
    ("ondiskagg", 16, Fault, Tables(agg_15min), RECOMPUTED),
    ("ondiskagg", 17, Fault, Tables(agg_1h), RECOMPUTED),
    ("ondiskagg", 18, Fault, Tables(agg_1d), RECOMPUTED),
    (
        "ondiskagg",
        22,
        Fault,
        List(&[
            "A/15Min/OHLCV",
            "A/1D/OHLCV",
            "A/1H/OHLCV",
            "A/1Min/OHLCV",
            "A/1Min/OHLCVX",
            "A/1Min/OTHER",
            "A/5Min/OHLCV",
        ]),
        "the pattern */1Min/OHLCV does not match OHLCVX",
    ),
    (
        "restart",
        9,
        Fault,
        Tables(one_tick),
        "the acknowledged tick is there once, and exact",
    ),
    ("var_ticks", 2, Different, Tables(ticks_4), EXACT),
    ("var_ticks", 4, Different, Tables(ticks_6), EXACT),
    ("var_ticks", 6, Different, Tables(ticks_7), EXACT),
    ("var_no_nanos", 4, Different, Tables(daily_ticks), EXACT),
    ("compression_off", 2, Different, Tables(eight_ticks), EXACT),
    ("compression_off", 4, Different, Tables(nine_ticks), EXACT),
    (
        "stream_bad",
        5,
        Different,
        ErrorFrame,
        "an unreadable subscribe message gets an error",
    ),
    ("functions", 9, Varies, Now, NOW),
    ("functions", 11, Varies, Now, NOW),
    ("functions", 12, Varies, Now, NOW),
    ("functions", 13, Varies, Now, NOW),
    ("functions", 14, Varies, Now, NOW),
    (
        "functions",
        15,
        Fault,
        Tables(no_gaps),
        "gap without an argument looks for what is more than three deviations longer",
    ),
    ("functions", 22, Varies, Now, NOW),
    ("functions", 25, Varies, Now, NOW),
    (
        "sql",
        3,
        Different,
        Sql(without_end),
        "the semicolon may be left out",
    ),
    ("sql", 5, Fault, Sql(between), "both ends of BETWEEN are in"),
    (
        "sql",
        6,
        Different,
        Sql(since_blank),
        "a time may have a space in it",
    ),
    (
        "sql",
        7,
        Fault,
        Sql(after_seconds),
        "the row of 14:39 matches",
    ),
    ("sql", 12, Varies, Now, NOW),
    ("sql", 13, Varies, Now, NOW),
    ("sql", 17, Fault, no_bucket("Nope/1Min/OHLCV"), NO_PATH),
    ("sql", 22, Different, Sql(in_order), "ORDER BY works"),
    ("sql", 23, Fault, Sql(either), "OR means either"),
    (
        "sql",
        27,
        Fault,
        Text("BucketScan: Q/1Min/OHLCV"),
        "the plan",
    ),
    ("sql", 28, Fault, no_bucket("Q/1Min/COPY"), NO_PATH),
    ("sql", 30, Fault, no_bucket("Q/5Min/OHLCV"), NO_PATH),
];

const fn no_bucket(key: &'static str) -> Expect {
    EntryWithout {
        has: key,
        lacks: ".bin",
    }
}

/// The bars that the recording writes everywhere: prices follow from one number a row.
fn bars(rows: &[(i64, f32, i32)]) -> Table {
    let column = |add: f32| rows.iter().map(|r| r.1 + add).collect::<Vec<f32>>();
    Table::default()
        .i8("Epoch", &rows.iter().map(|r| r.0).collect::<Vec<_>>())
        .f4("Open", &column(0.0))
        .f4("High", &column(2.0))
        .f4("Low", &column(-1.5))
        .f4("Close", &column(0.5))
        .i4("Volume", &rows.iter().map(|r| r.2).collect::<Vec<_>>())
}

fn candles(rows: &[(i64, f32, f32, f32, f32, i32)]) -> Table {
    Table::default()
        .i8("Epoch", &rows.iter().map(|r| r.0).collect::<Vec<_>>())
        .f4("Open", &rows.iter().map(|r| r.1).collect::<Vec<_>>())
        .f4("High", &rows.iter().map(|r| r.2).collect::<Vec<_>>())
        .f4("Low", &rows.iter().map(|r| r.3).collect::<Vec<_>>())
        .f4("Close", &rows.iter().map(|r| r.4).collect::<Vec<_>>())
        .i4("Volume", &rows.iter().map(|r| r.5).collect::<Vec<_>>())
}

fn quotes(rows: &[(i64, f32, f32, i32)]) -> Table {
    Table::default()
        .i8("Epoch", &rows.iter().map(|r| r.0).collect::<Vec<_>>())
        .f4("Bid", &rows.iter().map(|r| r.1).collect::<Vec<_>>())
        .f4("Ask", &rows.iter().map(|r| r.2).collect::<Vec<_>>())
        .i4("Nanoseconds", &rows.iter().map(|r| r.3).collect::<Vec<_>>())
}

fn four_hours() -> Tables {
    let rows = [
        (1577923200, 100.0, 10),
        (1577937600, 101.0, 11),
        (1577952000, 102.0, 12),
    ];
    vec![("T/4H/OHLCV", bars(&rows))]
}

const TWO_DAYS: [(i64, f32, i32); 2] = [(1578268800, 100.0, 10), (1578355200, 101.0, 11)];

fn two_minutes() -> Tables {
    vec![("T/2Min/OHLCV", bars(&TWO_DAYS))]
}

fn three_hours() -> Tables {
    vec![("T/3H/OHLCV", bars(&TWO_DAYS))]
}

fn week() -> Tables {
    vec![("T/1W/OHLCV", bars(&[(1578268800, 101.0, 11)]))]
}

fn year() -> Tables {
    vec![("T/1Y/OHLCV", bars(&[(1577836800, 101.0, 11)]))]
}

/// Windows of seven minutes count from 1970, so these two days do not begin on one.
fn seven_minutes() -> Tables {
    let floor = |epoch: i64| epoch - epoch % 420;
    vec![(
        "T/7Min/OHLCV",
        bars(&TWO_DAYS.map(|(epoch, price, n)| (floor(epoch), price, n))),
    )]
}

fn by_name_4() -> Tables {
    let rows = [
        (1583159400, 100.0, 10),
        (1583159460, 101.0, 11),
        (1583159520, 100.0, 10),
        (1583159700, 100.0, 10),
    ];
    vec![("C/1Min/OHLCV", bars(&rows))]
}

fn by_name_5() -> Tables {
    let rows = [
        (1583159400, 100.0, 10),
        (1583159460, 101.0, 11),
        (1583159520, 100.0, 10),
        (1583159700, 100.0, 10),
        (1583159760, 100.0, 10),
    ];
    vec![("C/1Min/OHLCV", bars(&rows))]
}

fn no_rows() -> Tables {
    vec![("R/1Min/OHLCV", bars(&[]))]
}

fn no_gaps() -> Tables {
    let table = Table::default().i8("Epoch", &[]);
    vec![("F/1Min/OHLCV", table.i8("End", &[]).i8("Length", &[]))]
}

fn first_of_january() -> Tables {
    vec![("Z/1D/OHLCV", bars(&[(1609459200, 100.0, 10)]))]
}

fn new_year() -> Tables {
    vec![(
        "Z/1D/OHLCV",
        bars(&[(1609372800, 100.0, 10), (1609459200, 100.0, 10)]),
    )]
}

/// The minute 14:30 was overwritten by open 1000, high 1002, low 998.5, close 1000.5, volume 10;
/// before it was 102, 104, 100.5, 102.5, 12. It opens its 5 and 15 minutes.
fn agg_5min() -> Tables {
    let rows = [
        (1583159100, 100.0, 103.0, 98.5, 101.5, 21),
        (1583159400, 1000.0, 1002.0, 101.5, 106.5, 68),
        (1583159700, 107.0, 113.0, 105.5, 111.5, 95),
        (1583160000, 112.0, 118.0, 110.5, 116.5, 120),
        (1583160300, 117.0, 303.0, 115.5, 301.5, 105),
        (1583160600, 302.0, 304.0, 300.5, 302.5, 12),
    ];
    vec![("A/5Min/OHLCV", candles(&rows))]
}

fn agg_15min() -> Tables {
    let rows = [
        (1583158500, 100.0, 103.0, 98.5, 101.5, 21),
        (1583159400, 1000.0, 1002.0, 101.5, 116.5, 283),
        (1583160300, 117.0, 304.0, 115.5, 302.5, 117),
    ];
    vec![("A/15Min/OHLCV", candles(&rows))]
}

fn agg_1h() -> Tables {
    vec![(
        "A/1H/OHLCV",
        candles(&[(1583157600, 100.0, 1002.0, 98.5, 302.5, 421)]),
    )]
}

fn agg_1d() -> Tables {
    vec![(
        "A/1D/OHLCV",
        candles(&[(1583107200, 100.0, 1002.0, 98.5, 302.5, 421)]),
    )]
}

/// From midnight in New York, 05:00 UTC, on.
fn new_year_minutes() -> Tables {
    let rows: Vec<_> = (5..10_i16)
        .map(|i| {
            let epoch = 1577854500 + 60 * i64::from(i);
            (epoch, 100.0 + f32::from(i), 10 + i32::from(i))
        })
        .collect();
    vec![(
        "SELECT * FROM `T/1Min/OHLCV` WHERE Epoch >= '2020-01-01-00:00';",
        bars(&rows),
    )]
}

/// The minutes of the scenario `sql`, from 14:28.
fn minutes(which: impl IntoIterator<Item = i16>) -> Table {
    let row = |i: i16| {
        let epoch = 1583159280 + 60 * i64::from(i);
        (epoch, 100.0 + f32::from(i), 10 + i32::from(i))
    };
    bars(&which.into_iter().map(row).collect::<Vec<_>>())
}

fn without_end() -> Tables {
    vec![("SELECT * FROM `Q/1Min/OHLCV`:SQL", minutes(0..12))]
}

fn between() -> Tables {
    vec![(
        "SELECT Open FROM `Q/1Min/OHLCV` WHERE Epoch BETWEEN '2020-03-02-14:30' AND \
         '2020-03-02-14",
        Table::default().f4("Open", &[102.0, 103.0, 104.0]),
    )]
}

fn since_blank() -> Tables {
    vec![(
        "SELECT * FROM `Q/1Min/OHLCV` WHERE Epoch >= '2020-03-02 14:38",
        minutes(10..12),
    )]
}

fn after_seconds() -> Tables {
    vec![(
        "SELECT * FROM `Q/1Min/OHLCV` WHERE Epoch > 1583159880 AND Epoch < 1583160000;:SQL",
        minutes([11]),
    )]
}

fn in_order() -> Tables {
    vec![(
        "SELECT * FROM `Q/1Min/OHLCV` ORDER BY Epoch;:SQL",
        minutes(0..12),
    )]
}

fn either() -> Tables {
    vec![(
        "SELECT * FROM `Q/1Min/OHLCV` WHERE Open > 103 OR Open < 101;:SQL",
        minutes([0].into_iter().chain(4..12)),
    )]
}

fn one_tick() -> Tables {
    vec![("P/1Min/TICK", quotes(&[(1651671000, 1.0, 2.0, 3)]))]
}

const TICKS: [(i64, f32, f32, i32); 4] = [
    (1651671000, 1.0, 2.0, 100),
    (1651671000, 1.5, 2.5, 999_999_999),
    (1651671001, 2.0, 3.0, 0),
    (1651671001, 3.0, 4.0, 0),
];
const EARLY: (i64, f32, f32, i32) = (1651671000, 0.5, 0.6, 50);
const LATE: (i64, f32, f32, i32) = (1651671030, 9.0, 10.0, 5);

fn ticks_4() -> Tables {
    vec![("Q/1Min/TICK", quotes(&TICKS))]
}

fn ticks_6() -> Tables {
    vec![(
        "Q/1Min/TICK",
        quotes(&[&[EARLY][..], &TICKS, &[LATE]].concat()),
    )]
}

fn ticks_7() -> Tables {
    vec![(
        "Q/1Min/TICK",
        quotes(&[&[EARLY][..], &TICKS, &[LATE, LATE]].concat()),
    )]
}

fn daily_ticks() -> Tables {
    let times = [1651671000, 1651674600, 1651678200, 1651757400];
    let prices = [10.0f64, 11.0, 12.0, 13.0];
    let table = Table::default()
        .i8("Epoch", &times)
        .with(
            "Price",
            "f8",
            prices.iter().flat_map(|p| p.to_le_bytes()).collect(),
        )
        .with(
            "Size",
            "u4",
            (1u32..=4).flat_map(u32::to_le_bytes).collect(),
        )
        .i4("Nanoseconds", &[0; 4]);
    vec![("P/1D/TRD", table)]
}

fn second_ticks() -> Vec<(i64, f32, f32, i32)> {
    (0..8i16)
        .map(|i| {
            (
                1651671000 + i64::from(i),
                f32::from(i),
                f32::from(i),
                i32::from(i),
            )
        })
        .collect()
}

fn eight_ticks() -> Tables {
    vec![("Q/1Min/TICK", quotes(&second_ticks()))]
}

fn nine_ticks() -> Tables {
    let mut rows = second_ticks();
    // One nanosecond past the second, before the tick that was three past it.
    rows.insert(3, (1651671003, 99.0, 99.0, 1));
    vec![("Q/1Min/TICK", quotes(&rows))]
}
