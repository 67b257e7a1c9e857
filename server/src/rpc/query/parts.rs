//! The results of a call's queries part by part, for replies of any size: what is in memory is a part.
//!
//! Rows as they are stored are read as they are taken, from a snapshot made when the call begins: all
//! parts of a result are of one moment. What functions and SQL make is made whole, within the limits of
//! `Query`, and given in parts.

use std::time::{Duration, Instant};

use client::wire::{ColumnData, DatasetReply, QueryRequest};
use engine::Snapshot;

use super::assembly::{Assembly, DIFFERENT};
use super::output::Output;
use super::{Asked, NOTHING, ids, present, too_long};
use crate::auth::Caller;
use crate::http::App;
use crate::planner::{self, Plan};
use crate::room::Held;
use crate::rpc::Failure;
use crate::rpc::pieces::Pieces;

/// A part is full when it has so many bytes.
const PART_BYTES: u64 = 1 << 20;

/// Some rows of the result of one query of a call.
#[derive(Debug)]
pub(crate) struct Part {
    /// Position of the query.
    pub(crate) request: usize,
    pub(crate) reply: DatasetReply,
    /// Its part of the memory of results.
    pub(crate) held: Held,
}

/// The results of a call's queries, one after the other.
#[derive(Debug)]
pub(crate) struct Parts {
    results: Vec<Source>,
    at: usize,
    /// Time that was spent on the query at `at`.
    spent: Duration,
}

#[derive(Debug)]
enum Source {
    Stored(Box<Stored>),
    Computed(Box<QueryRequest>),
    Made(Whole, Held),
}

impl Parts {
    /// Plans the queries: what is wrong with them is said before the first part.
    pub(crate) fn open(
        app: &App,
        caller: &Caller,
        requests: Vec<QueryRequest>,
    ) -> Result<Self, Failure> {
        let source = |query: QueryRequest| {
            if query.is_sqlstatement || !query.functions.is_empty() {
                return Ok(Source::Computed(Box::new(query)));
            }
            let stored = Stored::open(app, caller, query)?;
            Ok(Source::Stored(Box::new(stored)))
        };
        let results: Result<_, Failure> = requests.into_iter().map(source).collect();
        Ok(Self {
            results: results?,
            at: 0,
            spent: Duration::ZERO,
        })
    }

    /// The next part; `None` at the end.
    pub(crate) fn next(&mut self, app: &App, caller: &Caller) -> Result<Option<Part>, Failure> {
        while let Some(source) = self.results.get_mut(self.at) {
            let began = Instant::now();
            let left = app.limits().query_time.saturating_sub(self.spent);
            let next = source.next(app, caller, began + left)?;
            self.spent += began.elapsed();
            if let Some((reply, held)) = next {
                let request = self.at;
                return Ok(Some(Part {
                    request,
                    reply,
                    held,
                }));
            }
            self.at += 1;
            self.spent = Duration::ZERO;
        }
        Ok(None)
    }
}

impl Source {
    fn next(
        &mut self,
        app: &App,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Option<(DatasetReply, Held)>, Failure> {
        match self {
            Self::Stored(stored) => stored.next(app, deadline),
            Self::Computed(query) => {
                let mut held = Held::default();
                let asked = Asked {
                    app,
                    caller,
                    query,
                    limits: &app.limits(),
                    deadline,
                };
                let reply = asked.answer(&mut held)?;
                *self = Self::Made(Whole::new(reply), held);
                self.next(app, caller, deadline)
            }
            // The whole result is in memory, and counted, until its last part is.
            Self::Made(whole, held) => Ok(whole.next().map(|reply| match whole.is_over() {
                true => (reply, std::mem::take(held)),
                false => (reply, Held::default()),
            })),
        }
    }
}

/// Rows that are read as they are taken.
#[derive(Debug)]
struct Stored {
    plan: Plan,
    snapshot: Snapshot,
    /// Columns that were asked for.
    wanted: Vec<String>,
    /// Positions of the buckets in the snapshot; the next is the last.
    buckets: Vec<usize>,
    current: Option<(usize, Pieces)>,
    output: Output,
}

impl Stored {
    fn open(app: &App, caller: &Caller, query: QueryRequest) -> Result<Self, Failure> {
        let plan = planner::plan_for(&app.engine, &query, caller)?;
        let snapshot = app.engine.snapshot(&ids(&plan));
        let mut buckets: Vec<usize> = present(&plan, &snapshot).collect();
        let Some(first) = buckets.first() else {
            return Err(NOTHING.to_owned().into());
        };
        let first = &snapshot.buckets()[*first];
        let first = Output::new(&first.schema, first.kind, &query.columns);
        let mut output = Output::default();
        for index in &buckets {
            let bucket = &snapshot.buckets()[*index];
            output.be_for(&bucket.schema, bucket.kind, &query.columns);
            if let Some(what) = output.difference(&first.columns) {
                return Err(format!("{DIFFERENT}: {} {what}", bucket.key).into());
            }
        }
        buckets.reverse();
        Ok(Self {
            plan,
            snapshot,
            wanted: query.columns,
            buckets,
            current: None,
            output,
        })
    }

    fn next(
        &mut self,
        app: &App,
        deadline: Instant,
    ) -> Result<Option<(DatasetReply, Held)>, Failure> {
        let mut part = Assembly::default();
        let mut held = Held::default();
        while part.rows as u64 * self.output.row_bytes() < PART_BYTES {
            let Some((index, mut pieces)) = self.current(app)? else {
                break;
            };
            let Some(batch) = pieces.next(&self.snapshot)? else {
                continue;
            };
            self.current = Some((index, pieces));
            if Instant::now() > deadline {
                return Err(too_long(&app.limits()).into());
            }
            let bucket = &self.snapshot.buckets()[index];
            part.add(bucket, &self.output, &batch)?;
            part.take_room(&self.output, app, &mut held)?;
        }
        match part.slices.is_empty() {
            true => Ok(None),
            false => Ok(Some((part.finish(), held))),
        }
    }

    /// The bucket that is read, or the next.
    fn current(&mut self, app: &App) -> Result<Option<(usize, Pieces)>, String> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        let Some(index) = self.buckets.pop() else {
            return Ok(None);
        };
        let bucket = &self.snapshot.buckets()[index];
        self.output
            .be_for(&bucket.schema, bucket.kind, &self.wanted);
        let columns = self.output.read_columns();
        let pieces = Pieces::new(&app.zone, &self.plan, &self.snapshot, index, columns)?;
        Ok(Some((index, pieces)))
    }
}

/// A result that is given in parts.
#[derive(Debug)]
struct Whole {
    reply: DatasetReply,
    columns: Vec<bytes::Bytes>,
    /// Rows of a part.
    step: usize,
    given: usize,
    begun: bool,
}

impl Whole {
    fn new(mut reply: DatasetReply) -> Self {
        let data = std::mem::take(&mut reply.data);
        let columns: Vec<_> = data.into_iter().map(ColumnData::into_bytes).collect();
        let bytes: usize = columns.iter().map(bytes::Bytes::len).sum();
        let row_bytes = bytes.checked_div(reply.length).unwrap_or(0).max(1);
        Self {
            reply,
            columns,
            step: (PART_BYTES as usize / row_bytes).max(1),
            given: 0,
            begun: false,
        }
    }

    fn is_over(&self) -> bool {
        self.begun && self.given == self.reply.length
    }

    /// The next rows; there is a part even if there are none.
    fn next(&mut self) -> Option<DatasetReply> {
        if self.is_over() {
            return None;
        }
        self.begun = true;
        let (from, length) = (self.given, self.reply.length);
        let to = length.min(from + self.step);
        self.given = to;
        let slices = self.reply.slices.iter().filter_map(|(key, start, rows)| {
            let (first, end) = ((*start).max(from), (start + rows).min(to));
            let is_empty_here = *rows == 0 && *start <= to && (from == 0 || *start > from);
            let is_here = first < end || is_empty_here;
            is_here.then(|| (key.clone(), first - from, end.saturating_sub(first)))
        });
        let data = self.columns.iter().map(|column| {
            let width = column.len().checked_div(length).unwrap_or(0);
            let mut data = ColumnData::default();
            data.push(&column.slice(from * width..to * width));
            data
        });
        Some(DatasetReply {
            types: self.reply.types.clone(),
            names: self.reply.names.clone(),
            data: data.collect(),
            length: to - from,
            slices: slices.collect(),
        })
    }
}
