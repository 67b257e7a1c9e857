//! Rows as columns. A column is shared bytes with a type; every typed view is a safe cast, because
//! a column is aligned by construction: bytes that are not are copied once, on the way in.

use std::ops::Range;

use bytes::Bytes;

use crate::scalar::Scalar;
use crate::schema::{ColumnType, RowKind, Schema};

/// A Rust type that is the value of a [`ColumnType`].
pub trait Value: bytemuck::Pod + Send + Sync {
    /// The column type of these values.
    const TYPE: ColumnType;
}

macro_rules! value {
    ($($rust:ty => $ty:ident),*) => { $(impl Value for $rust { const TYPE: ColumnType = ColumnType::$ty; })* };
}
value!(f32 => F32, i32 => I32, f64 => F64, i64 => I64, i8 => I8, i16 => I16,
       u8 => U8, u16 => U16, u32 => U32, u64 => U64, [u32; 16] => Str16);

/// Why columns are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes of a column are not a whole number of values.
    #[error("{bytes} bytes are not a whole number of {ty} values", ty = ty.name())]
    Length {
        /// Type of the column.
        ty: ColumnType,
        /// Bytes given.
        bytes: usize,
    },
    /// A column has another number of rows than time has.
    #[error("column \"{column}\" has {found} rows, Epoch has {expected}")]
    Rows {
        /// Name of the column.
        column: String,
        /// Rows of the column.
        found: usize,
        /// Rows of the time column.
        expected: usize,
    },
    /// The number or the types of the columns are not those of the schema.
    #[error("columns do not fit the schema {0:?}")]
    Schema(Schema),
    /// No conversion between these types.
    #[error("cannot convert {from} to {to}", from = from.name(), to = to.name())]
    Cast {
        /// Type of the values.
        from: ColumnType,
        /// Type wanted.
        to: ColumnType,
    },
}

/// Values of one type: little-endian, aligned, shared. Cheap to clone and to slice.
#[derive(Clone, PartialEq, Eq)]
pub struct Column {
    ty: ColumnType,
    data: Bytes,
}

impl Column {
    /// Takes little-endian bytes as values; copies only if they are not aligned.
    ///
    /// # Errors
    /// If the length is not a multiple of the type's size.
    pub fn new(ty: ColumnType, data: Bytes) -> Result<Self, BatchError> {
        if !data.len().is_multiple_of(ty.size()) {
            return Err(BatchError::Length {
                ty,
                bytes: data.len(),
            });
        }
        Ok(Self {
            ty,
            data: aligned(data, ty.align()),
        })
    }

    /// Takes over a vector of values without a copy.
    pub fn from_values<T: Value>(values: Vec<T>) -> Self {
        Self {
            ty: T::TYPE,
            data: Bytes::from_owner(Values(values)),
        }
    }

    /// A column without rows.
    pub fn empty(ty: ColumnType) -> Self {
        Self {
            ty,
            data: Bytes::new(),
        }
    }

    /// `rows` times the value of a column that rows did not have when they were written: NaN of
    /// floats, zero of integers, empty text.
    pub fn absent(ty: ColumnType, rows: usize) -> Self {
        match ty {
            ColumnType::F32 => Self::from_values(vec![f32::NAN; rows]),
            ColumnType::F64 => Self::from_values(vec![f64::NAN; rows]),
            _ => Self {
                ty,
                data: aligned(vec![0; rows * ty.size()].into(), ty.align()),
            },
        }
    }

    /// Type of the values.
    pub fn ty(&self) -> ColumnType {
        self.ty
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len() / self.ty.size()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The values as little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The values, or `None` if the column has another type.
    pub fn values<T: Value>(&self) -> Option<&[T]> {
        if T::TYPE != self.ty {
            return None;
        }
        // An empty slice may carry any address.
        if self.data.is_empty() {
            return Some(&[]);
        }
        Some(bytemuck::try_cast_slice(&self.data).expect("columns are aligned by construction"))
    }

    /// Rows `range` of the column, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let size = self.ty.size();
        Self {
            ty: self.ty,
            data: self.data.slice(range.start * size..range.end * size),
        }
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &[u32]) -> Self {
        let size = self.ty.size();
        let mut data = Vec::with_capacity(indices.len() * size);
        for index in indices {
            let at = *index as usize * size;
            data.extend_from_slice(&self.data[at..at + size]);
        }
        Self {
            ty: self.ty,
            data: aligned(data.into(), self.ty.align()),
        }
    }

    /// One value.
    ///
    /// # Panics
    /// If `row` is not below [`Column::len`].
    pub fn scalar(&self, row: usize) -> Scalar {
        assert!(row < self.len(), "row {row} of {}", self.len());
        macro_rules! get {
            ($($ty:ident),*) => { match self.ty {
                $(ColumnType::$ty => Scalar::$ty(
                    self.values().expect("the type is the one just matched")[row],
                ),)*
            } };
        }
        get!(F32, I32, F64, I64, I8, I16, U8, U16, U32, U64, Str16)
    }

    /// Converts the values as C does: floats are truncated (and saturate), integers wrap. Text
    /// converts only to itself.
    ///
    /// # Errors
    /// If one of the types is text and the other is not.
    pub fn cast(&self, to: ColumnType) -> Result<Self, BatchError> {
        if self.ty == to {
            return Ok(self.clone());
        }
        macro_rules! from {
            ($($ty:ident = $rust:ty),*) => { match self.ty {
                $(ColumnType::$ty => {
                    let values: &[$rust] = self.values().expect("the type is the one just matched");
                    match to {
                        ColumnType::F32 => Ok(Self::from_values::<f32>(values.iter().map(|v| *v as f32).collect())),
                        ColumnType::I32 => Ok(Self::from_values::<i32>(values.iter().map(|v| *v as i32).collect())),
                        ColumnType::F64 => Ok(Self::from_values::<f64>(values.iter().map(|v| *v as f64).collect())),
                        ColumnType::I64 => Ok(Self::from_values::<i64>(values.iter().map(|v| *v as i64).collect())),
                        ColumnType::I8 => Ok(Self::from_values::<i8>(values.iter().map(|v| *v as i8).collect())),
                        ColumnType::I16 => Ok(Self::from_values::<i16>(values.iter().map(|v| *v as i16).collect())),
                        ColumnType::U8 => Ok(Self::from_values::<u8>(values.iter().map(|v| *v as u8).collect())),
                        ColumnType::U16 => Ok(Self::from_values::<u16>(values.iter().map(|v| *v as u16).collect())),
                        ColumnType::U32 => Ok(Self::from_values::<u32>(values.iter().map(|v| *v as u32).collect())),
                        ColumnType::U64 => Ok(Self::from_values::<u64>(values.iter().map(|v| *v as u64).collect())),
                        ColumnType::Str16 => Err(BatchError::Cast { from: self.ty, to }),
                    }
                })*
                ColumnType::Str16 => Err(BatchError::Cast { from: self.ty, to }),
            } };
        }
        from!(
            F32 = f32,
            I32 = i32,
            F64 = f64,
            I64 = i64,
            I8 = i8,
            I16 = i16,
            U8 = u8,
            U16 = u16,
            U32 = u32,
            U64 = u64
        )
    }
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Column({} x {})", self.ty.name(), self.len())
    }
}

/// Owner of a vector whose bytes are shared.
struct Values<T>(Vec<T>);

impl<T: Value> AsRef<[u8]> for Values<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn aligned(data: Bytes, align: usize) -> Bytes {
    if data.as_ptr().addr().is_multiple_of(align) {
        return data;
    }
    let mut words = vec![0_u64; data.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..data.len()].copy_from_slice(&data);
    Bytes::from_owner(Values(words)).slice(..data.len())
}

/// Rows of one bucket as columns: times (nanoseconds since 1970) and the columns of a schema, all
/// of one length. Cheap to clone and to slice.
#[derive(Clone, PartialEq, Eq)]
pub struct ColumnBatch {
    schema: Schema,
    times: Column,
    columns: Vec<Column>,
}

impl ColumnBatch {
    /// Joins times and columns.
    ///
    /// # Errors
    /// If count or types are not the schema's, or the lengths differ.
    pub fn new(schema: Schema, times: Column, columns: Vec<Column>) -> Result<Self, BatchError> {
        let same_type = |(def, column): (&crate::ColumnDef, &Column)| def.ty == column.ty;
        if times.ty != ColumnType::I64
            || columns.len() != schema.len()
            || !schema.columns().iter().zip(&columns).all(same_type)
        {
            return Err(BatchError::Schema(schema));
        }
        for (def, column) in schema.columns().iter().zip(&columns) {
            if column.len() != times.len() {
                let (found, expected) = (column.len(), times.len());
                return Err(BatchError::Rows {
                    column: def.name.clone(),
                    found,
                    expected,
                });
            }
        }
        Ok(Self {
            schema,
            times,
            columns,
        })
    }

    /// A batch without rows.
    pub fn empty(schema: Schema) -> Self {
        let columns = schema
            .columns()
            .iter()
            .map(|c| Column::empty(c.ty))
            .collect();
        Self {
            schema,
            times: Column::empty(ColumnType::I64),
            columns,
        }
    }

    /// The columns' names and types.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Times in nanoseconds since 1970.
    pub fn times(&self) -> &[i64] {
        self.times
            .values()
            .expect("the time column is I64 by construction")
    }

    /// The time column.
    pub fn time_column(&self) -> &Column {
        &self.times
    }

    /// The columns in the order of the schema.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.schema.position(name).map(|i| &self.columns[i])
    }

    /// Bytes of all values, times included.
    pub fn bytes(&self) -> usize {
        self.times.data.len() + self.columns.iter().map(|c| c.data.len()).sum::<usize>()
    }

    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            schema: self.schema.clone(),
            times: self.times.slice(range.clone()),
            columns: self
                .columns
                .iter()
                .map(|c| c.slice(range.clone()))
                .collect(),
        }
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &[u32]) -> Self {
        Self {
            schema: self.schema.clone(),
            times: self.times.take(indices),
            columns: self.columns.iter().map(|c| c.take(indices)).collect(),
        }
    }

    /// The same columns with other times.
    ///
    /// # Errors
    /// If there are not as many times as rows.
    pub fn with_times(self, times: Vec<i64>) -> Result<Self, BatchError> {
        Self::new(self.schema, Column::from_values(times), self.columns)
    }

    /// The rows as a bucket of `kind` keeps them: ascending in time; of bars with one time only the
    /// last given, of ticks all, in the order given. Returns the batch itself if it is already so.
    pub fn ordered(self, kind: RowKind) -> Self {
        match order(self.times(), kind) {
            None => self,
            Some(indices) => self.take(&indices),
        }
    }
}

impl std::fmt::Debug for ColumnBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnBatch({} rows of {:?})", self.rows(), self.schema)
    }
}

/// The indices of the rows to keep, in order of time; `None` if that is all rows as they stand.
fn order(times: &[i64], kind: RowKind) -> Option<Vec<u32>> {
    let in_order = match kind {
        RowKind::Bar => times.is_sorted_by(|a, b| a < b),
        RowKind::Tick => times.is_sorted(),
    };
    if in_order {
        return None;
    }
    let rows = u32::try_from(times.len()).expect("a batch has less than 2^32 rows");
    let mut indices: Vec<u32> = (0..rows).collect();
    // Stable: equal times keep the order of writing.
    indices.sort_by_key(|i| times[*i as usize]);
    if kind == RowKind::Bar {
        keep_last_of_equal(&mut indices, times);
    }
    Some(indices)
}

fn keep_last_of_equal(indices: &mut Vec<u32>, times: &[i64]) {
    let mut kept = 0;
    for at in 0..indices.len() {
        let next_is_equal = indices
            .get(at + 1)
            .is_some_and(|next| times[*next as usize] == times[indices[at] as usize]);
        if !next_is_equal {
            indices[kept] = indices[at];
            kept += 1;
        }
    }
    indices.truncate(kept);
}

/// Collects rows of batches with one schema into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: Schema,
    times: Vec<i64>,
    columns: Vec<Vec<u8>>,
}

impl BatchBuilder {
    /// An empty builder with room for `rows`.
    pub fn new(schema: Schema, rows: usize) -> Self {
        let columns = schema
            .columns()
            .iter()
            .map(|c| Vec::with_capacity(rows * c.ty.size()));
        Self {
            times: Vec::with_capacity(rows),
            columns: columns.collect(),
            schema,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Appends all rows of a batch.
    ///
    /// # Errors
    /// If the types of its columns are not the builder's.
    pub fn append(&mut self, batch: &ColumnBatch) -> Result<(), BatchError> {
        let same = |(def, column): (&crate::ColumnDef, &Column)| def.ty == column.ty;
        if batch.columns.len() != self.schema.len()
            || !self.schema.columns().iter().zip(&batch.columns).all(same)
        {
            return Err(BatchError::Schema(self.schema.clone()));
        }
        self.times.extend_from_slice(batch.times());
        for (target, source) in self.columns.iter_mut().zip(&batch.columns) {
            target.extend_from_slice(&source.data);
        }
        Ok(())
    }

    /// The batch.
    pub fn finish(self) -> ColumnBatch {
        let types = self.schema.columns().iter().map(|c| c.ty);
        let columns = self.columns.into_iter().zip(types);
        ColumnBatch {
            times: Column::from_values(self.times),
            columns: columns
                .map(|(data, ty)| Column {
                    ty,
                    data: aligned(data.into(), ty.align()),
                })
                .collect(),
            schema: self.schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ColumnDef;

    fn schema() -> Schema {
        let columns = [("Price", ColumnType::F64), ("Size", ColumnType::I32)];
        Schema::new(columns.map(|(name, ty)| ColumnDef::new(name, ty)).to_vec()).unwrap()
    }

    fn batch(times: &[i64]) -> ColumnBatch {
        let prices = (0..times.len()).map(|i| i as f64).collect::<Vec<_>>();
        let sizes = (0..times.len()).map(|i| i as i32).collect::<Vec<_>>();
        let columns = vec![Column::from_values(prices), Column::from_values(sizes)];
        ColumnBatch::new(schema(), Column::from_values(times.to_vec()), columns).unwrap()
    }

    #[test]
    fn unaligned_bytes_are_read_right() {
        let mut raw = vec![0_u8];
        for v in [1.5_f64, -2.25] {
            raw.extend_from_slice(&v.to_le_bytes());
        }
        for start in 0..2 {
            let data = Bytes::from([vec![0; start], raw.clone()].concat()).slice(start + 1..);
            let column = Column::new(ColumnType::F64, data).unwrap();
            assert_eq!(column.values::<f64>(), Some(&[1.5, -2.25][..]));
            assert_eq!(column.values::<i64>(), None);
        }
        assert!(Column::new(ColumnType::F64, Bytes::from(vec![0; 9])).is_err());
    }

    #[test]
    fn bars_keep_the_last_of_equal_times_and_ticks_keep_all() {
        let times = [30, 10, 20, 10, 30, 10];
        let bars = batch(&times).ordered(RowKind::Bar);
        assert_eq!(bars.times(), [10, 20, 30]);
        assert_eq!(
            bars.column("Size").unwrap().values::<i32>(),
            Some(&[5, 2, 4][..])
        );
        let ticks = batch(&times).ordered(RowKind::Tick);
        assert_eq!(ticks.times(), [10, 10, 10, 20, 30, 30]);
        assert_eq!(
            ticks.column("Size").unwrap().values::<i32>(),
            Some(&[1, 3, 5, 2, 0, 4][..])
        );
    }

    #[test]
    fn builder_joins_what_slice_cut() {
        let whole = batch(&[1, 2, 3, 4, 5]);
        let mut builder = BatchBuilder::new(schema(), 5);
        builder.append(&whole.slice(0..2)).unwrap();
        builder.append(&whole.slice(2..2)).unwrap();
        builder.append(&whole.slice(2..5)).unwrap();
        assert_eq!(builder.finish(), whole);
        assert_eq!(whole.slice(1..3).columns()[1].scalar(1), Scalar::I32(2));
    }

    #[test]
    fn casts_are_those_of_c_and_text_stays_text() {
        let column = Column::from_values(vec![1.9_f64, -1.9, 300.0]);
        let ints = column.cast(ColumnType::I32).unwrap();
        assert_eq!(ints.values::<i32>(), Some(&[1, -1, 300][..]));
        let bytes = ints.cast(ColumnType::U8).unwrap();
        assert_eq!(bytes.values::<u8>(), Some(&[1, 255, 44][..]));
        assert!(column.cast(ColumnType::Str16).is_err());
    }

    #[test]
    fn lengths_and_types_must_fit() {
        let times = Column::from_values(vec![1_i64, 2]);
        let price = Column::from_values(vec![1.0_f64, 2.0]);
        let short = Column::from_values(vec![1_i32]);
        let error = ColumnBatch::new(schema(), times.clone(), vec![price.clone(), short]);
        assert!(matches!(
            error,
            Err(BatchError::Rows {
                found: 1,
                expected: 2,
                ..
            })
        ));
        let error = ColumnBatch::new(schema(), times, vec![price.clone(), price]);
        assert!(matches!(error, Err(BatchError::Schema(_))));
    }
}
