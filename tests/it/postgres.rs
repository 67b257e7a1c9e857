//! The PostgreSQL wire, with psycopg and psql as clients.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use tests::server::Server;

use crate::flight::run;

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

/// Runs commands in psql, one after the other; `None` if there is no psql.
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
        "COMMIT",
    ] {
        assert!(out.contains(wanted), "{wanted}\n{out}\n{err}");
    }
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
