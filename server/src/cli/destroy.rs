//! `mkts destroy`: whole buckets.

use model::BucketKey;
use serde_json::json;

use super::place::{Opened, Place};
use super::{Failure, remote, start, words};

/// Arguments of `mkts destroy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A key is a bucket (AAPL/1Min/OHLCV) or the beginning of several (AAPL/1Min, AAPL). Destroying asks \
on a terminal and needs --yes otherwise; it is final.")]
pub(super) struct Args {
    /// Buckets, or the beginnings of their keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Only say which buckets.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Buckets named one by one in the question; more are only counted.
const NAMED_MAX: usize = 10;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut opened = args.place.open(false)?;
    let all = match &mut opened {
        Opened::Store(engine) => engine.buckets().iter().map(|b| b.key.clone()).collect(),
        Opened::Server(client) => {
            let names = client.buckets().map_err(|error| remote::failure(&error))?;
            let keys = names.iter().map(|name| BucketKey::parse(name));
            let keys: Result<Vec<_>, _> = keys.collect();
            keys.map_err(|error| Failure::new(error.to_string()))?
        }
    };
    let keys = chosen(&all, &args.keys).map_err(Failure::new)?;
    let names: Vec<&str> = keys.iter().map(BucketKey::as_str).collect();
    if !args.dry_run {
        let shown = match names.len() {
            0..=NAMED_MAX => names.join(", "),
            _ => format!("{}, ...", names[..NAMED_MAX].join(", ")),
        };
        let count = words::count(names.len() as u64, "bucket");
        words::confirm(&format!("destroy {count} with all rows: {shown}"), args.yes)?;
        destroy(&mut opened, &keys)?;
    }
    if let Opened::Store(engine) = &opened {
        engine
            .close()
            .map_err(|error| start::engine_failure(&error))?;
    }
    if args.json {
        println!(
            "{}",
            json!({ "buckets": names, "destroyed": !args.dry_run })
        );
        return Ok(());
    }
    let word = if args.dry_run {
        "would be destroyed"
    } else {
        "destroyed"
    };
    for name in names {
        println!("{name} {word}");
    }
    Ok(())
}

/// The buckets that each key names, at least one; each bucket once.
fn chosen(all: &[BucketKey], wanted: &[String]) -> Result<Vec<BucketKey>, String> {
    let mut keys = Vec::new();
    for name in wanted {
        let items: Vec<&str> = name.split('/').collect();
        let starts = |key: &&BucketKey| {
            let parts = [key.symbol(), key.timeframe(), key.attribute_group()];
            items.len() <= 3 && items.iter().zip(parts).all(|(item, part)| *item == part)
        };
        let before = keys.len();
        keys.extend(all.iter().filter(starts).cloned());
        if keys.len() == before {
            return Err(format!("no bucket {name}"));
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

fn destroy(opened: &mut Opened, keys: &[BucketKey]) -> Result<(), Failure> {
    match opened {
        Opened::Store(engine) => engine
            .drop_buckets(keys)
            .map_err(|error| start::engine_failure(&error)),
        Opened::Server(client) => keys.iter().try_for_each(|key| {
            client
                .destroy(key.as_str())
                .map_err(|error| remote::failure(&error))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_whole_items_only() {
        let all = ["A/1Min/X", "A/1Min/Y", "A/1D/X", "AB/1Min/X"];
        let all: Vec<BucketKey> = all.iter().map(|k| BucketKey::parse(k).unwrap()).collect();
        let count = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
            chosen(&all, &keys).map(|found| found.len())
        };
        assert_eq!(count(&["A"]), Ok(3));
        assert_eq!(count(&["A/1Min"]), Ok(2));
        assert_eq!(count(&["A/1Min/X", "A"]), Ok(3));
        for bad in ["", "*", "A/", "A/1Min/X/", "B", "A/1Min/X/Y"] {
            assert!(count(&[bad]).is_err(), "{bad}");
        }
    }
}
