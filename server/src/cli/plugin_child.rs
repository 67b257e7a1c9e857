//! `mkts plugin-host FILE`: a native plugin in a process of its own. Servers start it, not people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plugin_host::native::{Cache, describe, load};

/// What a program started by hand answers with.
const BY_HAND: u8 = 64;

/// Serves the library to the server that started this process; started by hand, prints its manifest.
pub(super) fn run(file: &Path) -> ExitCode {
    let Some(socket) = std::env::var_os("MKTS_PLUGIN_SOCKET").map(PathBuf::from) else {
        return by_hand(file);
    };
    // Beside the socket: the directory is this start's alone and goes with it.
    let dir = socket.parent().unwrap_or(Path::new("."));
    match load(file, &Cache::in_store(dir)) {
        Ok(module) => plugin_sdk::serve::module(&module),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Nothing of the library runs.
fn by_hand(file: &Path) -> ExitCode {
    let manifest = describe(file).map_err(|error| error.to_string());
    let manifest =
        manifest.and_then(|found| serde_json::to_string(&found).map_err(|error| error.to_string()));
    match manifest {
        Ok(manifest) => {
            println!("{manifest}");
            ExitCode::from(BY_HAND)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
