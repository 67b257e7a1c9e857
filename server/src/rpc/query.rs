//! `DataService.Query`. Column buffers go from the scan to the socket as they are; the only work
//! per row is the division of times into seconds.

mod last;

use std::time::Instant;

use client::wire::{
    ColumnData, DatasetReply, EPOCH, NANOSECONDS, QueryRequest, Reply, nanos_of_second, reply_code,
};
use engine::{BucketId, BucketInfo, Limit, Scan, Snapshot};
use model::{Column, ColumnBatch, NANOS_PER_SECOND, RowKind, Schema};

use crate::auth::Caller;
use crate::config::Limits;
use crate::http::App;
use crate::planner::{self, Plan};
use crate::room::Held;
use crate::rpc::functions::{Bounds, Calls};

use super::Failure;

/// What the buckets of one query must have in common.
const DIFFERENT: &str =
    "symbols in a query must have the same data type or be filtered by common columns";

pub(super) fn run(
    app: &App,
    caller: &Caller,
    requests: &[QueryRequest],
    held: &mut Held,
) -> Result<Reply, Failure> {
    let limits = &*app.limits();
    let deadline = Instant::now() + limits.query_time;
    let one = |r| one(app, caller, r, limits, deadline, held);
    let responses = requests.iter().map(one);
    Ok(Reply::Query {
        responses: responses.collect::<Result<_, _>>()?,
        version: app.version.clone(),
        timezone: app.zone.name().to_owned(),
    })
}

fn one(
    app: &App,
    caller: &Caller,
    query: &QueryRequest,
    limits: &Limits,
    deadline: Instant,
    held: &mut Held,
) -> Result<DatasetReply, Failure> {
    if query.is_sqlstatement {
        #[cfg(feature = "sql")]
        return super::sql::run(app, caller, &query.sql_statement, held);
        #[cfg(not(feature = "sql"))]
        return Err("this mkts was built without SQL (feature sql)"
            .to_owned()
            .into());
    }
    let calls = match &query.functions[..] {
        [] => None,
        _ => Some(Calls::new(app, caller, limits, query)?),
    };
    let plan = planner::plan_for(&app.engine, query, caller)?;
    if calls.is_none()
        && let Some(reply) = last::reply(app, &plan, query, held)?
    {
        return Ok(reply);
    }
    let mut ids: Vec<BucketId> = plan.buckets.iter().map(|b| b.id).collect();
    ids.dedup();
    if let Some(calls) = &calls {
        ids.extend(calls.further(&plan.buckets)?);
    }
    let snapshot = app.engine.snapshot(&ids);
    // Both lists are in one order: the place of a bucket is that of the one before, or the next.
    let place = |at: usize, id: BucketId| {
        let is_at = |at: &usize| snapshot.buckets().get(*at).is_some_and(|b| b.id == id);
        [at, at + 1].into_iter().find(is_at)
    };
    let mut at = 0;
    let mut result = Assembly::default();
    // Nearly always the same for all buckets of a query.
    let mut output = Output::default();
    let mut had_rows = false;
    for bucket in &plan.buckets {
        // A bucket dropped since the plan was made is missing, like one that never was.
        let Some(index) = place(at, bucket.id) else {
            continue;
        };
        at = index;
        if Instant::now() > deadline {
            return Err(format!(
                "the query took longer than {} s (limits.query_time)",
                limits.query_time.as_secs_f64()
            )
            .into());
        }
        let view = &snapshot.buckets()[index];
        let batch = if let Some(calls) = &calls {
            let bounds = Bounds {
                deadline,
                rows_before: result.rows,
            };
            let answer = calls.run(&plan, (&snapshot, index), &bounds)?;
            had_rows |= answer.had_rows;
            output.be_for(answer.rows.schema(), answer.kind, &[]);
            answer.rows
        } else {
            output.be_for(&view.schema, view.kind, &query.columns);
            read(app, limits, &plan, &snapshot, index, &output, result.rows)?
        };
        result.add(view, &output, batch, limits)?;
        result.take_room(&output, app, held)?;
    }
    if !had_rows && calls.is_some_and(|calls| calls.needs_rows()) {
        return Err("empty input to Accum: there is no row to make candles of"
            .to_owned()
            .into());
    }
    if result.slices.is_empty() {
        return Err("no files returned from query parse".to_owned().into());
    }
    Ok(result.finish())
}

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Epoch,
    /// Position among `Output::scanned`.
    Column(usize),
    Nanoseconds,
}

/// The columns of the result of one bucket.
#[derive(Default)]
struct Output {
    made_for: Option<(Schema, RowKind)>,
    /// Positions in the schema that are read.
    scanned: Vec<usize>,
    columns: Vec<(String, &'static str, Source)>,
}

impl Output {
    /// `Epoch`, then the columns in stored order or those asked for in the order asked for, then
    /// `Nanoseconds` for ticks. Unknown names are left out. A name asked for twice comes twice, and
    /// so does `Epoch`, as clients of the reference see it.
    fn new(schema: &Schema, kind: RowKind, wanted: &[String]) -> Self {
        let mut output = Self {
            made_for: Some((schema.clone(), kind)),
            scanned: Vec::new(),
            columns: vec![(EPOCH.to_owned(), "i8", Source::Epoch)],
        };
        if wanted.is_empty() {
            (0..schema.len()).for_each(|position| output.add(schema, position));
        }
        for name in wanted {
            match schema.position(name) {
                Some(position) => output.add(schema, position),
                None if name == EPOCH => {
                    output.columns.push((EPOCH.to_owned(), "i8", Source::Epoch));
                }
                None => {}
            }
        }
        if kind == RowKind::Tick {
            output
                .columns
                .push((NANOSECONDS.to_owned(), "i4", Source::Nanoseconds));
        }
        output
    }

    /// Becomes the output of such rows, if it is not yet.
    fn be_for(&mut self, schema: &Schema, kind: RowKind, wanted: &[String]) {
        if !self.is_for(schema, kind) {
            *self = Self::new(schema, kind, wanted);
        }
    }

    fn is_for(&self, schema: &Schema, kind: RowKind) -> bool {
        let same = |made: &(Schema, RowKind)| made.1 == kind && made.0 == *schema;
        self.made_for.as_ref().is_some_and(same)
    }

    fn add(&mut self, schema: &Schema, position: usize) {
        let at = match self.scanned.iter().position(|p| *p == position) {
            Some(at) => at,
            None => {
                self.scanned.push(position);
                self.scanned.len() - 1
            }
        };
        let def = &schema.columns()[position];
        self.columns
            .push((def.name.clone(), reply_code(def.ty), Source::Column(at)));
    }

    fn row_bytes(&self) -> u64 {
        let columns = self.made_for.as_ref().map(|(schema, _)| schema.columns());
        let columns = columns.unwrap_or_default();
        let size = |source: &Source| match source {
            Source::Epoch => 8,
            Source::Nanoseconds => 4,
            Source::Column(at) => columns[self.scanned[*at]].ty.size() as u64,
        };
        self.columns.iter().map(|c| size(&c.2)).sum()
    }
}

/// The rows of one bucket; their columns are those of `Output::scanned`.
fn read(
    app: &App,
    limits: &Limits,
    plan: &Plan,
    snapshot: &Snapshot,
    index: usize,
    output: &Output,
    rows_before: usize,
) -> Result<ColumnBatch, String> {
    let bucket = &snapshot.buckets()[index];
    if plan.is_last_row() && output.scanned.len() == bucket.schema.len() {
        let in_order = output.scanned.iter().enumerate().all(|(at, p)| at == *p);
        if in_order {
            let last = snapshot.last(index).map_err(|e| e.to_string())?;
            return Ok(last.unwrap_or_else(|| ColumnBatch::empty(bucket.schema.clone())));
        }
    }
    // One row more than allowed shows that there are too many, without reading all of them.
    let bytes_rows = limits.result_bytes / output.row_bytes().max(1);
    let rows_max = match plan.limit {
        None => bytes_rows.min(limits.result_rows),
        Some(_) => bytes_rows,
    };
    let room = usize::try_from(rows_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(rows_before);
    let room = room.saturating_add(1);
    let limit = match plan.limit {
        None => Limit::First(room),
        Some(Limit::First(rows)) => Limit::First(rows.min(room)),
        Some(Limit::Last(rows)) => Limit::Last(rows.min(room)),
    };
    // A batch has at least one column; if only Epoch is wanted the first is read and not sent.
    let columns = match output.scanned.is_empty() {
        true => vec![0],
        false => output.scanned.clone(),
    };
    let scan = Scan {
        from: plan.start(bucket, &app.zone),
        to: plan.to,
        columns: Some(columns),
        limit: Some(limit),
    };
    let batch = snapshot.scan(index, &scan).map_err(|e| e.to_string())?;
    if batch.rows() < room {
        return Ok(batch);
    }
    Err(match plan.limit {
        None if bytes_rows > limits.result_rows => format!(
            "the result has more than {} rows (limits.result_rows); set limit_record_count or a \
             shorter range",
            limits.result_rows
        ),
        _ => format!(
            "the result has more than {} bytes (limits.result_bytes); ask for fewer rows or columns",
            limits.result_bytes
        ),
    })
}

/// What a reply calls a bucket.
fn slice_key(bucket: &BucketInfo) -> String {
    [bucket.key.as_str(), ":Symbol/Timeframe/AttributeGroup"].concat()
}

/// The result as it grows, bucket by bucket.
#[derive(Default)]
struct Assembly {
    columns: Vec<(String, &'static str, Source)>,
    data: Vec<ColumnData>,
    epochs: Vec<i64>,
    slices: Vec<(String, usize, usize)>,
    rows: usize,
    /// Bytes of the room of results that are taken.
    taken: u64,
}

/// Room is taken in such pieces, so that many small buckets do not ask for it one by one.
const ROOM_BYTES: u64 = 64 << 10;

impl Assembly {
    fn add(
        &mut self,
        bucket: &BucketInfo,
        output: &Output,
        batch: ColumnBatch,
        limits: &Limits,
    ) -> Result<(), String> {
        if self.slices.is_empty() {
            self.columns.clone_from(&output.columns);
            self.data
                .resize_with(output.columns.len(), ColumnData::default);
        } else if let Some(what) = self.difference(output) {
            return Err(format!("{DIFFERENT}: {} {what}", bucket.key));
        }
        let rows = batch.rows();
        for (data, (_, _, source)) in self.data.iter_mut().zip(&output.columns) {
            match source {
                // Written at the end, in one piece.
                Source::Epoch => {}
                Source::Column(at) => data.push(batch.columns()[*at].bytes()),
                Source::Nanoseconds => data.push(nanos_of_second(batch.times()).bytes()),
            }
        }
        self.epochs
            .extend(batch.times().iter().map(|t| t.div_euclid(NANOS_PER_SECOND)));
        let key = slice_key(bucket);
        match self.slices.last_mut() {
            // A symbol asked for twice: one slice with its rows twice.
            Some(last) if last.0 == key => last.2 += rows,
            _ => self.slices.push((key, self.rows, rows)),
        }
        self.rows += rows;
        let row_bytes = output.row_bytes();
        if self.rows as u64 * row_bytes > limits.result_bytes {
            return Err(format!(
                "the result has more than {} bytes (limits.result_bytes)",
                limits.result_bytes
            ));
        }
        Ok(())
    }

    /// The rows are in memory until the reply is sent.
    fn take_room(&mut self, output: &Output, app: &App, held: &mut Held) -> Result<(), String> {
        let bytes = self.rows as u64 * output.row_bytes();
        if bytes <= self.taken {
            return Ok(());
        }
        let more = (bytes - self.taken).next_multiple_of(ROOM_BYTES);
        let Some(part) = app.results.take(more) else {
            metrics::counter!("mkts_rejected_total", "reason" => "results").increment(1);
            return Err(format!(
                "the results under way together have more than {} bytes (limits.results_bytes); \
                 try again later or ask for fewer rows",
                app.limits().results_bytes
            ));
        };
        held.merge(part);
        self.taken += more;
        Ok(())
    }

    /// What a further bucket has that the first has not.
    fn difference(&self, output: &Output) -> Option<String> {
        if self.columns.len() != output.columns.len() {
            return Some(format!(
                "has {} columns, the first has {}",
                output.columns.len(),
                self.columns.len()
            ));
        }
        let mut pairs = self.columns.iter().zip(&output.columns);
        let (first, other) = pairs.find(|(a, b)| (&a.0, a.1) != (&b.0, b.1))?;
        Some(format!(
            "has {} {} where the first has {} {}",
            other.0, other.1, first.0, first.1
        ))
    }

    fn finish(mut self) -> DatasetReply {
        let epochs = Column::from_values(self.epochs);
        for (data, column) in self.data.iter_mut().zip(&self.columns) {
            if column.2 == Source::Epoch {
                data.push(epochs.bytes());
            }
        }
        DatasetReply {
            types: self.columns.iter().map(|c| c.1.into()).collect(),
            names: self.columns.into_iter().map(|c| c.0).collect(),
            data: self.data,
            length: self.rows,
            slices: self.slices,
        }
    }
}
