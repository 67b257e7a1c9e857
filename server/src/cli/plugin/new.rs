//! `mkts plugin new`: a plugin that builds and passes its tests as it is.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use plugin_sdk::Kind;
use serde_json::json;

use super::{sdk, templates};
use crate::cli::Failure;

/// Arguments of `mkts plugin new`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What it is called: letters, digits, _ and -, beginning with a letter.
    name: String,
    /// What it is.
    #[arg(long, value_parser = ["trigger", "source", "bgworker"], default_value = "trigger")]
    kind: String,
    /// What it is written in.
    #[arg(long, value_parser = ["rust", "python", "c"], default_value = "rust")]
    lang: String,
    /// Where it is put; ./NAME if left out.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A checkout of mkts to build against, instead of the SDK in this program.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

/// Names that crates of the SDK, of Rust or of Python have.
const TAKEN: [&str; 14] = [
    "model",
    "serde",
    "engine",
    "disk",
    "wal",
    "core",
    "std",
    "alloc",
    "test",
    "tests",
    "mkts",
    "numpy",
    "plugin_sdk",
    "plugin_test",
];

/// Types that the templates import.
const TYPES: [&str; 20] = [
    "Batch",
    "BgWorker",
    "BucketKey",
    "Column",
    "Config",
    "Delivery",
    "Duration",
    "Event",
    "Harness",
    "Init",
    "Instant",
    "Manifest",
    "More",
    "Path",
    "Plugin",
    "Schema",
    "Skip",
    "Source",
    "Trigger",
    "Write",
];

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    check_name(&args.name)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let sdk = sdk::folder(args.sdk.as_deref())?;
    let words = Words::new(args, &sdk);
    make_folder(&dir)?;
    for (name, text) in templates::files(&args.lang, &args.kind) {
        write(&dir.join(words.fill(name)), &words.fill(text))?;
    }
    match &*args.lang {
        // The versions that this mkts was built and tested with.
        "rust" => {
            let lock = std::fs::read_to_string(sdk.join("Cargo.lock"));
            let lock = lock.map_err(|error| Failure::new(format!("{}: {error}", sdk.display())))?;
            write(&dir.join("Cargo.lock"), &lock)?;
        }
        "c" => write(&dir.join("mkts_plugin.h"), sdk::HEADER)?,
        _ => {}
    }
    let (kind, lang) = (&args.kind, &args.lang);
    let steps = templates::next_steps(&args.lang).iter();
    let steps: Vec<String> = steps.map(|line| words.fill(line)).collect();
    if args.json {
        let made =
            json!({ "dir": dir, "name": args.name, "kind": kind, "lang": lang, "next": steps });
        println!("{made}");
        return Ok(());
    }
    println!(
        "made {}: a {kind} in {lang}. Next, as its README.md says:",
        dir.display()
    );
    println!("  cd {}", dir.display());
    steps.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Err(Failure::new(format!("the name \"{name}\" {why}")));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_plain) {
        return wrong("cannot be: use letters, digits, _ and -, and begin with a letter");
    }
    if name.len() > 64 {
        return wrong("is too long: use at most 64 letters");
    }
    if TAKEN.contains(&&*name.replace('-', "_")) {
        return wrong("is taken by a library that plugins use; choose another");
    }
    Ok(())
}

/// What stands for `{{word}}` in templates.
struct Words(Vec<(&'static str, String)>);

impl Words {
    fn new(args: &Args, sdk: &Path) -> Self {
        let crate_name = args.name.replace('-', "_");
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = format!("{prefix}{crate_name}{suffix}");
        let module = match &*args.lang {
            "rust" => format!("./target/release/{library}"),
            "c" => format!("./{crate_name}.so"),
            // The folder itself is the package.
            _ => "./".into(),
        };
        let about = templates::about(&args.kind);
        let delivery = if args.kind == Kind::Trigger.name() {
            "exact"
        } else {
            "durable"
        };
        Self(vec![
            // First: it has words of its own.
            ("config_part", templates::C_CONFIG.into()),
            ("test_args", templates::test_args(&args.kind).into()),
            ("name", args.name.clone()),
            ("crate", crate_name),
            ("Type", type_name(&args.name)),
            ("kind", args.kind.clone()),
            ("sdk", sdk.display().to_string()),
            ("library", library),
            ("module", module),
            ("about", about.into()),
            ("about_short", about.trim_end_matches('.').to_lowercase()),
            ("delivery", delivery.into()),
        ])
    }

    fn fill(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (word, value) in &self.0 {
            out = out.replace(&format!("{{{{{word}}}}}"), value);
        }
        out
    }
}

/// `price-alerts` as `PriceAlerts`.
fn type_name(name: &str) -> String {
    let mut out = String::new();
    for part in name.split(['-', '_']) {
        let mut chars = part.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    if TYPES.contains(&&*out) {
        out.push_str("Plugin");
    }
    out
}

/// Makes the folder; one with something in it is left alone.
fn make_folder(dir: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", dir.display()));
    let there = match std::fs::read_dir(dir) {
        Ok(inside) => inside.count(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    if there > 0 {
        return Err(Failure::new(format!(
            "{} exists and is not empty; nothing was written",
            dir.display()
        )));
    }
    std::fs::create_dir_all(dir).map_err(failed)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_become_types() {
        assert!(check_name("price-alerts_2").is_ok());
        for wrong in [
            "",
            "2x",
            "a b",
            "a/b",
            "-a",
            "model",
            "plugin-sdk",
            &"a".repeat(65),
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(type_name("price-alerts_2"), "PriceAlerts2");
        assert_eq!(type_name("source"), "SourcePlugin");
    }

    #[test]
    fn no_word_of_a_template_is_left() {
        for lang in ["rust", "python", "c"] {
            for kind in ["trigger", "source", "bgworker"] {
                let args = Args {
                    name: "some-thing".into(),
                    kind: kind.into(),
                    lang: lang.into(),
                    dir: None,
                    sdk: None,
                    json: false,
                };
                let words = Words::new(&args, Path::new("/sdk"));
                for (name, text) in templates::files(lang, kind) {
                    for text in [name, text] {
                        let filled = words.fill(text);
                        assert!(!filled.contains("{{"), "{lang} {kind} {name}: {filled}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a"), "mine").unwrap();
        let error = make_folder(dir.path()).unwrap_err();
        assert!(
            error
                .text
                .ends_with("exists and is not empty; nothing was written")
        );
        assert!(write(&dir.path().join("a"), "yours").is_err());
    }
}
