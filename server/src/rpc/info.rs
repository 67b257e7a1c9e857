//! `DataService.GetInfo`.

use std::time::{SystemTime, UNIX_EPOCH};

use client::wire::{EPOCH, Info, InfoColumn, KeyRequest, Reply};
use model::{BucketKey, ColumnType};

use super::entry;
use crate::auth::{Caller, Right};
use crate::http::App;

pub(super) fn run(app: &App, caller: &Caller, requests: &[KeyRequest]) -> Reply {
    let missing = |key: &str, why: &str| Info {
        latest_year: 0,
        timeframe: 0,
        columns: None,
        record_type: 0,
        entry: entry(
            app,
            Err(format!(
                "unable to get info about key {}: {why}",
                key.chars()
                    .take(80)
                    .filter(|c| !c.is_control())
                    .collect::<String>()
            )),
        ),
    };
    let info = |r: &KeyRequest| match BucketKey::parse(&r.key) {
        Err(error) => missing(&r.key, &error.to_string()),
        Ok(key) => match caller.require(Right::Read, &key) {
            Err(denied) => missing(&r.key, &denied.to_string()),
            Ok(()) => known(app, &key).unwrap_or_else(|| missing(&r.key, "not found in catalog")),
        },
    };
    Reply::Info(requests.iter().map(info).collect())
}

fn known(app: &App, key: &BucketKey) -> Option<Info> {
    let bucket = app.engine.bucket(key)?;
    let snapshot = app.engine.snapshot(&[bucket.id]);
    let newest = match snapshot.buckets() {
        [] => return None,
        _ => snapshot.time_range(0).map(|range| range.1),
    };
    // MarketStore makes the first file of an empty bucket for the year it is made in.
    let newest = newest.unwrap_or_else(now);
    let mut columns = vec![InfoColumn {
        name: EPOCH.into(),
        ty: ColumnType::I64.code(),
    }];
    columns.extend(bucket.schema.columns().iter().map(|c| InfoColumn {
        name: c.name.clone(),
        ty: c.ty.code(),
    }));
    Some(Info {
        latest_year: i64::from(app.zone.local_date(newest).0),
        timeframe: bucket.timeframe.nanos(),
        columns: Some(columns),
        record_type: bucket.kind.code() as i8,
        entry: entry(app, Ok(())),
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
