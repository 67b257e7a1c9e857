//! `DataService.Delete`: rows of a range of time, one bucket a request; each request is one commit.

use client::wire::{DeleteRequest, Reply};
use engine::DeleteRange;
use model::BucketKey;

use super::counted;
use crate::auth::{Caller, Right};
use crate::http::App;
use crate::planner::nanos;

pub(super) fn run(app: &App, caller: &Caller, requests: &[DeleteRequest]) -> Reply {
    let all = requests
        .iter()
        .map(|request| counted(&request.key, one(app, caller, request)));
    Reply::Deleted(all.collect())
}

fn one(app: &App, caller: &Caller, request: &DeleteRequest) -> Result<u64, String> {
    let key = BucketKey::parse(&request.key).map_err(|e| e.to_string())?;
    caller
        .require(Right::Write, &key)
        .map_err(|e| e.to_string())?;
    let from = nanos(request.epoch_start, request.epoch_start_nanos);
    let to = nanos(request.epoch_end, request.epoch_end_nanos);
    if from.is_none() && to.is_none() {
        return Err(
            "epoch_start and epoch_end are missing: one of them must be there (Destroy drops a \
             whole bucket)"
                .into(),
        );
    }
    let range = DeleteRange {
        key,
        from: from.unwrap_or(i64::MIN),
        to: to.unwrap_or(i64::MAX),
    };
    if request.dry_run {
        return app.engine.count_rows(&range).map_err(|e| e.to_string());
    }
    let deleted = app.engine.delete(&[range]).map_err(|e| e.to_string())?;
    Ok(deleted.rows.iter().sum())
}
