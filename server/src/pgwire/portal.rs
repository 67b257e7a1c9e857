//! A statement as it was parsed, and its rows on their way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::channel::oneshot;
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use pgwire::api::results::FieldInfo;
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use sql::{Rows, Statement};

use super::errors;
use super::local::Meaning;
use super::values;
use crate::sql::Tally;

/// A plan reads the store as it was then; one that is older is made anew.
const FRESH: Duration = Duration::from_secs(1);

/// Rows that become messages in one go: a moment on the threads of sockets.
const ROWS_AT_ONCE: usize = 1024;

/// A statement of the extended protocol.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) text: String,
    pub(super) meaning: Meaning,
    /// Of its rows, if it gives some.
    pub(super) schema: Option<SchemaRef>,
    /// Types of the parameters.
    pub(super) wanted: Vec<Option<DataType>>,
    plan: Mutex<Option<(Instant, Statement)>>,
}

impl Parsed {
    /// SQL that was planned; what is declared as a cursor gives no rows by itself.
    pub(super) fn planned(text: String, meaning: Meaning, statement: Statement) -> Self {
        Self {
            text,
            schema: (meaning == Meaning::Sql).then(|| statement.schema()),
            meaning,
            wanted: statement.parameters(),
            plan: Mutex::new(Some((Instant::now(), statement))),
        }
    }

    /// What needs no plan.
    pub(super) fn local(text: String, meaning: Meaning, schema: Option<SchemaRef>) -> Self {
        Self {
            text,
            meaning,
            schema,
            wanted: Vec::new(),
            plan: Mutex::new(None),
        }
    }

    /// The plan, if it was made just now; once.
    pub(super) fn fresh(&self) -> Option<Statement> {
        let plan = self.plan.lock().take();
        plan.filter(|(since, _)| since.elapsed() < FRESH)
            .map(|(_, statement)| statement)
    }
}

/// Rows with all that is needed to send them.
pub(super) struct Running {
    pub(super) rows: Rows,
    pub(super) cancelled: oneshot::Receiver<()>,
    pub(super) tally: Tally,
    /// Of the statement, for errors.
    pub(super) text: String,
    pub(super) before: usize,
}

impl Running {
    /// The next batch; the wish to cancel comes first.
    pub(super) async fn next(&mut self) -> Option<PgWireResult<RecordBatch>> {
        let next = tokio::select! {
            biased;
            Ok(()) = &mut self.cancelled => return Some(Err(PgWireError::QueryCanceled)),
            next = self.rows.next() => next?,
        };
        Some(match next {
            Ok(batch) => {
                self.tally.add(batch.num_rows() as u64);
                Ok(batch)
            }
            Err(error) => {
                self.tally.failed(&error);
                Err(errors::of_statement(&error, &self.text, self.before))
            }
        })
    }
}

/// The rows as messages.
pub(super) fn data_rows(
    running: Running,
    fields: Arc<Vec<FieldInfo>>,
) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
    let batches = stream::unfold(running, |mut running| async {
        running.next().await.map(|batch| (batch, running))
    });
    let pieces = batches.flat_map(|batch| match batch {
        Ok(batch) => stream::iter(pieces(&batch).into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    pieces.flat_map(move |piece| match piece {
        Ok(piece) => {
            let rows = values::rows(&piece, &fields);
            stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>())
        }
        Err(error) => stream::iter(vec![Err(error)]),
    })
}

/// A batch in parts that take no time.
pub(super) fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let starts = (0..rows).step_by(ROWS_AT_ONCE);
    starts
        .map(|start| batch.slice(start, ROWS_AT_ONCE.min(rows - start)))
        .collect()
}
