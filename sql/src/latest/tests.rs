//! LATEST over buckets: what the engine keeps is what a scan finds.

use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::tests::{Bench, MINUTE, START};

fn bench() -> Bench {
    let bench = Bench::new();
    bench.bars("B/1Min/OHLCV", 7);
    bench.bars("A/1Min/OHLCV", 3);
    bench.bars("A/5Min/OHLCV", 9);
    bench.bars("C/1Min/OHLCV", 1);
    bench
}

#[test]
fn last_rows_of_buckets_need_no_scan() {
    let bench = bench();
    let all = "SELECT symbol, Epoch, Open FROM \"*/1Min/OHLCV\" LATEST BY symbol";
    let plan = bench.show(&format!("EXPLAIN {all}"));
    assert!(plan.contains("LatestScan"), "{plan}");
    let shown = bench.show(all);
    // The same with a filter that only a scan knows.
    let scanned =
        "SELECT symbol, Epoch, Open FROM \"*/1Min/OHLCV\" WHERE Open > 0 LATEST BY symbol";
    let plan = bench.show(&format!("EXPLAIN {scanned}"));
    assert!(!plan.contains("LatestScan"), "{plan}");
    let scanned = bench.show(scanned);
    let mut scanned: Vec<&str> = scanned.lines().collect();
    scanned.sort_unstable();
    assert_eq!(scanned, shown.lines().collect::<Vec<_>>());
    let symbols = shown.lines().map(|row| row.split(',').next());
    assert!(symbols.eq(["A", "B", "C"].map(Some)), "{shown}");
}

#[test]
fn of_several_buckets_of_a_symbol_the_latest_counts() {
    let bench = bench();
    let shown = bench
        .show("SELECT symbol, timeframe, Open FROM \"*/*/OHLCV\" LATEST BY symbol ORDER BY symbol");
    assert_eq!(shown, "A,5Min,9.0\nB,1Min,7.0\nC,1Min,1.0");
}

#[test]
fn a_range_of_time_is_read_from_its_end() {
    let bench = bench();
    let until = "WHERE Epoch <= '2020-01-02 00:04'";
    let text = format!("SELECT symbol, Open FROM \"*/1Min/OHLCV\" {until} LATEST BY symbol");
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(plan.contains("LatestScan"), "{plan}");
    let shown = bench.show(&text);
    assert_eq!(shown, "A,3.0\nB,5.0\nC,1.0");
}

#[test]
fn buckets_of_several_schemas_have_nulls() {
    let bench = bench();
    let defs = vec![ColumnDef::new("Price", ColumnType::F64)];
    let times = Column::from_values(vec![START, START + MINUTE]);
    let prices = vec![Column::from_values(vec![1.5, 2.5])];
    let batch = ColumnBatch::new(Schema::new(defs).unwrap(), times, prices).unwrap();
    bench.write("D/1Min/OHLCV", RowKind::Bar, batch);
    for until in ["", "WHERE Epoch < '2020-01-03'"] {
        let text =
            format!("SELECT symbol, Open, Price FROM \"*/1Min/OHLCV\" {until} LATEST BY symbol");
        assert_eq!(bench.show(&text), "A,3.0,\nB,7.0,\nC,1.0,\nD,,2.5");
    }
}

#[test]
fn quotes_of_many_symbols_join_without_a_sort() {
    let bench = bench();
    let text = "SELECT t.symbol, t.Epoch, t.Open, q.Open FROM \"*/1Min/OHLCV\" t ASOF JOIN \"*/5Min/OHLCV\" q \
                MATCH_CONDITION (t.Epoch > q.Epoch) ON t.symbol = q.symbol";
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(
        plan.contains("AsofExec") && !plan.contains("Sort"),
        "{plan}"
    );
    let shown = bench.show(text);
    assert_eq!(shown.lines().count(), 11, "{shown}");
    assert!(
        shown.starts_with("A,2020-01-02T00:00:00Z,1.0,\nA,2020-01-02T00:01:00Z,2.0,5.0\n"),
        "{shown}"
    );
}
