//! Flight SQL, with ADBC's driver as a client.
//!
//! The packages come from PyPI into an environment of their own; `MKTS_SKIP_PYTHON=1` skips this in
//! the open.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use tests::server::{Server, workspace};

use crate::pymarketstore::environment;

/// One environment for all clients of SQL. DuckDB and its extension must be of one version.
pub(crate) const PACKAGES: &[&str] = &[
    "adbc-driver-flightsql",
    "adbc-driver-manager",
    "pyarrow",
    "psycopg[binary]",
    "duckdb==1.4.4",
    "duckdb-ext-postgres==1.4.4.20260205",
];

/// Runs a script against an address; it says so itself when all went well.
pub(crate) fn run(script: &str, arguments: &[&str]) {
    let python = environment("sql-clients", PACKAGES);
    let output = Command::new(python)
        .arg(workspace().join("tests/python").join(script))
        .args(arguments)
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("all parts passed"), "{out}");
}

#[test]
fn adbc_and_duckdb_read_and_write_over_flight_sql() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let mut server = Server::start(&[], "grpc_listen_port: 0\n");
    run("flight_test.py", &[server.grpc()]);
    assert!(server.alive());
}
