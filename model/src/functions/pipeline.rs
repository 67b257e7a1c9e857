//! Calls one behind the other.

use super::call::{FunctionCall, FunctionError, shown};
use super::{adjust, aggregate, candler, gap};
use crate::batch::{Column, ColumnBatch};
use crate::schema::{ColumnType, RowKind, Schema};
use crate::time::NANOS_PER_SECOND;
use crate::zone::Zone;

/// What a function knows besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Zone of days, weeks, months and years.
    pub zone: &'a Zone,
    /// The time of aggregates over everything.
    pub now: i64,
    /// Rows of the bucket of corporate actions of the symbol, if there is one.
    pub actions: Option<&'a ColumnBatch>,
}

/// The rows that a function is given, as far as they are known before they come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub schema: &'a Schema,
    pub kind: RowKind,
}

/// Where the values of a column name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Whole seconds of the time.
    Epoch,
    /// The rest of the time.
    Nanoseconds,
    /// Position in the schema.
    Column(usize),
}

impl Input<'_> {
    /// A column by name: one of the schema, or `Epoch`, `*` or `Nanoseconds`, which are the time.
    pub(super) fn find(&self, name: &str) -> Result<(Place, ColumnType), FunctionError> {
        if let Some(at) = self.schema.position(name) {
            return Ok((Place::Column(at), self.schema.columns()[at].ty));
        }
        match name {
            "*" | "Epoch" => Ok((Place::Epoch, ColumnType::I64)),
            "Nanoseconds" if self.kind == RowKind::Tick => {
                Ok((Place::Nanoseconds, ColumnType::I32))
            }
            _ => {
                let names: Vec<&str> = self.schema.columns().iter().map(|c| &c.name[..]).collect();
                Err(FunctionError(format!(
                    "unable to retrieve column named {}, there are Epoch, {}",
                    shown(name),
                    shown(&names.join(", "))
                )))
            }
        }
    }
}

impl Place {
    pub(super) fn of(self, rows: &ColumnBatch) -> Column {
        let times = rows.times().iter();
        match self {
            Self::Column(at) => rows.columns()[at].clone(),
            Self::Epoch => {
                Column::from_values::<i64>(times.map(|t| t.div_euclid(NANOS_PER_SECOND)).collect())
            }
            Self::Nanoseconds => Column::from_values::<i32>(
                times
                    .map(|t| t.rem_euclid(NANOS_PER_SECOND) as i32)
                    .collect(),
            ),
        }
    }
}

#[derive(Debug)]
enum Stage {
    Aggregate(aggregate::Running, i64),
    Candler(Box<candler::Running>),
    Gap(gap::Running),
    Adjust(adjust::Running),
}

impl Stage {
    fn new(call: &FunctionCall, input: &Input<'_>, site: &Site<'_>) -> Result<Self, FunctionError> {
        Ok(match call {
            FunctionCall::Aggregate(call) => {
                Self::Aggregate(aggregate::Running::new(call, input)?, site.now)
            }
            FunctionCall::Candler(call) => {
                Self::Candler(Box::new(candler::Running::new(call, input, site.zone)?))
            }
            FunctionCall::Gap(gap) => Self::Gap(gap::Running::new(*gap)),
            FunctionCall::Adjust(call) => {
                Self::Adjust(adjust::Running::new(call, input, site.actions)?)
            }
        })
    }

    fn schema(&self) -> &Schema {
        match self {
            Self::Aggregate(stage, _) => stage.schema(),
            Self::Candler(stage) => stage.schema(),
            Self::Gap(stage) => stage.schema(),
            Self::Adjust(stage) => stage.schema(),
        }
    }

    fn kind(&self, input: RowKind) -> RowKind {
        match self {
            Self::Adjust(_) => input,
            _ => RowKind::Bar,
        }
    }

    fn push(&mut self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        match self {
            Self::Aggregate(stage, _) => {
                stage.push(rows)?;
                Ok(ColumnBatch::empty(stage.schema().clone()))
            }
            Self::Candler(stage) => stage.push(rows),
            Self::Gap(stage) => stage.push(rows),
            Self::Adjust(stage) => stage.push(rows),
        }
    }

    fn finish(self) -> Result<ColumnBatch, FunctionError> {
        match self {
            Self::Aggregate(stage, now) => stage.finish(now),
            Self::Candler(stage) => stage.finish(),
            Self::Gap(stage) => stage.finish(),
            Self::Adjust(stage) => Ok(ColumnBatch::empty(stage.schema().clone())),
        }
    }
}

/// Calls at work on the rows of one bucket, each on what the one before gives.
#[derive(Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
    schema: Schema,
    kind: RowKind,
}

impl Pipeline {
    /// Looks up the columns of all calls.
    ///
    /// # Errors
    /// If one is missing or of a type that the function does not take.
    pub fn new(
        calls: &[FunctionCall],
        schema: &Schema,
        kind: RowKind,
        site: &Site<'_>,
    ) -> Result<Self, FunctionError> {
        let mut pipeline = Self {
            stages: Vec::with_capacity(calls.len()),
            schema: schema.clone(),
            kind,
        };
        for call in calls {
            let input = Input {
                schema: &pipeline.schema,
                kind: pipeline.kind,
            };
            let stage = Stage::new(call, &input, site)?;
            pipeline.kind = stage.kind(pipeline.kind);
            pipeline.schema = stage.schema().clone();
            pipeline.stages.push(stage);
        }
        Ok(pipeline)
    }

    /// The columns of the result.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether rows of the result are ticks, whose time has nanoseconds.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// Takes the next rows in order of time; gives those rows of the result that are certain.
    ///
    /// # Errors
    /// If the rows are not of the schema.
    pub fn push(&mut self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        let mut rows = rows.clone();
        for stage in &mut self.stages {
            rows = stage.push(&rows)?;
        }
        Ok(rows)
    }

    /// The rows of the result that wait for the end.
    ///
    /// # Errors
    /// As [`Pipeline::push`].
    pub fn finish(self) -> Result<ColumnBatch, FunctionError> {
        let mut rest: Option<ColumnBatch> = None;
        for mut stage in self.stages {
            let head = rest.map(|rows| stage.push(&rows)).transpose()?;
            let tail = stage.finish()?;
            rest = Some(match head {
                Some(head) if !head.is_empty() => join(&head, &tail)?,
                _ => tail,
            });
        }
        Ok(rest.unwrap_or_else(|| ColumnBatch::empty(self.schema)))
    }
}

/// The rows of two batches of one schema.
pub(super) fn join(head: &ColumnBatch, tail: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
    let schema = head.schema().clone();
    let mut rows = crate::BatchBuilder::new(schema, head.rows() + tail.rows());
    rows.append(head)
        .and_then(|()| rows.append(tail))
        .map_err(FunctionError::of)?;
    Ok(rows.finish())
}
