//! `mkts token`: makes, lists and revokes tokens. The file is written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use model::KeyPattern;
use serde_json::{Value, json};

use super::Failure;
use crate::auth::{Grant, Keys, Right, Token, Tokens};
use crate::config;

/// What is done about tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Makes a token, prints it once, and adds its hash to the file.
    New(New),
    /// Shows the tokens of the file; the tokens themselves are nowhere.
    List {
        #[command(flatten)]
        place: Place,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Takes a token out of the file.
    Revoke {
        /// What the file calls it.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which file.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The file of tokens; else `auth.tokens_file` of the configuration.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that names it.
    #[arg(short, long, value_name = "FILE", default_value = "./mkts.yml")]
    config: PathBuf,
}

/// Arguments of `mkts token new`.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// What logs and refusals call it.
    #[arg(long)]
    name: String,
    /// read, write (and read), admin (everything).
    #[arg(long, value_parser = right)]
    right: Right,
    /// Buckets it is for, a pattern like `AAPL/**`; may be given again. Without it, all.
    #[arg(long = "key", value_name = "PATTERN")]
    keys: Vec<String>,
    /// When it ends: `30d`, `12h`, or a time like 2027-01-31T00:00:00Z. Without it, never.
    #[arg(long, value_parser = expiry)]
    expires: Option<Timestamp>,
    #[command(flatten)]
    place: Place,
    /// Print the token and its grant as JSON.
    #[arg(long)]
    json: bool,
}

fn right(text: &str) -> Result<Right, String> {
    let all = [Right::Read, Right::Write, Right::Admin];
    let found = all.into_iter().find(|right| right.name() == text);
    found.ok_or_else(|| "use read, write or admin".into())
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    let help = || "use a time like 30d, 12h or 2027-01-31T00:00:00Z".to_owned();
    let count = |unit: char| text.strip_suffix(unit).and_then(|n| n.parse::<i32>().ok());
    let hours = match (count('d'), count('h')) {
        (Some(days), _) => i64::from(days) * 24,
        (_, Some(hours)) => i64::from(hours),
        _ => return text.parse().map_err(|_| help()),
    };
    let end = Timestamp::now().checked_add(SignedDuration::from_hours(hours));
    end.map_err(|_| help())
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::New(args) => new(args),
        Command::List { place, json } => list(&place.file()?, *json),
        Command::Revoke { name, place } => revoke(&place.file()?, name),
    }
}

impl Place {
    fn file(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let (config, _) = config::load(&self.config).map_err(|p| Failure::new(p.to_string()))?;
        let auth = config.auth.ok_or_else(|| {
            let file = self.config.display();
            Failure::new(format!(
                "{file} has no `auth: {{tokens_file: ...}}`; --file names the file of tokens"
            ))
        })?;
        Ok(auth.tokens_file)
    }
}

fn new(args: &New) -> Result<(), Failure> {
    let file = args.place.file()?;
    let keys = args
        .keys
        .iter()
        .map(|text| KeyPattern::parse(text).map(Keys));
    let keys: Result<Vec<Keys>, _> = keys.collect();
    let token = Token::new().map_err(|error| Failure::new(format!("no random bytes: {error}")))?;
    let grant = Grant {
        name: args.name.clone(),
        right: args.right,
        keys: keys.map_err(|error| Failure::new(format!("--key: {error}")))?,
        expires: args.expires,
        hash: Some(token.hash()),
    };
    let line = serde_json::to_string(&grant).map_err(|error| Failure::new(error.to_string()))?;
    change(&file, |text| {
        let gap = match text.is_empty() || text.ends_with('\n') {
            true => "",
            false => "\n",
        };
        Ok(format!("{text}{gap}{line}\n"))
    })?;
    if args.json {
        let mut shown = shown(&grant);
        shown["token"] = token.text().into();
        println!("{shown}");
        return Ok(());
    }
    println!("{}", token.text());
    eprintln!(
        "This is the only time it is shown. {} has its hash; a running server takes it with `mkts reload`.",
        file.display()
    );
    Ok(())
}

fn revoke(file: &Path, name: &str) -> Result<(), Failure> {
    change(file, |text| {
        let is_it =
            |line: &str| matches!(Tokens::line(line), Some(Ok(grant)) if grant.name == name);
        if !text.lines().any(is_it) {
            return Err(format!(
                "no token is called \"{name}\"; `mkts token list` shows all"
            ));
        }
        let left = text.lines().filter(|line| !is_it(line));
        Ok(left.map(|line| format!("{line}\n")).collect())
    })?;
    eprintln!(
        "\"{name}\" is revoked in {}; a running server forgets it with `mkts reload`",
        file.display()
    );
    Ok(())
}

fn list(file: &Path, json: bool) -> Result<(), Failure> {
    let tokens = Tokens::load(file).map_err(Failure::new)?;
    if json {
        println!("{}", Value::Array(tokens.iter().map(shown).collect()));
        return Ok(());
    }
    for grant in tokens.iter() {
        let keys = grant.keys.iter().map(|k| k.0.as_str());
        let keys = match keys.collect::<Vec<_>>() {
            keys if keys.is_empty() => "all".to_owned(),
            keys => keys.join(" "),
        };
        let expires = match grant.expires {
            None => "never expires".to_owned(),
            Some(at) if at <= Timestamp::now() => format!("expired {at}"),
            Some(at) => format!("until {at}"),
        };
        println!(
            "{:<20} {:<6} {keys}  {expires}",
            grant.name,
            grant.right.name()
        );
    }
    Ok(())
}

fn shown(grant: &Grant) -> Value {
    json!({
        "name": grant.name,
        "right": grant.right.name(),
        "keys": grant.keys.iter().map(|k| k.0.as_str()).collect::<Vec<_>>(),
        "expires": grant.expires.map(|at| at.to_string()),
    })
}

/// Writes what `make` makes of the text. The new file lies beside the old one until it is whole; while
/// it lies there, nobody else changes anything.
// Not a file of the store: `disk` does not know the place.
#[allow(clippy::disallowed_methods)]
fn change(file: &Path, make: impl FnOnce(&str) -> Result<String, String>) -> Result<(), Failure> {
    let fail = |what: String| Failure::new(format!("{}: {what}", file.display()));
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => fail(format!(
                "{} is there: somebody changes the file now, or was stopped doing it; remove it then",
                beside.display()
            )),
            _ => fail(error.to_string()),
        })?;
    let written = || -> Result<(), String> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.to_string()),
        };
        let text = make(&text)?;
        Tokens::parse(&text).map_err(|(line, what)| format!("line {line}: {what}"))?;
        let done = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
        done.and_then(|()| fs::rename(&beside, file))
            .map_err(|error| error.to_string())
    };
    written().map_err(|what| {
        // What is left of it would be in the way of the next try.
        let _ = fs::remove_file(&beside);
        fail(what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_times_or_counted_from_now() {
        let day = expiry("1d").unwrap().duration_since(Timestamp::now());
        assert!((day.as_secs() - 86_400).abs() < 60);
        assert_eq!(
            expiry("2027-01-31T00:00:00Z").unwrap().to_string(),
            "2027-01-31T00:00:00Z"
        );
        for wrong in ["", "d", "soon", "2027", "99999999d"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_changed_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let add = |name: &str| {
            new(&New {
                name: name.into(),
                right: Right::Read,
                keys: vec!["AAPL/**".into()],
                expires: None,
                place: Place {
                    file: Some(file.clone()),
                    config: PathBuf::new(),
                },
                json: false,
            })
        };
        add("a").unwrap();
        add("b").unwrap();
        assert_eq!(Tokens::load(&file).unwrap().len(), 2);
        assert!(add("a").unwrap_err().text.contains("for the second time"));
        revoke(&file, "a").unwrap();
        assert!(
            revoke(&file, "a")
                .unwrap_err()
                .text
                .contains("no token is called")
        );
        let left = Tokens::load(&file).unwrap();
        assert_eq!(left.iter().map(|g| &*g.name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
