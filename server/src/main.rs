//! The `mkts` binary: the table of built-in plugins, and the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use plugin_sdk::BuiltIn;

fn main() -> ExitCode {
    server::cli::main(built_in())
}

/// The plugins that are linked in. Only this file knows them.
fn built_in() -> Vec<BuiltIn> {
    vec![ondiskagg::BUILT_IN, stream::BUILT_IN, replay::BUILT_IN]
}
