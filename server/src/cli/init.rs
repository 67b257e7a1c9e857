//! `mkts init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;

use super::{EXAMPLE, Failure};

/// Arguments of `mkts init`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

const FILE: &str = "mkts.yml";

/// Writes the example; a file that is there is never touched.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Configurations hold secrets: nobody else may read them.
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(FILE)
        .and_then(|mut file| file.write_all(EXAMPLE.as_bytes()));
    match made {
        Ok(()) => {
            match args.json {
                true => println!("{}", json!({ "file": FILE })),
                false => println!("wrote {FILE}; start the server with `mkts start`"),
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(format!(
            "{FILE} exists already, nothing was written"
        ))),
        Err(error) => Err(Failure::new(format!("{FILE} cannot be written: {error}"))),
    }
}
