//! What `mkts plugin new` writes builds and passes its tests as it is (T44).
//!
//! A project in Rust is built against this tree, in the folder of this build and with its profiles, so
//! that only the plugin itself is compiled anew. `MKTS_TEMPLATES=all` also makes a source and a worker
//! in Rust, and a trigger against the SDK that is packed into the program, compiled from nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::server::{binary, workspace};

use crate::python_plugin::virtual_environment;

const KINDS: [&str; 3] = ["trigger", "source", "bgworker"];

fn is_long() -> bool {
    std::env::var("MKTS_TEMPLATES").is_ok_and(|which| which == "all")
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    output
}

/// A new project; `sdk`: the tree to build against, else the packed one, unpacked in `folder`.
fn project(folder: &Path, lang: &str, kind: &str, sdk: Option<&Path>) -> PathBuf {
    let name = format!("new-{lang}-{kind}");
    let dir = folder.join(&name);
    let mut command = Command::new(binary());
    command.args(["plugin", "new", &name, "--lang", lang, "--kind", kind]);
    command
        .arg("--dir")
        .arg(&dir)
        .env("XDG_CACHE_HOME", folder.join("cache"));
    if let Some(sdk) = sdk {
        command.arg("--sdk").arg(sdk);
    }
    let said = String::from_utf8(run(&mut command).stdout).expect("UTF-8");
    assert!(
        said.starts_with(&format!("made {}: a {kind} in {lang}", dir.display())),
        "{said}"
    );
    for file in ["README.md", "mkts.yml", ".gitignore"] {
        assert!(dir.join(file).exists(), "{file}");
    }
    dir
}

/// The profiles of this workspace, so that what it has compiled is used again.
fn profiles(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the root manifest");
    let at = text.find("[profile.").expect("there are profiles");
    let file = folder.join("profiles.toml");
    std::fs::write(&file, &text[at..]).expect("a file of a test");
    file
}

fn cargo_test(dir: &Path, target: &Path, profiles: &Path) {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--quiet", "--offline", "--config"])
        .arg(profiles);
    command.arg("--target-dir").arg(target).current_dir(dir);
    let said = String::from_utf8(run(&mut command).stdout).expect("UTF-8");
    // The unit test; the harness and the cases in three forms.
    assert!(said.matches("test result: ok").count() >= 2, "{said}");
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    own.parent()
        .expect("it is in the target folder")
        .to_path_buf()
}

#[test]
fn new_plugins_in_rust_pass_their_tests() {
    let folder = tempfile::tempdir().expect("a temp directory");
    let profiles = profiles(folder.path());
    let kinds = if is_long() { &KINDS[..] } else { &KINDS[..1] };
    for kind in kinds {
        let dir = project(folder.path(), "rust", kind, Some(workspace()));
        cargo_test(&dir, &target(), &profiles);
    }
    if is_long() {
        let packed = folder.path().join("packed");
        std::fs::create_dir(&packed).expect("a folder");
        let dir = project(&packed, "rust", "trigger", None);
        cargo_test(&dir, &folder.path().join("target"), &profiles);
    }
}

#[test]
fn new_plugins_in_c_pass_their_tests() {
    let folder = tempfile::tempdir().expect("a temp directory");
    for kind in KINDS {
        let dir = project(folder.path(), "c", kind, None);
        let mut make = Command::new("make");
        make.arg("test").env("MKTS", binary()).current_dir(&dir);
        let said = String::from_utf8(run(&mut make).stdout).expect("UTF-8");
        assert!(
            said.contains("unit: ok") && said.contains("all good"),
            "{said}"
        );
    }
}

#[test]
fn new_plugins_in_python_pass_their_tests() {
    let folder = tempfile::tempdir().expect("a temp directory");
    for kind in KINDS {
        let dir = project(folder.path(), "python", kind, None);
        let Some(python) = virtual_environment(&dir.join(".venv")) else {
            return;
        };
        let mut pytest = Command::new(python);
        pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
        pytest.env("MKTS", binary()).current_dir(&dir);
        let said = String::from_utf8(run(&mut pytest).stdout).expect("UTF-8");
        assert!(said.contains("2 passed"), "{said}");
    }
}

/// The entry of a new plugin is one that servers take.
#[test]
fn the_entry_of_a_new_plugin_is_accepted() {
    let folder = tempfile::tempdir().expect("a temp directory");
    for kind in KINDS {
        let dir = project(folder.path(), "c", kind, None);
        run(Command::new("make").current_dir(&dir));
        let mut check = Command::new(binary());
        run(check
            .args(["check-config", "--config", "mkts.yml"])
            .current_dir(&dir));
    }
}

/// A plugin that fails a case makes the command fail, and the case is named.
#[test]
fn a_plugin_that_fails_a_case_is_told_so() {
    let folder = tempfile::tempdir().expect("a temp directory");
    let dir = project(folder.path(), "c", "trigger", None);
    let file = dir.join("new_c_trigger.c");
    let code = std::fs::read_to_string(&file).expect("the code");
    let wrong = code.replace(
        "return mkts_fail(status, MKTS_RETRY, \"the count cannot be kept\");",
        "return MKTS_OK;",
    );
    assert_ne!(code, wrong);
    std::fs::write(&file, wrong).expect("the code");
    run(Command::new("make").current_dir(&dir));
    let mut test = Command::new(binary());
    test.args([
        "plugin",
        "test",
        "new_c_trigger.so",
        "--config",
        "{\"above\": 100}",
    ]);
    let output = test.current_dir(&dir).output().expect("mkts runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(out.contains("FAIL  full window"), "{out}\n{err}");
}
