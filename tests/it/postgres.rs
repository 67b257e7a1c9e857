//! The PostgreSQL wire, with psycopg and psql as clients.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use tests::server::{Server, workspace};

use crate::flight::run;
use crate::pymarketstore::environment;

const POSTGRES: &str = "postgres: {listen_port: 0}\n";

#[test]
fn psycopg_reads_with_parameters_in_both_formats() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let mut server = Server::start(&[], POSTGRES);
    run(
        "postgres_test.py",
        &[server.postgres(), &server.addr().to_string()],
    );
    assert!(server.alive());
}

/// SQLAlchemy, pandas and asyncpg in an environment of their own, with the versions that were tried.
const CLIENTS: &[&str] = &[
    "psycopg[binary]==3.3.9",
    "duckdb==1.4.4",
    "duckdb-ext-postgres==1.4.4.20260205",
    "sqlalchemy==2.1.9",
    "pandas==3.1.1",
    "asyncpg==0.32.0",
];

#[test]
fn duckdb_grafana_sqlalchemy_pandas_and_asyncpg_list_tables_and_read() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let mut server = Server::start(&[], POSTGRES);
    let python = environment("postgres-clients", CLIENTS);
    let output = Command::new(python)
        .arg(workspace().join("tests/python/postgres_clients.py"))
        .args([server.postgres(), &server.addr().to_string()])
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("all parts passed"), "{out}");
    assert!(server.alive());
}

/// Runs commands in psql, one after the other, maybe behind `-v NAME=VALUE`; `None` if there is no psql.
fn psql(server: &Server, commands: &[&str]) -> Option<Output> {
    let (host, port) = server.postgres().rsplit_once(':').unwrap();
    let mut psql = Command::new("psql");
    psql.args([
        "--no-psqlrc",
        "--pset=pager=off",
        "-h",
        host,
        "-p",
        port,
        "-U",
        "me",
        "-d",
        "mkts",
    ]);
    let (options, commands) = match commands {
        ["-v", variable, commands @ ..] => (vec!["-v", *variable], commands),
        commands => (Vec::new(), commands),
    };
    psql.args(options);
    for command in commands {
        psql.args(["-c", command]);
    }
    match psql.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: psql is not installed (apt-get install postgresql-client)");
            None
        }
        Err(error) => panic!("psql: {error}"),
    }
}

#[test]
fn psql_lists_tables_describes_one_and_shows_where_an_error_is() {
    let server = Server::start(&[], POSTGRES);
    let rows = "Epoch,Close,Volume\n2024-01-31T09:30:00Z,1.5,100\n2024-01-31T09:31:00Z,2.5,200\n";
    let reply = server
        .client()
        .send(
            "POST",
            "/write/AAPL/1Min/OHLCV",
            Some("text/csv"),
            rows.as_bytes(),
        )
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let commands = [
        "\\dt",
        "\\d \"AAPL/1Min/OHLCV\"",
        "SELECT * FROM \"AAPL/1Min/OHLCV\" ORDER BY \"Epoch\"",
        "\\d+ \"AAPL/1Min/OHLCV\"",
        "\\d *1Min*",
        "\\l",
        "\\dn",
        "\\du",
        "\\df",
        "\\dt+",
        "\\dv",
        "\\di",
        "\\dx",
        "\\dp",
        "BEGIN; SELECT 1 AS one; COMMIT",
    ];
    let Some(output) = psql(&server, &commands) else {
        return;
    };
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{out}\n{err}");
    for wanted in [
        "public | AAPL/1Min/OHLCV | table | mkts",
        "Epoch  | timestamp with time zone",
        "Close  | double precision",
        "2024-01-31 09:30:00+00 |   1.5 |    100",
        "(2 rows)",
        "Access method: mkts",
        "mkts | mkts  | UTF8     | C",
        "public | mkts",
        "me        | ",
        "public | time_bucket",
        "COMMIT",
    ] {
        assert!(out.contains(wanted), "{wanted}\n{out}\n{err}");
    }
    // Its cursor, for results that are large.
    let all = "SELECT \"Volume\" FROM \"AAPL/1Min/OHLCV\" ORDER BY \"Epoch\"";
    let output = psql(&server, &["-v", "FETCH_COUNT=1", all]).unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("100") && out.contains("200"), "{out}");
    assert!(out.contains("(2 rows)"), "{out}");
    let output = psql(&server, &["SELECT nothing FROM \"AAPL/1Min/OHLCV\""]).unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("no column \"nothing\""), "{err}");
    assert!(err.contains("LINE 1: SELECT nothing"), "{err}");
    assert!(err.contains("\n               ^"), "{err}");
    assert!(
        err.contains("HINT:  there are Epoch, Close, Volume"),
        "{err}"
    );
}
