//! Results on their way.
//!
//! A task on the threads of `Sql` pulls the plan and pushes batches into a short queue; whoever holds
//! [`Rows`] takes them out. Dropping `Rows` aborts the task. The outcome is set before the queue is
//! closed, so that an ended stream is never taken for a complete one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::clock::Alarm;
use crate::pauses::Ended;
use crate::session::{Inner, Permit};
use crate::{Error, ErrorKind};

/// Batches that wait for their reader: the next is computed while one is sent.
const QUEUED: usize = 2;

/// A result on its way: a stream of batches. Dropping it ends the work.
pub struct Rows {
    schema: SchemaRef,
    affected: Option<u64>,
    source: Source,
}

enum Source {
    Running(Running),
    /// Reversed: the next is the last.
    Ready(Vec<RecordBatch>),
}

struct Running {
    /// Those that came while it was started; reversed.
    first: Vec<RecordBatch>,
    batches: mpsc::Receiver<RecordBatch>,
    outcome: Arc<Mutex<Option<Result<(), Error>>>>,
    task: AbortHandle,
    ended: Ended,
    /// Tells the reader; the task may compute on for a while.
    late: oneshot::Receiver<()>,
    _alarm: Alarm,
    over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.set();
        self.task.abort();
    }
}

impl Rows {
    /// The columns of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Rows written or deleted, for statements that do so.
    pub fn affected(&self) -> Option<u64> {
        self.affected
    }

    /// A result that is there.
    pub(crate) fn ready(schema: SchemaRef, mut batches: Vec<RecordBatch>) -> Self {
        batches.reverse();
        Self {
            schema,
            affected: None,
            source: Source::Ready(batches),
        }
    }

    pub(crate) fn with_affected(mut self, rows: u64) -> Self {
        self.affected = Some(rows);
        self
    }

    /// Runs a plan up to its first rows, and to its end if that comes with them: a small result needs no
    /// task of its own.
    pub(crate) async fn start(
        mut stream: SendableRecordBatchStream,
        inner: &Inner,
        deadline: Deadline,
        permit: Permit,
    ) -> Result<Self, Error> {
        let schema = plain(&stream.schema());
        let mut first = Vec::new();
        loop {
            let next = match first.is_empty() {
                true => stream.next().await,
                false => match stream.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                },
            };
            let Some(batch) = next else {
                return Ok(Self::ready(schema, first));
            };
            let batch = batch?;
            if batch.num_rows() > 0 {
                first.push(fitted(batch, &schema)?);
            }
            if first.len() == QUEUED {
                break;
            }
        }
        Ok(Self::running(stream, first, inner, deadline, permit))
    }

    /// Runs a plan to its end, or to the deadline. The permit is given back then.
    fn running(
        stream: SendableRecordBatchStream,
        mut first: Vec<RecordBatch>,
        inner: &Inner,
        deadline: Deadline,
        permit: Permit,
    ) -> Self {
        first.reverse();
        let schema = plain(&stream.schema());
        let (sender, batches) = mpsc::channel(QUEUED);
        let outcome = Arc::new(Mutex::new(None));
        let pump = Pump {
            schema: schema.clone(),
            sender,
            outcome: outcome.clone(),
        };
        let task = inner.handle().spawn(async move {
            let _permit = permit;
            let result = pump.run(stream).await;
            pump.end(result);
        });
        let ended = deadline.ended.clone();
        // Set by a clock that no statement can keep from ticking.
        let (failed, end) = (outcome.clone(), task.abort_handle());
        let (ring, late) = oneshot::channel();
        let alarm = inner.clock.at(deadline.at, move || {
            failed.lock().get_or_insert(Err(deadline.limit()));
            deadline.ended.set();
            end.abort();
            // The reader may be gone.
            let _ = ring.send(());
        });
        Self {
            schema,
            affected: None,
            source: Source::Running(Running {
                first,
                batches,
                outcome,
                task: task.abort_handle(),
                ended,
                late,
                _alarm: alarm,
                over: false,
            }),
        }
    }

    /// All batches, for results known to be small.
    ///
    /// # Errors
    /// As the stream.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// When a run of a statement must be done, and whether it is.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) seconds: f64,
    pub(crate) ended: Ended,
}

impl Deadline {
    pub(crate) fn limit(&self) -> Error {
        let seconds = self.seconds;
        Error::limit(format!(
            "the statement took longer than {seconds} s (sql.time)"
        ))
        .with_hint("narrow the time range")
    }
}

struct Pump {
    schema: SchemaRef,
    sender: mpsc::Sender<RecordBatch>,
    outcome: Arc<Mutex<Option<Result<(), Error>>>>,
}

impl Pump {
    async fn run(&self, mut stream: SendableRecordBatchStream) -> Result<(), Error> {
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = fitted(batch, &self.schema)?;
            if self.sender.send(batch).await.is_err() {
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    "the statement was cancelled",
                ));
            }
        }
        Ok(())
    }

    fn end(&self, result: Result<(), Error>) {
        self.outcome.lock().get_or_insert(result);
    }
}

/// Texts as every client knows them.
pub(crate) fn plain(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        DataType::BinaryView => Arc::new(field.as_ref().clone().with_data_type(DataType::Binary)),
        _ => field.clone(),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

pub(crate) fn fitted(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let rows = batch.num_rows();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        },
    );
    let columns = columns.collect::<Result<Vec<_>, _>>();
    let columns = columns.map_err(|error| Error::failed(error.to_string()))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::failed(error.to_string()))
}

impl Stream for Rows {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.get_mut().source {
            Source::Ready(batches) => Poll::Ready(batches.pop().map(Ok)),
            Source::Running(running) => running.poll(context),
        }
    }
}

impl Running {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(batch) = self.first.pop() {
            return Poll::Ready(Some(Ok(batch)));
        }
        match self.batches.poll_recv(context) {
            Poll::Pending => match self.late.poll_unpin(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(_) => self.end(),
            },
            Poll::Ready(Some(batch)) => Poll::Ready(Some(Ok(batch))),
            Poll::Ready(None) => self.end(),
        }
    }

    fn end(&mut self) -> Poll<Option<Result<RecordBatch, Error>>> {
        self.over = true;
        Poll::Ready(match self.outcome.lock().take() {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(Err(error)),
            // The task is gone without a word: a panic, or the end of the server.
            None => Some(Err(given_up())),
        })
    }
}

/// What is said if a task ends without an outcome.
pub(crate) fn given_up() -> Error {
    Error::failed("internal error: the statement was given up, see the server's log")
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
