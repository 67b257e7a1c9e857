//! One bucket, or all that match a pattern, as a table.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, BooleanArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use engine::{BucketInfo, Snapshot};
use model::{ColumnType, RowKind};

use crate::Error;
use crate::plan::Threads;
use crate::range::{Range, bounds};
use crate::scan::{BucketScan, Wanted};
use crate::times::time_type;
use crate::zones::{Columns, Zones};

pub(crate) use arrow_batch::{EPOCH, KEY_COLUMNS, data_type};

/// The column that tables of ticks have in MarketStore's dialect.
pub(crate) const NANOSECONDS: &str = "Nanoseconds";

/// Where a column of the table comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Symbol, timeframe, attribute group.
    Key(usize),
    Epoch,
    /// Position among the columns of all members.
    Column(usize),
    /// Of the second.
    Nanoseconds,
}

/// A bucket of a table.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Position in the snapshot.
    pub(crate) index: usize,
    /// For each data column of the table its position in the bucket's schema, if it has one. Shared
    /// by members of one schema.
    pub(crate) columns: Arc<[Option<usize>]>,
}

/// One bucket, or all that match a pattern, at one LSN.
pub(crate) struct BucketTable {
    pub(crate) name: String,
    pub(crate) snapshot: Arc<Snapshot>,
    /// In the order of symbol, timeframe, attribute group.
    pub(crate) members: Arc<[Member]>,
    pub(crate) schema: SchemaRef,
    pub(crate) sources: Vec<Source>,
    /// Whether it has the columns of the key.
    pub(crate) keyed: bool,
}

impl fmt::Debug for BucketTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketTable({})", self.name)
    }
}

impl BucketTable {
    /// A table over the buckets at `indices` of the snapshot. `nanoseconds`: ticks have such a column.
    pub(crate) fn new(
        name: &str,
        snapshot: Arc<Snapshot>,
        indices: Vec<usize>,
        keyed: bool,
        nanoseconds: bool,
    ) -> Result<Self, Error> {
        let infos = snapshot.buckets();
        let union = Union::of(indices.iter().map(|index| &infos[*index]))?;
        let (fields, sources) = columns(&union, keyed, nanoseconds);
        let members = members(&indices, infos, &union);
        Ok(Self {
            name: name.to_owned(),
            members,
            schema: Arc::new(Schema::new(fields)),
            sources,
            keyed,
            snapshot,
        })
    }

    /// The bucket of a member.
    pub(crate) fn info(&self, member: &Member) -> &BucketInfo {
        &self.snapshot.buckets()[member.index]
    }

    fn columns(&self) -> Columns<'_> {
        Columns {
            schema: &self.schema,
            sources: &self.sources,
        }
    }

    /// Whether a filter speaks of keys only, so that it decides about buckets as a whole.
    fn is_about_keys(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        self.keyed
            && !columns.is_empty()
            && !filter.is_volatile()
            && columns.iter().all(|c| {
                let position = self.schema.index_of(&c.name);
                position.is_ok_and(|at| matches!(self.sources[at], Source::Key(_)))
            })
    }

    /// The members whose keys pass the filters.
    pub(crate) fn chosen(&self, state: &dyn Session, filters: &[Expr]) -> Result<Arc<[Member]>> {
        let about_keys = filters.iter().filter(|f| self.is_about_keys(f)).cloned();
        let Some(filter) = conjunction(about_keys) else {
            return Ok(self.members.clone());
        };
        let keys = self.keys()?;
        let schema = DFSchema::try_from(keys.schema())?;
        let filter = unqualified(filter)?;
        let passes = state.create_physical_expr(filter, &schema)?;
        let passes = passes.evaluate(&keys)?.into_array(keys.num_rows())?;
        let passes = passes.as_any().downcast_ref::<BooleanArray>();
        let passes = passes.ok_or_else(|| internal_datafusion_err!("a filter is no boolean"))?;
        let chosen = self.members.iter().zip(passes);
        let chosen = chosen.filter(|(_, passes)| *passes == Some(true));
        Ok(chosen.map(|(member, _)| member.clone()).collect())
    }

    /// The keys of all members, as rows of the table's columns of the key.
    fn keys(&self) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(3);
        let mut arrays: Vec<Arc<dyn Array>> = Vec::with_capacity(3);
        for (position, source) in self.sources.iter().enumerate() {
            let Source::Key(part) = source else { continue };
            fields.push(self.schema.field(position).clone());
            let items = self.members.iter().map(|m| key_part(self.info(m), *part));
            arrays.push(Arc::new(StringViewArray::from_iter_values(items)));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}

/// Symbol, timeframe or attribute group.
pub(crate) fn key_part(info: &BucketInfo, part: usize) -> &str {
    match part {
        0 => info.key.symbol(),
        1 => info.key.timeframe(),
        _ => info.key.attribute_group(),
    }
}

fn unqualified(expr: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let plain = expr.transform(|expr| match expr {
        Expr::Column(column) if column.relation.is_some() => {
            let column = Column::from_name(column.name);
            Ok(Transformed::yes(Expr::Column(column)))
        }
        expr => Ok(Transformed::no(expr)),
    });
    plain.map(|plain| plain.data)
}

/// The columns of several buckets, joined by name.
struct Union<'a> {
    columns: Vec<(&'a str, ColumnType, usize)>,
    buckets: usize,
    ticks: bool,
}

impl<'a> Union<'a> {
    fn of(infos: impl Iterator<Item = &'a Arc<BucketInfo>>) -> Result<Self, Error> {
        let mut union = Self {
            columns: Vec::new(),
            buckets: 0,
            ticks: false,
        };
        let mut last: Option<&Arc<BucketInfo>> = None;
        let mut positions: foldhash::HashMap<&str, usize> = Default::default();
        for info in infos {
            union.buckets += 1;
            union.ticks |= info.kind == RowKind::Tick;
            let same = last.is_some_and(|last| last.schema == info.schema);
            last = Some(info);
            for def in info.schema.columns() {
                let at = *positions.entry(&def.name).or_insert_with(|| {
                    union.columns.push((&def.name, def.ty, 0));
                    union.columns.len() - 1
                });
                let (name, ty, count) = &mut union.columns[at];
                *count += 1;
                if !same && *ty != def.ty {
                    *ty = widened(*ty, def.ty).ok_or_else(|| {
                        Error::invalid(format!(
                            "column \"{name}\" is {} in {} and {} in another bucket of the pattern",
                            def.ty.name(),
                            info.key,
                            ty.name()
                        ))
                        .with_hint("narrow the pattern")
                    })?;
                }
            }
        }
        Ok(union)
    }
}

/// The least type that holds the values of both.
fn widened(a: ColumnType, b: ColumnType) -> Option<ColumnType> {
    use ColumnType::{F32, F64, I8, I16, I32, I64, Str16, U8, U16, U32, U64};
    let signed = |ty| match ty {
        I8 | U8 => 1,
        I16 | U16 => 2,
        I32 | U32 => 4,
        _ => 8,
    };
    Some(match (a, b) {
        (a, b) if a == b => a,
        (Str16, _) | (_, Str16) => return None,
        // Every value of 8 or 16 bits has its f32.
        (F32, I8 | I16 | U8 | U16) | (I8 | I16 | U8 | U16, F32) => F32,
        (F32 | F64, _) | (_, F32 | F64) => F64,
        (U8 | U16 | U32 | U64, U8 | U16 | U32 | U64) => match signed(a).max(signed(b)) {
            2 => U16,
            4 => U32,
            _ => U64,
        },
        // No integer holds both.
        (U64, _) | (_, U64) => F64,
        _ => {
            let unsigned = |ty| matches!(ty, U8 | U16 | U32);
            let bytes = |ty| signed(ty) * if unsigned(ty) { 2 } else { 1 };
            match bytes(a).max(bytes(b)) {
                1 => I8,
                2 => I16,
                4 => I32,
                _ => I64,
            }
        }
    })
}

fn columns(union: &Union<'_>, keyed: bool, nanoseconds: bool) -> (Vec<Field>, Vec<Source>) {
    let mut fields = Vec::with_capacity(union.columns.len() + 5);
    let mut sources = Vec::with_capacity(fields.capacity());
    if keyed {
        for (part, name) in KEY_COLUMNS.iter().enumerate() {
            fields.push(Field::new(*name, DataType::Utf8View, false));
            sources.push(Source::Key(part));
        }
    }
    fields.push(Field::new(EPOCH, time_type(), false));
    sources.push(Source::Epoch);
    for (position, (name, ty, count)) in union.columns.iter().enumerate() {
        let taken = fields.iter().any(|field| field.name() == name);
        let name = match taken {
            // A column named like one of the key.
            true => format!("{name}_1"),
            false => (*name).to_owned(),
        };
        let nullable = *count < union.buckets;
        fields.push(Field::new(name, data_type(*ty), nullable));
        sources.push(Source::Column(position));
    }
    let taken = fields.iter().any(|field| field.name() == NANOSECONDS);
    if nanoseconds && union.ticks && !taken {
        fields.push(Field::new(NANOSECONDS, DataType::Int32, false));
        sources.push(Source::Nanoseconds);
    }
    (fields, sources)
}

fn members(indices: &[usize], infos: &[Arc<BucketInfo>], union: &Union<'_>) -> Arc<[Member]> {
    let mut sorted = indices.to_vec();
    let key = |index: &usize| {
        let key = &infos[*index].key;
        (key.symbol(), key.timeframe(), key.attribute_group())
    };
    sorted.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut last: Option<(usize, Arc<[Option<usize>]>)> = None;
    let member = |index: usize| {
        let schema = &infos[index].schema;
        let columns = match &last {
            Some((at, columns)) if infos[*at].schema == *schema => columns.clone(),
            _ => {
                let positions = union.columns.iter().map(|c| schema.position(c.0));
                positions.collect()
            }
        };
        last = Some((index, Arc::clone(&columns)));
        Member { index, columns }
    };
    sorted.into_iter().map(member).collect()
}

#[async_trait]
impl TableProvider for BucketTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        use TableProviderFilterPushDown::{Exact, Inexact, Unsupported};
        let kind = |filter: &&Expr| {
            let bounds = bounds(filter);
            match bounds.exact || self.is_about_keys(filter) {
                true => Exact,
                false if bounds.range != Range::ALL => Inexact,
                false if self.columns().understands(filter) => Inexact,
                false => Unsupported,
            }
        };
        Ok(filters.iter().map(kind).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let ranges = filters.iter().map(|filter| bounds(filter).range);
        let range = ranges.fold(Range::ALL, Range::and);
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.sources.len()).collect(),
        };
        let wanted = Wanted {
            members: self.chosen(state, filters)?,
            columns,
            range,
            limit,
            zones: Zones::of(filters, self.columns()),
        };
        let partitions = state.config().target_partitions();
        let threads = state.config().get_extension::<Threads>();
        let threads = threads.map_or(1, |threads| threads.0);
        let scan = BucketScan::new(self, wanted, partitions, threads)?;
        Ok(Arc::new(scan))
    }
}
