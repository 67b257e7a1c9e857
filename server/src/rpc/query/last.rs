//! "All symbols, last bar": the rows of many buckets come in one piece.

use client::wire::{DatasetReply, QueryRequest, nanos_of_second};
use engine::BucketId;
use model::NANOS_PER_SECOND;

use super::assembly::{Assembly, slice_key};
use super::output::{Output, Source};
use crate::http::App;
use crate::planner::Plan;
use crate::room::Held;

/// The newest row of each bucket, if that is what is asked for and the buckets are all alike and
/// have one; all else goes bucket by bucket.
pub(super) fn reply(
    app: &App,
    plan: &Plan,
    query: &QueryRequest,
    held: &mut Held,
) -> Result<Option<DatasetReply>, String> {
    let [first, _, ..] = &plan.buckets[..] else {
        return Ok(None);
    };
    let output = Output::new(&first.schema, first.kind, &query.columns);
    let asked_twice = |pair: &[_]| pair[0] == pair[1];
    let ids: Vec<BucketId> = plan.buckets.iter().map(|bucket| bucket.id).collect();
    if !plan.is_last_row()
        || !plan
            .buckets
            .iter()
            .all(|bucket| output.is_for(&bucket.schema, bucket.kind))
        || ids.windows(2).any(asked_twice)
    {
        return Ok(None);
    }
    let groups = app.engine.last_rows(&ids).map_err(|e| e.to_string())?;
    let [group] = &groups[..] else {
        return Ok(None);
    };
    if group.buckets != ids || *group.rows.schema() != first.schema {
        return Ok(None);
    }
    let times = group.rows.times();
    let mut result = Assembly {
        rows: ids.len(),
        epochs: times
            .iter()
            .map(|t| t.div_euclid(NANOS_PER_SECOND))
            .collect(),
        ..Assembly::default()
    };
    result
        .data
        .resize_with(output.columns.len(), Default::default);
    for (data, (_, _, source)) in result.data.iter_mut().zip(&output.columns) {
        match source {
            Source::Epoch => {}
            Source::Column(at) => data.push(group.rows.columns()[output.scanned[*at]].bytes()),
            Source::Nanoseconds => data.push(nanos_of_second(times).bytes()),
        }
    }
    let slices = plan.buckets.iter().enumerate();
    result.slices = slices
        .map(|(row, bucket)| (slice_key(bucket), row, 1))
        .collect();
    result.take_room(&output, app, held)?;
    result.columns = output.columns;
    Ok(Some(result.finish()))
}
