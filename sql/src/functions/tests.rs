//! Functions over stores in temporary folders, beside naive recomputations.

use model::functions::{self as kernels, Site};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, RowKind, Schema, Zone};

use crate::tests::{Bench, MINUTE, START, lines};
use crate::{Caller, Dialect, ErrorKind};

/// Bars a minute apart from 00:00 UTC, 2 January 2020, as the recordings have them.
fn ohlcv(rows: usize) -> ColumnBatch {
    let names = ["Open", "High", "Low", "Close"];
    let mut defs: Vec<ColumnDef> = names
        .iter()
        .map(|name| ColumnDef::new(*name, ColumnType::F32))
        .collect();
    defs.push(ColumnDef::new("Volume", ColumnType::I32));
    let price = |add: f32| {
        // Up and down, so that no order gives the right answer by chance.
        let value = |i: usize| 100.0 + ((i * 37) % 101) as f32 + add;
        Column::from_values((0..rows).map(value).collect::<Vec<f32>>())
    };
    let volume = Column::from_values((0..rows as i32).map(|i| 10 + i).collect::<Vec<i32>>());
    let times = (0..rows as i64)
        .map(|i| START + i * MINUTE)
        .collect::<Vec<_>>();
    let columns = vec![price(0.0), price(2.0), price(-1.5), price(0.5), volume];
    ColumnBatch::new(
        Schema::new(defs).unwrap(),
        Column::from_values(times),
        columns,
    )
    .unwrap()
}

fn bench(keys: &[(&str, usize)]) -> Bench {
    let bench = Bench::new();
    for (key, rows) in keys {
        bench.write(key, RowKind::Bar, ohlcv(*rows));
    }
    bench
}

fn marketstore() -> Caller {
    Caller {
        dialect: Dialect::MarketStore,
        ..Caller::anyone()
    }
}

/// What the kernel of the RPC gives, in the form of `Bench::show`.
fn by_kernel(call: &str, rows: &ColumnBatch) -> String {
    let zone = Zone::utc();
    let site = Site {
        zone: &zone,
        now: 0,
        actions: None,
    };
    let call = kernels::parse(call).unwrap();
    let rows = kernels::run(&call, rows, RowKind::Bar, &site).unwrap();
    as_lines(&rows)
}

fn as_lines(rows: &ColumnBatch) -> String {
    let schema = arrow_batch::schema(rows.schema(), false, Default::default());
    lines(&[arrow_batch::record_batch(&schema, None, rows).unwrap()])
}

#[test]
fn candles_are_those_of_the_kernel() {
    let bench = bench(&[("AAPL/1Min/OHLCV", 1000)]);
    for length in ["5Min", "1H", "7Min", "1D", "1M"] {
        let call =
            format!("candlecandler('{length}', Open, High, Low, Close, Sum::Volume, Avg::Volume)");
        let wanted = by_kernel(&call, &ohlcv(1000));
        assert_eq!(
            bench.show(&format!("SELECT {call} FROM `AAPL/1Min/OHLCV`")),
            wanted
        );
        let call = format!("tickcandler('{length}', Close)");
        let wanted = by_kernel(&call, &ohlcv(1000));
        assert_eq!(
            bench.show(&format!("SELECT {call} FROM `AAPL/1Min/OHLCV`")),
            wanted
        );
    }
    let limited = bench.show(
        "SELECT candlecandler('5Min',Open,High,Low,Close) FROM `AAPL/1Min/OHLCV` \
         WHERE Epoch > '2020-01-02-00:01' LIMIT 1;",
    );
    assert_eq!(limited, "2020-01-02T00:00:00Z,174.0,176.0,108.5,147.5");
}

#[test]
fn candles_of_a_pattern_are_of_each_symbol() {
    let bench = bench(&[("AAPL/1Min/OHLCV", 7), ("MSFT/1Min/OHLCV", 3)]);
    let one = by_kernel("candlecandler('5Min',Open,High,Low,Close)", &ohlcv(7));
    let other = by_kernel("candlecandler('5Min',Open,High,Low,Close)", &ohlcv(3));
    let with = |symbol: &str, rows: &str| {
        let rows = rows.lines().map(|row| format!("{symbol},{row}"));
        rows.collect::<Vec<_>>().join("\n")
    };
    let wanted = format!("{}\n{}", with("AAPL", &one), with("MSFT", &other));
    let candles = "candlecandler('5Min', Open, High, Low, Close)";
    let shown = bench.show(&format!("SELECT {candles} FROM `*/1Min/OHLCV`"));
    assert_eq!(shown, wanted);
    let shown = bench.show(&format!("SELECT symbol, {candles} FROM `*/1Min/OHLCV`"));
    assert_eq!(shown, wanted, "a key that is asked for comes once");
    let shown = bench.show("SELECT ohlcv('1D') FROM \"{AAPL,MSFT}/1Min/OHLCV\"");
    assert_eq!(
        shown,
        "AAPL,2020-01-02T00:00:00Z,100.0,186.0,98.5,120.5,91\n\
         MSFT,2020-01-02T00:00:00Z,100.0,176.0,98.5,174.5,33"
    );
    let more = "SELECT ohlcv('1D'), count(*), vwap(\"Close\", \"Volume\") > 100 AS dear, \
                max(\"High\") - min(\"Low\") FROM `AAPL/1Min/OHLCV`";
    assert_eq!(
        bench.show(more),
        "2020-01-02T00:00:00Z,100.0,186.0,98.5,120.5,91,7,true,87.5"
    );
    let wrapped =
        format!("SELECT * FROM (SELECT {candles} FROM `*/1Min/OHLCV`) WHERE \"High\" > 0");
    assert_eq!(bench.show(&wrapped), wanted, "as they stand within");
    assert_eq!(
        bench.show(&format!("SELECT * FROM ({wrapped}) LIMIT 2")),
        with("AAPL", &one)
    );
    let nested = bench.show(
        "SELECT symbol, max(\"High\") FROM (SELECT ohlcv('5Min') FROM `*/1Min/OHLCV`) GROUP BY 1 \
         ORDER BY 1",
    );
    assert_eq!(nested, "AAPL,186.0\nMSFT,176.0");
}

#[test]
fn marketstore_has_its_shapes() {
    let bench = bench(&[("AAPL/1Min/OHLCV", 12)]);
    let run = |text: &str| {
        let rows = bench.run_as(text, &marketstore());
        rows.unwrap_or_else(|error| panic!("{}", error.pretty(text)))
    };
    let rows =
        run("SELECT Epoch, max(Open), min(Open), count(*), avg(Volume) FROM `AAPL/1Min/OHLCV`;");
    let schema = rows[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "Epoch", "Max", "Epoch0", "Min", "Epoch1", "Count", "Epoch2", "Avg"
        ]
    );
    let cells: Vec<String> = lines(&rows).split(',').map(str::to_owned).collect();
    assert_eq!(
        (&cells[1][..], &cells[3][..], &cells[5][..], &cells[7][..]),
        ("194.0", "100.0", "12", "15.5")
    );
    assert!(
        cells[0].ends_with('Z') && !cells[0].contains('.'),
        "whole seconds: {}",
        cells[0]
    );
    let rows = run("SELECT max(Open) AS top, max(High) AS top FROM `AAPL/1Min/OHLCV`;");
    let schema = rows[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["Epoch", "top", "Epoch0", "top0"]);
    let rows = run("SELECT Epoch, candlecandler('1H',Open,High,Low,Close) FROM `AAPL/1Min/OHLCV`;");
    assert_eq!(rows[0].num_columns(), 5, "plain columns are left out");
    let standard = bench.show("SELECT max(Open), count(*) FROM `AAPL/1Min/OHLCV`");
    assert_eq!(standard, "194.0,12");
}

#[test]
fn time_buckets_follow_zone_and_session() {
    let bench = bench(&[]);
    for (call, wanted) in [
        (
            "time_bucket('5Min', TIMESTAMP '2020-03-02 14:33:20')",
            "2020-03-02T14:30:00Z",
        ),
        (
            "time_bucket(INTERVAL '15 minutes', TIMESTAMP '2020-03-02 14:33:20')",
            "2020-03-02T14:30:00Z",
        ),
        (
            "time_bucket(INTERVAL '1 month', TIMESTAMP '2020-03-02 14:33:20')",
            "2020-03-01T00:00:00Z",
        ),
        (
            "time_bucket('1D', TIMESTAMP '2020-03-02 03:33:20', 'America/New_York')",
            "2020-03-01T05:00:00Z",
        ),
        (
            "time_bucket('4H', TIMESTAMP '2020-03-02 03:33:20', 'Asia/Kolkata')",
            "2020-03-02T02:30:00Z",
        ),
        (
            "time_bucket('1H', TIMESTAMP '2020-03-09 15:29:59', 'America/New_York', '09:30')",
            "2020-03-09T14:30:00Z",
        ),
        (
            "time_bucket('1D', TIMESTAMP '2020-03-08 23:00:00', 'America/New_York', '18:00')",
            "2020-03-08T22:00:00Z",
        ),
    ] {
        assert_eq!(bench.show(&format!("SELECT {call}")), wanted, "{call}");
    }
    for (call, wanted) in [
        (
            "time_bucket('5min', now())",
            "unable to get timeframe from \"5min\"",
        ),
        (
            "time_bucket('5Min')",
            "time_bucket takes a length and a time",
        ),
        (
            "time_bucket(5, now())",
            "the length is a text like '5Min' or an INTERVAL",
        ),
        (
            "time_bucket('5Min', now(), 'Mars')",
            "unknown time zone \"Mars\"",
        ),
        (
            "time_bucket('5Min', now(), 'UTC', '9:30')",
            "\"9:30\" is no time of the day",
        ),
        (
            "time_bucket(INTERVAL '1 month 1 day', now())",
            "a number of months, of days, or of seconds",
        ),
    ] {
        let error = bench.error(&format!("SELECT {call}"));
        assert!(error.to_string().contains(wanted), "{call}: {error}");
    }
}

#[test]
fn first_and_last_go_by_time_not_by_order() {
    let bench = bench(&[("A/1Min/OHLCV", 500), ("B/1Min/OHLCV", 400)]);
    let shown = bench.show(
        "SELECT symbol, first(Close, Epoch), last(Close, Epoch), last(symbol, Epoch), \
         vwap(Close, Volume) FROM (SELECT * FROM `*/1Min/OHLCV` ORDER BY Close) \
         GROUP BY symbol ORDER BY symbol",
    );
    let vwap = |rows: i32| {
        let price = |i: i32| f64::from(100 + (i * 37) % 101) + 0.5;
        let paid: f64 = (0..rows).map(|i| price(i) * f64::from(10 + i)).sum();
        paid / (0..rows).map(|i| f64::from(10 + i)).sum::<f64>()
    };
    let last = |rows: usize| 100.5 + (((rows - 1) * 37) % 101) as f32;
    let rows: Vec<Vec<&str>> = shown.lines().map(|row| row.split(',').collect()).collect();
    for (row, (symbol, count)) in rows.iter().zip([("A", 500), ("B", 400)]) {
        assert_eq!(row[..2], [symbol, "100.5"]);
        assert_eq!(row[2], format!("{:?}", last(count)));
        assert_eq!(row[3], symbol);
        let found: f64 = row[4].parse().unwrap();
        assert!((found - vwap(count as i32)).abs() < 1e-9, "{found}");
    }
    let whole = bench
        .show("SELECT first(Open, Epoch), vwap(Open, Volume) FROM `A/1Min/OHLCV` WHERE Open < 0");
    assert_eq!(whole, ",", "of no rows there is no value");
    let filtered =
        bench.show("SELECT last(Volume, Epoch) FILTER (WHERE Volume < 100) FROM `A/1Min/OHLCV`");
    assert_eq!(filtered, "99");
    let error = bench.error("SELECT first(Open) FROM `A/1Min/OHLCV`");
    assert_eq!(
        error.message,
        "first takes a value and a time: first(Close, Epoch)"
    );
}

#[test]
fn no_nan_hides_a_price() {
    let bench = bench(&[]);
    let rows = ohlcv(4);
    let high = Column::from_values(vec![3.0_f32, f32::NAN, 2.0, f32::NAN]);
    let mut columns = rows.columns().to_vec();
    (columns[1], columns[2]) = (high.clone(), high);
    let rows = ColumnBatch::new(rows.schema().clone(), rows.time_column().clone(), columns);
    bench.write("N/1Min/OHLCV", RowKind::Bar, rows.unwrap());
    let shown = bench.show("SELECT high(High), low(Low), high(Volume) FROM `N/1Min/OHLCV`");
    assert_eq!(shown, "3.0,2.0,13");
    let candles = "SELECT candlecandler('2Min', Open, High, Low, Close) FROM `N/1Min/OHLCV`";
    let highs = format!("SELECT \"High\", \"Low\" FROM ({candles}) ORDER BY \"Epoch\"");
    assert_eq!(bench.show(&highs), "3.0,3.0\n2.0,2.0");
    let running = "SELECT high(Volume) OVER (ORDER BY Epoch) FROM `N/1Min/OHLCV` ORDER BY Epoch";
    assert_eq!(bench.show(running), "10\n11\n12\n13");
    assert_eq!(
        bench.show("SELECT high(High) FROM `N/1Min/OHLCV` WHERE Volume > 99"),
        ""
    );
}

#[test]
fn gaps_are_found_by_length_and_by_what_is_usual() {
    let bench = bench(&[("A/1Min/OHLCV", 60)]);
    // Ten minutes without a row, in each of two buckets.
    for (key, from) in [("G/1Min/OHLCV", 20), ("H/1Min/OHLCV", 40)] {
        let rows = ohlcv(100);
        bench.write(key, RowKind::Bar, rows.slice(0..from));
        bench.write(key, RowKind::Bar, rows.slice(from + 10..100));
    }
    let wanted = "2020-01-02T00:19:00Z,2020-01-02T00:30:00Z,660";
    for call in ["gap('5Min')", "gap()", "gap('2.5')"] {
        let shown = bench.show(&format!("SELECT {call} FROM `G/1Min/OHLCV`"));
        assert_eq!(shown, wanted, "{call}");
    }
    assert_eq!(
        bench.show("SELECT gap('5Min') FROM `{A,G,H}/1Min/OHLCV` WHERE Epoch < '2020-01-02-02:00'"),
        format!("G,{wanted}\nH,2020-01-02T00:39:00Z,2020-01-02T00:50:00Z,660")
    );
    let none =
        bench.show("SELECT gap('5Min') FROM `G/1Min/OHLCV` WHERE Epoch < '2020-01-02-00:15'");
    assert_eq!(none, "");
    let rows = bench
        .run_as("SELECT gap('5Min') FROM `G/1Min/OHLCV`;", &marketstore())
        .unwrap();
    assert_eq!(lines(&rows), "2020-01-02T00:19:00Z,1577925000,660");
}

/// A row of `<symbol>/1D/ACTIONS`: a split of `rate` to 1 at a second.
fn split(second: i64, rate: f64) -> ColumnBatch {
    let i = |value: i64| Column::from_values(vec![value]);
    let b = |value: u8| Column::from_values(vec![value]);
    let d = |value: f64| Column::from_values(vec![value]);
    let columns = [
        ("TextNumber", i(1)),
        ("UpdateTextNumber", i(0)),
        ("DeleteTextNumber", i(0)),
        ("NotificationType", b(b'7')),
        ("Status", b(b'N')),
        ("ExpirationDate", i(second)),
        ("NewRate", d(0.0)),
        ("OldRate", d(0.0)),
        ("Rate", d(rate)),
    ];
    let defs = columns
        .iter()
        .map(|(name, column)| ColumnDef::new(*name, column.ty()));
    let schema = Schema::new(defs.collect()).unwrap();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    ColumnBatch::new(schema, i(START), columns).unwrap()
}

#[test]
fn adjusted_rows_are_those_of_the_kernel() {
    let bench = bench(&[("AAPL/1Min/OHLCV", 6), ("MSFT/1Min/OHLCV", 2)]);
    let at = (START + 4 * MINUTE) / NANOS_PER_SECOND;
    let actions = split(at, 4.0);
    bench.write("AAPL/1D/ACTIONS", RowKind::Tick, actions.clone());
    let zone = Zone::utc();
    let site = Site {
        zone: &zone,
        now: 0,
        actions: Some(&actions),
    };
    let call = kernels::parse("adjust('split')").unwrap();
    let rows = kernels::run(&call, &ohlcv(6), RowKind::Bar, &site).unwrap();
    let wanted = as_lines(&rows);
    let shown = bench.show("SELECT adjust('split') FROM `AAPL/1Min/OHLCV`");
    assert_eq!(shown, wanted);
    assert_ne!(shown, bench.show("SELECT * FROM `AAPL/1Min/OHLCV`"));
    assert_eq!(
        bench.show("SELECT adjust('dividend') FROM `AAPL/1Min/OHLCV`"),
        bench.show("SELECT * FROM `AAPL/1Min/OHLCV`")
    );
    let closes = "SELECT symbol, \"Close\" FROM (SELECT adjust() FROM `*/1Min/OHLCV`) \
                  WHERE \"Epoch\" = '2020-01-02-00:01' ORDER BY symbol";
    assert_eq!(bench.show(closes), "AAPL,34.375\nMSFT,137.5");
    let factors = "SELECT adjust_factor('AAPL', Epoch) FROM `AAPL/1Min/OHLCV` LIMIT 2 OFFSET 3";
    assert_eq!(bench.show(factors), "4.0\n1.0");
}

#[test]
fn bad_calls_are_named_with_their_place() {
    let bench = bench(&[("A/1Min/OHLCV", 2)]);
    for (items, wanted) in [
        (
            "candlecandler('5Min', Open)",
            "have [Open], need [Open High Low Close]",
        ),
        (
            "candlecandler('5min', Open, High, Low, Close)",
            "unable to get timeframe from \"5min\"",
        ),
        ("candlecandler('5Min', Nope, High, Low, Close)", "Nope"),
        (
            "tickcandler('5Min', Close, Volume)",
            "name their parameter like Sum::Volume",
        ),
        ("ohlcv()", "ohlcv takes a length"),
        ("gap('often')", "gap('often')"),
        ("adjust('merger')", "adjust('merger')"),
        (
            "ohlcv('5Min'), gap()",
            "one function of several columns a SELECT",
        ),
        ("ohlcv('5Min') AS x", "takes no alias"),
        ("*, ohlcv('5Min')", "cannot stand beside *"),
        ("gap('5Min'), Open", "stands alone"),
    ] {
        let text = format!("SELECT {items} FROM `A/1Min/OHLCV`");
        let error = bench.error(&text);
        assert!(error.to_string().contains(wanted), "{items}: {error}");
        assert!(error.position.is_some(), "{items}: {error}");
    }
    let error = bench.error("SELECT ohlcv('5Min') FROM `B/1Min/OHLCV`");
    assert_eq!(error.kind, ErrorKind::Unknown);
}

#[test]
fn candles_of_a_large_bucket_are_grouped_in_pieces_and_as_rows_come() {
    let bench = bench(&[("A/1Min/OHLCV", 30_000)]);
    let text = "SELECT time_bucket('1H', \"Epoch\") AS t, first(\"Open\", \"Epoch\") AS o, \
                max(\"High\") AS h, min(\"Low\") AS l, last(\"Close\", \"Epoch\") AS c, \
                sum(\"Volume\") AS v FROM \"A/1Min/OHLCV\" GROUP BY t";
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(plan.contains("pieces in order, 4 at a time"), "{plan}");
    let single = plan.lines().find(|line| line.contains("mode=Single"));
    assert!(single.unwrap().contains("ordering_mode=Sorted"), "{plan}");
    assert!(!plan.contains("SortExec"), "{plan}");
    let limited = bench.show(&format!("EXPLAIN {text} ORDER BY t LIMIT 5"));
    assert!(
        limited.contains("preserve_order=true"),
        "it ends early: {limited}"
    );
    let highest = bench.show(&format!("EXPLAIN {text} ORDER BY h LIMIT 5"));
    assert!(
        !highest.contains("preserve_order"),
        "it reads all: {highest}"
    );
    let each = "SELECT \"Epoch\", sum(\"Volume\") FROM \"A/1Min/OHLCV\" GROUP BY \"Epoch\"";
    let each = bench.show(&format!("EXPLAIN {each}"));
    assert!(each.contains("pieces in order"), "of any length: {each}");
    let wanted = by_kernel(
        "candlecandler('1H', Open, High, Low, Close, Sum::Volume)",
        &ohlcv(30_000),
    );
    let shown = bench.show(&format!(
        "SELECT t, o, h, l, c, CAST(v AS DOUBLE) FROM ({text}) ORDER BY t"
    ));
    assert_eq!(shown, wanted);
}

#[test]
fn gaps_are_filled_by_zone_and_session() {
    let bench = bench(&[]);
    let second = |text: &str| {
        let time: jiff::Timestamp = text.parse().unwrap();
        time.as_second() * NANOS_PER_SECOND
    };
    let write = |key: &str, times: &[&str]| {
        let rows = ohlcv(times.len());
        let times = times.iter().map(|time| second(time)).collect::<Vec<i64>>();
        let columns = rows.columns().to_vec();
        let rows = ColumnBatch::new(rows.schema().clone(), Column::from_values(times), columns);
        bench.write(key, RowKind::Bar, rows.unwrap());
    };
    // The clock in New York goes forward on 8 March.
    write(
        "D/1Min/OHLCV",
        &["2020-03-06T12:00:00Z", "2020-03-10T12:00:00Z"],
    );
    let fill = |bucket: &str, key: &str, with: &str| {
        bench.show(&format!(
            "SELECT {bucket} AS t, sum(Volume) AS v FROM `{key}` GROUP BY t FILL({with})"
        ))
    };
    assert_eq!(
        fill(
            "time_bucket('1D', Epoch, 'America/New_York', '18:00')",
            "D/1Min/OHLCV",
            "0"
        ),
        "2020-03-05T23:00:00Z,10\n2020-03-06T23:00:00Z,0\n2020-03-07T23:00:00Z,0\n\
         2020-03-08T22:00:00Z,0\n2020-03-09T22:00:00Z,11"
    );
    assert_eq!(
        fill(
            "time_bucket('1D', Epoch, 'America/New_York')",
            "D/1Min/OHLCV",
            "prev"
        ),
        "2020-03-06T05:00:00Z,10\n2020-03-07T05:00:00Z,10\n2020-03-08T05:00:00Z,10\n\
         2020-03-09T04:00:00Z,10\n2020-03-10T04:00:00Z,11"
    );
    // Hours of a session that begins at half past nine, four hours and a night.
    write(
        "S/1Min/OHLCV",
        &["2020-03-09T13:45:00Z", "2020-03-09T17:00:00Z"],
    );
    assert_eq!(
        fill(
            "time_bucket('1H', Epoch, 'America/New_York', '09:30')",
            "S/1Min/OHLCV",
            "null"
        ),
        "2020-03-09T13:30:00Z,10\n2020-03-09T14:30:00Z,\n2020-03-09T15:30:00Z,\n\
         2020-03-09T16:30:00Z,11"
    );
    // Months are of any length.
    write(
        "M/1Min/OHLCV",
        &["2020-01-15T00:00:00Z", "2020-04-15T00:00:00Z"],
    );
    assert_eq!(
        fill("time_bucket('1M', Epoch)", "M/1Min/OHLCV", "linear"),
        "2020-01-01T00:00:00Z,10\n2020-02-01T00:00:00Z,10\n2020-03-01T00:00:00Z,11\n\
         2020-04-01T00:00:00Z,11"
    );
}

#[test]
fn functions_of_several_columns_are_tables_too() {
    let bench = bench(&[("A/1Min/OHLCV", 20), ("B/1Min/OHLCV", 12)]);
    let key = "A/1Min/OHLCV".parse().unwrap();
    let (from, to) = (START + 5 * MINUTE, START + 9 * MINUTE);
    let range = engine::DeleteRange { key, from, to };
    bench.engine.delete(&[range]).unwrap();
    bench.write(
        "A/1D/ACTIONS",
        RowKind::Tick,
        split(START / NANOS_PER_SECOND + 600, 2.0),
    );
    for (table, select) in [
        (
            "gap('A/1Min/OHLCV', '2Min')",
            "gap('2Min') FROM `A/1Min/OHLCV`",
        ),
        (
            "gap(`*/1Min/OHLCV`, '2Min')",
            "gap('2Min') FROM `*/1Min/OHLCV`",
        ),
        ("GAP(\"A/1Min/OHLCV\")", "gap() FROM `A/1Min/OHLCV`"),
        (
            "adjust('A/1Min/OHLCV', 'split')",
            "adjust('split') FROM `A/1Min/OHLCV`",
        ),
        ("adjust(A.1Min.OHLCV)", "adjust() FROM `A/1Min/OHLCV`"),
        (
            "ohlcv('*/1Min/OHLCV', '5Min')",
            "ohlcv('5Min') FROM `*/1Min/OHLCV`",
        ),
        (
            "candlecandler('B/1Min/OHLCV', '5Min', Open, High, Low, Close, Sum::Volume)",
            "candlecandler('5Min', Open, High, Low, Close, Sum::Volume) FROM `B/1Min/OHLCV`",
        ),
    ] {
        let wanted = bench.show(&format!("SELECT {select}"));
        assert!(!wanted.is_empty(), "{select}");
        assert_eq!(
            bench.show(&format!("SELECT * FROM {table}")),
            wanted,
            "{table}"
        );
    }
    let joined = bench.show(
        "SELECT g.Epoch, a.Close FROM gap('A/1Min/OHLCV', '2Min') g \
         JOIN adjust('A/1Min/OHLCV', 'split') AS a ON a.Epoch = g.End WHERE g.Length > 60",
    );
    assert_eq!(joined, "2020-01-02T00:04:00Z,167.5");
    // Who names none is called like the function.
    let named = bench.show("SELECT gap.Length FROM gap('A/1Min/OHLCV', '2Min')");
    assert_eq!(named, "360");
    for (table, wanted) in [
        ("gap()", "takes the bucket or the pattern first"),
        ("gap(5)", "takes the bucket or the pattern first"),
        ("adjust('A/1Min/OHLCV', 'merger')", "adjust('merger')"),
        ("gap('Z/1Min/OHLCV')", "no table \"Z/1Min/OHLCV\" at 1:19"),
    ] {
        let error = bench.error(&format!("SELECT * FROM {table}"));
        assert!(error.to_string().contains(wanted), "{table}: {error}");
        assert!(error.position.is_some(), "{table}: {error}");
    }
}

/// Rows and actions are of one LSN, however late the statement runs.
#[test]
fn actions_are_those_of_the_snapshot() {
    let bench = bench(&[("A/1Min/OHLCV", 2), ("B/1Min/OHLCV", 2)]);
    let texts = [
        "SELECT adjust('split') FROM `A/1Min/OHLCV`",
        "SELECT * FROM adjust('{A,B}/1Min/OHLCV', 'split') WHERE symbol = 'A'",
        "SELECT Close / adjust_factor('A', Epoch) FROM `A/1Min/OHLCV`",
        "SELECT adjust_factor(symbol, Epoch) FROM `{A,B}/1Min/OHLCV`",
    ];
    let second = START / NANOS_PER_SECOND + 600;
    bench.write("A/1D/ACTIONS", RowKind::Tick, split(second, 2.0));
    let before = texts.map(|text| bench.show(text));
    let prepared = texts.map(|text| bench.prepare(text));
    let key = "A/1D/ACTIONS".parse().unwrap();
    let (from, to) = (i64::MIN, i64::MAX);
    let range = engine::DeleteRange { key, from, to };
    bench.engine.delete(&[range]).unwrap();
    for (statement, wanted) in prepared.iter().zip(&before) {
        assert_eq!(&bench.execute(statement, Vec::new()), wanted);
    }
    for (text, before) in texts.iter().zip(&before) {
        assert_ne!(
            &bench.show(text),
            before,
            "the next statement sees it: {text}"
        );
    }
}

#[test]
fn lengths_zones_and_anchors_may_be_parameters() {
    use crate::ScalarValue::Utf8;
    let bench = bench(&[("A/1Min/OHLCV", 500)]);
    let text = |text: &str| Utf8(Some(text.to_owned()));
    for (given, values, literal) in [
        (
            "SELECT time_bucket($1, Epoch) AS t, count(*) FROM `A/1Min/OHLCV` GROUP BY t ORDER BY t",
            vec![text("1H")],
            "SELECT time_bucket('1H', Epoch) AS t, count(*) FROM `A/1Min/OHLCV` GROUP BY t ORDER BY t",
        ),
        (
            "SELECT time_bucket($2, Epoch, $1, $3) AS t, max(High) FROM `A/1Min/OHLCV` GROUP BY 1 ORDER BY 1",
            vec![text("America/New_York"), text("2H"), text("09:30")],
            "SELECT time_bucket('2H', Epoch, 'America/New_York', '09:30') AS t, max(High) \
             FROM `A/1Min/OHLCV` GROUP BY 1 ORDER BY 1",
        ),
        (
            "SELECT time_bucket($1, Epoch) AS t, count(*) AS n FROM `A/1Min/OHLCV` WHERE High > $2 \
             GROUP BY t FILL(0) ORDER BY t",
            vec![text("1Min"), crate::ScalarValue::Float32(Some(195.0))],
            "SELECT time_bucket('1Min', Epoch) AS t, count(*) AS n FROM `A/1Min/OHLCV` WHERE High > 195 \
             GROUP BY t FILL(0) ORDER BY t",
        ),
        (
            "SELECT ohlcv($1) FROM `A/1Min/OHLCV`",
            vec![text("7Min")],
            "SELECT ohlcv('7Min') FROM `A/1Min/OHLCV`",
        ),
        (
            "SELECT candlecandler($1, Open, High, Low, Close, Sum::Volume) FROM `A/1Min/OHLCV`",
            vec![text("7Min")],
            "SELECT candlecandler('7Min', Open, High, Low, Close, Sum::Volume) FROM `A/1Min/OHLCV`",
        ),
    ] {
        let statement = bench.prepare(given);
        assert_eq!(statement.parameters().len(), values.len(), "{given}");
        assert_eq!(
            bench.execute(&statement, values),
            bench.show(literal),
            "{given}"
        );
    }
    let statement = bench.prepare("SELECT time_bucket($1, Epoch) FROM `A/1Min/OHLCV`");
    for (value, wanted) in [
        (text("5min"), "unable to get timeframe from \"5min\""),
        (Utf8(None), "texts like '5Min'"),
    ] {
        let error = bench.try_execute(&statement, vec![value]).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn candles_are_filled() {
    let bench = bench(&[]);
    let rows = ohlcv(12);
    for (key, parts) in [
        ("A/1Min/OHLCV", [0..2, 9..11]),
        ("B/1Min/OHLCV", [3..4, 10..11]),
    ] {
        for part in parts {
            bench.write(key, RowKind::Bar, rows.slice(part));
        }
    }
    let filled = |with: &str| {
        bench.show(&format!(
            "SELECT ohlcv('3Min') FROM `A/1Min/OHLCV` FILL({with})"
        ))
    };
    let (first, last) = (
        "2020-01-02T00:00:00Z,100.0,139.0,98.5,137.5,21",
        "2020-01-02T00:09:00Z,130.0,169.0,128.5,167.5,39",
    );
    let gap = |at: u8, values: &str| format!("2020-01-02T00:0{at}:00Z,{values}");
    let whole = |three: &str, six: &str| [first, &gap(3, three), &gap(6, six), last].join("\n");
    assert_eq!(filled("none"), format!("{first}\n{last}"));
    assert_eq!(filled("null"), whole(",,,,", ",,,,"));
    let before = "100.0,139.0,98.5,137.5,21";
    assert_eq!(filled("prev"), whole(before, before));
    assert_eq!(
        filled("linear"),
        whole("110.0,149.0,108.5,147.5,27", "120.0,159.0,118.5,157.5,33")
    );
    let mixed = "100.0,139.0,98.5,137.5,0";
    assert_eq!(filled("prev, prev, prev, prev, 0"), whole(mixed, mixed));
    // Behind WHERE, of a pattern, and in a subquery; each symbol by itself.
    let shown = bench.show(
        "SELECT * FROM (SELECT ohlcv('3Min') FROM `*/1Min/OHLCV` WHERE High > 0 FILL(prev, prev, prev, prev, 0)) \
         WHERE Volume = 0",
    );
    assert_eq!(
        shown.lines().map(|line| &line[..22]).collect::<Vec<_>>(),
        [
            "A,2020-01-02T00:03:00Z",
            "A,2020-01-02T00:06:00Z",
            "B,2020-01-02T00:06:00Z"
        ]
    );
    let candles = bench.show(
        "SELECT tickcandler('3Min', Close) FROM `A/1Min/OHLCV` FILL(prev) ORDER BY Epoch DESC LIMIT 2",
    );
    assert_eq!(
        candles,
        "2020-01-02T00:09:00Z,130.5,167.5,130.5,167.5\n2020-01-02T00:06:00Z,100.5,137.5,100.5,137.5"
    );
    let error = bench.error("SELECT Open FROM `A/1Min/OHLCV` FILL(prev)");
    assert!(error.to_string().contains("FILL needs GROUP BY"), "{error}");
}

#[test]
fn patterns_have_the_escape_sign_that_the_statement_says() {
    let bench = Bench::new();
    for (condition, is_so) in [
        ("'a_b' LIKE 'a/_b' ESCAPE '/'", true),
        ("'axb' LIKE 'a/_b' ESCAPE '/'", false),
        ("'a/b' LIKE 'a//_' ESCAPE '/'", true),
        ("'a\\b' LIKE 'a\\_' ESCAPE '/'", true),
        ("'AB%' ILIKE 'a_!%' ESCAPE '!'", true),
        ("'ABC' ILIKE 'a_!%' ESCAPE '!'", false),
        ("'a\\b' LIKE 'a\\b' ESCAPE ''", true),
        ("'pg_x' NOT LIKE 'pg/_' || '%' ESCAPE '/'", false),
    ] {
        let rows = bench.show(&format!("SELECT {condition} AS it"));
        assert_eq!(rows, is_so.to_string(), "{condition}");
    }
}
