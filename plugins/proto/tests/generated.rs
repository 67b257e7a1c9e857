//! The committed code is what the generator makes of the .proto file.
// Reads and writes source files, beside any store.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

const FILE: &str = "mkts.plugin.v1.rs";

/// With `MKTS_PROTO_WRITE` set (`cargo xtask proto`) the committed file is written instead.
#[test]
fn the_committed_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src").join(FILE);
    let fresh = generate(&root.join("proto"));
    if std::env::var_os("MKTS_PROTO_WRITE").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        found == fresh,
        "{} does not fit plugin.proto: run cargo xtask proto",
        committed.display()
    );
}

fn generate(protos: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let file: PathBuf = protos.join("mkts/plugin/v1/plugin.proto");
    let descriptors = protox::compile([file], [protos]).unwrap();
    let mut config = prost_build::Config::new();
    // Rows and payloads are slices of the message received, not copies.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_transport(true)
        .compile_fds_with_config(descriptors, config)
        .unwrap();
    std::fs::read_to_string(out.path().join(FILE)).unwrap()
}
