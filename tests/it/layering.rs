//! The tree keeps its shape: who imports whom, what stays out of the core, and tidiness.
//!
//! The import table is repeated here on purpose: a changed Cargo.toml must be a decision, seen in
//! this file and in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::server::workspace;

/// What a crate of ours may import of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("arrow-batch", &["model"]),
    ("disk", &[]),
    ("wal", &["disk"]),
    ("engine", &["wal", "disk", "model"]),
    ("plugin-abi", &[]),
    ("plugin-proto", &["model"]),
    ("plugin-sdk", &["model", "plugin-abi", "plugin-proto"]),
    (
        "plugin-host",
        &[
            "plugin-sdk",
            "plugin-abi",
            "plugin-proto",
            "engine",
            "disk",
            "model",
        ],
    ),
    (
        "plugin-test",
        &["plugin-sdk", "plugin-host", "engine", "disk", "model"],
    ),
    ("calendar", &["model"]),
    ("counter", &["plugin-sdk", "model"]),
    ("lines", &["plugin-sdk", "model"]),
    ("pulse", &["plugin-sdk", "model"]),
    ("ondiskagg", &["plugin-sdk", "calendar", "model"]),
    ("replay", &["plugin-sdk", "model"]),
    ("stream", &["plugin-sdk", "calendar", "model"]),
    ("client", &["model"]),
    ("client-proto", &[]),
    ("sql", &["engine", "model", "arrow-batch"]),
    ("pg-catalog", &["sql", "engine", "model", "arrow-batch"]),
    (
        "server",
        &[
            "engine",
            "sql",
            "pg-catalog",
            "arrow-batch",
            "plugin-host",
            "plugin-sdk",
            "plugin-test",
            "client",
            "client-proto",
            "model",
            "ondiskagg",
            "replay",
            "stream",
        ],
    ),
];

/// Crates that may import everything.
const FREE: &[&str] = &["tests", "benches"];

/// Outside crates with a fence: crates of ours that must not depend on them.
const FENCED: &[(&str, &[&str])] = &[
    ("tokio", CORE),
    ("axum", CORE),
    ("hyper", CORE),
    ("arrow", CORE),
    ("arrow-array", OUTSIDE_SERVER),
    ("arrow-buffer", OUTSIDE_SERVER),
    ("arrow-cast", OUTSIDE_SERVER),
    ("arrow-schema", OUTSIDE_SERVER),
    ("arrow-ipc", OUTSIDE_SERVER),
    ("parquet", OUTSIDE_SERVER),
    ("datafusion", CORE),
    (
        "datafusion",
        &[
            "server",
            "client",
            "plugin-host",
            "arrow-batch",
            "pg-catalog",
        ],
    ),
    ("futures-util", CORE),
    ("serde_yaml", CORE),
    ("yaml_serde", CORE),
    ("libloading", CORE),
    (
        "memmap2",
        &[
            "model",
            "wal",
            "engine",
            "plugin-sdk",
            "plugin-host",
            "server",
            "client",
        ],
    ),
];
const CORE: &[&str] = &[
    "model",
    "disk",
    "wal",
    "engine",
    "plugin-sdk",
    "ondiskagg",
    "replay",
    "stream",
];

/// Arrow belongs to SQL and its doors, and to the commands that read and write files of others.
const OUTSIDE_SERVER: &[&str] = &[
    "model",
    "disk",
    "wal",
    "engine",
    "plugin-sdk",
    "plugin-host",
    "calendar",
    "ondiskagg",
    "replay",
    "stream",
    "client",
];

/// Longest source file outside the tests.
const MAX_LINES: usize = 900;

struct Package {
    name: String,
    ours: BTreeSet<String>,
    outside: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(package).collect()
}

fn package(json: &serde_json::Value) -> Package {
    let mut package = Package {
        name: json["name"].as_str().expect("name").to_string(),
        ours: BTreeSet::new(),
        outside: BTreeSet::new(),
    };
    for dependency in json["dependencies"].as_array().expect("dependencies") {
        // Tests of a crate may use more than the crate (a simulated disk, for one).
        if dependency["kind"] == "dev" {
            continue;
        }
        let name = dependency["name"].as_str().expect("name").to_string();
        // What a feature brings (`process` of the SDK) is not in the crate as its users know it.
        if dependency["optional"] == true && dependency["path"].is_null() {
            continue;
        }
        if dependency["path"].is_string() {
            package.ours.insert(name);
        } else {
            package.outside.insert(name);
        }
    }
    package
}

#[test]
fn crates_import_only_downwards() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let packages = packages();
    assert!(packages.len() >= 10, "cargo metadata lists the workspace");
    for package in &packages {
        if FREE.contains(&package.name.as_str()) {
            continue;
        }
        let may = table.get(package.name.as_str());
        let may = may.unwrap_or_else(|| panic!("{} is not in the import table", package.name));
        for import in &package.ours {
            assert!(
                may.contains(&import.as_str()),
                "{} must not import {import}",
                package.name
            );
        }
    }
}

#[test]
fn fenced_crates_stay_behind_their_fence() {
    for package in packages() {
        for (outside, inside) in FENCED {
            let fenced = inside.contains(&package.name.as_str());
            let forbidden = fenced && package.outside.iter().any(|d| d == outside);
            assert!(!forbidden, "{} must not depend on {outside}", package.name);
        }
    }
}

#[test]
fn contrib_is_named_in_one_place_of_the_server() {
    for file in files(workspace(), &["rs"]) {
        let Ok(inside) = file.strip_prefix(workspace().join("server/src")) else {
            continue;
        };
        if inside == Path::new("main.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        for word in [
            "ondiskagg::",
            "replay::BUILT_IN",
            "use stream::",
            "::stream::Trigger",
        ] {
            let at = text
                .lines()
                .position(|l| !l.trim_start().starts_with("//") && l.contains(word));
            assert!(
                at.is_none(),
                "{}: {word} belongs in main.rs",
                file.display()
            );
        }
    }
}

#[test]
fn the_architecture_document_has_the_same_table() {
    let path = workspace().join("ARCHITECTURE.md");
    let Ok(text) = std::fs::read_to_string(&path) else {
        panic!("{} is missing", path.display());
    };
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for (name, may) in MAY_IMPORT {
        let row = rows
            .iter()
            .find(|row| row.len() >= 2 && row[0].split(", ").any(|n| n.trim_matches('`') == *name));
        let row = row.unwrap_or_else(|| panic!("no table row for {name}"));
        // Remarks stand in brackets behind the names.
        let imports = row[1].split(" (").next().unwrap_or("");
        let imports: BTreeSet<&str> = imports
            .split(", ")
            .map(|n| n.trim_matches('`'))
            .filter(|n| *n != "-")
            .collect();
        let may: BTreeSet<&str> = may.iter().copied().collect();
        assert_eq!(imports, may, "the row of {name}");
    }
}

#[test]
fn sources_are_ascii_and_short_enough() {
    for file in files(workspace(), &["rs", "toml"]) {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let at = text.lines().position(|l| !l.is_ascii());
        assert!(
            at.is_none(),
            "{}:{} is not ASCII",
            file.display(),
            at.unwrap_or(0) + 1
        );
        let lines = text.lines().count();
        let in_tests = file
            .strip_prefix(workspace())
            .is_ok_and(|p| p.starts_with("tests"));
        let is_generated = text.starts_with("// This file is @generated");
        assert!(
            in_tests || is_generated || lines <= MAX_LINES,
            "{}: {lines} lines",
            file.display()
        );
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for file in files(workspace(), &["md"]) {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        for link in links(&text) {
            let target = link.split(['#', '?']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let path = file.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: {link} leads nowhere", file.display());
        }
    }
    // Proof that the search finds links at all.
    assert_eq!(
        links("see [a](b.md) and ![c](d/e.png)."),
        ["b.md", "d/e.png"]
    );
}

/// A promise in a document names the tests that prove it: `folder/file.rs::test`.
#[test]
fn tests_named_in_documents_exist() {
    let mut named = 0;
    for file in files(workspace(), &["md"]) {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let is_name = |name: &&str| name.contains(".rs::") && !name.contains(char::is_whitespace);
        for name in text.split('`').filter(is_name) {
            let (source, test) = name.split_once("::").expect("it has one");
            let code = std::fs::read_to_string(workspace().join(source))
                .unwrap_or_else(|error| panic!("{}: {name}: {error}", file.display()));
            let line = format!("fn {test}(");
            assert!(code.contains(&line), "{}: no {name}", file.display());
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests are named");
}

fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect()
}

#[test]
fn no_path_of_a_developers_machine_is_in_the_tree() {
    // Spelt in parts, so that this file does not find itself.
    let words = [
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["/ro", "ot/"].concat(),
    ];
    for file in files(workspace(), &["rs", "toml", "md", "yml", "py", "sh"]) {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        for (number, line) in text.lines().enumerate() {
            for word in &words {
                assert!(
                    !line.contains(word.as_str()),
                    "{}:{}: {word}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

/// Where unsafe code may stand: a crate, and the module of it that allows what the crate denies.
const UNSAFE_FENCES: &[(&str, &str)] = &[
    ("disk", "disk/src/map.rs"),
    ("plugins/sdk", "plugins/sdk/src/export"),
    ("plugins/host", "plugins/host/src/native"),
];

#[test]
fn unsafe_code_is_forbidden_outside_the_fences() {
    for file in files(workspace(), &["rs"]) {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let is_root = (name == "lib.rs" || name == "main.rs")
            && file
                .parent()
                .and_then(Path::file_name)
                .is_some_and(|n| n == "src");
        let relative = file
            .strip_prefix(workspace())
            .expect("inside")
            .to_path_buf();
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let fence = UNSAFE_FENCES
            .iter()
            .find(|(home, _)| relative.starts_with(format!("{home}/src")));
        let inside = fence.is_some_and(|(_, fence)| relative.starts_with(fence));
        assert!(
            inside || !text.contains(&["allow(unsafe", "_code)"].concat()),
            "{} allows unsafe code outside the fences",
            relative.display()
        );
        if !is_root {
            continue;
        }
        let has_code = text
            .lines()
            .any(|l| !l.trim().is_empty() && !l.starts_with("//"));
        let word = if fence.is_some() { "deny" } else { "forbid" };
        assert!(
            !has_code || text.contains(&format!("#![{word}(unsafe_code)]")),
            "{} does not {word} unsafe code",
            relative.display()
        );
    }
}

/// Files of the tree with one of those endings; not what is built or recorded.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "golden", "node_modules"].contains(&name) {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|e| endings.iter().any(|x| e == *x))
            {
                found.push(path);
            }
        }
    }
    assert!(folder != workspace() || !found.is_empty() || endings == ["md"]);
    found
}
