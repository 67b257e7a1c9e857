//! A scan in its order by several tasks at a time.
//!
//! Partitions of a scan are stretches of time or neighbouring buckets, so one who needs the rows in
//! order would wait for the first partition while the others stand still. Here the pieces are small,
//! several are read at once, and they are handed out in their order. In memory are as many pieces as
//! are read at once, each of about 130 000 rows.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

use crate::scan::BucketScan;

/// The rows of a scan in one partition, read ahead.
#[derive(Debug)]
pub(crate) struct OrderedScan {
    scan: BucketScan,
    /// Pieces that are read at once.
    ahead: usize,
}

impl OrderedScan {
    /// The same rows in one partition, if they are of a scan that has this order. Else the input.
    pub(crate) fn instead(
        input: &Arc<dyn ExecutionPlan>,
        order: Option<LexOrdering>,
        ahead: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = input.downcast_ref::<BucketScan>();
        let (Some(scan), Some(order)) = (scan.filter(|scan| scan.is_plain()), order) else {
            return Ok(Arc::clone(input));
        };
        let scan = scan.in_pieces()?;
        match scan
            .properties()
            .equivalence_properties()
            .ordering_satisfy(order)?
        {
            true => Ok(Arc::new(Self { scan, ahead })),
            false => Ok(Arc::clone(input)),
        }
    }
}

impl DisplayAs for OrderedScan {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.scan.fmt_as(kind, f)?;
        write!(
            f,
            ", in order, {} pieces, {} at a time",
            self.scan.piece_count(),
            self.ahead
        )
    }
}

impl ExecutionPlan for OrderedScan {
    fn name(&self) -> &'static str {
        "OrderedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let scan = self.scan.clone();
        let pieces = stream::iter(0..self.scan.piece_count()).map(move |piece| {
            let scan = scan.clone();
            let task = SpawnedTask::spawn(async move { scan.read_piece(piece, rows) });
            async move {
                let read = task.join().await;
                let read = read.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)));
                read?.map(|batches| stream::iter(batches.into_iter().map(Ok)))
            }
        });
        let batches = pieces.buffered(self.ahead.max(1)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

#[cfg(test)]
mod tests {
    use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

    use crate::tests::{Bench, START};

    /// `rows` ticks, four of each time; `Row` counts them.
    fn ticks(rows: usize) -> ColumnBatch {
        let schema = Schema::new(vec![ColumnDef::new("Row", ColumnType::I64)]).unwrap();
        let times: Vec<i64> = (0..rows as i64)
            .map(|row| START + row / 4 * 1_000_000)
            .collect();
        let values = Column::from_values((0..rows as i64).collect::<Vec<i64>>());
        ColumnBatch::new(schema, Column::from_values(times), vec![values]).unwrap()
    }

    #[test]
    fn pieces_of_a_large_bucket_come_in_order_and_whole() {
        let bench = Bench::new();
        let rows = 600_001;
        bench.write("A/1Sec/TICK", RowKind::Tick, ticks(rows));
        let text = "SELECT t.\"Row\" AS a, q.\"Row\" AS b FROM \"A/1Sec/TICK\" t ASOF JOIN \"A/1Sec/TICK\" q \
                    MATCH_CONDITION (t.Epoch >= q.Epoch)";
        let plan = bench.show(&format!("EXPLAIN {text}"));
        assert!(plan.contains("in order"), "{plan}");
        // Each row meets the last of its four.
        let sum = format!(
            "SELECT count(*), sum(a), sum(b - a), max(b - a) FROM ({text}) WHERE b / 4 = a / 4 AND b >= a"
        );
        let all = (rows as i64 - 1) * rows as i64 / 2;
        assert_eq!(bench.show(&sum), format!("{rows},{all},{},3", 150_000 * 6));
    }
}
