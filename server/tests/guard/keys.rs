//! Tokens of some keys: what lies beside them is not read, named or changed through any door of SQL.

use model::{Column, ColumnBatch, RowKind};

use crate::doors::{DOORS, Door, Flight, Said};
use crate::support::*;

/// Two buckets of the callers `apples` (write) and `peeker` (read), and three of others whose rows
/// hold the number 77.
fn orchard() -> Site {
    let site = Site::guarded("postgres: {listen_port: 0}\n");
    let hidden = |name: &str| {
        let (key, own) = table(name);
        let open = vec![Column::from_values(vec![77.0, 77.5])];
        let rows = ColumnBatch::new(own.schema().clone(), own.time_column().clone(), open);
        (key, rows.unwrap())
    };
    let tables = [
        table("AAPL/1Min/X"),
        table("AAPL/5Min/X"),
        hidden("MSFT/1Min/X"),
        hidden("AAPM/1Min/X"),
        hidden("MSFT/1D/SECRET"),
    ];
    site.client("admin").write(&tables, RowKind::Bar).unwrap();
    site
}

/// Nothing in a text is of a bucket that is hidden.
fn has_leaked(text: &str) -> bool {
    ["77", "MSFT", "AAPM", "SECRET"]
        .iter()
        .any(|w| text.contains(w))
}

#[test]
fn a_pattern_is_of_what_the_caller_may_read() {
    let site = orchard();
    for caller in ["apples", "peeker"] {
        for door in DOORS {
            for (statement, shown) in [
                ("SELECT \"Open\" FROM \"*/1Min/X\"", "2"),
                ("SELECT count(*) AS n FROM \"*/1Min/X\"", "2"),
                ("SELECT * FROM \"**\"", "2"),
                ("SHOW BUCKETS", "AAPL"),
                ("SHOW BUCKETS LIKE '*/*/*'", "AAPL"),
                ("SHOW SYMBOLS", "AAPL"),
                (
                    "SELECT table_name FROM information_schema.tables",
                    "AAPL/1Min/X",
                ),
                ("SELECT * FROM information_schema.columns", "AAPL/5Min/X"),
                ("DESCRIBE \"AAPL/1Min/X\"", "Open"),
            ] {
                let said = door.ask(&site, caller, statement);
                let Said::Rows(rows) = &said else {
                    panic!("{door:?} {caller} {statement}: {said:?}");
                };
                assert!(rows.contains(shown), "{door:?} {statement}: {rows}");
                assert!(!has_leaked(rows), "{door:?} {statement}: {rows}");
            }
        }
        let Said::Rows(tables) = Flight::open(&site, caller).tables() else {
            panic!("the tables are listed");
        };
        assert!(
            tables.contains("AAPL/5Min/X") && !has_leaked(&tables),
            "{tables}"
        );
    }
}

/// The catalog of PostgreSQL's own clients: `\dt` and `\d NAME` of psql.
#[test]
fn the_catalog_of_postgres_hides_buckets() {
    let site = orchard();
    let ask = |caller: &str, statement: &str| match Door::Postgres.ask(&site, caller, statement) {
        Said::Rows(rows) => rows,
        other => panic!("{statement}: {other:?}"),
    };
    let list = "SELECT n.nspname as \"Schema\", c.relname as \"Name\", \
        CASE c.relkind WHEN 'r' THEN 'table' END as \"Type\", \
        pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" FROM pg_catalog.pg_class c \
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' ORDER BY 1,2;";
    let all = ask("admin", list);
    assert!(all.contains("MSFT/1D/SECRET"), "{all}");
    let own = ask("apples", list);
    assert!(own.contains("AAPL/5Min/X") && !has_leaked(&own), "{own}");
}

#[test]
fn what_is_not_the_callers_is_refused_wherever_it_stands() {
    let site = orchard();
    let reads = [
        "SELECT * FROM \"MSFT/1Min/X\"",
        // Not there, and refused alike: another answer would say so.
        "SELECT * FROM \"MSFT/1Min/NONE\"",
        "SELECT count(*) FROM \"MSFT/1Min/X\"",
        "DESCRIBE \"MSFT/1Min/X\"",
        "EXPLAIN SELECT * FROM \"MSFT/1Min/X\"",
        "SELECT a.\"Open\" FROM \"AAPL/1Min/X\" a JOIN \"MSFT/1Min/X\" m ON a.\"Epoch\" = m.\"Epoch\"",
        "SELECT a.\"Open\" FROM \"AAPL/1Min/X\" a ASOF JOIN \"MSFT/1Min/X\" m ON a.\"Epoch\" >= m.\"Epoch\"",
        "SELECT \"Open\" FROM \"AAPL/1Min/X\" WHERE \"Open\" < (SELECT max(\"Open\") FROM \"MSFT/1Min/X\")",
        "SELECT \"Open\" FROM \"AAPL/1Min/X\" UNION ALL SELECT \"Open\" FROM \"MSFT/1Min/X\"",
        "WITH m AS (SELECT * FROM \"MSFT/1Min/X\") SELECT * FROM m",
    ];
    for caller in ["apples", "peeker"] {
        for door in DOORS {
            for statement in reads {
                refused(&site, door, caller, statement);
            }
        }
    }
    // Both rights are needed: to read what is inserted, to write where it goes.
    let changes = [
        (
            "apples",
            "INSERT INTO \"AAPL/1Min/X\" SELECT * FROM \"MSFT/1Min/X\"",
        ),
        (
            "apples",
            "INSERT INTO \"MSFT/1Min/X\" SELECT * FROM \"AAPL/1Min/X\"",
        ),
        (
            "apples",
            "INSERT INTO \"MSFT/1Min/NEW\" SELECT * FROM \"AAPL/1Min/X\"",
        ),
        (
            "apples",
            "DELETE FROM \"MSFT/1Min/X\" WHERE \"Epoch\" >= '1970-01-01'",
        ),
        (
            "peeker",
            "INSERT INTO \"AAPL/1Min/X\" SELECT * FROM \"AAPL/1Min/X\"",
        ),
        (
            "peeker",
            "DELETE FROM \"AAPL/1Min/X\" WHERE \"Epoch\" >= '1970-01-01'",
        ),
    ];
    for (caller, statement) in changes {
        for door in [Door::Http, Door::Flight, Door::Prepared] {
            refused(&site, door, caller, statement);
        }
        let said = Flight::open(&site, caller).update(statement);
        assert!(
            matches!(said, Said::Denied(_)),
            "{caller} {statement}: {said:?}"
        );
    }
    let own = "INSERT INTO \"AAPL/1Min/X\" SELECT * FROM \"AAPL/1Min/X\"";
    for door in [Door::Http, Door::Flight] {
        let said = door.ask(&site, "apples", own);
        assert!(matches!(said, Said::Rows(_)), "{door:?}: {said:?}");
    }
    let said = Flight::open(&site, "apples").ingest("MSFT/1Min/X");
    assert!(matches!(said, Said::Denied(_)), "{said:?}");
    unchanged(&site);
}

/// Of a body that names several buckets, only the caller's own are written.
#[test]
fn rows_of_other_buckets_are_not_written() {
    let site = orchard();
    let rows = "symbol,timeframe,attribute_group,Epoch,Open\n\
                AAPL,1Min,X,1970-01-01T00:00:00Z,3\nMSFT,1Min,X,1970-01-01T00:00:00Z,3\n\
                MSFT,1Min,NEW,1970-01-01T00:00:00Z,3\n";
    let row = "Epoch,Open\n1970-01-01T00:00:00Z,3\n";
    let (status, text) = site.post("apples", "/write", "text/csv", rows);
    assert_eq!(status, 200, "{text}");
    for key in ["MSFT/1Min/X", "MSFT/1Min/NEW"] {
        let told = format!("the token \\\"apples\\\" has no right to write {key}");
        assert!(text.contains(&told), "{text}");
    }
    assert!(text.contains("\"rows\":1"), "{text}");
    let (status, text) = site.post("apples", "/write/MSFT/1Min/X", "text/csv", row);
    assert_eq!(status, 400, "{text}");
    let (status, text) = site.post("peeker", "/write/AAPL/1Min/X", "text/csv", row);
    assert_eq!(status, 400, "{text}");
    unchanged(&site);
}

fn refused(site: &Site, door: Door, caller: &str, statement: &str) {
    let said = door.ask(site, caller, statement);
    let what = format!("{door:?} {caller} {statement}: {said:?}");
    match said {
        Said::Denied(text) => assert!(!text.contains("77"), "{what}"),
        _ => panic!("{what}"),
    }
}

/// The buckets of others are as they were, and no new one is there.
fn unchanged(site: &Site) {
    let mut admin = site.client("admin");
    let mut buckets = admin.buckets().unwrap();
    buckets.sort();
    let all = [
        "AAPL/1Min/X",
        "AAPL/5Min/X",
        "AAPM/1Min/X",
        "MSFT/1D/SECRET",
        "MSFT/1Min/X",
    ];
    assert_eq!(buckets, all);
    let rows = Door::Http.ask(
        site,
        "admin",
        "SELECT \"Open\" FROM \"MSFT/1Min/X\" ORDER BY \"Open\"",
    );
    assert_eq!(rows, Said::Rows("Open\n77.0\n77.5\n".into()));
}
