//! `DataService.Destroy`: a bucket, or all buckets of a symbol or of a symbol's timeframe. Nothing
//! that is unknown, empty or a wildcard destroys anything.

use client::wire::{KeyRequest, Reply};
use engine::BucketInfo;
use model::{BucketKey, check_item};

use super::entries;
use crate::auth::{Caller, Right};
use crate::http::App;

pub(super) fn run(app: &App, caller: &Caller, requests: &[KeyRequest]) -> Reply {
    let one = |r: &KeyRequest| {
        one(app, caller, &r.key).map_err(|e| format!("removal of catalog entry failed: {e}"))
    };
    entries(app, requests.iter().map(one))
}

fn one(app: &App, caller: &Caller, key: &str) -> Result<(), String> {
    let items = items(key)?;
    // Before it is known what is there: a refusal must not say that.
    if let [symbol, timeframe, group] = &items[..] {
        let key = BucketKey::new(symbol, timeframe, group).map_err(|e| e.to_string())?;
        may_destroy(caller, &key)?;
    }
    let denied = || caller.denied(Right::Write, &items.join("/")).to_string();
    if !caller.has(Right::Write) {
        return Err(denied());
    }
    let all = app.engine.buckets();
    let mut left: Vec<&BucketInfo> = all.iter().map(|b| &**b).collect();
    for (level, item) in items.iter().enumerate() {
        left.retain(|b| part(&b.key, level) == item);
        if left.is_empty() && !caller.sees_all() {
            return Err(denied());
        }
        if left.is_empty() {
            return Err(format!("Unable to find level item: {item} in directory"));
        }
    }
    left.iter().try_for_each(|b| may_destroy(caller, &b.key))?;
    let keys: Vec<BucketKey> = left.iter().map(|b| b.key.clone()).collect();
    app.engine.drop_buckets(&keys).map_err(|e| e.to_string())
}

fn may_destroy(caller: &Caller, key: &BucketKey) -> Result<(), String> {
    caller.require(Right::Write, key).map_err(|e| e.to_string())
}

fn part(key: &BucketKey, level: usize) -> &str {
    match level {
        0 => key.symbol(),
        1 => key.timeframe(),
        _ => key.attribute_group(),
    }
}

/// The checked items of a whole or partial key, in the order of the levels.
fn items(key: &str) -> Result<Vec<String>, String> {
    const LEVELS: [&str; 3] = ["Symbol", "Timeframe", "AttributeGroup"];
    let (items, categories) = key.split_once(':').unwrap_or((key, ""));
    if items.split('/').count() == LEVELS.len() {
        let key = BucketKey::parse(key).map_err(|e| e.to_string())?;
        return Ok((0..3).map(|level| part(&key, level).to_owned()).collect());
    }
    let items: Vec<&str> = items.split('/').collect();
    let named = LEVELS.get(..items.len()).map(|levels| levels.join("/"));
    match named {
        None => return Err("a key has at most three parts, like AAPL/1Min/OHLCV".into()),
        Some(named) if !categories.is_empty() && categories != named => {
            return Err(format!(
                "the categories of a key of {} parts are {named}",
                items.len()
            ));
        }
        Some(_) => {}
    }
    for (item, what) in items.iter().zip(["symbol", "timeframe", "attribute group"]) {
        check_item(what, item).map_err(|e| e.to_string())?;
    }
    Ok(items.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_items_are_taken() {
        assert_eq!(items("A").unwrap(), ["A"]);
        assert_eq!(items("A/1Min").unwrap(), ["A", "1Min"]);
        assert_eq!(items("A/1Min:Symbol/Timeframe").unwrap(), ["A", "1Min"]);
        assert_eq!(
            items("1Min/A/X:Timeframe/Symbol/AttributeGroup").unwrap(),
            ["A", "1Min", "X"]
        );
        for bad in [
            "",
            "/",
            "//",
            "A/",
            "*",
            "*/*/*",
            "A/*",
            "..",
            "A/../X",
            "A/B/C/D",
            "A,B/1Min/X",
            "A:x",
        ] {
            assert!(items(bad).is_err(), "{bad}");
        }
    }
}
