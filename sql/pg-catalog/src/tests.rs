//! What clients ask, over a store with two buckets.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::{Commit, NoHook, Origin, Rows};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use sql::{Caller, Dialect, Nothing, Options, Sql};

use super::*;

struct Bench {
    sql: Sql,
    caller: Caller,
    threads: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let opened = Engine::open(folder.path(), engine::Options::default(), Arc::new(NoHook));
        let (engine, _) = opened.unwrap();
        for key in ["MSFT/1Min/OHLCV", "AAPL/1Min/OHLCV"] {
            write(&engine, key);
        }
        let options = Options {
            threads: 1,
            ..Options::default()
        };
        let sql = Sql::new(engine.clone(), Arc::new(Nothing), options).unwrap();
        let settings = [
            ("search_path", "\"$user\", public"),
            ("server_version_num", "160006"),
        ];
        let session = Session {
            user: "me".to_owned(),
            pid: 7,
            settings: settings.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
        };
        let catalog = Catalog::new(&engine, &sql::Everyone, session);
        let caller = Caller {
            dialect: Dialect::Postgres,
            extension: Some(Arc::new(catalog)),
            ..Caller::anyone()
        };
        let threads = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            sql,
            caller,
            threads,
            _folder: folder,
        }
    }

    fn run(&self, text: &str) -> Result<Vec<RecordBatch>, Error> {
        self.threads.block_on(async {
            let rows = self.sql.run(text, &self.caller).await?;
            rows.collect().await
        })
    }

    /// The rows, a line each, values with bars between them.
    fn show(&self, text: &str) -> String {
        let batches = self
            .run(text)
            .unwrap_or_else(|e| panic!("{}\n{text}", e.pretty(text)));
        let options = FormatOptions::default().with_null("-");
        let mut lines = Vec::new();
        for batch in &batches {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
                lines.push(cells.join("|"));
            }
        }
        lines.join("\n")
    }
}

fn write(engine: &Engine, key: &str) {
    let schema = Schema::new(vec![
        ColumnDef::new("Close", ColumnType::F64),
        ColumnDef::new("Volume", ColumnType::I64),
    ]);
    let columns = vec![
        Column::from_values(vec![1.5]),
        Column::from_values(vec![10_i64]),
    ];
    let times = Column::from_values(vec![1_577_923_200 * model::NANOS_PER_SECOND]);
    let rows = Rows {
        key: BucketKey::parse(key).unwrap(),
        batch: ColumnBatch::new(schema.unwrap(), times, columns).unwrap(),
        create: Some(RowKind::Bar),
    };
    let commit = Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![rows],
        section: None,
    };
    engine.write(commit).unwrap().wait_visible().unwrap();
}

/// Every statement that was recorded of a client runs. What fails is said of all of them at once.
fn all_run(statements: &str) {
    let bench = Bench::new();
    let mut failed = Vec::new();
    for text in statements.split(";\n") {
        if text.trim().is_empty() {
            continue;
        }
        if let Err(error) = bench.run(text) {
            failed.push(format!("{}\n{text}", error.pretty(text)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn what_psql_asks_is_answered() {
    all_run(include_str!("statements/psql.sql"));
}

#[test]
fn what_duckdb_asks_is_answered() {
    all_run(include_str!("statements/duckdb.sql"));
}

#[test]
fn what_grafana_asks_is_answered() {
    all_run(include_str!("statements/grafana.sql"));
}

#[test]
fn tables_columns_and_types_are_joined() {
    let bench = Bench::new();
    let columns = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), t.typname \
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid \
        WHERE c.relname ~ '^AAPL' AND a.attnum > 0 ORDER BY a.attnum";
    assert_eq!(
        bench.show(columns),
        "AAPL/1Min/OHLCV|Epoch|timestamp with time zone|timestamptz\n\
         AAPL/1Min/OHLCV|Close|double precision|float8\n\
         AAPL/1Min/OHLCV|Volume|bigint|int8"
    );
    let grafana = include_str!("statements/grafana.sql");
    let statements: Vec<&str> = grafana.split(";\n").collect();
    let tables = "\"AAPL/1Min/OHLCV\"\n\"MSFT/1Min/OHLCV\"";
    for at in [3, 5] {
        assert_eq!(bench.show(statements[at]), tables, "{}", statements[at]);
    }
    assert_eq!(bench.show(statements[0]), "1600");
    assert_eq!(
        bench.show(statements[6]),
        "\"Epoch\"|timestamp with time zone\n\"Close\"|double precision\n\"Volume\"|bigint"
    );
}

#[test]
fn names_and_numbers_become_each_other() {
    let bench = Bench::new();
    for (text, wanted) in [
        (
            "SELECT '\"AAPL/1Min/OHLCV\"'::regclass::oid = c.oid FROM pg_class c WHERE relname LIKE 'AAPL%'",
            "true",
        ),
        (
            "SELECT c.oid::regclass::text FROM pg_class c ORDER BY 1 LIMIT 1",
            "\"AAPL/1Min/OHLCV\"",
        ),
        (
            "SELECT 20::regtype::text, 'bigint'::regtype::oid, to_regtype('nothing')",
            "bigint|20|-",
        ),
        (
            "SELECT current_user, user, current_schema, current_schemas(true)",
            "me|me|public|[pg_catalog, public]",
        ),
        (
            "SELECT has_table_privilege('x', 'SELECT'), has_table_privilege('x', 'INSERT')",
            "true|false",
        ),
        (
            "SELECT 'r' = ANY ('{r,v}'::text[]), 'x' = ANY ('{r,v}')",
            "true|false",
        ),
        ("SELECT count(*) FROM pg_index", "0"),
        (
            "SELECT ARRAY(SELECT nspname FROM pg_namespace ORDER BY 1)",
            "[information_schema, pg_catalog, public]",
        ),
        (
            "SELECT n.nspname, (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid) FROM pg_namespace n WHERE nspname = 'public'",
            "public|2",
        ),
        (
            "SELECT x, x FROM unnest(ARRAY[1, 2]) AS t(x) ORDER BY 1",
            "1|1\n2|2",
        ),
        (
            "WITH pg_class AS (SELECT 1 AS a) SELECT a FROM pg_class",
            "1",
        ),
    ] {
        assert_eq!(bench.show(text), wanted, "{text}");
    }
}

#[test]
fn what_may_not_be_read_is_not_there() {
    #[derive(Debug)]
    struct OnlyAapl;
    impl Access for OnlyAapl {
        fn may_read(&self, key: &BucketKey) -> bool {
            key.as_str().starts_with("AAPL")
        }
        fn may_write(&self, _key: &BucketKey) -> bool {
            false
        }
        fn is_admin(&self) -> bool {
            false
        }
    }
    let mut bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let opened = Engine::open(folder.path(), engine::Options::default(), Arc::new(NoHook));
    let (engine, _) = opened.unwrap();
    write(&engine, "AAPL/1Min/OHLCV");
    write(&engine, "MSFT/1Min/OHLCV");
    let catalog = Catalog::new(&engine, &OnlyAapl, Session::default());
    bench.caller.extension = Some(Arc::new(catalog));
    assert_eq!(
        bench.show("SELECT relname FROM pg_class"),
        "AAPL/1Min/OHLCV"
    );
    let columns = "SELECT count(DISTINCT table_name) FROM information_schema.columns";
    assert_eq!(bench.show(columns), "1");
}

#[test]
fn nothing_is_written_and_nonsense_is_refused() {
    let bench = Bench::new();
    for text in [
        "INSERT INTO pg_class VALUES (1)",
        "DROP TABLE pg_class",
        "SELECT * FROM pg_catalog.pg_nothing",
        "SELECT nothing FROM pg_class",
        "SELECT pg_nothing()",
        "SELECT 1 OPERATOR(pg_catalog.@@@) 2",
        "SELECT pg_class",
        "SELECT (((((pg_class",
    ] {
        let error = bench.run(text).expect_err(text);
        assert!(!error.message.contains("internal"), "{text}: {error:?}");
    }
}
