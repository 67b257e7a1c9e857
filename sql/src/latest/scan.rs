//! The last row of each bucket, in place of a scan: the engine keeps it in memory.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array,
};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use engine::{BucketId, Limit, Scan};
use foldhash::HashMap;
use futures::stream;
use model::{BatchBuilder, ColumnBatch, NANOS_PER_SECOND, Schema};

use crate::Error;
use crate::range::Range;
use crate::scan::{BucketScan, failed, fitted, times};
use crate::table::{Source, key_part};

/// Last rows of the buckets of a scan.
#[derive(Debug)]
pub(crate) struct LatestScan {
    scan: BucketScan,
    properties: Arc<PlanProperties>,
}

/// Rows of buckets of one schema, and the member each is of.
struct Group {
    members: Vec<usize>,
    rows: ColumnBatch,
}

impl LatestScan {
    /// The last rows of what is a scan, if they are all that the latest rows of these keys can be.
    pub(crate) fn of(
        input: &Arc<dyn ExecutionPlan>,
        keys: &[Arc<dyn PhysicalExpr>],
        time: &Arc<dyn PhysicalExpr>,
    ) -> Option<Self> {
        let scan = input.downcast_ref::<BucketScan>()?;
        let source = |term: &Arc<dyn PhysicalExpr>| {
            let column = term.downcast_ref::<Column>()?;
            scan.columns.get(column.index()).copied()
        };
        let by_bucket = keys
            .iter()
            .all(|key| matches!(source(key), Some(Source::Key(_))));
        if !by_bucket || source(time) != Some(Source::Epoch) || scan.wanted.limit.is_some() {
            return None;
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(scan.schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Some(Self {
            scan: scan.clone(),
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for LatestScan {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestScan: last rows of ")?;
        self.scan.fmt_as(kind, f)
    }
}

impl ExecutionPlan for LatestScan {
    fn name(&self) -> &'static str {
        "LatestScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scan = self.scan.clone();
        let batches = stream::once(async move { batches(&scan) });
        let batches =
            futures::TryStreamExt::try_flatten(futures::TryStreamExt::map_ok(batches, |batches| {
                stream::iter(batches.into_iter().map(Ok))
            }));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

/// A batch for each schema, in the order of the buckets' keys.
fn batches(scan: &BucketScan) -> Result<Vec<RecordBatch>> {
    let groups = match scan.wanted.range == Range::ALL {
        true => kept(scan),
        false => found(scan),
    };
    let groups = groups.map_err(|error| Error::from(error).wrap())?;
    groups.iter().map(|group| batch(scan, group)).collect()
}

/// The rows that the engine keeps.
fn kept(scan: &BucketScan) -> Result<Vec<Group>, engine::Error> {
    let infos = scan.snapshot.buckets();
    let members = scan.wanted.members.iter().enumerate();
    let members: HashMap<BucketId, usize> = members
        .map(|(at, member)| (infos[member.index].id, at))
        .collect();
    let mut groups = Vec::new();
    for group in scan.snapshot.last_rows()? {
        let chosen = group.buckets.iter().zip(0..);
        let chosen = chosen.filter_map(|(id, row)| Some((*members.get(id)?, row)));
        let mut chosen: Vec<(usize, u32)> = chosen.collect();
        chosen.sort_unstable();
        let rows: Vec<u32> = chosen.iter().map(|(_, row)| *row).collect();
        let all = rows.len() == group.rows.rows() && rows.is_sorted();
        groups.push(Group {
            members: chosen.into_iter().map(|(member, _)| member).collect(),
            rows: if all {
                group.rows
            } else {
                group.rows.take(&rows)
            },
        });
    }
    Ok(groups)
}

/// The last row of each bucket in a range of time, read from its end.
fn found(scan: &BucketScan) -> Result<Vec<Group>, engine::Error> {
    let Range { from, to } = scan.wanted.range;
    let wanted = Scan {
        from,
        to,
        columns: None,
        limit: Some(Limit::Last(1)),
    };
    let mut groups: Vec<(Schema, Vec<usize>, BatchBuilder)> = Vec::new();
    for (at, member) in scan.wanted.members.iter().enumerate() {
        let row = scan.snapshot.scan(member.index, &wanted)?;
        if row.is_empty() {
            continue;
        }
        let schema = row.schema();
        let fitting = groups.iter().position(|group| group.0 == *schema);
        let fitting = fitting.unwrap_or_else(|| {
            let rows = BatchBuilder::new(schema.clone(), 1);
            groups.push((schema.clone(), Vec::new(), rows));
            groups.len() - 1
        });
        let (_, members, rows) = &mut groups[fitting];
        members.push(at);
        rows.append(&row).expect("the builder is of this schema");
    }
    let group = |(_, members, rows): (_, _, BatchBuilder)| Group {
        members,
        rows: rows.finish(),
    };
    Ok(groups.into_iter().map(group).collect())
}

fn batch(scan: &BucketScan, group: &Group) -> Result<RecordBatch> {
    let infos = scan.snapshot.buckets();
    let member = |at: &usize| &scan.wanted.members[*at];
    let rows = group.rows.rows();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(scan.columns.len());
    for (source, field) in scan.columns.iter().zip(scan.schema.fields()) {
        arrays.push(match source {
            Source::Key(part) => {
                let keys = group
                    .members
                    .iter()
                    .map(|at| key_part(&infos[member(at).index], *part));
                Arc::new(StringViewArray::from_iter_values(keys))
            }
            Source::Epoch => times(&group.rows),
            Source::Nanoseconds => {
                let nanos = group.rows.times().iter();
                let nanos = nanos.map(|time| time.rem_euclid(NANOS_PER_SECOND) as i32);
                Arc::new(Int32Array::from_iter_values(nanos))
            }
            Source::Column(at) => {
                let position = group
                    .members
                    .first()
                    .and_then(|first| member(first).columns[*at]);
                match position.and_then(|at| group.rows.columns().get(at)) {
                    None => new_null_array(field.data_type(), rows),
                    Some(column) => fitted(arrow_batch::array(column).map_err(failed)?, field)?,
                }
            }
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        scan.schema.clone(),
        arrays,
        &options,
    )?)
}
