//! `mkts plugin record`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::server::Server;
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// Arguments of `mkts plugin record`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file is for `mkts plugin test --replay`. It has the rows themselves: treat \
it like the data."
)]
pub(in crate::cli) struct Args {
    /// Instance id of a trigger.
    id: String,
    /// Rows to wait for.
    #[arg(long)]
    rows: u64,
    /// Seconds to wait for them.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The file to write; it must not be there.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    server: Server,
}

// The recording goes wherever the user says; it is no file of a store.
#[allow(clippy::disallowed_methods)]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let shown = args.output.display();
    let failure = |error: std::io::Error| Failure::new(format!("{shown}: {error}"));
    if args.output.exists() {
        return Err(Failure::new(format!("{shown} is there already")));
    }
    let body = json!({ "rows": args.rows, "seconds": args.seconds });
    let mut api = args.server.api()?.patient(args.seconds);
    let mut answer = api.one(&args.id, ":record", &Ask::Post(&body))?;
    let recording = answer["recording"]["base64"].take();
    let bytes = recording
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.ok_or_else(|| {
        Failure::new("the rows have a secret of a config in them; nothing is written")
    })?;
    let mut file = std::fs::File::create_new(&args.output).map_err(failure)?;
    std::io::Write::write_all(&mut file, &bytes).map_err(failure)?;
    let done = json!({ "file": args.output, "bytes": bytes.len() });
    args.server.show(&done, |_| {
        format!("{shown}: {}\n", words::bytes(bytes.len() as u64))
    });
    Ok(())
}
