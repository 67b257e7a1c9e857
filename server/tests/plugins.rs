//! `mkts plugin` as a person uses it, and what a server makes of modules in files.
#![forbid(unsafe_code)]
// Tests prepare their own files; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn mkts(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mkts"))
        .args(args)
        .current_dir(dir)
        .env_remove("MKTS_PLUGIN_PATH")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    (output.status.success(), format!("{out}{err}"))
}

fn good(dir: &Path, args: &[&str]) -> String {
    let (ok, text) = mkts(dir, args);
    assert!(ok, "{args:?}: {text}");
    text
}

fn bad(dir: &Path, args: &[&str]) -> String {
    let (ok, text) = mkts(dir, args);
    assert!(!ok, "{args:?}: {text}");
    text
}

/// A folder with a configuration; nobody listens on port 1.
fn place(entries: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let config = format!("root_directory: data\nlisten_port: 1\nplugin_dir: plugins\n{entries}");
    std::fs::write(dir.path().join("mkts.yml"), config).unwrap();
    dir
}

/// A package that needs nothing but an interpreter.
fn package(dir: &Path, version: &str) {
    let text = format!("name = \"alerts\"\nversion = \"{version}\"\ninterpreter = \"python3\"\n");
    let file = std::fs::File::create(dir.join("alerts.mkplug")).unwrap();
    let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "plugin.toml", text.as_bytes())
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn a_package_is_installed_listed_and_kept_while_it_is_named() {
    let dir = place("triggers:\n  - module: alerts@^1.4\n    name: mine\n");
    let at = dir.path();
    let before = good(at, &["plugin", "list"]);
    assert!(before.contains("mine      missing"), "{before}");
    assert!(before.contains("alerts@vX.Y.Z/plugin.toml"), "{before}");
    package(at, "1.4.0");
    let wrong = ["plugin", "install", "alerts.mkplug", "--sha256", "00"];
    assert!(bad(at, &wrong).contains("64 hexadecimal digits"));
    let done = good(at, &["plugin", "install", "alerts.mkplug"]);
    assert!(done.starts_with("installed alerts 1.4.0: "), "{done}");
    let again = good(at, &["plugin", "install", "alerts.mkplug"]);
    assert!(again.contains("was there already"), "{again}");
    let list = good(at, &["plugin", "list"]);
    assert!(
        list.contains("mine      resolved  1.4.0    process  alerts@^1.4"),
        "{list}"
    );
    package(at, "2.0.0");
    good(at, &["plugin", "install", "alerts.mkplug"]);
    let which = bad(at, &["plugin", "remove", "alerts"]);
    assert!(which.contains("name one, like alerts@=2.0.0"), "{which}");
    let used = bad(at, &["plugin", "remove", "alerts@=1.4.0"]);
    assert!(
        used.contains("is in use: mine (./mkts.yml:5) runs it"),
        "{used}"
    );
    let gone = good(at, &["plugin", "remove", "alerts@=2.0.0"]);
    assert!(
        gone.contains("removed ") && gone.contains("alerts@v2.0.0"),
        "{gone}"
    );
    assert!(at.join("plugins/alerts@v1.4.0/plugin.toml").exists());
    assert!(!at.join("plugins/alerts@v2.0.0").exists());
}

#[test]
fn describe_shows_a_manifest_and_runs_nothing() {
    let dir = place("");
    let text = good(dir.path(), &["plugin", "describe", "ondiskagg.so"]);
    assert!(text.contains("name         ondiskagg\n"), "{text}");
    assert!(text.contains("delivery     exact\n"), "{text}");
    assert!(text.contains("runs         builtin\n"), "{text}");
    let json = good(dir.path(), &["plugin", "describe", "stream", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["manifest"]["kind"], "trigger");
    std::fs::write(dir.path().join("left.so"), b"\x7fELF").unwrap();
    let text = bad(dir.path(), &["plugin", "describe", "left.so"]);
    assert!(text.contains("left.so: not a shared library"), "{text}");
    let text = bad(dir.path(), &["plugin", "describe", "onddiskag"]);
    assert!(text.contains("did you mean ondiskagg?"), "{text}");
    assert!(text.contains("GOPATH is no longer searched"), "{text}");
}

#[test]
fn without_a_folder_or_a_configuration_the_fix_is_named() {
    let dir = TempDir::new().unwrap();
    package(dir.path(), "1.0.0");
    let text = bad(dir.path(), &["plugin", "install", "alerts.mkplug"]);
    assert!(
        text.contains("set plugin_dir in mkts.yml, or use --dir"),
        "{text}"
    );
    let text = bad(dir.path(), &["plugin", "list"]);
    assert!(text.contains("--config names another"), "{text}");
    good(
        dir.path(),
        &["plugin", "install", "alerts.mkplug", "--dir", "p"],
    );
    assert!(dir.path().join("p/alerts@v1.0.0").exists());
}
