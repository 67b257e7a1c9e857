//! Statements over stores in temporary folders.

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use engine::{Commit, Engine, NoHook, Origin, Rows as WriteRows};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use super::*;

/// A store and SQL over it.
pub(crate) struct Bench {
    pub(crate) sql: Sql,
    pub(crate) engine: Engine,
    threads: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

pub(crate) const MINUTE: i64 = 60 * model::NANOS_PER_SECOND;
/// 2020-01-02 00:00 UTC.
pub(crate) const START: i64 = 1_577_923_200 * model::NANOS_PER_SECOND;

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Options {
            threads: 2,
            ..Options::default()
        })
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = Arc::new(NoHook);
        let (engine, _) = Engine::open(folder.path(), engine::Options::default(), hook).unwrap();
        let sql = Sql::new(engine.clone(), Arc::new(Nothing), options).unwrap();
        let threads = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            sql,
            engine,
            threads,
            _folder: folder,
        }
    }

    pub(crate) fn write(&self, key: &str, kind: RowKind, batch: ColumnBatch) {
        let rows = WriteRows {
            key: BucketKey::parse(key).unwrap(),
            batch,
            create: Some(kind),
        };
        let commit = Commit {
            origin: Origin::CLIENT,
            hops: 0,
            rows: vec![rows],
            section: None,
        };
        self.engine.write(commit).unwrap().wait_visible().unwrap();
    }

    /// `rows` bars a minute apart: Open 1, 2, ..; Volume 10, 20, ...
    pub(crate) fn bars(&self, key: &str, rows: usize) {
        self.write(key, RowKind::Bar, bars(rows));
    }

    pub(crate) fn run_as(&self, text: &str, caller: &Caller) -> Result<Vec<RecordBatch>, Error> {
        self.threads.block_on(async {
            let rows = self.sql.run(text, caller).await?;
            rows.collect().await
        })
    }

    pub(crate) fn run(&self, text: &str) -> Result<Vec<RecordBatch>, Error> {
        self.run_as(text, &Caller::anyone())
    }

    /// The result as a table of text, one line a row, without frames.
    pub(crate) fn show(&self, text: &str) -> String {
        match self.run(text) {
            Ok(batches) => lines(&batches),
            Err(error) => panic!("{text}\n{}", error.pretty(text)),
        }
    }

    pub(crate) fn prepare(&self, text: &str) -> Statement {
        let caller = Caller::anyone();
        let prepared = self.sql.prepare(text, &caller);
        let prepared = self.threads.block_on(prepared);
        prepared.unwrap_or_else(|error| panic!("{text}\n{}", error.pretty(text)))
    }

    pub(crate) fn try_execute(
        &self,
        statement: &Statement,
        values: Vec<ScalarValue>,
    ) -> Result<String, Error> {
        let rows = self.threads.block_on(async {
            let rows = statement.execute(values).await?;
            rows.collect().await
        });
        rows.map(|rows| lines(&rows))
    }

    pub(crate) fn execute(&self, statement: &Statement, values: Vec<ScalarValue>) -> String {
        let found = self.try_execute(statement, values);
        found.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn error(&self, text: &str) -> Error {
        match self.run(text) {
            Ok(batches) => panic!("{text}\n{}", lines(&batches)),
            Err(error) => error,
        }
    }
}

pub(crate) fn bars(rows: usize) -> ColumnBatch {
    let defs = vec![
        ColumnDef::new("Open", ColumnType::F32),
        ColumnDef::new("Volume", ColumnType::I64),
    ];
    let schema = Schema::new(defs).unwrap();
    let times: Vec<i64> = (0..rows as i64).map(|i| START + i * MINUTE).collect();
    let columns = vec![
        Column::from_values((1..=rows).map(|i| i as f32).collect::<Vec<f32>>()),
        Column::from_values((1..=rows as i64).map(|i| i * 10).collect::<Vec<i64>>()),
    ];
    ColumnBatch::new(schema, Column::from_values(times), columns).unwrap()
}

use datafusion::arrow::array::RecordBatch;

pub(crate) fn lines(batches: &[RecordBatch]) -> String {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    let rows = rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join(",")
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bucket_is_a_table() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 5);
    let wanted = "2020-01-02T00:01:00Z,2.0,20\n2020-01-02T00:02:00Z,3.0,30";
    let texts = [
        "SELECT * FROM \"AAPL/1Min/OHLCV\" WHERE Epoch BETWEEN '2020-01-02-00:01' AND '2020-01-02-00:02'",
        "select * from `AAPL/1Min/OHLCV` where Open >= 2 and Open < 4;",
        "select Epoch, Open, Volume from AAPL.1Min.OHLCV where Epoch >= 1577923260 and Epoch <= 1577923320000000000",
        "select * from `AAPL/1Min/OHLCV` where Epoch > '2020-01-02' limit 2",
    ];
    for text in texts {
        assert_eq!(bench.show(text), wanted, "{text}");
    }
    let count = bench.show("SELECT count(*), min(Epoch), max(Open) FROM `AAPL/1Min/OHLCV`");
    assert_eq!(count, "5,2020-01-02T00:00:00Z,5.0");
    let last = bench.show("SELECT Open FROM `AAPL/1Min/OHLCV` ORDER BY Epoch DESC LIMIT 2");
    assert_eq!(last, "5.0\n4.0");
}

#[test]
fn a_pattern_is_one_table() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 2);
    bench.bars("MSFT/1Min/OHLCV", 3);
    let rows =
        bench.show("SELECT symbol, timeframe, attribute_group, Epoch, Open FROM `*/1Min/OHLCV`");
    assert_eq!(
        rows,
        "AAPL,1Min,OHLCV,2020-01-02T00:00:00Z,1.0\nAAPL,1Min,OHLCV,2020-01-02T00:01:00Z,2.0\n\
         MSFT,1Min,OHLCV,2020-01-02T00:00:00Z,1.0\nMSFT,1Min,OHLCV,2020-01-02T00:01:00Z,2.0\n\
         MSFT,1Min,OHLCV,2020-01-02T00:02:00Z,3.0"
    );
    let counts = bench.show(
        "SELECT symbol, count(*) n FROM `*/1Min/OHLCV` WHERE symbol LIKE 'M%' GROUP BY symbol",
    );
    assert_eq!(counts, "MSFT,3");
}

#[test]
fn errors_say_where_and_what_to_write() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 2);
    let error = bench.error("SELECT open FROM `AAPL/1Min/OHLCV`");
    assert_eq!(error.kind, ErrorKind::Unknown);
    assert_eq!(
        error.to_string(),
        "no column \"open\" at 1:8 (names are case-sensitive: write \"Open\")"
    );
    let error = bench.error("SELECT Open FROM\n `AAPL/1Min/OHLC`");
    assert_eq!(
        error.to_string(),
        "no table \"AAPL/1Min/OHLC\" at 2:2 (did you mean \"AAPL/1Min/OHLCV\"?)"
    );
    let text = "SELECT Open FROM `AAPL/1Min/OHLCV` WHERE Open >";
    let error = bench.error(text);
    assert_eq!(error.kind, ErrorKind::Syntax);
    assert!(error.position.is_some(), "{error}");
}

#[test]
fn rows_are_inserted_in_one_commit() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 3);
    bench.bars("COPY/1Min/OHLCV", 1);
    let rows = bench
        .run("INSERT INTO `COPY/1Min/OHLCV` SELECT * FROM `AAPL/1Min/OHLCV`")
        .unwrap();
    assert_eq!(rows[0].schema().field(1).name(), "Rows Written");
    assert!(lines(&rows).ends_with(",3"), "{}", lines(&rows));
    let copied = bench.show("SELECT * FROM `COPY/1Min/OHLCV`");
    assert_eq!(copied, bench.show("SELECT * FROM `AAPL/1Min/OHLCV`"));
    bench.run("INSERT INTO `COPY/1Min/OHLCV` VALUES ('2020-01-02-00:09', 9, 90), (1577923800, 10.5, 100)").unwrap();
    bench.run("INSERT INTO `COPY/1Min/OHLCV` (Volume, Open, Epoch) SELECT 1, 2, TIMESTAMP '2020-01-02 00:11:00'").unwrap();
    let tail = bench.show("SELECT * FROM `COPY/1Min/OHLCV` WHERE Epoch >= '2020-01-02-00:09'");
    assert_eq!(
        tail,
        "2020-01-02T00:09:00Z,9.0,90\n2020-01-02T00:10:00Z,10.5,100\n2020-01-02T00:11:00Z,2.0,1"
    );
    for (text, part) in [
        (
            "INSERT INTO `NONE/1Min/OHLCV` SELECT * FROM `AAPL/1Min/OHLCV`",
            "no table",
        ),
        (
            "INSERT INTO `COPY/1Min/OHLCV` SELECT Epoch FROM `AAPL/1Min/OHLCV`",
            "Unable to find these columns: [Open Volume]",
        ),
        (
            "INSERT INTO `COPY/1Min/OHLCV` VALUES ('2020-01-02-00:09', 9, NULL)",
            "NULL",
        ),
        (
            "INSERT INTO `COPY/1Min/OHLCV` VALUES ('soon', 9, 1)",
            "unable to convert string to date",
        ),
    ] {
        let error = bench.error(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn ranges_of_time_are_deleted_and_nothing_else() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 5);
    bench.bars("MSFT/1Min/OHLCV", 5);
    let deleted = bench.show("DELETE FROM `AAPL/1Min/OHLCV` WHERE Epoch BETWEEN '2020-01-02-00:01' AND '2020-01-02-00:02'");
    assert!(deleted.ends_with(",2"), "{deleted}");
    assert_eq!(
        bench.show("SELECT Volume FROM `AAPL/1Min/OHLCV`"),
        "10\n40\n50"
    );
    bench
        .run("DELETE FROM `*/1Min/OHLCV` WHERE symbol = 'MSFT' AND Epoch >= '2020-01-02-00:01'")
        .unwrap();
    assert_eq!(
        bench.show("SELECT symbol, count(*) FROM `*/1Min/OHLCV` GROUP BY symbol ORDER BY symbol"),
        "AAPL,3\nMSFT,1"
    );
    for text in [
        "DELETE FROM `AAPL/1Min/OHLCV`",
        "DELETE FROM `AAPL/1Min/OHLCV` WHERE Volume > 1",
        "DELETE FROM `AAPL/1Min/OHLCV` WHERE Epoch > '2020-01-02' OR Volume > 1",
        "DELETE FROM `AAPL/1Min/OHLCV` WHERE Epoch > '2020-01-02' AND Volume > 1",
        "DELETE FROM `*/1Min/OHLCV` WHERE symbol = 'MSFT'",
    ] {
        assert_eq!(bench.error(text).kind, ErrorKind::Unsupported, "{text}");
    }
    let none = bench
        .show("DELETE FROM `AAPL/1Min/OHLCV` WHERE Epoch > '2020-01-03' AND Epoch < '2020-01-02'");
    assert!(none.ends_with(",0"), "{none}");
    let reader = Caller {
        read_only: true,
        ..Caller::anyone()
    };
    let error = bench
        .run_as("DELETE FROM `AAPL/1Min/OHLCV` WHERE Epoch > 0", &reader)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
}

#[test]
fn what_is_there_is_shown() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 5);
    bench.bars("MSFT/1D/OHLCV", 1);
    assert_eq!(
        bench.show("SHOW BUCKETS LIKE '*/1Min/*'"),
        "AAPL,1Min,OHLCV,bar,5,2020-01-02T00:00:00Z,2020-01-02T00:04:00Z,Open FLOAT32, Volume INT64"
    );
    assert_eq!(bench.show("show symbols;"), "AAPL,1\nMSFT,1");
    let columns = "Epoch,Timestamp(ns, \"UTC\"),false\nOpen,Float32,false\nVolume,Int64,false";
    assert_eq!(bench.show("DESCRIBE `AAPL/1Min/OHLCV`"), columns);
    assert_eq!(bench.show("SHOW COLUMNS FROM \"AAPL/1Min/OHLCV\""), columns);
    assert_eq!(bench.show("SHOW TIME ZONE"), "UTC");
    let names = bench.show(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
    );
    assert_eq!(names, "AAPL/1Min/OHLCV\nMSFT/1D/OHLCV");
    let columns = bench.show(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'AAPL/1Min/OHLCV'",
    );
    assert_eq!(columns, "Epoch\nOpen\nVolume");
    let plan = bench.show("EXPLAIN SELECT Open FROM `AAPL/1Min/OHLCV` WHERE Epoch > '2020-01-02-00:01' ORDER BY Epoch DESC LIMIT 1");
    assert!(
        plan.contains("newest first") && plan.contains("limit=1"),
        "{plan}"
    );
    assert!(
        plan.contains("from=2020-01-02T00:01:00.000000001Z"),
        "{plan}"
    );
    for text in [
        "DROP TABLE `AAPL/1Min/OHLCV`",
        "CREATE TABLE t (a INT)",
        "COPY (SELECT 1) TO 'x'",
        "UPDATE `AAPL/1Min/OHLCV` SET Open = 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'",
        "SHOW everything",
        "SET x = 1",
    ] {
        let error = bench.error(text);
        assert!(
            matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Syntax),
            "{text}: {error}"
        );
    }
}

#[test]
fn times_are_read_as_people_and_clients_write_them() {
    let utc = model::Zone::utc();
    let at = |text: &str| times::parse_time(text, &utc).map_err(|e| e.to_string());
    for text in [
        "2020-01-02-14:30",
        "2020-01-02-14:30:00",
        "2020-01-02-14:30:00.000000000",
        "2020-01-02-14:30:00 UTC",
        "2020-01-02-09:30:00 EST",
        "2020-01-02 14:30",
        "2020-01-02T14:30:00Z",
        "2020-01-02T16:30:00+02:00",
        "2020-01-02 09:30 America/New_York",
        " 2020-01-02T20:00:00+0530 ",
    ] {
        assert_eq!(at(text), Ok(START + 870 * MINUTE), "{text}");
    }
    assert_eq!(at("2020-01-02"), Ok(START));
    assert_eq!(at("2020-01-02 America/New_York"), Ok(START + 300 * MINUTE));
    assert_eq!(at("2020-01-02-00:00:00.5"), Ok(START + 500_000_000));
    assert_eq!(at("2020-01-02-00:00:00.123456789"), Ok(START + 123_456_789));
    for text in [
        "",
        "now",
        "2020",
        "2020-1-2",
        "2020-13-01",
        "2020-02-30",
        "2020-01-02-",
        "2020-01-02-24:00",
        "2020-01-02-10",
        "2020-01-02-10:00:00.1234567890",
        "2020-01-02 10:00 Mars/Olympus",
        "2020-01-02-10:00:00 CST",
        "2020-01-02X10:00",
        "99999-01-01",
        "1500-01-01",
        "2020-01-02-10:00.5",
        "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
    ] {
        assert!(at(text).is_err(), "{text}");
    }
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 10);
    let there = Caller {
        zone: Some(model::Zone::parse("America/New_York").unwrap()),
        ..Caller::anyone()
    };
    for (condition, rows) in [
        ("Epoch = '2020-01-01 19:03'", 1),
        (
            "Epoch IN ('2020-01-01 19:03', '2020-01-01-19:04', 1577923200)",
            3,
        ),
        (
            "Epoch NOT BETWEEN '2020-01-01 19:03' AND '2020-01-01 19:04'",
            8,
        ),
        ("'2020-01-01 19:03' <= Epoch", 7),
        ("Epoch >= TIMESTAMP '2020-01-01 19:03:00'", 7),
        ("Epoch > 1577923379.5 AND Epoch <> '2020-01-01 19:05'", 6),
        ("NOT Epoch < '2020-01-01 19:03'", 7),
        ("Epoch - INTERVAL '1 minute' >= '2020-01-01 19:03'", 6),
        ("Epoch > -5", 10),
    ] {
        let text = format!("SELECT Epoch FROM `AAPL/1Min/OHLCV` WHERE {condition}");
        let batches = bench
            .run_as(&text, &there)
            .unwrap_or_else(|e| panic!("{text}: {e}"));
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(found, rows, "{condition}");
    }
    let error = bench.error("SELECT 1 FROM `AAPL/1Min/OHLCV` WHERE Epoch > 'soon'");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error
            .message
            .starts_with("unable to convert string to date"),
        "{error}"
    );
}

#[test]
fn ticks_have_nanoseconds_for_clients_of_marketstore() {
    let bench = Bench::new();
    let schema = Schema::new(vec![ColumnDef::new("Bid", ColumnType::F64)]).unwrap();
    let times = vec![START + 1, START + 1, START + 1_000_000_002];
    let bids = Column::from_values(vec![1.0, 2.0, 3.0]);
    let batch = ColumnBatch::new(schema, Column::from_values(times), vec![bids]).unwrap();
    bench.write("T/1Sec/TICK", RowKind::Tick, batch);
    let client = Caller {
        dialect: Dialect::MarketStore,
        ..Caller::anyone()
    };
    let rows = bench
        .run_as("SELECT * FROM `T/1Sec/TICK`;", &client)
        .unwrap();
    assert_eq!(
        lines(&rows),
        "2020-01-02T00:00:00.000000001Z,1.0,1\n2020-01-02T00:00:00.000000001Z,2.0,1\n\
         2020-01-02T00:00:01.000000002Z,3.0,2"
    );
    assert_eq!(
        bench.show("SELECT * FROM `T/1Sec/TICK` ORDER BY Epoch DESC LIMIT 1"),
        "2020-01-02T00:00:01.000000002Z,3.0"
    );
}

#[test]
fn statements_that_would_eat_the_server_are_stopped() {
    let bench = Bench::with(Options {
        threads: 2,
        memory_bytes: 32 << 20,
        time: std::time::Duration::from_millis(1500),
        statement_bytes: 200_000,
        ..Options::default()
    });
    bench.bars("AAPL/1Min/OHLCV", 100);
    let deep = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    let nots = format!("SELECT {} true", "NOT ".repeat(40_000));
    let sums = format!("SELECT 1{}", " + 1".repeat(30_000));
    let unions = vec!["SELECT 1"; 10_000].join(" UNION ALL ");
    let casts = format!("SELECT 1{}", "::int".repeat(20_000));
    let long = format!("SELECT '{}'", "x".repeat(300_000));
    let texts = [
        deep.as_str(),
        &nots,
        &sums,
        &unions,
        &casts,
        &long,
        "SELECT count(*) FROM generate_series(1, 4000000000000)",
        "SELECT max(a.value + b.value) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT array_agg(value) FROM generate_series(1, 100000000)",
        "SELECT value FROM generate_series(1, 100000000) ORDER BY value DESC",
        "SELECT length(repeat('x', 2000000000))",
        "SELECT array_length(range(1, 10000000000))",
        "SELECT count(*) FROM `AAPL/1Min/OHLCV` a, `AAPL/1Min/OHLCV` b, `AAPL/1Min/OHLCV` c, `AAPL/1Min/OHLCV` d, `AAPL/1Min/OHLCV` e, `AAPL/1Min/OHLCV` f WHERE a.Open + b.Open + c.Open + d.Open + e.Open + f.Open < 0",
    ];
    for text in texts {
        let error = bench.error(text);
        let short: String = text.chars().take(80).collect();
        assert!(
            matches!(
                error.kind,
                ErrorKind::Limit | ErrorKind::Unknown | ErrorKind::Syntax
            ),
            "{short}: {:?} {error}",
            error.kind
        );
    }
    assert_eq!(bench.show("SELECT count(*) FROM `AAPL/1Min/OHLCV`"), "100");
    // What was aborted ends at its next pause.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while bench.sql.memory_used() > 0 && std::time::Instant::now() < patience {
        std::thread::yield_now();
    }
    assert_eq!(bench.sql.memory_used(), 0);
}

#[test]
fn errors_of_clauses_have_their_place() {
    let bench = Bench::new();
    bench.bars("A/1Min/OHLCV", 3);
    let from = "FROM `A/1Min/OHLCV`";
    let bucket = "SELECT time_bucket('1D', Epoch) AS day, sum(Open)";
    for (text, place) in [
        (
            format!(
                "SELECT 1 {from} t ASOF JOIN `A/1Min/OHLCV` q MATCH_CONDITION (t.Epoch <> q.Epoch)"
            ),
            "t.Epoch",
        ),
        (format!("{bucket} {from} GROUP BY day FILL(next)"), "next"),
        (
            format!("{bucket} {from} GROUP BY day FILL(prev, prev)"),
            "FILL",
        ),
        (format!("{bucket} {from} FILL(prev)"), "FILL"),
        (
            format!("SELECT * {from} LATEST ON Open PARTITION BY Volume"),
            "Open PARTITION",
        ),
    ] {
        let column = text.find(place).unwrap() as u64 + 1;
        let error = bench.error(&text);
        let wanted = Some(Position { line: 1, column });
        assert_eq!(error.position, wanted, "{text}: {error}");
    }
}

#[test]
fn a_join_that_finds_nothing_ends_when_it_is_given_up() {
    let bench = Bench::with(Options {
        threads: 1,
        time: std::time::Duration::from_millis(1500),
        ..Options::default()
    });
    // More pairs than can be looked at, none of which passes: no batch ever comes.
    let side = "(SELECT value, value % 1 AS k FROM generate_series(1, 200000))";
    for condition in [
        "a.value + b.value < 0",
        "a.k = b.k AND a.value + b.value < 0",
    ] {
        let text = format!("SELECT count(*) FROM {side} a JOIN {side} b ON {condition}");
        assert_eq!(bench.error(&text).kind, ErrorKind::Limit, "{condition}");
        // The permit comes back when the work has ended, not when its reader has.
        while bench.sql.running() > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn long_statements_are_no_harm() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 100);
    let list: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let list = list.join(",");
    let text = format!("SELECT count(*) FROM `AAPL/1Min/OHLCV` WHERE Volume IN ({list})");
    assert_eq!(bench.show(&text), "49");
    let sums = format!("SELECT 1{}", " + 1".repeat(250));
    assert_eq!(bench.show(&sums), "251");
}

#[test]
fn a_result_that_is_dropped_ends_its_work() {
    use futures::StreamExt;
    let bench = Bench::with(Options {
        threads: 1,
        statements: 1,
        ..Options::default()
    });
    let text = "SELECT value FROM generate_series(1, 100000000000)";
    let caller = Caller::anyone();
    bench.threads.block_on(async {
        let mut rows = bench.sql.run(text, &caller).await.unwrap();
        assert!(rows.next().await.unwrap().is_ok());
        let busy = bench.sql.run(text, &caller).await.unwrap_err();
        assert_eq!(busy.kind, ErrorKind::Busy);
        drop(rows);
        // The permit comes back when the task has ended.
        loop {
            match bench.sql.run("SELECT 1", &caller).await {
                Ok(rows) => break drop(rows.collect().await.unwrap()),
                Err(error) => assert_eq!(error.kind, ErrorKind::Busy),
            }
            std::thread::yield_now();
        }
    });
}

#[test]
fn parameters_are_typed_by_what_they_are_compared_with() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 10);
    let text = "SELECT count(*) FROM `AAPL/1Min/OHLCV` WHERE Epoch >= $1 AND Volume < $2";
    bench.threads.block_on(async {
        let statement = bench.sql.prepare(text, &Caller::anyone()).await.unwrap();
        let types = statement.parameters();
        assert_eq!(
            types,
            [
                Some(times::time_type()),
                Some(datafusion::arrow::datatypes::DataType::Int64)
            ]
        );
        let values = vec![
            times::time_value(START + 3 * MINUTE),
            ScalarValue::Int64(Some(80)),
        ];
        let rows = statement
            .execute(values)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        assert_eq!(lines(&rows), "4");
        assert!(statement.execute(Vec::new()).await.is_err());
    });
}

/// What would be planned for longer than its time is refused before it is planned.
#[test]
fn long_lists_are_planned_or_refused() {
    let bench = Bench::new();
    bench.bars("AAPL/1Min/OHLCV", 100);
    let list = |count: usize| {
        let items: Vec<String> = (0..count).map(|i| (i * 10).to_string()).collect();
        items.join(",")
    };
    let of = |count: usize| {
        let list = list(count);
        format!("SELECT count(*) FROM \"AAPL/1Min/OHLCV\" WHERE Volume IN ({list})")
    };
    // Volumes are 10, 20, .. 1000.
    assert_eq!(bench.show(&of(51)), "50");
    assert_eq!(bench.show(&of(5_000)), "100");
    let ones = |count: usize| vec!["1"; count].join(",");
    for (text, wanted) in [
        (
            format!("SELECT 1 WHERE 1 IN ({})", ones(200_001)),
            "more than 200000 items are in lists",
        ),
        (
            format!(
                "SELECT * FROM (SELECT 1 WHERE 1 IN ({0})) x WHERE 1 IN ({0})",
                ones(100_001)
            ),
            "more than 200000 items are in lists",
        ),
        (
            format!("SELECT {}", list(2_501)),
            "more than 2500 columns are listed",
        ),
        (
            format!("SELECT 1 FROM (SELECT {0}) a, (SELECT {0}) b", list(1_300)),
            "more than 2500 columns are listed",
        ),
        (
            format!(
                "SELECT Open FROM \"AAPL/1Min/OHLCV\" ORDER BY {}",
                list(2_502)
            ),
            "more than 2500 columns are listed",
        ),
    ] {
        let error = bench.error(&text);
        assert_eq!(error.kind, ErrorKind::Limit);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.position.is_some() && error.hint.is_some(), "{error}");
    }
}
