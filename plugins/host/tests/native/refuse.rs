//! Files that are no plugins of ours, or lie (T6, T7): refused in words, and nothing of them runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use plugin_host::native::{self, Refusal};
use serde_json::json;

use crate::border::probe_source;
use crate::support::{cache, cc, folder, library, manifest};

fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder().join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Why `describe` refuses a file; `load` says the same.
fn refused(file: &Path) -> Refusal {
    let error = native::describe(file).unwrap_err();
    assert_eq!(native::load(file, &cache()).err().unwrap(), error);
    assert!(error.to_string().starts_with(&file.display().to_string()));
    error.why
}

#[test]
fn a_module_whose_constructor_aborts_can_be_described() {
    let source = probe_source("aborts", 0, "sizeof(mkts_plugin)")
        + "\n__attribute__((constructor)) static void at_once(void) { abort(); }\n";
    let Some(file) = cc("aborts", &source) else {
        return;
    };
    let description = native::describe(&file).unwrap();
    assert_eq!((&*description.name, description.abi), ("aborts", [1, 0]));
    assert_eq!(description.entry, "mkts_plugin_v1_aborts");
}

#[test]
fn a_go_plugin_is_refused_with_the_right_text() {
    // What Go's linker leaves, beside a manifest as good as any.
    let json = r#"{"name":"gaudy","version":"1.0.0","kind":"trigger","abi":[1,0],"entry":"mkts_plugin_v1_gaudy"}"#;
    let source = format!(
        "#include \"mkts_plugin.h\"\n{}__attribute__((section(\".go.buildinfo\"), used)) \
         static const char build[] = \"\\xff Go buildinf:\";\n",
        manifest(json)
    );
    let Some(file) = cc("gaudy", &source) else {
        return;
    };
    assert_eq!(refused(&file), Refusal::Go);
    let text = native::describe(&file).unwrap_err().to_string();
    assert!(
        text.ends_with("a Go plugin built for MarketStore; use the built-in or rebuild"),
        "{text}"
    );
}

#[test]
fn what_is_no_library_is_refused() {
    let missing = refused(&folder().join("missing.so"));
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let nothing = refused(folder());
    assert_eq!(
        nothing.to_string(),
        "not a shared library: it is no regular file"
    );
    for (name, bytes) in [("empty.so", &b""[..]), ("text.so", b"#!/bin/sh\nexit 1\n")] {
        let why = refused(&put(name, bytes));
        assert!(matches!(why, Refusal::NoLibrary(_)), "{name}: {why}");
    }
    let whole = std::fs::read(library("counter")).unwrap();
    for part in 0..40 {
        // Torn anywhere, it is refused or, behind all that is read, described; it is never opened.
        let torn = put("libcounter.so", &whole[..whole.len() * part / 40]);
        let error = native::describe(&torn).unwrap_err();
        assert!(!matches!(error.why, Refusal::Open(_)), "{part}: {error}");
    }
    // No plugin: any other library.
    if let Some(file) = cc("plain", "int answer(void) { return 42; }\n") {
        assert_eq!(refused(&file), Refusal::NoManifest);
    }
}

#[test]
fn a_library_for_another_processor_is_refused() {
    let mut bytes = std::fs::read(library("counter")).unwrap();
    let other: u16 = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    bytes[18..20].copy_from_slice(&other.to_le_bytes());
    let why = refused(&put("libcounter-foreign.so", &bytes));
    let Refusal::Foreign { found, expected } = &why else {
        panic!("{why}");
    };
    assert_ne!(found, expected);
    assert!(why.to_string().ends_with("rebuild it"), "{why}");
}

/// Compiles a library with this manifest and checksum and no code.
fn with_manifest(name: &str, json: &str, crc: u32) -> Option<PathBuf> {
    let source = format!("#include \"mkts_plugin.h\"\nMKTS_MANIFEST({json:?}, {crc:#x});\n");
    cc(name, &source)
}

#[test]
fn a_manifest_that_cannot_be_ours_is_refused() {
    let json = |name: &str, abi: [u32; 2], entry: &str| {
        json!({ "name": name, "version": "1.0.0", "kind": "trigger", "abi": abi, "entry": entry })
            .to_string()
    };
    let crc = |json: &str| crc32fast::hash(json.as_bytes());
    let good = json("m", [1, 0], "mkts_plugin_v1_m");
    let Some(file) = with_manifest("m1", &good, crc(&good) ^ 1) else {
        return;
    };
    let why = refused(&file).to_string();
    // The author of a C plugin copies the right number from here.
    assert!(why.contains(&format!("{:#010x}", crc(&good))), "{why}");

    let file = with_manifest("m2", &good, crc(&good)).unwrap();
    let why = refused(&file).to_string();
    assert_eq!(
        why,
        "its manifest says \"m\", the file's name \"m2\"; rename the file"
    );

    for (name, abi, text) in [
        (
            "m3",
            [2, 0],
            "needs ABI 2.0, this server has 1.1; update the server",
        ),
        (
            "m4",
            [1, 9],
            "needs ABI 1.9, this server has 1.1; update the server",
        ),
        (
            "m5",
            [0, 0],
            "needs ABI 0.0, this server has 1.1; rebuild the plugin",
        ),
    ] {
        let json = json(name, abi, &format!("mkts_plugin_v1_{name}"));
        let file = with_manifest(name, &json, crc(&json)).unwrap();
        assert_eq!(refused(&file).to_string(), text);
    }
    let other = json("m6", [1, 0], "mkts_plugin_v1_other");
    let file = with_manifest("m6", &other, crc(&other)).unwrap();
    assert!(
        refused(&file)
            .to_string()
            .contains("it must be \"mkts_plugin_v1_m6\"")
    );
    let broken = "{\"name\":";
    let file = with_manifest("m7", broken, crc(broken)).unwrap();
    assert!(
        refused(&file)
            .to_string()
            .starts_with("manifest section: its JSON: ")
    );

    // The section is good, the code is not there: seen when it is opened.
    let hollow = json("m8", [1, 0], "mkts_plugin_v1_m8");
    let file = with_manifest("m8", &hollow, crc(&hollow)).unwrap();
    native::describe(&file).unwrap();
    let error = native::load(&file, &cache()).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("there is no function \"mkts_plugin_v1_m8\""),
        "{error}"
    );
}

#[test]
fn an_executable_is_no_plugin() {
    let source = put("main.c", b"int main(void) { return 0; }\n");
    let file = folder().join("main.so");
    let built = Command::new("cc")
        .args([Path::new("-no-pie"), Path::new("-o"), &file, &source])
        .output();
    match built {
        Ok(built) if built.status.success() => {
            let why = refused(&file).to_string();
            assert!(
                why.starts_with("not a shared library: its kind is"),
                "{why}"
            );
        }
        _ => eprintln!("SKIPPED: no C compiler \"cc\""),
    }
}
