//! The functions of a query on the bundled real bars, beside a naive recomputation.

use crate::aggregates::real;
use rmpv::Value;
use std::collections::BTreeMap;
use tests::candles::{self, Bars};
use tests::http::Client;
use tests::server::Server;
use tests::wire::{CallError, Table, call, get, map, tables, write};

const CANDLES: &str = "candlecandler('5Min',Open,High,Low,Close,Sum::Volume)";

/// The tables of a query by bucket.
fn query(
    client: &mut Client,
    destination: &str,
    functions: &[&str],
    further: Vec<(&str, Value)>,
) -> Result<BTreeMap<String, Table>, String> {
    let functions = functions.iter().map(|f| Value::from(*f)).collect();
    let mut one = vec![
        ("destination", destination.into()),
        ("functions", Value::Array(functions)),
    ];
    one.extend(further);
    let requests = map(vec![("requests", Value::Array(vec![map(one)]))]);
    let result = call(client, "Query", requests).map_err(|error| match error {
        CallError::Rpc(_, text) => text,
        other => format!("{other:?}"),
    })?;
    let response = get(&result, "responses").and_then(Value::as_array);
    let set = response.and_then(|all| get(&all[0], "result"));
    let short = |key: String| key.split(':').next().unwrap_or_default().to_string();
    let tables = tables(set.expect("a result")).expect("a dataset");
    Ok(tables.into_iter().map(|(k, t)| (short(k), t)).collect())
}

fn one(client: &mut Client, destination: &str, function: &str) -> Table {
    let tables = query(client, destination, &[function], Vec::new()).expect("an answer");
    tables.into_values().next().expect("a bucket")
}

fn f8(table: &Table, name: &str) -> Vec<f64> {
    let bytes = &table.column(name).expect("the column").data;
    let values = bytes.chunks_exact(8);
    values
        .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")))
        .collect()
}

fn store(client: &mut Client, key: &str, bars: &Bars) {
    write(client, &[(key, &candles::table(bars))], false).expect("written");
}

/// What `CANDLES` gives for bars.
fn wanted(bars: &Bars) -> Table {
    let five = candles::aggregate(bars, 300);
    let column = |f: fn(&candles::Bar) -> f32| five.values().map(f).collect::<Vec<f32>>();
    let sums = five
        .values()
        .flat_map(|b| f64::from(b.volume).to_le_bytes());
    Table::default()
        .i8("Epoch", &five.keys().copied().collect::<Vec<_>>())
        .f4("Open", &column(|b| b.open))
        .f4("High", &column(|b| b.high))
        .f4("Low", &column(|b| b.low))
        .f4("Close", &column(|b| b.close))
        .with("Volume_SUM", "f8", sums.collect())
}

#[test]
fn candles_of_real_bars_equal_their_recomputation() {
    let server = Server::start(&[], "");
    let mut client = server.client();
    let bars = ["SPY", "AAPL"].map(|symbol| (symbol, real(&format!("{symbol}_1Min_OHLCV.csv.gz"))));
    for (symbol, bars) in &bars {
        store(&mut client, &format!("{symbol}/1Min/OHLCV"), bars);
    }
    let found = query(&mut client, "*/1Min/OHLCV", &[CANDLES], Vec::new()).expect("an answer");
    assert_eq!(found.len(), 2);
    for (symbol, bars) in &bars {
        assert_eq!(
            found[&format!("{symbol}/1Min/OHLCV")],
            wanted(bars),
            "{symbol}"
        );
    }
    let spy = &bars[0].1;
    // Of the last rows, and of the first.
    let mut newest = spy.clone();
    while newest.len() > 1000 {
        newest.pop_first();
    }
    let limit = vec![("limit_record_count", 1000.into())];
    let found = query(&mut client, "SPY/1Min/OHLCV", &[CANDLES], limit).expect("an answer");
    assert_eq!(found["SPY/1Min/OHLCV"], wanted(&newest));
    let volumes: f64 = spy.values().map(|b| f64::from(b.volume)).sum();
    let average = one(&mut client, "SPY/1Min/OHLCV", "avg(Volume)");
    assert_eq!(f8(&average, "Avg"), [volumes / spy.len() as f64]);
    let most = one(&mut client, "SPY/1Min/OHLCV", "max(Volume)");
    let volume = spy.values().map(|b| b.volume).max().expect("bars");
    assert_eq!(
        most.get_i4("Max"),
        [volume],
        "exact, of the type of the column"
    );
    // Nights and weekends are the gaps of a session.
    let gaps = one(&mut client, "SPY/1Min/OHLCV", "gap('1H')");
    let epochs: Vec<i64> = spy.keys().copied().collect();
    let nights = epochs.windows(2).filter(|pair| pair[1] - pair[0] > 3600);
    let nights: Vec<(i64, i64)> = nights.map(|pair| (pair[0], pair[1] - pair[0])).collect();
    assert!(!nights.is_empty());
    let found = gaps.get_i8("Epoch").into_iter().zip(gaps.get_i8("Length"));
    assert_eq!(found.collect::<Vec<_>>(), nights);
}

/// More rows than are read at once, with many of one time where pieces meet.
#[test]
fn pieces_of_many_ticks_leave_nothing_out() {
    let server = Server::start(&[], "");
    let mut client = server.client();
    const ROWS: i64 = 150_000;
    let epoch = |row: i64| match row {
        60_000..=70_000 => 1_583_165_000,
        _ => 1_583_100_000 + row,
    };
    let table = Table::default()
        .i8("Epoch", &(0..ROWS).map(epoch).collect::<Vec<_>>())
        .i4("Size", &(0..ROWS as i32).collect::<Vec<_>>())
        .i4("Nanoseconds", &vec![0; ROWS as usize]);
    write(&mut client, &[("T/1Sec/TICK", &table)], true).expect("written");
    let sum = one(
        &mut client,
        "T/1Sec/TICK",
        "tickcandler('1Y',Size,Sum::Size)",
    );
    assert_eq!(f8(&sum, "Size_SUM"), [(0..ROWS).sum::<i64>() as f64]);
    let count = one(&mut client, "T/1Sec/TICK", "count(*)");
    assert_eq!(count.get_i8("Count"), [ROWS]);
    for (from_start, rows, first) in [(true, 140_000, 0), (false, 90_000, ROWS - 90_000)] {
        let limit = vec![
            ("limit_record_count", rows.into()),
            ("limit_from_start", from_start.into()),
        ];
        let least = query(&mut client, "T/1Sec/TICK", &["min(Size)"], limit).expect("an answer");
        assert_eq!(least["T/1Sec/TICK"].get_i4("Min"), [first as i32]);
    }
}

#[test]
fn prices_are_adjusted_by_the_announced_splits() {
    let server = Server::start(&[], "");
    let mut client = server.client();
    // Closing prices about the split of 4 to 1 of 31 August 2020.
    let days = [1_598_572_800_i64, 1_598_832_000, 1_598_918_400];
    let closes = [499.23_f32, 129.04, 134.18];
    let table = Table::default()
        .i8("Epoch", &days)
        .f4("Close", &closes)
        .i4("Volume", &[46_907_479, 225_702_688, 151_948_084]);
    write(&mut client, &[("AAPL/1D/OHLCV", &table)], false).expect("written");
    let one_row = |bytes: &[u8]| bytes.to_vec();
    let mut actions = Table::default().i8("Epoch", &[1_596_067_200]);
    for (name, number) in [
        ("TextNumber", 1),
        ("UpdateTextNumber", 0),
        ("DeleteTextNumber", 0),
    ] {
        actions = actions.i8(name, &[number]);
    }
    for (name, byte) in [("NotificationType", b'7'), ("Status", b'N')] {
        actions = actions.with(name, "u1", one_row(&[byte]));
    }
    actions = actions.i8("ExpirationDate", &[1_598_832_000]);
    for (name, rate) in [("NewRate", 4.0_f64), ("OldRate", 1.0), ("Rate", 4.0)] {
        actions = actions.with(name, "f8", one_row(&rate.to_le_bytes()));
    }
    let before = one(&mut client, "AAPL/1D/OHLCV", "adjust('split')");
    assert_eq!(before, table, "nothing was announced");
    let actions = actions.i4("Nanoseconds", &[0]);
    write(&mut client, &[("AAPL/1D/ACTIONS", &actions)], true).expect("written");
    let adjusted = one(&mut client, "AAPL/1D/OHLCV", "adjust('split')");
    assert_eq!(adjusted.get_f4("Close"), [499.23 / 4.0, 129.04, 134.18]);
    assert_eq!(adjusted.get_i4("Volume")[0], 4 * 46_907_479);
    assert_eq!(
        one(&mut client, "AAPL/1D/OHLCV", "adjust('dividend')"),
        table
    );
}

#[test]
fn columns_empty_buckets_and_bounds() {
    let server = Server::start(&[], "limits: {result_rows: 200}\n");
    let mut client = server.client();
    let bars: Bars = real("SPY_1Min_OHLCV.csv.gz")
        .into_iter()
        .take(400)
        .collect();
    store(&mut client, "SPY/1Min/OHLCV", &bars);
    let last = *bars.keys().last().expect("bars");
    let late: Bars = [(last + 60, bars[&last])].into();
    store(&mut client, "LATE/1Min/OHLCV", &late);
    let key = "SPY/1Min/OHLCV";
    let mut ask = |destination: &str, functions: &[&str], further| {
        query(&mut client, destination, functions, further)
    };
    // 101 windows of 400 minutes: a longer input than a result may be.
    assert_eq!(
        ask(key, &[CANDLES], vec![]).expect("an answer")[key],
        wanted(&bars)
    );
    let error = ask(key, &["adjust()"], vec![]).unwrap_err();
    assert!(error.contains("limits.result_rows"), "{error}");
    let columns = || vec![("columns", Value::Array(vec!["High".into()]))];
    assert_eq!(
        ask(key, &["max(High)"], columns()).expect("an answer")[key].rows,
        1
    );
    let error = ask(key, &["max(Low)"], columns()).unwrap_err();
    assert_eq!(
        error,
        "unable to retrieve column named Low, there are Epoch, High"
    );
    // One bucket without rows does not spoil the others.
    let since = || vec![("epoch_start", (last + 60).into())];
    let found = ask("SPY,LATE/1Min/OHLCV", &[CANDLES], since()).expect("an answer");
    assert_eq!((found[key].rows, found["LATE/1Min/OHLCV"].rows), (0, 1));
    let error = ask(key, &[CANDLES], since()).unwrap_err();
    assert!(error.starts_with("empty input to Accum"), "{error}");
    let many = vec!["adjust()"; 65];
    assert!(
        ask(key, &many, vec![])
            .unwrap_err()
            .contains("the limit is 64")
    );
}
