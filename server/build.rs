//! Packs what an author of plugins needs into the program: the sources of the SDK and of the test kit
//! with all they import, the C header, the Python package. `mkts plugin new` unpacks them.
#![allow(
    clippy::disallowed_methods,
    reason = "a build writes into its own folder, not into a store"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, Crc, GzBuilder};

/// The crates, in a workspace of their own.
const CRATES: [&str; 9] = [
    "model",
    "disk",
    "wal",
    "engine",
    "plugins/abi",
    "plugins/proto",
    "plugins/sdk",
    "plugins/host",
    "plugins/test",
];

/// Other files and folders.
const MORE: [&str; 7] = [
    "LICENSE",
    "Cargo.lock",
    "plugins/abi/include",
    "plugins/test/data",
    "plugins/python/src",
    "plugins/python/pyproject.toml",
    "plugins/python/README.md",
];

fn main() {
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where"));
    let root = own.parent().expect("the workspace is above").to_path_buf();
    let mut files = vec![(
        "Cargo.toml".to_owned(),
        workspace(&read(&root, "Cargo.toml")),
    )];
    for name in CRATES {
        let manifest = format!("{name}/Cargo.toml");
        files.push((manifest.clone(), without_tests(&read(&root, &manifest))));
        collect(&root, &format!("{name}/src"), &mut files);
    }
    for name in MORE {
        collect(&root, name, &mut files);
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!(
        "cargo:rerun-if-changed={}",
        root.join("Cargo.toml").display()
    );
    for name in CRATES
        .iter()
        .map(|name| format!("{name}/src"))
        .chain(MORE.map(Into::into))
    {
        println!("cargo:rerun-if-changed={}", root.join(name).display());
    }
    for name in CRATES {
        println!(
            "cargo:rerun-if-changed={}",
            root.join(name).join("Cargo.toml").display()
        );
    }
    files.sort();
    let packed = pack(&files);
    let mut crc = Crc::new();
    crc.update(&packed);
    println!("cargo:rustc-env=MKTS_SDK_HASH={:08x}", crc.sum());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    fs::write(out.join("sdk.tar.gz"), packed).expect("the folder of the build can be written");
}

fn read(root: &Path, name: &str) -> Vec<u8> {
    let path = root.join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files at and below a name, without tests and what Python leaves behind.
fn collect(root: &Path, name: &str, files: &mut Vec<(String, Vec<u8>)>) {
    let path = root.join(name);
    if !path.is_dir() {
        files.push((name.to_owned(), read(root, name)));
        return;
    }
    let inside = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in inside {
        let entry = entry
            .expect("a folder of sources can be listed")
            .file_name();
        let entry = entry.to_string_lossy();
        if !matches!(&*entry, "tests" | "tests.rs" | "__pycache__") && !entry.starts_with('.') {
            collect(root, &format!("{name}/{entry}"), files);
        }
    }
}

/// The sections of a manifest: head line and all lines.
fn sections(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8(text.to_vec()).expect("a manifest is UTF-8");
    let mut all: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            all.push((line.to_owned(), String::new()));
        } else if let Some((_, lines)) = all.last_mut() {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    all
}

/// The root manifest with these members alone. Dependencies that nobody asks for do no harm, but
/// their folders would be missing.
fn workspace(text: &[u8]) -> Vec<u8> {
    let mut out = format!("[workspace]\nresolver = \"3\"\nmembers = {CRATES:?}\n\n");
    for (head, lines) in sections(text) {
        let is_ours = head == "[workspace.dependencies]";
        if !is_ours && head != "[workspace.package]" && !head.starts_with("[workspace.lints") {
            continue;
        }
        out.push_str(&head);
        out.push('\n');
        for line in lines.lines() {
            let path = line
                .split_once("path = \"")
                .and_then(|(_, rest)| rest.split('"').next());
            if path.is_none_or(|path| CRATES.contains(&path)) {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out.into_bytes()
}

/// A manifest without the dependencies of tests, which are not packed.
fn without_tests(text: &[u8]) -> Vec<u8> {
    let kept = sections(text)
        .into_iter()
        .filter(|(head, _)| !head.starts_with("[dev-dependencies") && !head.starts_with("[["));
    kept.map(|(head, lines)| format!("{head}\n{lines}"))
        .collect::<String>()
        .into_bytes()
}

/// A tar.gz that is the same for the same files.
fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        let added = tar.append_data(&mut header, name, &bytes[..]);
        added.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut gzip = tar.into_inner().expect("memory takes it");
    gzip.flush().expect("memory takes it");
    gzip.finish().expect("memory takes it")
}
