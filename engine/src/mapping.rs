//! Rows of one schema version as rows of another, by column numbers.
//!
//! A dropped column vanishes, a widened one is cast, one that was added later has the absent value
//! ([`Column::absent`]) of the type that it was added with, cast; a renamed column keeps its number and needs nothing.

use model::{Column, ColumnBatch, ColumnType, Schema};

use crate::catalog::BucketInfo;
use crate::tail;

/// Where the columns of the wanted schema come from.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    /// For each column wanted: its position in the source, or the type of its absent value.
    columns: Vec<Result<usize, ColumnType>>,
    schema: Schema,
}

impl Mapping {
    /// All columns of `to`.
    pub(crate) fn new(from: &BucketInfo, to: &BucketInfo) -> Self {
        let all: Vec<usize> = (0..to.schema.len()).collect();
        Self::project(from, to, &all, to.schema.clone())
    }

    /// Those columns of `to` that `schema` has, in its order.
    pub(crate) fn project(
        from: &BucketInfo,
        to: &BucketInfo,
        columns: &[usize],
        schema: Schema,
    ) -> Self {
        let find = |wanted: &usize| {
            let id = to.column_ids[*wanted];
            let found = from.column_ids.iter().position(|found| *found == id);
            found.ok_or(to.first_types[*wanted])
        };
        Self {
            columns: columns.iter().map(find).collect(),
            schema,
        }
    }

    /// Positions in the source of the columns to read for [`Mapping::finish`], with their schema.
    /// If none of those wanted is there, one that is not wanted: a batch has a column.
    pub(crate) fn sources(&self, from: &Schema) -> (Vec<usize>, Schema) {
        let mut read: Vec<usize> = self.columns.iter().filter_map(|at| at.ok()).collect();
        if read.is_empty() {
            read.push(0);
        }
        let defs = read.iter().map(|index| from.columns()[*index].clone());
        let schema = Schema::new(defs.collect()).expect("columns of a schema, each once");
        (read, schema)
    }

    /// The wanted rows from a batch of the columns that [`Mapping::sources`] named.
    pub(crate) fn finish(&self, read: &ColumnBatch) -> ColumnBatch {
        let mut present = read.columns().iter();
        let sources = self.columns.iter().map(|source| match source {
            Ok(_) => Ok(present.next().expect("the batch has the columns named")),
            Err(ty) => Err(*ty),
        });
        self.assemble(read, sources)
    }

    /// The wanted rows from a batch of all columns of the source.
    pub(crate) fn map(&self, batch: &ColumnBatch) -> ColumnBatch {
        let columns = self.columns.iter();
        let sources = columns.map(|source| source.map(|index| &batch.columns()[index]));
        self.assemble(batch, sources)
    }

    fn assemble<'a>(
        &self,
        batch: &ColumnBatch,
        sources: impl Iterator<Item = Result<&'a Column, ColumnType>>,
    ) -> ColumnBatch {
        let wanted = self.schema.columns().iter();
        let columns = wanted.zip(sources).map(|(def, source)| match source {
            Ok(column) => cast(column, def.ty),
            Err(ty) => cast(&Column::absent(ty, batch.rows()), def.ty),
        });
        let columns = columns.collect();
        tail::batch(&self.schema, batch.time_column().clone(), columns)
    }
}

fn cast(column: &Column, ty: ColumnType) -> Column {
    let cast = column.cast(ty);
    cast.expect("a column only ever becomes wider, and text stays text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BucketId;
    use model::{BucketKey, ColumnDef, RowKind, Timeframe};

    fn info(columns: &[(u16, &str, ColumnType)]) -> BucketInfo {
        let defs = columns
            .iter()
            .map(|(_, name, ty)| ColumnDef::new(*name, *ty));
        let first = BucketInfo::new(
            BucketId(1),
            BucketKey::parse("A/1Min/B").unwrap(),
            Timeframe::parse("1Min").unwrap(),
            RowKind::Tick,
            Schema::new(defs.collect()).unwrap(),
        );
        BucketInfo {
            column_ids: columns.iter().map(|(id, ..)| *id).collect(),
            first_types: columns.iter().map(|(.., ty)| *ty).collect(),
            next_column: 9,
            ..first
        }
    }

    /// Number 0 is dropped, 1 widened and renamed, 5 is new; the order changes.
    #[test]
    fn columns_are_found_by_number() {
        let old = info(&[(0, "A", ColumnType::F32), (1, "B", ColumnType::I16)]);
        let new = info(&[(5, "A", ColumnType::F64), (1, "C", ColumnType::I64)]);
        let times = Column::from_values(vec![1_i64, 2]);
        let columns = vec![
            Column::from_values(vec![0.5_f32, 1.5]),
            Column::from_values(vec![-7_i16, 8]),
        ];
        let batch = ColumnBatch::new(old.schema.clone(), times, columns).unwrap();
        let whole = Mapping::new(&old, &new);
        let mapped = whole.map(&batch);
        assert_eq!(mapped.schema(), &new.schema);
        assert_eq!(mapped.times(), [1, 2]);
        let absent = mapped.columns()[0].values::<f64>().unwrap();
        assert!(absent.iter().all(|value| value.is_nan()));
        assert_eq!(mapped.columns()[1].values::<i64>(), Some(&[-7_i64, 8][..]));

        let (read, schema) = whole.sources(&old.schema);
        assert_eq!((read.as_slice(), schema.len()), (&[1][..], 1));
        let part = tail::project(&batch, 0..2, &read, &schema);
        assert!(whole.finish(&part).columns()[1] == mapped.columns()[1]);

        // Only what is not there.
        let schema = Schema::new(vec![new.schema.columns()[0].clone()]).unwrap();
        let none = Mapping::project(&old, &new, &[0], schema);
        let (read, schema) = none.sources(&old.schema);
        let part = tail::project(&batch, 0..2, &read, &schema);
        let found = none.finish(&part);
        assert_eq!((found.columns().len(), found.rows()), (1, 2));
    }
}
