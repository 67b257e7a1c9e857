//! `mkts check-config`.

use std::path::{Path, PathBuf};

use plugin_sdk::BuiltIn;
use serde_json::{Value, json};

use super::Failure;
use crate::auth::Tokens;
use crate::config::{self, Config, Problem, Problems, Severity};
use crate::tls::Tls;

/// Arguments of `mkts check-config`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "./mkts.yml")]
    config: PathBuf,
    /// Print what was found as JSON. Problems are in it, and on standard error as always.
    #[arg(long)]
    json: bool,
}

/// Prints every problem; fails if one of them would keep the server, or an instance, from starting.
pub(super) fn run(args: &Args, builtins: &[BuiltIn]) -> Result<(), Failure> {
    let file = args.config.as_path();
    let checked = read(file, builtins).and_then(|(config, warnings)| {
        check_files(&config).map_err(Refused::Other)?;
        Ok((config, warnings))
    });
    let (config, warnings) = match checked {
        Ok(checked) => checked,
        Err(refused) => {
            if args.json {
                let problems = refused.problems();
                println!(
                    "{}",
                    json!({ "file": file, "good": false, "problems": problems })
                );
            }
            return Err(refused.failure());
        }
    };
    for line in warnings.lines() {
        eprintln!("{line}");
    }
    match args.json {
        true => println!("{}", found(file, &config, &warnings)),
        false => print(file, &config),
    }
    Ok(())
}

fn print(file: &Path, config: &Config) {
    for rule in &config.retention {
        let days = rule.keep.as_secs_f64() / 86_400.0;
        println!("retention: {} keeps {days} days", rule.on.as_str());
    }
    if !config.merge {
        println!("merge: off");
    }
    println!("{}: good", file.display());
}

fn found(file: &Path, config: &Config, warnings: &Problems) -> Value {
    let retention = config.retention.iter();
    let retention: Vec<Value> = retention
        .map(|rule| json!({ "on": rule.on.as_str(), "keep_seconds": rule.keep.as_secs() }))
        .collect();
    json!({
        "file": file,
        "good": true,
        "problems": listed(warnings),
        "retention": retention,
        "merge": config.merge,
    })
}

fn listed(problems: &Problems) -> Vec<Value> {
    let one = |problem: &Problem| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        json!({ "line": problem.line, "severity": severity, "message": problem.message })
    };
    problems.list.iter().map(one).collect()
}

/// Why a configuration is not good.
enum Refused {
    Problems(Problems),
    /// A file that it names.
    Other(Failure),
}

impl Refused {
    fn problems(&self) -> Vec<Value> {
        match self {
            Self::Problems(problems) => listed(problems),
            Self::Other(failure) => {
                vec![json!({ "line": 0, "severity": "error", "message": failure.text })]
            }
        }
    }

    fn failure(self) -> Failure {
        match self {
            Self::Problems(problems) => Failure::new(problems.to_string()),
            Self::Other(failure) => failure,
        }
    }
}

/// Tokens and certificate: the server would not start without them.
fn check_files(config: &Config) -> Result<(), Failure> {
    if let Some(auth) = &config.auth {
        Tokens::load(&auth.tokens_file)
            .map_err(|error| Failure::new(format!("auth.tokens_file: {error}")))?;
    }
    if let Some(tls) = &config.tls {
        Tls::load(tls).map_err(Failure::new)?;
    }
    Ok(())
}

/// The configuration and the warnings about it, those of the plugins included.
fn read(file: &Path, builtins: &[BuiltIn]) -> Result<(Config, Problems), Refused> {
    let (config, mut warnings) = config::load(file).map_err(Refused::Problems)?;
    match config::check_entries(&config, builtins, file) {
        Ok(more) => warnings.list.extend(more.list),
        Err(mut problems) => {
            problems.list.extend(warnings.list);
            problems.list.sort_by_key(|problem| problem.line);
            return Err(Refused::Problems(problems));
        }
    }
    warnings.list.sort_by_key(|problem| problem.line);
    Ok((config, warnings))
}
