//! The leaf of every plan: rows of buckets as record batches.
//!
//! A partition is a list of pieces, each a bucket and a span of time, read one after the other. Batches
//! are built from what the engine hands out; buffers are shared, not copied, where types agree.

use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{
    Array, ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray,
    TimestampNanosecondArray, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::{SortOptions, cast, take};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream, SortOrderPushdownResult,
};
use engine::{Limit, Scan, Snapshot};
use model::{ColumnBatch, NANOS_PER_SECOND};

use crate::Error;
use crate::cursor::Cursor;
use crate::range::Range;
use crate::table::{BucketTable, Member, Source, key_part};
use crate::times::time_value;

/// Rows below which a bucket is not cut into parts: a part should outlast starting it.
const PART_ROWS_MIN: u64 = 131_072;

/// Buckets up to which statistics are worth their look-ups.
const COUNTED_MAX: usize = 4096;

/// What a plan wants of a table.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) members: Arc<[Member]>,
    /// Positions in the table's schema.
    pub(crate) columns: Vec<usize>,
    pub(crate) range: Range,
    /// Rows of each partition at most.
    pub(crate) limit: Option<usize>,
}

/// A bucket (position in `Wanted::members`) and a span of its time.
#[derive(Debug, Clone, Copy)]
struct Piece {
    member: usize,
    range: Range,
}

/// Reads rows of buckets.
#[derive(Clone)]
pub(crate) struct BucketScan {
    pub(crate) name: String,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) wanted: Wanted,
    pub(crate) columns: Vec<Source>,
    pub(crate) schema: SchemaRef,
    partitions: Arc<Vec<Vec<Piece>>>,
    /// The newest first.
    backwards: bool,
    properties: Arc<PlanProperties>,
    statistics: Arc<OnceLock<Arc<Statistics>>>,
}

impl BucketScan {
    pub(crate) fn new(table: &BucketTable, wanted: Wanted, partitions: usize) -> Result<Self> {
        let schema = Arc::new(table.schema.project(&wanted.columns)?);
        let columns = wanted.columns.iter().map(|at| table.sources[*at]).collect();
        let mut scan = Self {
            name: table.name.clone(),
            snapshot: table.snapshot.clone(),
            columns,
            partitions: Arc::default(),
            backwards: false,
            properties: Arc::new(properties(&schema, None, 1)),
            statistics: Arc::default(),
            schema,
            wanted,
        };
        // A limit of few rows is met by the first piece.
        let few = scan
            .wanted
            .limit
            .is_some_and(|rows| rows < PART_ROWS_MIN as usize);
        scan.partitions = Arc::new(match few {
            true => vec![scan.pieces()],
            false => scan.parts(partitions.max(1))?,
        });
        scan.properties = Arc::new(scan.declared());
        Ok(scan)
    }

    /// All members, one piece each.
    fn pieces(&self) -> Vec<Piece> {
        let range = self.wanted.range;
        let piece = |member| Piece { member, range };
        (0..self.wanted.members.len()).map(piece).collect()
    }

    /// Pieces for several partitions: neighbouring buckets, or parts of the time of a large one.
    fn parts(&self, partitions: usize) -> Result<Vec<Vec<Piece>>> {
        let mut pieces = self.pieces();
        if partitions == 1 || pieces.is_empty() {
            return Ok(vec![pieces]);
        }
        if let [piece] = pieces[..] {
            return Ok(self
                .cut(piece, partitions)?
                .into_iter()
                .map(|p| vec![p])
                .collect());
        }
        let count = partitions.min(pieces.len());
        let mut parts = Vec::with_capacity(count);
        for left in (1..=count).rev() {
            let rest = pieces.split_off(pieces.len().div_ceil(left));
            parts.push(std::mem::replace(&mut pieces, rest));
        }
        Ok(parts)
    }

    fn cut(&self, piece: Piece, parts: usize) -> Result<Vec<Piece>> {
        let index = self.wanted.members[piece.member].index;
        let Some((min, max)) = self.snapshot.time_range(index) else {
            return Ok(vec![piece]);
        };
        let range = piece.range.and(Range { from: min, to: max });
        if range.is_empty() {
            return Ok(vec![piece]);
        }
        let rows = self.snapshot.count(index, range.from, range.to);
        let rows = rows.map_err(|error| Error::from(error).wrap())?;
        let parts = (rows / PART_ROWS_MIN).min(parts as u64).max(1);
        let width = (i128::from(range.to) - i128::from(range.from)) / i128::from(parts) + 1;
        let mut from = piece.range.from;
        let mut pieces = Vec::with_capacity(parts as usize);
        for part in 1..=parts {
            let end = i128::from(range.from) + width * i128::from(part) - 1;
            let to = match part == parts {
                true => piece.range.to,
                false => end as i64,
            };
            let range = Range { from, to };
            pieces.push(Piece { range, ..piece });
            from = to.saturating_add(1);
        }
        Ok(pieces)
    }

    fn declared(&self) -> PlanProperties {
        let partitions = self.partitions.len().max(1);
        let mut properties = properties(&self.schema, self.ordering(), partitions);
        // Not worth failing for: without it rows may be sorted that are so already.
        let _ = properties.eq_properties.add_constants(self.constants());
        properties
    }

    /// The columns of the key that are the same in all rows, or in those of each partition.
    fn constants(&self) -> Vec<ConstExpr> {
        let one_bucket = self.is_of_one_bucket();
        let constant = |(at, source): (usize, &Source)| {
            let Source::Key(part) = source else {
                return None;
            };
            let across = match self.is_same(*part) {
                true => AcrossPartitions::Uniform(None),
                false if one_bucket => AcrossPartitions::Heterogeneous,
                false => return None,
            };
            let column = ColumnExpr::new(self.schema.field(at).name(), at);
            Some(ConstExpr::new(Arc::new(column), across))
        };
        self.columns
            .iter()
            .enumerate()
            .filter_map(constant)
            .collect()
    }

    /// Whether each partition has rows of one bucket only.
    fn is_of_one_bucket(&self) -> bool {
        self.partitions.iter().all(|pieces| {
            let mut members = pieces.iter().map(|piece| piece.member);
            let first = members.next();
            members.all(|member| Some(member) == first)
        })
    }

    /// How the rows of each partition stand: by key, then by time.
    fn ordering(&self) -> Option<Vec<PhysicalSortExpr>> {
        let one_bucket = self.is_of_one_bucket();
        // Backwards, keys would have to descend too.
        if self.backwards && !one_bucket {
            return None;
        }
        // What is the same everywhere orders nothing: bars of one timeframe are by symbol and time.
        let keys = (0..3).filter(|part| !one_bucket && !self.is_same(*part));
        let wanted = keys.map(Source::Key).chain([Source::Epoch]);
        let mut ordering = Vec::with_capacity(4);
        for source in wanted {
            let Some(at) = self.columns.iter().position(|column| *column == source) else {
                break;
            };
            let column = ColumnExpr::new(self.schema.field(at).name(), at);
            let options = SortOptions {
                descending: self.backwards && source == Source::Epoch,
                nulls_first: false,
            };
            ordering.push(PhysicalSortExpr::new(Arc::new(column), options));
        }
        (!ordering.is_empty()).then_some(ordering)
    }

    /// Whether all buckets have this part of the key in common.
    fn is_same(&self, part: usize) -> bool {
        let infos = self.snapshot.buckets();
        let members = self.wanted.members.iter();
        let mut parts = members.map(|member| key_part(&infos[member.index], part));
        let first = parts.next();
        parts.all(|other| Some(other) == first)
    }

    /// The same rows in one partition, cut into pieces that can be read at the same time.
    pub(crate) fn in_pieces(&self) -> Result<Self> {
        let mut pieces = Vec::new();
        for piece in self.pieces() {
            pieces.extend(self.cut(piece, usize::MAX)?);
        }
        let mut scan = self.clone();
        scan.partitions = Arc::new(vec![pieces]);
        scan.properties = Arc::new(scan.declared());
        Ok(scan)
    }

    /// How many pieces the first partition has.
    pub(crate) fn piece_count(&self) -> usize {
        self.partitions.first().map_or(0, Vec::len)
    }

    /// All rows of a piece of the first partition.
    pub(crate) fn read_piece(&self, piece: usize, rows: usize) -> Result<Vec<RecordBatch>> {
        let mut reader = self.reader(0);
        let pieces = self.partitions.first();
        let piece = pieces.and_then(|pieces| pieces.get(piece).copied());
        reader.pieces = piece.into_iter().collect();
        std::iter::from_fn(|| reader.next(rows).transpose()).collect()
    }

    /// Whether a limit or the order from the newest on says how it is read.
    pub(crate) fn is_plain(&self) -> bool {
        self.wanted.limit.is_none() && !self.backwards
    }

    fn reader(&self, partition: usize) -> Reader {
        let mut pieces = self.partitions.get(partition).cloned().unwrap_or_default();
        // The next one is taken from the end.
        if !self.backwards {
            pieces.reverse();
        }
        Reader {
            scan: self.clone(),
            pieces,
            current: None,
            ready: Vec::new(),
            left: self.wanted.limit.unwrap_or(usize::MAX),
        }
    }

    fn counted(&self) -> Result<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if self.wanted.members.len() > COUNTED_MAX {
            return Ok(statistics);
        }
        let failed = |error: engine::Error| Error::from(error).wrap();
        let range = self.wanted.range;
        let mut rows = 0_u64;
        let mut times: Option<(i64, i64)> = None;
        for member in self.wanted.members.iter() {
            let count = self.snapshot.count(member.index, range.from, range.to);
            let count = count.map_err(failed)?;
            rows += count;
            if count > 0 {
                let [from, to] = self.ends(member.index).map_err(failed)?;
                times = Some(match times {
                    Some((min, max)) => (min.min(from), max.max(to)),
                    None => (from, to),
                });
            }
        }
        let limited = self.wanted.limit.is_some_and(|limit| rows > limit as u64);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        statistics.num_rows = match (limited, self.wanted.limit) {
            (true, Some(limit)) => Precision::Inexact(limit),
            _ => Precision::Exact(rows),
        };
        if !limited && let Some((min, max)) = times {
            for (column, statistics) in self.columns.iter().zip(&mut statistics.column_statistics) {
                if *column == Source::Epoch {
                    *statistics = ColumnStatistics {
                        null_count: Precision::Exact(0),
                        min_value: Precision::Exact(time_value(min)),
                        max_value: Precision::Exact(time_value(max)),
                        ..ColumnStatistics::new_unknown()
                    };
                }
            }
        }
        Ok(statistics)
    }

    /// First and last time of a bucket that has rows in the range.
    fn ends(&self, index: usize) -> Result<[i64; 2], engine::Error> {
        let Range { from, to } = self.wanted.range;
        let range = self.snapshot.time_range(index).unwrap_or((from, to));
        let end = |limit, known: i64| -> Result<i64, engine::Error> {
            if (from..=to).contains(&known) {
                return Ok(known);
            }
            let scan = Scan {
                from,
                to,
                columns: Some(vec![0]),
                limit: Some(limit),
            };
            let row = self.snapshot.scan(index, &scan)?;
            Ok(row.times().first().copied().unwrap_or(known))
        };
        Ok([
            end(Limit::First(1), range.0)?,
            end(Limit::Last(1), range.1)?,
        ])
    }
}

fn properties(
    schema: &SchemaRef,
    ordering: Option<Vec<PhysicalSortExpr>>,
    partitions: usize,
) -> PlanProperties {
    let mut equivalence = EquivalenceProperties::new(schema.clone());
    if let Some(ordering) = ordering {
        equivalence.add_ordering(ordering);
    }
    PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}

impl fmt::Debug for BucketScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketScan({})", self.name)
    }
}

impl DisplayAs for BucketScan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketScan: {}", self.name)?;
        write!(f, ", buckets={}", self.wanted.members.len())?;
        let Range { from, to } = self.wanted.range;
        if from != i64::MIN {
            write!(f, ", from={}", shown(from))?;
        }
        if to != i64::MAX {
            write!(f, ", to={}", shown(to))?;
        }
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        write!(f, ", columns=[{}]", names.collect::<Vec<_>>().join(", "))?;
        if self.partitions.len() > 1 {
            write!(f, ", {} at a time", self.partitions.len())?;
        }
        if let Some(limit) = self.wanted.limit {
            write!(f, ", limit={limit}")?;
        }
        if self.backwards {
            write!(f, ", newest first")?;
        }
        Ok(())
    }
}

fn shown(time: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time)) {
        Ok(time) => time.to_string(),
        Err(_) => time.to_string(),
    }
}

impl ExecutionPlan for BucketScan {
    fn name(&self) -> &str {
        "BucketScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let mut reader = self.reader(partition);
        let batches = std::iter::from_fn(move || reader.next(rows).transpose());
        let batches = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            batches,
        )))
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if args.partition().is_some() && self.partitions.len() > 1 {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        if let Some(known) = self.statistics.get() {
            return Ok(known.clone());
        }
        let counted = Arc::new(self.counted()?);
        Ok(self.statistics.get_or_init(|| counted).clone())
    }

    fn fetch(&self) -> Option<usize> {
        self.wanted.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut scan = self.clone();
        scan.wanted.limit = limit;
        scan.statistics = Arc::default();
        Some(Arc::new(scan))
    }

    /// Time descending is the scan from the other end.
    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let is_time = |sort: &PhysicalSortExpr| {
            let column = (sort.expr.as_ref() as &dyn std::any::Any).downcast_ref::<ColumnExpr>();
            column.is_some_and(|c| self.columns.get(c.index()) == Some(&Source::Epoch))
        };
        let [sort] = order else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        if !is_time(sort) || sort.options.descending == self.backwards {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let mut scan = self.clone();
        scan.backwards = sort.options.descending;
        match scan.ordering() {
            None => Ok(SortOrderPushdownResult::Unsupported),
            Some(_) => {
                scan.properties = Arc::new(scan.declared());
                let inner: Arc<dyn ExecutionPlan> = Arc::new(scan);
                Ok(SortOrderPushdownResult::Exact { inner })
            }
        }
    }
}

/// The rows of one partition as they are asked for.
struct Reader {
    scan: BucketScan,
    /// Still to do; the next is the last.
    pieces: Vec<Piece>,
    current: Option<(usize, Cursor)>,
    /// Batches of the last pull; the next is the last.
    ready: Vec<RecordBatch>,
    left: usize,
}

impl Reader {
    fn next(&mut self, rows: usize) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            let Some((member, cursor)) = &mut self.current else {
                let Some(piece) = self.pieces.pop() else {
                    return Ok(None);
                };
                self.current = Some((piece.member, self.cursor(piece)));
                continue;
            };
            let member = *member;
            let pulled = cursor.next(self.left).map_err(|e| Error::from(e).wrap())?;
            match pulled {
                None => self.current = None,
                Some(batch) => {
                    self.left -= batch.rows();
                    self.ready = self.slices(member, &batch, rows)?;
                }
            }
            if self.left == 0 {
                self.pieces.clear();
                self.current = None;
            }
        }
    }

    fn cursor(&self, piece: Piece) -> Cursor {
        let member = &self.scan.wanted.members[piece.member];
        let mut columns: Vec<usize> = self
            .scan
            .columns
            .iter()
            .filter_map(|source| match source {
                Source::Column(at) => member.columns[*at],
                _ => None,
            })
            .collect();
        if columns.is_empty() {
            // There is no scan without a column: the narrowest costs least.
            let schema = &self.scan.snapshot.buckets()[member.index].schema;
            let size = |at: &usize| schema.columns()[*at].ty.size();
            columns.extend((0..schema.len()).min_by_key(size));
        }
        let range = (piece.range.from, piece.range.to);
        let snapshot = self.scan.snapshot.clone();
        Cursor::new(snapshot, member.index, columns, range, self.scan.backwards)
    }

    /// The batches of a pull, the first one last.
    fn slices(&self, member: usize, batch: &ColumnBatch, rows: usize) -> Result<Vec<RecordBatch>> {
        let whole = self.batch(member, batch)?;
        let count = whole.num_rows();
        let starts = (0..count).step_by(rows.max(1)).rev();
        Ok(starts
            .map(|at| whole.slice(at, rows.min(count - at)))
            .collect())
    }

    fn batch(&self, member: usize, batch: &ColumnBatch) -> Result<RecordBatch> {
        let scan = &self.scan;
        let member = &scan.wanted.members[member];
        let info = &scan.snapshot.buckets()[member.index];
        let rows = batch.rows();
        let mut read = batch.columns().iter();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(scan.columns.len());
        for (source, field) in scan.columns.iter().zip(scan.schema.fields()) {
            arrays.push(match source {
                Source::Key(part) => {
                    let item = StringViewArray::from_iter_values([key_part(info, *part)]);
                    take(&item, &UInt32Array::from_value(0, rows), None)?
                }
                Source::Epoch => times(batch),
                Source::Nanoseconds => {
                    let nanos = batch.times().iter();
                    let nanos = nanos.map(|t| t.rem_euclid(NANOS_PER_SECOND) as i32);
                    Arc::new(Int32Array::from_iter_values(nanos))
                }
                Source::Column(at) => match member.columns[*at] {
                    None => new_null_array(field.data_type(), rows),
                    Some(_) => {
                        let column = read.next();
                        let column = column.ok_or_else(|| failed("a column was not read"))?;
                        let array = arrow_batch::array(column).map_err(|what| {
                            failed(format!("{}: column \"{}\": {what}", info.key, field.name()))
                        })?;
                        fitted(array, field)?
                    }
                },
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(scan.schema.clone(), arrays, &options)?;
        match scan.backwards {
            true => reversed(&batch),
            false => Ok(batch),
        }
    }
}

pub(crate) fn times(batch: &ColumnBatch) -> ArrayRef {
    let array = arrow_batch::time_array(batch);
    let array: TimestampNanosecondArray = array;
    Arc::new(array)
}

pub(crate) fn fitted(array: ArrayRef, field: &Field) -> Result<ArrayRef> {
    match array.data_type() == field.data_type() {
        true => Ok(array),
        false => Ok(cast(&array, field.data_type())?),
    }
}

fn reversed(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = u32::try_from(batch.num_rows()).map_err(|_| failed("a batch is too long"))?;
    let indices = UInt32Array::from_iter_values((0..rows).rev());
    let columns = batch
        .columns()
        .iter()
        .map(|column| take(column, &indices, None));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema: Arc<Schema> = batch.schema();
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

pub(crate) fn failed(what: impl Into<String>) -> DataFusionError {
    Error::failed(what).wrap()
}
