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
        "AAPL,1Min,OHLCV,bar,5,2020-01-02T00:00:00Z,2020-01-02T00:04:00Z,Open f4, Volume i8"
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
