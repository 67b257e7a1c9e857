//! `mkts plugin test`: the conformance cases that need no source code.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_host::process::Program;
use plugin_host::{Found, How, Modules, Search};
use plugin_sdk::Description;
use plugin_test::{Done, Form, Report, Suite};
use serde_json::{Value, json};

use crate::cli::Failure;

/// Arguments of `mkts plugin test`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A library (.so), a program, a package (.mkplug) or the folder of one.
    file: PathBuf,
    /// What a trigger is fed, instead of the bundled bars: a recording (`mkts plugin record`), or a CSV
    /// file that is named after its bucket (AAPL_1Min_OHLCV.csv).
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// The plugin's config, as JSON: '{"above": 100}', or @FILE.
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// The params of a source; its feed must come to an end.
    #[arg(long)]
    params: Option<String>,
    /// A library is run in a process only, not loaded into this program as well.
    #[arg(long)]
    process_only: bool,
    /// Show all of what each case did.
    #[arg(long)]
    effects: bool,
    /// Print the result as JSON, at the end.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let unpacked = tempfile::tempdir()
        .map_err(|error| Failure::new(format!("a temporary folder cannot be made: {error}")))?;
    let found = find(&args.file, unpacked.path())?;
    let forms = forms(&found, args)?;
    let suite = suite(args)?;
    let mut reports: Vec<Report> = Vec::new();
    for form in &forms {
        // The first form tells whether the plugin is safe enough to be loaded here.
        if reports.last().is_some_and(|report| !report.is_good()) {
            break;
        }
        reports.push(report(&suite, form, args)?);
    }
    if args.json {
        println!("{}", as_json(&reports, &forms));
    }
    conclude(&reports, &forms, args.json)
}

/// The module in a file, a folder or a package.
fn find(file: &Path, unpacked: &Path) -> Result<Found, Failure> {
    let mut path = file.to_path_buf();
    if path.extension().is_some_and(|ext| ext == "mkplug") {
        let installed = plugin_host::install(&path, None, unpacked).map_err(Failure::new)?;
        path = installed.path;
    }
    let path = std::path::absolute(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let modules = Modules::new(&[], Search::default().with_environment());
    let name = path.display().to_string();
    modules
        .find(&name, None)
        .map_err(|not_found| Failure::new(not_found.text()))
}

/// A library runs as servers run those of strangers, and then loaded into this program.
fn forms(found: &Found, args: &Args) -> Result<Vec<Form>, Failure> {
    let own = |error| Failure::new(format!("this program's own file: {error}"));
    match &found.how {
        How::Library(file) | How::Native(file) => {
            let mut program = Program::library(file).map_err(own)?;
            program.description.clone_from(&found.description);
            let mut forms = vec![Form::program(program)];
            if !args.process_only {
                forms.push(Form::Native(file.clone()));
            }
            Ok(forms)
        }
        How::Program {
            program,
            args,
            folder,
        } => {
            let program = Program {
                args: args.iter().map(Into::into).collect(),
                folder: folder.clone(),
                description: found.description.clone(),
                ..Program::new(program)
            };
            Ok(vec![Form::program(program)])
        }
        How::BuiltIn(_) => Err(Failure::new(
            "give a file, not the name of a built-in module",
        )),
    }
}

fn suite(args: &Args) -> Result<Suite, Failure> {
    let mut suite = Suite::of_files("plugin");
    if let Some(text) = &args.config {
        suite = suite.config(config(text)?);
    }
    if let Some(params) = &args.params {
        suite = suite.params(params);
    }
    if let Some(file) = &args.replay {
        suite = suite.feed(plugin_test::feeds(file).map_err(Failure::new)?);
    }
    Ok(suite)
}

fn config(text: &str) -> Result<Value, Failure> {
    let read;
    let text = match text.strip_prefix('@') {
        Some(file) => {
            read = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(format!("--config: {file}: {error}")))?;
            &read
        }
        None => text,
    };
    serde_json::from_str(text).map_err(|error| Failure::new(format!("--config: no JSON: {error}")))
}

/// Runs the cases of a form; a line for each as soon as it is done.
fn report(suite: &Suite, form: &Form, args: &Args) -> Result<Report, Failure> {
    let module = form.module().map_err(Failure::new)?;
    if !args.json {
        println!("{}, {}", title(module.description()), form.name());
    }
    drop(module);
    suite
        .run(form, |done| {
            if args.json {
                return;
            }
            println!("{}", line(done));
            if let (true, Ok(effects)) = (args.effects, &done.result) {
                effects
                    .iter()
                    .for_each(|effect| println!("        {effect}"));
            }
        })
        .map_err(Failure::new)
}

fn title(about: &Description) -> String {
    let kind = about.kind.name();
    format!(
        "{} {} ({kind}, {})",
        about.name,
        about.version,
        about.delivery.name()
    )
}

/// `  ok    fires                         10 fires, 4 us p50, 9 us max`
fn line(done: &Done) -> String {
    let (word, more) = match &done.result {
        Ok(_) => ("ok", timing(&done.fires)),
        Err(why) => (
            "FAIL",
            format!("\n        {}", why.replace('\n', "\n        ")),
        ),
    };
    format!("  {word:<5} {:<28} {more}", done.case)
        .trim_end()
        .to_owned()
}

fn timing(fires: &[Duration]) -> String {
    let mut sorted = fires.to_vec();
    sorted.sort_unstable();
    let (Some(p50), Some(max)) = (sorted.get(sorted.len() / 2), sorted.last()) else {
        return String::new();
    };
    let micros = |time: &Duration| time.as_nanos() as f64 / 1000.0;
    format!(
        "{:>4} fires, {:>7.1} us p50, {:>8.1} us max",
        sorted.len(),
        micros(p50),
        micros(max)
    )
}

/// `{"forms": [{"form": .., "cases": [..]}], "differences": [..]}`.
fn as_json(reports: &[Report], forms: &[Form]) -> Value {
    let case = |done: &Done| {
        let micros: Vec<f64> = done
            .fires
            .iter()
            .map(|t| t.as_nanos() as f64 / 1e3)
            .collect();
        let (effects, error) = match &done.result {
            Ok(effects) => (
                Some(effects.iter().map(ToString::to_string).collect::<Vec<_>>()),
                None,
            ),
            Err(why) => (None, Some(why.to_string())),
        };
        json!({ "case": done.case, "ok": error.is_none(), "error": error, "effects": effects, "fires_us": micros })
    };
    let form = |(report, form): (&Report, &Form)| {
        let cases: Vec<Value> = report.cases.iter().map(case).collect();
        json!({ "form": form.name(), "cases": cases })
    };
    let ran: Vec<Value> = reports.iter().zip(forms).map(form).collect();
    json!({ "forms": ran, "differences": differences(reports) })
}

fn differences(reports: &[Report]) -> Vec<String> {
    match reports {
        [first, second] => second.differences(first),
        _ => Vec::new(),
    }
}

fn conclude(reports: &[Report], forms: &[Form], is_quiet: bool) -> Result<(), Failure> {
    let cases = reports.iter().flat_map(|report| &report.cases);
    let (mut total, mut failed) = (0, 0);
    for done in cases {
        total += 1;
        failed += usize::from(done.result.is_err());
    }
    let differences = differences(reports);
    if failed == 0 && differences.is_empty() && reports.len() == forms.len() {
        if !is_quiet {
            println!("{total} cases, all good");
        }
        return Ok(());
    }
    let mut text = format!("{failed} of {total} cases failed");
    if reports.len() < forms.len() {
        text.push_str("; it was not loaded into this program");
    }
    for difference in differences {
        text.push('\n');
        text.push_str(&difference);
    }
    Err(Failure::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_verdict_the_case_and_its_times() {
        let micros = Duration::from_micros;
        let mut done = Done {
            case: "fires",
            result: Ok(Vec::new()),
            fires: vec![micros(5), micros(90), micros(7)],
        };
        assert_eq!(
            line(&done),
            "  ok    fires                           3 fires,     7.0 us p50,     90.0 us max"
        );
        done.result = Err("a\nb".into());
        assert_eq!(
            line(&done).lines().collect::<Vec<_>>()[1..],
            ["        a", "        b"]
        );
    }

    #[test]
    fn a_config_is_json_here_or_in_a_file() {
        assert_eq!(config("{\"a\": 1}").unwrap()["a"], 1);
        assert!(
            config("a: 1")
                .unwrap_err()
                .text
                .starts_with("--config: no JSON: ")
        );
        assert!(
            config("@no/file")
                .unwrap_err()
                .text
                .starts_with("--config: no/file: ")
        );
    }
}
