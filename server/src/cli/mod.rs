//! The command line. One command, one file.

/// The example configuration: the file `mkts init` writes and `mkts demo` starts from.
pub const EXAMPLE: &str = include_str!("../../../mkts.yml");
