//! The files of a new plugin, `{{word}}` where something is to be filled in.

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../../templates/", $name))
    };
}

type File = (&'static str, &'static str);

/// Reads settings from JSON, in C.
pub(super) const C_CONFIG: &str = template!("c/config.part");

/// Names and texts of the files.
pub(super) fn files(lang: &str, kind: &str) -> Vec<File> {
    let mut files = match lang {
        "rust" => rust(kind),
        "c" => c(kind),
        _ => python(kind),
    };
    files.push(("mkts.yml", entry(kind)));
    if kind == "source" {
        files.push(("prices.csv", template!("rust/source/prices.csv")));
    }
    files
}

fn entry(kind: &str) -> &'static str {
    match kind {
        "source" => template!("source.yml"),
        "bgworker" => template!("bgworker.yml"),
        _ => template!("trigger.yml"),
    }
}

fn rust(kind: &str) -> Vec<File> {
    let (code, test) = match kind {
        "source" => (
            template!("rust/source/lib.rs"),
            template!("rust/source/plugin.rs"),
        ),
        "bgworker" => (
            template!("rust/bgworker/lib.rs"),
            template!("rust/bgworker/plugin.rs"),
        ),
        _ => (
            template!("rust/trigger/lib.rs"),
            template!("rust/trigger/plugin.rs"),
        ),
    };
    vec![
        ("Cargo.toml", template!("rust/Cargo.toml.in")),
        (".gitignore", template!("rust/gitignore")),
        ("README.md", template!("rust/README.md")),
        ("src/lib.rs", code),
        ("tests/plugin.rs", test),
    ]
}

fn c(kind: &str) -> Vec<File> {
    let (code, test) = match kind {
        "source" => (template!("c/source/plugin.c"), template!("c/source/unit.c")),
        "bgworker" => (
            template!("c/bgworker/plugin.c"),
            template!("c/bgworker/unit.c"),
        ),
        _ => (
            template!("c/trigger/plugin.c"),
            template!("c/trigger/unit.c"),
        ),
    };
    vec![
        ("Makefile", template!("c/Makefile")),
        (".gitignore", template!("c/gitignore")),
        ("README.md", template!("c/README.md")),
        ("manifest.json", template!("c/manifest.json")),
        ("{{crate}}.c", code),
        ("unit.c", test),
    ]
}

fn python(kind: &str) -> Vec<File> {
    let (code, test) = match kind {
        "source" => (
            template!("python/source/plugin.py"),
            template!("python/source/test_plugin.py"),
        ),
        "bgworker" => (
            template!("python/bgworker/plugin.py"),
            template!("python/bgworker/test_plugin.py"),
        ),
        _ => (
            template!("python/trigger/plugin.py"),
            template!("python/trigger/test_plugin.py"),
        ),
    };
    vec![
        ("plugin.toml", template!("python/plugin.toml.in")),
        (".gitignore", template!("python/gitignore")),
        ("README.md", template!("python/README.md")),
        ("{{crate}}.py", code),
        ("test_{{crate}}.py", test),
    ]
}

/// What a plugin of a kind does, for README and manifest.
pub(super) fn about(kind: &str) -> &'static str {
    match kind {
        "source" => "Reads prices from a text file.",
        "bgworker" => "Writes a row every now and then.",
        _ => "Counts bars that close above a limit.",
    }
}

/// What `mkts plugin test` needs to know of it.
pub(super) fn test_args(kind: &str) -> &'static str {
    match kind {
        "source" => r#"--params prices.csv --config '{"into": "X/1Min/PRICE"}'"#,
        "bgworker" => r#"--config '{"into": "BEAT/1Sec/N", "every_ms": 1, "count": 3}'"#,
        _ => r#"--config '{"above": 100}'"#,
    }
}

/// The commands that come next.
pub(super) fn next_steps(lang: &str) -> &'static [&'static str] {
    match lang {
        "rust" => &[
            "cargo test",
            "cargo build --release",
            "mkts plugin test target/release/{{library}} {{test_args}}",
        ],
        "c" => &[
            "make",
            "make test",
            "mkts plugin test ./{{crate}}.so {{test_args}}",
        ],
        _ => &[
            "python3 -m venv .venv && .venv/bin/pip install {{sdk}}/plugins/python pytest",
            ".venv/bin/pytest",
            "mkts plugin test . {{test_args}}",
        ],
    }
}
