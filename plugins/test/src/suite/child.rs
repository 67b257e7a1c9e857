//! The test program as a child: started with the name of one test and a library in its environment,
//! it serves a plugin instead of testing.

use std::path::{Path, PathBuf};

use plugin_host::native::{Cache, describe, load};
use plugin_host::process::Program;

use super::{Suite, library_beside};
use crate::form::Form;

/// Names the library that a child serves.
const LIBRARY: &str = "MKTS_TEST_LIBRARY";

impl Suite {
    #[track_caller]
    pub(super) fn library_file(&self) -> PathBuf {
        library_beside(&self.library)
    }

    /// The library in a child, as `mkts plugin-host` runs it; `child` names a test that calls
    /// [`Suite::child`].
    ///
    /// # Panics
    /// If there is no library beside the test program, or it is no plugin.
    #[track_caller]
    pub fn in_process(&self, child: &str) -> Form {
        Form::program(self.program_of(&self.library_file(), child))
    }

    #[track_caller]
    pub(super) fn program_of(&self, file: &Path, child: &str) -> Program {
        let own = std::env::current_exe().expect("a program knows its file");
        let mut program = Program::new(own);
        program.args = [child, "--exact", "--nocapture", "--test-threads=1"]
            .map(Into::into)
            .into();
        program.env = vec![(LIBRARY.into(), file.display().to_string())];
        match describe(file) {
            Ok(description) => program.description = Some(description),
            Err(error) => panic!("{error}"),
        }
        program
    }

    /// Serves the library of a child, and does nothing in a test.
    pub fn child() {
        let Some(file) = std::env::var_os(LIBRARY) else {
            return;
        };
        // Beside the socket: the directory is this start's alone and goes with it.
        let socket = std::env::var_os("MKTS_PLUGIN_SOCKET").map(PathBuf::from);
        let folder = socket.as_deref().and_then(Path::parent);
        let Some(folder) = folder else {
            return;
        };
        match load(Path::new(&file), &Cache::in_store(folder)) {
            Ok(module) => {
                plugin_sdk::serve::module(&module);
            }
            Err(error) => eprintln!("{error}"),
        }
    }
}
