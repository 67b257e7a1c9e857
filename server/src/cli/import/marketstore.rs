//! `mkts import marketstore`: a directory of MarketStore into a store.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::Options;
use engine::marketstore::{Compression, Fault, Imported, Progress, ReadOptions, Tree, import};
use indicatif::{ProgressBar, ProgressStyle};
use model::{BucketKey, KeyPattern, Zone};
use serde_json::{Value, json};

use crate::cli::{Failure, place, start};
use crate::config;

/// Some of the source was left out.
const SET_ASIDE: u8 = 4;

/// Faults printed in the report for people; JSON has all.
const PRINTED_MAX: usize = 50;

/// Arguments of `mkts import marketstore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The directory is only read. Stop MarketStore first. An import that was stopped goes on when it is\n\
started again. Exit code 0 if everything was imported, 4 if some of it was left out and named, 1 if\n\
the import failed.")]
pub(super) struct Args {
    /// The directory: root_directory of MarketStore.
    directory: PathBuf,
    /// The store's directory, made if there is none.
    #[arg(long, value_name = "ROOT", required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// Configuration of the store: its directory and its time zone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Time zone that MarketStore had; UTC if neither this nor --old-config says.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Configuration of MarketStore, for its time zone and its compression.
    #[arg(long, value_name = "FILE")]
    old_config: Option<PathBuf>,
    /// Only buckets that match.
    #[arg(long, value_name = "PATTERN")]
    on: Option<String>,
    /// Whether ticks are compressed: each data area shows it, unless it is said here.
    #[arg(long, value_name = "auto|on|off", default_value = "auto", value_parser = compression)]
    variable_compression: Compression,
    /// Move bars that begin between mkts' bars of their timeframe to the beginning of these.
    #[arg(long)]
    floor_bars: bool,
    /// Print what happens as lines of JSON.
    #[arg(long)]
    json: bool,
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "auto" => Ok(Compression::Auto),
        "on" => Ok(Compression::On),
        "off" => Ok(Compression::Off),
        _ => Err("use auto, on or off".into()),
    }
}

/// Imports and prints what happened.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let began = Instant::now();
    let (root, options, reading) = settings(args)?;
    let pattern = match &args.on {
        Some(text) => {
            KeyPattern::parse(text).map_err(|error| Failure::new(format!("--on: {error}")))?
        }
        None => KeyPattern::any(),
    };
    let tree =
        Tree::open(&args.directory, reading).map_err(|error| start::engine_failure(&error))?;
    refuse_inside(&root, tree.root())?;
    let engine = place::open_store(&root, options, true)?;
    let mut teller = Teller::new(args.json);
    let select = |key: &BucketKey| pattern.matches(key);
    let imported = import(&engine, &tree, &select, &mut |progress| {
        teller.tell(&progress);
        Ok(())
    });
    teller.bar.finish_and_clear();
    let closed = engine.close();
    let imported = imported.map_err(|error| start::engine_failure(&error))?;
    closed.map_err(|error| start::engine_failure(&error))?;
    report(args, &root, &imported, began.elapsed().as_secs_f64());
    if imported.faults.is_empty() {
        return Ok(());
    }
    Err(Failure {
        code: SET_ASIDE,
        text: format!(
            "{} places of {} were left out; all else is imported",
            imported.faults.len(),
            tree.root().display()
        ),
    })
}

/// The store's directory, its options, and how the source is read.
fn settings(args: &Args) -> Result<(PathBuf, Options, ReadOptions), Failure> {
    let old = args
        .old_config
        .as_deref()
        .map(config::load_old)
        .transpose()
        .map_err(Failure::new)?;
    let zone = match (&args.timezone, &old) {
        (Some(said), Some(old)) if *said != old.timezone && !old.timezone.is_empty() => {
            return Err(Failure::new(format!(
                "--timezone says {said}, the configuration of MarketStore {}",
                old.timezone
            )));
        }
        (Some(said), _) => said.as_str(),
        (None, Some(old)) => old.timezone.as_str(),
        (None, None) => "UTC",
    };
    let zone = Zone::parse(zone).map_err(|error| Failure::new(error.to_string()))?;
    let (root, options) = match &args.config {
        Some(file) => {
            let (config, _) = config::load(file).map_err(|p| Failure::new(p.to_string()))?;
            let options = start::options(&config);
            if options.zone != zone {
                let (file, ours, theirs) = (file.display(), options.zone.name(), zone.name());
                return Err(Failure::new(format!(
                    "{file} has the timezone {ours}, MarketStore had {theirs}: days would begin \
                     elsewhere; if MarketStore had the same, say --timezone {ours}"
                )));
            }
            (args.dir.clone().unwrap_or(config.root_directory), options)
        }
        None => {
            let options = Options {
                zone: zone.clone(),
                ..Options::default()
            };
            (args.dir.clone().unwrap_or_default(), options)
        }
    };
    let in_doubt = match old {
        Some(old) if old.is_plain => Compression::Off,
        Some(_) => Compression::On,
        None => Compression::Auto,
    };
    let compression = args.variable_compression;
    let floor_bars = args.floor_bars;
    Ok((
        root,
        options,
        ReadOptions {
            zone,
            compression,
            in_doubt,
            floor_bars,
        },
    ))
}

/// The source must not be written to, not even below.
fn refuse_inside(root: &Path, source: &Path) -> Result<(), Failure> {
    // What does not exist yet lies where its nearest parent lies.
    let existing = root
        .ancestors()
        .find(|path| path.exists() || path.as_os_str().is_empty());
    let existing = match existing {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new("."),
    };
    let found = existing
        .canonicalize()
        .map_err(|error| Failure::new(format!("{}: {error}", root.display())))?;
    if found.starts_with(source) {
        return Err(Failure::new(format!(
            "{} lies in the MarketStore directory, which is never written: choose another --dir",
            root.display()
        )));
    }
    Ok(())
}

/// Shows progress: lines of JSON, a bar on a terminal, or nothing.
struct Teller {
    json: bool,
    bar: ProgressBar,
    rows: u64,
}

impl Teller {
    fn new(json: bool) -> Self {
        let bar = if !json && std::io::stderr().is_terminal() {
            let style =
                ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {msg}  {eta} left");
            ProgressBar::no_length().with_style(style.expect("the template is a constant"))
        } else {
            ProgressBar::hidden()
        };
        Self { json, bar, rows: 0 }
    }

    fn tell(&mut self, progress: &Progress<'_>) {
        let line = match progress {
            Progress::Begun {
                buckets,
                bytes,
                done,
            } => {
                self.bar.set_length(*bytes);
                self.bar.inc(done.1);
                json!({"event": "begun", "buckets": buckets, "bytes": bytes, "done": done.0})
            }
            Progress::Read {
                key,
                rows,
                bytes,
                faults,
            } => {
                self.bar.inc(*bytes);
                self.bar.set_message(key.to_string());
                json!({"event": "read", "key": key.as_str(), "rows": rows, "bytes": bytes,
                    "set_aside": faults.len()})
            }
            Progress::Loaded { rows } => {
                self.rows += rows;
                json!({"event": "loaded", "rows": self.rows})
            }
            Progress::Compared { key, rows } => {
                self.bar.set_message(format!("comparing {key}"));
                json!({"event": "compared", "key": key.as_str(), "rows": rows})
            }
            _ => return,
        };
        if self.json {
            println!("{line}");
        }
    }
}

fn report(args: &Args, root: &Path, imported: &Imported, seconds: f64) {
    let repaired = imported.repaired;
    if args.json {
        let list = |faults: &[Fault]| faults.iter().map(fault_json).collect::<Vec<_>>();
        let line = json!({
            "event": "done", "buckets": imported.buckets, "resumed": imported.resumed,
            "rows": imported.rows, "bytes": imported.source_bytes, "seconds": seconds,
            "repaired": {"first_january": repaired.first_january, "from_log": repaired.from_log,
                "not_doubled": repaired.not_doubled},
            "set_aside": list(&imported.faults), "notes": list(&imported.notes),
        });
        println!("{line}");
        return;
    }
    println!(
        "{} buckets, {} rows from {} in {seconds:.2} s, compared value for value; the store is {}",
        imported.buckets,
        imported.rows,
        indicatif::BinaryBytes(imported.source_bytes),
        root.display()
    );
    let put_right = [
        (
            repaired.first_january,
            "daily rows of 1 January that MarketStore could not find",
        ),
        (repaired.from_log, "rows that only its log had"),
        (
            repaired.not_doubled,
            "ticks that a replay of its log would have doubled",
        ),
    ];
    for (count, what) in put_right.iter().filter(|(count, _)| *count > 0) {
        println!("put right: {count} {what}");
    }
    if imported.resumed > 0 {
        println!(
            "{} buckets were there from an earlier run",
            imported.resumed
        );
    }
    print_list("left out", &imported.faults);
    print_list("no data", &imported.notes);
}

fn print_list(title: &str, faults: &[Fault]) {
    for fault in faults.iter().take(PRINTED_MAX) {
        // File names may hold anything.
        let text: String = fault
            .to_string()
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        println!("{title}: {text}");
    }
    if faults.len() > PRINTED_MAX {
        println!(
            "{title}: {} more, --json lists all",
            faults.len() - PRINTED_MAX
        );
    }
}

fn fault_json(fault: &Fault) -> Value {
    json!({"file": fault.file, "offset": fault.offset, "what": fault.what})
}
