//! The `functions` of a query: a bucket's rows are read piece by piece and run through the calls,
//! so that the rows in memory are those of the result and one piece.

use std::sync::Arc;
use std::time::Instant;

use client::wire::QueryRequest;
use engine::{BucketId, BucketInfo, Scan, Snapshot};
use model::functions::{self, FunctionCall, FunctionError, Pipeline, Site};
use model::{BatchBuilder, BucketKey, ColumnBatch, RowKind, Schema, TIME_MAX};

use crate::auth::{Caller, Right};
use crate::config::Limits;
use crate::http::App;
use crate::planner::Plan;

use super::Failure;
use super::pieces::Pieces;

/// Most calls of a query.
const CALLS_MAX: usize = 64;

/// The calls of a query.
pub(super) struct Calls<'a> {
    app: &'a App,
    caller: &'a Caller,
    limits: &'a Limits,
    query: &'a QueryRequest,
    calls: Vec<FunctionCall>,
    /// The time of aggregates.
    now: i64,
}

/// What the calls make of one bucket.
pub(super) struct Answer {
    pub(super) rows: ColumnBatch,
    pub(super) kind: RowKind,
    /// Whether there was any row to run over.
    pub(super) had_rows: bool,
}

/// What may be read and be given.
pub(super) struct Bounds {
    pub(super) deadline: Instant,
    /// Rows of the result so far.
    pub(super) rows_before: usize,
}

impl<'a> Calls<'a> {
    /// Understands the calls of a query.
    pub(super) fn new(
        app: &'a App,
        caller: &'a Caller,
        limits: &'a Limits,
        query: &'a QueryRequest,
    ) -> Result<Self, String> {
        let texts = &query.functions;
        if texts.len() > CALLS_MAX {
            let count = texts.len();
            return Err(format!(
                "{count} functions in one query, the limit is {CALLS_MAX}"
            ));
        }
        let calls = texts.iter().map(|text| functions::parse(text));
        let now = jiff::Timestamp::now().as_nanosecond();
        Ok(Self {
            app,
            caller,
            limits,
            query,
            calls: calls.collect::<Result<_, _>>().map_err(said)?,
            now: i64::try_from(now).unwrap_or(TIME_MAX),
        })
    }

    /// Whether the query is refused if no bucket has a row.
    pub(super) fn needs_rows(&self) -> bool {
        self.calls.first().is_some_and(FunctionCall::needs_rows)
    }

    /// The buckets that are read besides those of the query.
    pub(super) fn further(&self, buckets: &[Arc<BucketInfo>]) -> Result<Vec<BucketId>, Failure> {
        let mut ids = Vec::new();
        if self.need_actions() {
            for actions in buckets.iter().filter_map(|bucket| self.actions_of(bucket)) {
                self.caller.require(Right::Read, &actions.key)?;
                ids.push(actions.id);
            }
        }
        Ok(ids)
    }

    fn need_actions(&self) -> bool {
        self.calls.iter().any(FunctionCall::needs_actions)
    }

    /// The bucket of corporate actions of a bucket's symbol.
    fn actions_of(&self, bucket: &BucketInfo) -> Option<Arc<BucketInfo>> {
        let key = BucketKey::new(bucket.key.symbol(), "1D", "ACTIONS").ok()?;
        self.app.engine.bucket(&key)
    }

    /// Runs over one bucket.
    pub(super) fn run(
        &self,
        plan: &Plan,
        (snapshot, index): (&Snapshot, usize),
        bounds: &Bounds,
    ) -> Result<Answer, String> {
        let bucket = &snapshot.buckets()[index];
        let actions = self.actions(snapshot, bucket)?;
        let site = Site {
            zone: &self.app.zone,
            now: self.now,
            actions: actions.as_ref(),
        };
        let visible = visible(bucket, &self.query.columns);
        let (columns, mut pipeline) = self.start(bucket, visible, &site)?;
        let mut pieces = Pieces::new(&self.app.zone, plan, snapshot, index, columns)?;
        let mut result = BatchBuilder::new(pipeline.schema().clone(), 0);
        let mut had_rows = false;
        while let Some(piece) = pieces.next(snapshot)? {
            had_rows |= !piece.is_empty();
            let certain = pipeline.push(&piece).map_err(said)?;
            result.append(&certain).map_err(|e| e.to_string())?;
            self.check(plan, bounds, &result, pipeline.schema())?;
        }
        let (kind, schema) = (pipeline.kind(), pipeline.schema().clone());
        let rest = pipeline.finish().map_err(said)?;
        result.append(&rest).map_err(|e| e.to_string())?;
        self.check(plan, bounds, &result, &schema)?;
        Ok(Answer {
            rows: result.finish(),
            kind,
            had_rows,
        })
    }

    /// The calls ready to run, and the positions of the columns that they read.
    fn start(
        &self,
        bucket: &BucketInfo,
        visible: Vec<usize>,
        site: &Site<'_>,
    ) -> Result<(Vec<usize>, Pipeline), String> {
        let start = |columns: &[usize]| -> Result<Pipeline, String> {
            let defs = columns
                .iter()
                .map(|at| bucket.schema.columns()[*at].clone());
            let schema = Schema::new(defs.collect()).map_err(|e| e.to_string())?;
            Pipeline::new(&self.calls, &schema, bucket.kind, site).map_err(said)
        };
        let read = self.calls.first().and_then(FunctionCall::columns);
        if let Some(names) = read {
            let is_read = |at: &usize| names.contains(&bucket.schema.columns()[*at].name.as_str());
            let mut needed: Vec<usize> = visible.iter().copied().filter(is_read).collect();
            if needed.is_empty() {
                needed.extend(visible.first());
            }
            if let Ok(pipeline) = start(&needed) {
                return Ok((needed, pipeline));
            }
        }
        // The error, if it is one, names all columns there are.
        let pipeline = start(&visible)?;
        Ok((visible, pipeline))
    }

    fn actions(
        &self,
        snapshot: &Snapshot,
        bucket: &BucketInfo,
    ) -> Result<Option<ColumnBatch>, String> {
        if !self.need_actions() {
            return Ok(None);
        }
        let index = self.actions_of(bucket);
        let index = index.and_then(|bucket| snapshot.position(bucket.id));
        let rows = index.map(|index| snapshot.scan(index, &Scan::all()));
        rows.transpose().map_err(|e| e.to_string())
    }

    fn check(
        &self,
        plan: &Plan,
        bounds: &Bounds,
        result: &BatchBuilder,
        schema: &Schema,
    ) -> Result<(), String> {
        let rows = (bounds.rows_before + result.rows()) as u64;
        let limits = self.limits;
        if Instant::now() > bounds.deadline {
            let seconds = limits.query_time.as_secs_f64();
            return Err(format!(
                "the query took longer than {seconds} s (limits.query_time)"
            ));
        }
        if rows > limits.result_rows && plan.limit.is_none() {
            return Err(format!(
                "the result has more than {} rows (limits.result_rows); set limit_record_count or a \
                 shorter range",
                limits.result_rows
            ));
        }
        if rows.saturating_mul(schema.row_bytes() as u64) > limits.result_bytes {
            return Err(format!(
                "the result has more than {} bytes (limits.result_bytes); ask for fewer rows or columns",
                limits.result_bytes
            ));
        }
        Ok(())
    }
}

fn said(error: FunctionError) -> String {
    error.0
}

/// The positions of the columns that were asked for, in the order asked for; all if none was.
fn visible(bucket: &BucketInfo, wanted: &[String]) -> Vec<usize> {
    let mut columns: Vec<usize> = Vec::new();
    for at in wanted
        .iter()
        .filter_map(|name| bucket.schema.position(name))
    {
        if !columns.contains(&at) {
            columns.push(at);
        }
    }
    if columns.is_empty() {
        columns.extend(0..bucket.schema.len());
    }
    columns
}
