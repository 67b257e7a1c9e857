//! The pieces that are worked on, and those to come.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::PiecesExec;
use crate::scan::PART_ROWS_MIN;

/// Bytes that are counted for a value of no fixed width.
const TEXT_BYTES: usize = 32;

/// Hands out what comes of the pieces, in their order.
pub(super) struct Ahead {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    memory: MemoryReservation,
    /// Bytes that are counted for a piece.
    bytes: usize,
    /// Pieces that are worked on at once.
    most: usize,
    limited: bool,
    /// The first piece that is not begun.
    next: usize,
    pieces: usize,
    begun: VecDeque<Piece>,
}

enum Piece {
    Task {
        task: SpawnedTask<()>,
        /// No longer than what comes of a piece.
        batches: UnboundedReceiver<Result<RecordBatch>>,
        _memory: MemoryReservation,
    },
    /// Worked on as its rows are asked for.
    Direct(SendableRecordBatchStream),
}

impl Ahead {
    pub(super) fn new(exec: &PiecesExec, context: Arc<TaskContext>) -> Self {
        let memory = MemoryConsumer::new("PiecesExec").register(context.memory_pool());
        Self {
            bytes: 2 * PART_ROWS_MIN as usize * row_bytes(&exec.plan.schema()),
            plan: Arc::clone(&exec.plan),
            context,
            memory,
            most: exec.ahead,
            limited: exec.limited,
            next: 0,
            pieces: exec.pieces(),
            begun: VecDeque::new(),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.begin()?;
            let batch = match self.begun.front_mut() {
                None => return Ok(None),
                Some(Piece::Task { batches, .. }) => batches.recv().await,
                Some(Piece::Direct(batches)) => batches.next().await,
            };
            if let Some(batch) = batch {
                return batch.map(Some);
            }
            // A task that ended without its last batch panicked.
            if let Some(Piece::Task { task, .. }) = self.begun.pop_front() {
                let joined = task.join().await;
                joined.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
            }
        }
    }

    fn begin(&mut self) -> Result<()> {
        while self.next < self.pieces && self.begun.len() < self.most {
            if self.limited && self.next > 0 && self.begun.len() == self.next {
                break;
            }
            let memory = self.memory.new_empty();
            let piece = match self.most > 1 && memory.try_grow(self.bytes).is_ok() {
                true => self.task(memory)?,
                // The first in line needs no memory: its rows are taken as they come.
                false if self.begun.is_empty() => Piece::Direct(self.stream()?),
                false => break,
            };
            self.begun.push_back(piece);
            self.next += 1;
        }
        Ok(())
    }

    fn stream(&self) -> Result<SendableRecordBatchStream> {
        self.plan.execute(self.next, Arc::clone(&self.context))
    }

    fn task(&self, memory: MemoryReservation) -> Result<Piece> {
        let mut stream = self.stream()?;
        let (sender, batches) = unbounded_channel();
        let task = SpawnedTask::spawn(async move {
            while let Some(batch) = stream.next().await {
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        Ok(Piece::Task {
            task,
            batches,
            _memory: memory,
        })
    }
}

fn row_bytes(schema: &Schema) -> usize {
    let bytes = schema.fields().iter().map(|field| {
        let width = field.data_type().primitive_width();
        width.unwrap_or(TEXT_BYTES)
    });
    bytes.sum::<usize>().max(1)
}
