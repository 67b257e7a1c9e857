//! The committed code is what the generator makes of the .proto file.
// Reads and writes source files, beside any store.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;

use prost::Message as _;

/// With `MKTS_PROTO_WRITE` set (`cargo xtask proto`) the committed files are written instead.
#[test]
fn the_committed_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, fresh) in generate(&root.join("proto")) {
        let committed = root.join("src").join(name);
        if std::env::var_os("MKTS_PROTO_WRITE").is_some() {
            std::fs::write(&committed, &fresh).unwrap();
            continue;
        }
        let found = std::fs::read(&committed).unwrap_or_default();
        assert!(
            found == fresh,
            "{} does not fit the .proto files: run cargo xtask proto",
            committed.display()
        );
    }
}

fn generate(protos: &Path) -> [(&'static str, Vec<u8>); 3] {
    let out = tempfile::tempdir().unwrap();
    let files = ["marketstore.proto", "mkts.proto"].map(|name| protos.join(name));
    let descriptors = protox::compile(files, [protos]).unwrap();
    let bytes = descriptors.encode_to_vec();
    let mut config = prost_build::Config::new();
    // Columns are slices of the message received, not copies.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_transport(true)
        .compile_fds_with_config(descriptors, config)
        .unwrap();
    let code = |name| std::fs::read(out.path().join(name)).unwrap();
    [
        ("proto.rs", code("proto.rs")),
        ("mkts.v1.rs", code("mkts.v1.rs")),
        ("descriptors.bin", bytes),
    ]
}
