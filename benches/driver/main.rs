//! The store embedded in a process that speaks JSON lines, so that a script can time it beside
//! other stores: one request a line on stdin, one answer a line on stdout.
//!
//! ```text
//! {"op":"open","dir":"/data/bench"}
//! {"op":"ingest","key":"SPY/1Min/OHLCV","kind":"bar","file":"spy.bin","rows":98280,"columns":[["Open","f64"]]}
//! {"op":"last","key":"SPY/1Min/OHLCV","count":1000,"repeat":200}
//! {"op":"close"}
//! ```
//!
//! Times are taken inside the process, around the calls of the engine alone: no file is parsed and
//! no answer is formatted meanwhile. `benches/peers/worker.py` answers the same requests with other
//! stores; [`answer::checksum`] is the same sum there, so equal answers are seen as equal.
#![forbid(unsafe_code)]

mod answer;
mod asof;
mod load;
mod read;
mod request;
mod session;
mod statement;
mod write;

use std::io::{BufRead, Write};

use answer::Answer;
use request::Request;
use session::Session;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut session = Session::default();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = serde_json::from_str::<Request>(&line)
            .map_err(|error| format!("not a request: {error}").into())
            .and_then(|request| session.run(request))
            .unwrap_or_else(|error| Answer::failed(&error.to_string()));
        writeln!(out, "{}", answer.line())?;
        out.flush()?;
    }
    session.close()
}
