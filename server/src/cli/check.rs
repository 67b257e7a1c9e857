//! `mkts check-config`.

use std::path::Path;

use plugin_sdk::BuiltIn;

use super::Failure;
use crate::auth::Tokens;
use crate::config::{self, Config, Problems};
use crate::tls::Tls;

/// Prints every problem; fails if one of them would keep the server, or an instance, from starting.
pub(super) fn run(file: &Path, builtins: &[BuiltIn]) -> Result<(), Failure> {
    let (config, warnings) = read(file, builtins)?;
    for line in warnings.lines() {
        eprintln!("{line}");
    }
    for rule in &config.retention {
        let days = rule.keep.as_secs_f64() / 86_400.0;
        println!("retention: {} keeps {days} days", rule.on.as_str());
    }
    if !config.merge {
        println!("merge: off");
    }
    println!("{}: good", file.display());
    Ok(())
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
fn read(file: &Path, builtins: &[BuiltIn]) -> Result<(Config, Problems), Failure> {
    let refuse = |problems: Problems| Failure::new(problems.to_string());
    let (config, mut warnings) = config::load(file).map_err(refuse)?;
    match config::check_entries(&config, builtins, file) {
        Ok(more) => warnings.list.extend(more.list),
        Err(mut problems) => {
            problems.list.extend(warnings.list);
            problems.list.sort_by_key(|problem| problem.line);
            return Err(refuse(problems));
        }
    }
    check_files(&config)?;
    warnings.list.sort_by_key(|problem| problem.line);
    Ok((config, warnings))
}
