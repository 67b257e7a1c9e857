//! `mkts init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::{EXAMPLE, Failure};

const FILE: &str = "mkts.yml";

/// Writes the example; a file that is there is never touched.
pub(super) fn run() -> Result<(), Failure> {
    // Configurations hold secrets: nobody else may read them.
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(FILE)
        .and_then(|mut file| file.write_all(EXAMPLE.as_bytes()));
    match made {
        Ok(()) => {
            println!("wrote {FILE}; start the server with `mkts start`");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(format!(
            "{FILE} exists already, nothing was written"
        ))),
        Err(error) => Err(Failure::new(format!("{FILE} cannot be written: {error}"))),
    }
}
