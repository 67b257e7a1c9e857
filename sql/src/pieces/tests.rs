use std::cell::Cell;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::StreamExt;
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use proptest::prelude::*;

use crate::tests::{Bench, MINUTE, START, bars, lines};
use crate::{Caller, ErrorKind, Nothing, Options, Sql};

/// Ticks at these times; `Row` counts them.
fn ticks(times: Vec<i64>) -> ColumnBatch {
    let schema = Schema::new(vec![ColumnDef::new("Row", ColumnType::I64)]).unwrap();
    let values = Column::from_values((0..times.len() as i64).collect::<Vec<i64>>());
    ColumnBatch::new(schema, Column::from_values(times), vec![values]).unwrap()
}

fn with_threads(threads: usize) -> Bench {
    Bench::with(Options {
        threads,
        ..Options::default()
    })
}

#[test]
fn pieces_of_a_large_bucket_come_in_order_and_whole() {
    let bench = Bench::new();
    let rows = 30_001;
    // Four of each time.
    let times = (0..rows).map(|row| START + row / 4 * 1_000_000);
    bench.write("A/1Sec/TICK", RowKind::Tick, ticks(times.collect()));
    let text = "SELECT t.\"Row\" AS a, q.\"Row\" AS b FROM \"A/1Sec/TICK\" t ASOF JOIN \"A/1Sec/TICK\" q \
                MATCH_CONDITION (t.Epoch >= q.Epoch)";
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(plan.contains("in order"), "{plan}");
    // Each row meets the last of its four.
    let sum = format!(
        "SELECT count(*), sum(a), sum(b - a), max(b - a) FROM ({text}) WHERE b / 4 = a / 4 AND b >= a"
    );
    let all = (rows - 1) * rows / 2;
    assert_eq!(bench.show(&sum), format!("{rows},{all},{},3", 7500 * 6));
}

#[test]
fn a_plain_select_is_read_by_several_threads_in_order() {
    let bench = with_threads(3);
    let rows = 20_000;
    // Most of them in a short time.
    let time = |row: i64| {
        START
            + if row < 100 {
                row * 1_000 * MINUTE
            } else {
                200_000 * MINUTE + row
            }
    };
    bench.write(
        "A/1Sec/TICK",
        RowKind::Tick,
        ticks((0..rows).map(time).collect()),
    );
    for (text, wanted) in [
        (
            "SELECT * FROM \"A/1Sec/TICK\"",
            (0..rows).collect::<Vec<i64>>(),
        ),
        (
            "SELECT \"Row\" + 1 - 1 AS r FROM \"A/1Sec/TICK\" WHERE \"Row\" % 7 = 0",
            (0..rows).step_by(7).collect(),
        ),
        (
            "SELECT * FROM \"A/1Sec/TICK\" ORDER BY Epoch",
            (0..rows).collect(),
        ),
        (
            "SELECT * FROM \"A/1Sec/TICK\" ORDER BY Epoch DESC",
            (0..rows).rev().collect(),
        ),
        (
            "SELECT * FROM \"A/1Sec/TICK\" WHERE \"Row\" >= 9 LIMIT 5000",
            (9..5009).collect(),
        ),
    ] {
        let plan = bench.show(&format!("EXPLAIN {text}"));
        assert!(
            plan.contains("pieces in order, 6 at a time"),
            "{text}: {plan}"
        );
        let batches = bench.run(text).unwrap();
        let found = batches.iter().flat_map(|batch: &RecordBatch| {
            let last = batch.column(batch.num_columns() - 1);
            last.as_primitive::<Int64Type>().values().to_vec()
        });
        assert_eq!(found.collect::<Vec<_>>(), wanted, "{text}");
    }
    let first = bench.show("EXPLAIN SELECT * FROM \"A/1Sec/TICK\" LIMIT 5");
    assert!(!first.contains("pieces"), "{first}");
}

#[test]
fn groups_of_time_need_the_memory_of_the_pieces_under_way() {
    let bench = Bench::with(Options {
        threads: 2,
        memory_bytes: 3 << 20,
        ..Options::default()
    });
    let rows = 120_000;
    bench.bars("A/1Min/OHLCV", rows);
    let all =
        "SELECT \"Volume\", max(\"Open\"), min(\"Open\") FROM \"A/1Min/OHLCV\" GROUP BY \"Volume\"";
    assert_eq!(
        bench.error(all).kind,
        ErrorKind::Limit,
        "so many groups do not fit"
    );
    for group in [
        "Epoch",
        "time_bucket('2Min', Epoch)",
        "date_trunc('minute', Epoch)",
    ] {
        let text = format!(
            "SELECT {group} AS t, max(\"Open\") AS h, min(\"Open\") AS l FROM \"A/1Min/OHLCV\" GROUP BY t ORDER BY t"
        );
        let plan = bench.show(&format!("EXPLAIN {text}"));
        assert!(plan.contains("pieces in order, 4 at a time"), "{plan}");
        assert!(
            plan.contains("mode=Single") && plan.contains("ordering_mode=Sorted"),
            "{plan}"
        );
        assert!(!plan.contains("SortExec"), "they are in order: {plan}");
        let found: usize = bench
            .run(&text)
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        assert_eq!(found, if group.contains('2') { rows / 2 } else { rows });
    }
    assert_eq!(bench.sql.memory_used(), 0);
}

#[test]
fn without_memory_pieces_are_read_one_after_the_other() {
    let bench = Bench::with(Options {
        threads: 2,
        memory_bytes: 1,
        ..Options::default()
    });
    bench.bars("A/1Min/OHLCV", 20_000);
    let batches = bench
        .run("SELECT \"Volume\" FROM \"A/1Min/OHLCV\"")
        .unwrap();
    let volumes = batches.iter().flat_map(|batch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    });
    assert!(volumes.eq((1..=20_000).map(|row| row * 10)));
}

#[test]
fn groups_longer_than_pieces_are_put_together() {
    let bench = with_threads(2);
    bench.bars("A/1Min/OHLCV", 20_000);
    let text = "SELECT date_trunc('month', Epoch) AS t, count(*) FROM \"A/1Min/OHLCV\" GROUP BY t";
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(plan.contains("mode=FinalPartitioned"), "{plan}");
    assert_eq!(bench.show(text), "2020-01-01T00:00:00Z,20000");
}

/// A statement with these groups, in an order that all runs agree on.
fn grouped(groups: &[&str], filter: &str) -> String {
    let columns: Vec<String> = (1..=groups.len()).map(|n| n.to_string()).collect();
    let (columns, groups) = (columns.join(", "), groups.join(", "));
    format!(
        "SELECT {groups}, count(*), sum(\"Volume\"), first(\"Open\", Epoch), last(\"Open\", Epoch), \
         min(Epoch), first_value(\"Volume\" ORDER BY Epoch DESC) FROM \"*/1Min/X\" {filter} \
         GROUP BY {columns} ORDER BY {columns}"
    )
}

#[test]
fn grouping_by_pieces_is_grouping() {
    let bench = with_threads(3);
    let options = Options {
        threads: 1,
        ..Options::default()
    };
    let alone = Sql::new(bench.engine.clone(), Arc::new(Nothing), options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let asked = std::env::var("MKTS_SQL_CASES").ok();
    let asked = asked.and_then(|n| n.parse::<u32>().ok()).unwrap_or(1);
    let config = ProptestConfig {
        cases: asked,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let gap = prop_oneof![200 => 1..3_i64, 5 => 1..600_i64, 1 => 1000..500_000_i64];
    let times = || proptest::collection::vec(gap.clone(), 4_000..6_000);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let by_pieces = Cell::new(0);
    let cases = Cell::new(0);
    let result = runner.run(&(times(), times()), |buckets| {
        let case = cases.replace(cases.get() + 1);
        for (symbol, gaps) in [("A", buckets.0), ("B", buckets.1)] {
            let mut time = START;
            let times = gaps.iter().map(|gap| {
                time += gap * MINUTE;
                time
            });
            let rows = bars(gaps.len());
            let times = Column::from_values(times.collect::<Vec<i64>>());
            let rows = ColumnBatch::new(rows.schema().clone(), times, rows.columns().to_vec());
            let key = format!("{symbol}{case}/1Min/X");
            bench.write(&key, RowKind::Bar, rows.unwrap());
        }
        let groups: [&[&str]; 8] = [
            &["symbol", "Epoch"],
            &["symbol", "time_bucket('5Min', Epoch)"],
            &["time_bucket('1H', Epoch)", "symbol"],
            &[
                "symbol",
                "time_bucket('1D', Epoch, 'America/New_York', '09:30')",
            ],
            &["symbol", "date_trunc('hour', Epoch)", "\"Volume\" % 3"],
            &["symbol", "-CAST(Epoch AS BIGINT)"],
            &["symbol"],
            &["time_bucket('1D', Epoch)"],
        ];
        for groups in groups {
            for filter in [
                "",
                "WHERE \"Volume\" % 20 = 0",
                &format!("WHERE symbol = 'A{case}'"),
            ] {
                let text = grouped(groups, filter);
                let plan = bench.show(&format!("EXPLAIN {text}"));
                by_pieces.set(by_pieces.get() + usize::from(plan.contains("pieces in order")));
                let wanted = runtime
                    .block_on(async { alone.run(&text, &Caller::anyone()).await?.collect().await });
                prop_assert_eq!(bench.show(&text), lines(&wanted.unwrap()), "{}", text);
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(by_pieces.get() > 10 * cases.get(), "{by_pieces:?} of them");
}

#[test]
fn the_last_rows_of_a_pattern_are_those_at_the_ends_of_its_buckets() {
    let bench = with_threads(2);
    // Most end at another time.
    for (at, rows) in [3000, 10, 5001, 5000, 4999, 4999].into_iter().enumerate() {
        bench.bars(&format!("S{at}/1Min/X"), rows);
    }
    let columns = "SELECT symbol, Epoch, \"Volume\" FROM \"*/1Min/X\"";
    let newest = format!("{columns} ORDER BY Epoch DESC LIMIT 3");
    let plan = bench.show(&format!("EXPLAIN {newest}"));
    assert!(
        plan.contains("EndsExec: the last 3 of each of 6 buckets"),
        "{plan}"
    );
    assert!(plan.contains("limit=3, newest first"), "{plan}");
    assert_eq!(
        bench.show(&format!("SELECT \"Volume\" FROM ({newest})")),
        "50010\n50000\n50000"
    );
    let analyzed = bench.show(&format!(
        "EXPLAIN ANALYZE {columns} ORDER BY Epoch DESC LIMIT 1"
    ));
    let ends = analyzed
        .lines()
        .find(|line| line.contains("EndsExec"))
        .unwrap();
    assert!(
        ends.contains("buckets_read=2"),
        "one of each partition: {analyzed}"
    );
    for text in [
        format!("{columns} ORDER BY Epoch DESC, symbol LIMIT 20"),
        format!("{columns} ORDER BY Epoch DESC, symbol DESC LIMIT 1"),
        format!("{columns} ORDER BY Epoch DESC, \"Volume\", symbol LIMIT 7"),
        format!("{columns} ORDER BY Epoch, symbol LIMIT 7"),
        format!("{columns} WHERE \"Volume\" % 1700 = 0 ORDER BY Epoch DESC, symbol LIMIT 9"),
        format!("{columns} WHERE Epoch < '2020-01-04' ORDER BY Epoch DESC, symbol LIMIT 9"),
        format!("{columns} ORDER BY symbol, Epoch DESC LIMIT 3"),
        format!("{columns} ORDER BY \"Volume\" DESC, symbol LIMIT 3"),
        format!("{columns} ORDER BY Epoch DESC, symbol LIMIT 3 OFFSET 4"),
    ] {
        let (sorted, limit) = text.split_once(" LIMIT ").unwrap();
        let mut limit = limit.split(" OFFSET ").map(|n| n.parse::<usize>().unwrap());
        let (limit, offset) = (limit.next().unwrap(), limit.next().unwrap_or(0));
        let all = bench.show(sorted);
        let wanted: Vec<&str> = all.lines().skip(offset).take(limit).collect();
        assert_eq!(bench.show(&text), wanted.join("\n"), "{text}");
        let plan = bench.show(&format!("EXPLAIN {text}"));
        let by_time = text.contains("ORDER BY Epoch");
        assert_eq!(plan.contains("EndsExec"), by_time, "{text}: {plan}");
    }
}

#[test]
fn the_last_rows_that_pass_a_filter_are_looked_for_from_the_end() {
    let bench = with_threads(2);
    bench.bars("A/1Min/X", 20_000);
    bench.bars("B/1Min/X", 10);
    for (bucket, last) in [("A", 200_000), ("B", 100)] {
        let text = format!(
            "SELECT \"Volume\" AS v FROM \"{bucket}/1Min/X\" WHERE \"Volume\" % 50 = 0 ORDER BY Epoch DESC LIMIT 2"
        );
        let plan = bench.show(&format!("EXPLAIN {text}"));
        assert!(
            plan.contains("newest first") && !plan.contains("SortExec"),
            "{plan}"
        );
        assert_eq!(plan.contains("PiecesExec"), bucket == "A", "{plan}");
        assert_eq!(bench.show(&text), format!("{last}\n{}", last - 50));
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_pieces_under_way() {
    let bench = with_threads(2);
    bench.bars("A/1Min/X", 60_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let text = "SELECT * FROM \"A/1Min/X\"";
        let mut rows = bench.sql.run(text, &Caller::anyone()).await.unwrap();
        rows.next().await.unwrap().unwrap();
        assert!(bench.sql.memory_used() > 0, "pieces are counted");
        drop(rows);
        while bench.sql.memory_used() > 0 || bench.sql.running() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
