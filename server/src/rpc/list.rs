//! `DataService.ListSymbols`.

use client::wire::{ListRequest, Reply};

use crate::auth::{Caller, Right};
use crate::http::App;

pub(super) fn run(app: &App, caller: &Caller, request: &ListRequest) -> Result<Reply, String> {
    if !app.is_queryable() {
        return Err("server is not queryable".into());
    }
    let buckets = app.engine.buckets();
    let wanted = |timeframe: &str| request.timeframe.is_empty() || request.timeframe == timeframe;
    let keys = buckets
        .iter()
        .map(|b| &b.key)
        .filter(|key| wanted(key.timeframe()) && caller.may(Right::Read, key));
    let mut names: Vec<String> = match request.format.as_str() {
        "tbk" => keys.map(|key| key.to_string()).collect(),
        _ => keys.map(|key| key.symbol().to_owned()).collect(),
    };
    names.sort_unstable();
    names.dedup();
    Ok(Reply::List(names))
}
