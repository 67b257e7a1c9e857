//! `DataService.Query`. Column buffers go from the scan to the socket as they are; the only work
//! per row is the division of times into seconds.

mod assembly;
mod last;
mod output;
mod parts;

use std::time::Instant;

use client::wire::{DatasetReply, QueryRequest, Reply};
use engine::{BucketId, Limit, Scan, Snapshot};
use model::ColumnBatch;

use crate::auth::Caller;
use crate::config::Limits;
use crate::http::App;
use crate::planner::{self, Plan};
use crate::room::Held;
use crate::rpc::functions::{Bounds, Calls};

use super::Failure;
use super::pieces::Pieces;

use assembly::Assembly;
use output::Output;
pub(crate) use parts::Parts;

pub(super) fn run(
    app: &App,
    caller: &Caller,
    requests: &[QueryRequest],
    held: &mut Held,
) -> Result<Reply, Failure> {
    let limits = &*app.limits();
    let deadline = Instant::now() + limits.query_time;
    let one = |query| {
        let asked = Asked {
            app,
            caller,
            query,
            limits,
            deadline,
        };
        asked.answer(held)
    };
    let responses = requests.iter().map(one);
    Ok(Reply::Query {
        responses: responses.collect::<Result<_, _>>()?,
        version: app.version.clone(),
        timezone: app.zone.name().to_owned(),
    })
}

/// One query, who asks, and what it may take.
struct Asked<'a> {
    app: &'a App,
    caller: &'a Caller,
    query: &'a QueryRequest,
    limits: &'a Limits,
    deadline: Instant,
}

impl Asked<'_> {
    fn answer(&self, held: &mut Held) -> Result<DatasetReply, Failure> {
        if self.query.is_sqlstatement {
            #[cfg(feature = "sql")]
            return super::sql::run(self.app, self.caller, &self.query.sql_statement, held);
            #[cfg(not(feature = "sql"))]
            return Err("this mkts was built without SQL (feature sql)"
                .to_owned()
                .into());
        }
        match &self.query.functions[..] {
            [] => self.rows(held),
            _ => self.computed(held),
        }
    }

    /// The rows as they are stored.
    fn rows(&self, held: &mut Held) -> Result<DatasetReply, Failure> {
        let app = self.app;
        let plan = planner::plan_for(&app.engine, self.query, self.caller)?;
        if let Some(reply) = last::reply(app, &plan, self.query, held)? {
            return Ok(reply);
        }
        let snapshot = app.engine.snapshot(&ids(&plan));
        let mut result = Assembly::default();
        // Nearly always the same for all buckets of a query.
        let mut output = Output::default();
        for index in present(&plan, &snapshot) {
            let bucket = &snapshot.buckets()[index];
            output.be_for(&bucket.schema, bucket.kind, &self.query.columns);
            self.add_bucket((&plan, &snapshot, index), &output, &mut result, held)?;
        }
        finished(result)
    }

    fn add_bucket(
        &self,
        (plan, snapshot, index): (&Plan, &Snapshot, usize),
        output: &Output,
        result: &mut Assembly,
        held: &mut Held,
    ) -> Result<(), String> {
        self.check_time()?;
        let bucket = &snapshot.buckets()[index];
        let columns = output.read_columns();
        let mut add = |batch: &ColumnBatch, result: &mut Assembly| {
            result.add(bucket, output, batch)?;
            check_bytes(result, output, self.limits)?;
            result.take_room(output, self.app, held)
        };
        if let Some(last) = last_row(plan, snapshot, index, output)? {
            return add(&last, result);
        }
        if plan.limit.is_some() {
            let scan = Scan {
                from: plan.start(bucket, &self.app.zone),
                to: plan.to,
                columns: Some(columns),
                limit: plan.limit,
            };
            let read = read((snapshot, index), scan, output, self.limits, result.rows)?;
            return add(&read, result);
        }
        // Not in one piece, which would be put together from such pieces.
        let mut pieces = Pieces::new(&self.app.zone, plan, snapshot, index, columns)?;
        while let Some(batch) = pieces.next(snapshot)? {
            self.check_time()?;
            check_rows(result.rows + batch.rows(), self.limits)?;
            add(&batch, result)?;
        }
        Ok(())
    }

    /// What the functions of the query make of the rows.
    fn computed(&self, held: &mut Held) -> Result<DatasetReply, Failure> {
        let app = self.app;
        let calls = Calls::new(app, self.caller, self.limits, self.query)?;
        let plan = planner::plan_for(&app.engine, self.query, self.caller)?;
        let mut ids = ids(&plan);
        ids.extend(calls.further(&plan.buckets)?);
        let snapshot = app.engine.snapshot(&ids);
        let mut result = Assembly::default();
        let mut output = Output::default();
        let mut had_rows = false;
        for index in present(&plan, &snapshot) {
            self.check_time()?;
            let bounds = Bounds {
                deadline: self.deadline,
                rows_before: result.rows,
            };
            let answer = calls.run(&plan, (&snapshot, index), &bounds)?;
            had_rows |= answer.had_rows;
            output.be_for(answer.rows.schema(), answer.kind, &[]);
            result.add(&snapshot.buckets()[index], &output, &answer.rows)?;
            check_bytes(&result, &output, self.limits)?;
            result.take_room(&output, app, held)?;
        }
        if !had_rows && calls.needs_rows() {
            return Err("empty input to Accum: there is no row to make candles of"
                .to_owned()
                .into());
        }
        finished(result)
    }

    fn check_time(&self) -> Result<(), String> {
        match Instant::now() > self.deadline {
            false => Ok(()),
            true => Err(too_long(self.limits)),
        }
    }
}

/// The buckets of a plan, each once where it is named twice in a row.
fn ids(plan: &Plan) -> Vec<BucketId> {
    let mut ids: Vec<BucketId> = plan.buckets.iter().map(|b| b.id).collect();
    ids.dedup();
    ids
}

/// Where the buckets of a plan stand in its snapshot. A bucket dropped since the plan was made is
/// missing, like one that never was.
fn present(plan: &Plan, snapshot: &Snapshot) -> impl Iterator<Item = usize> {
    // Both lists are in one order: the place of a bucket is that of the one before, or the next.
    let mut before = 0;
    plan.buckets.iter().filter_map(move |bucket| {
        let is_at = |at: &usize| {
            snapshot
                .buckets()
                .get(*at)
                .is_some_and(|b| b.id == bucket.id)
        };
        let at = [before, before + 1].into_iter().find(is_at)?;
        before = at;
        Some(at)
    })
}

fn finished(result: Assembly) -> Result<DatasetReply, Failure> {
    match result.slices.is_empty() {
        true => Err(NOTHING.to_owned().into()),
        false => Ok(result.finish()),
    }
}

/// Said where no bucket of a query is left.
const NOTHING: &str = "no files returned from query parse";

fn too_long(limits: &Limits) -> String {
    format!(
        "the query took longer than {} s (limits.query_time)",
        limits.query_time.as_secs_f64()
    )
}

/// For queries that set no limit themselves.
fn check_rows(rows: usize, limits: &Limits) -> Result<(), String> {
    match rows as u64 > limits.result_rows {
        false => Ok(()),
        true => Err(format!(
            "the result has more than {} rows (limits.result_rows); set limit_record_count or a \
             shorter range",
            limits.result_rows
        )),
    }
}

/// The first or last rows of one bucket, of those that have room in the result.
fn read(
    source: (&Snapshot, usize),
    scan: Scan,
    output: &Output,
    limits: &Limits,
    rows_before: usize,
) -> Result<ColumnBatch, String> {
    let (snapshot, index) = source;
    // One row more than allowed shows that there are too many, without reading all of them.
    let rows_max = limits.result_bytes / output.row_bytes().max(1);
    let room = usize::try_from(rows_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(rows_before)
        .saturating_add(1);
    let limit = scan.limit.map(|limit| match limit {
        Limit::First(rows) => Limit::First(rows.min(room)),
        Limit::Last(rows) => Limit::Last(rows.min(room)),
    });
    let batch = snapshot.scan(index, &Scan { limit, ..scan });
    let batch = batch.map_err(|e| e.to_string())?;
    match batch.rows() < room {
        true => Ok(batch),
        false => Err(too_many_bytes(limits)),
    }
}

/// The newest row, if that and whole rows are wanted.
fn last_row(
    plan: &Plan,
    snapshot: &Snapshot,
    index: usize,
    output: &Output,
) -> Result<Option<ColumnBatch>, String> {
    let bucket = &snapshot.buckets()[index];
    let mut in_order = output.scanned.iter().enumerate();
    if !plan.is_last_row()
        || output.scanned.len() != bucket.schema.len()
        || !in_order.all(|(at, position)| at == *position)
    {
        return Ok(None);
    }
    let last = snapshot.last(index).map_err(|e| e.to_string())?;
    Ok(Some(last.unwrap_or_else(|| {
        ColumnBatch::empty(bucket.schema.clone())
    })))
}

fn check_bytes(result: &Assembly, output: &Output, limits: &Limits) -> Result<(), String> {
    match result.rows as u64 * output.row_bytes() > limits.result_bytes {
        false => Ok(()),
        true => Err(too_many_bytes(limits)),
    }
}

fn too_many_bytes(limits: &Limits) -> String {
    format!(
        "the result has more than {} bytes (limits.result_bytes); ask for fewer rows or columns",
        limits.result_bytes
    )
}
