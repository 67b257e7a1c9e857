//! Rows on their way across: lent as they lie, copied once by the side that keeps them.

use std::ffi::c_void;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Timeframe};
use plugin_abi::{Batch, COL_TIME, Col, Str};

use super::buf;
use crate::error::{Code, PluginError};

const TIME: &str = "Epoch";

/// Batches of one schema as C sees them: only the pointers to the values change.
pub struct View {
    /// Owns the names that `cols` points to.
    schema: Schema,
    version: u32,
    cols: Vec<Col>,
    /// Copies of columns that do not begin on a multiple of 8.
    copies: Vec<Column>,
}

// SAFETY: the pointers lead to names that `schema` owns and never changes, and to values of a batch
// that is borrowed while they are used.
unsafe impl Send for View {}

impl View {
    /// Of batches with this schema; `version` is what `schema_version` says.
    pub fn new(schema: &Schema, version: u32) -> Self {
        let col = |name: &str, ty: ColumnType, flags: u16| Col {
            ty: ty.code().into(),
            flags,
            elem_bytes: ty.size() as u32,
            name: Str::of(name.as_bytes()),
            data: std::ptr::null(),
        };
        let mut cols = Vec::with_capacity(1 + schema.len());
        cols.push(col(TIME, ColumnType::I64, COL_TIME));
        cols.extend(schema.columns().iter().map(|def| col(&def.name, def.ty, 0)));
        Self {
            schema: schema.clone(),
            version,
            cols,
            copies: Vec::new(),
        }
    }

    /// The schema of its batches.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Calls `with` with a batch of this schema.
    pub fn lend<R>(
        &mut self,
        key: &str,
        kind: RowKind,
        rows: &ColumnBatch,
        with: impl FnOnce(&Batch) -> R,
    ) -> R {
        debug_assert_eq!(*rows.schema(), self.schema);
        self.copies.clear();
        let columns = std::iter::once(rows.time_column()).chain(rows.columns());
        for (col, column) in self.cols.iter_mut().zip(columns) {
            col.data = Self::place(&mut self.copies, column);
        }
        let batch = Batch {
            size: size_of::<Batch>() as u32,
            ncols: self.cols.len() as u32,
            nrows: rows.rows() as u64,
            cols: self.cols.as_ptr(),
            key: Str::of(key.as_bytes()),
            row_kind: kind.code().into(),
            schema_version: self.version,
        };
        with(&batch)
    }

    fn place(copies: &mut Vec<Column>, column: &Column) -> *const c_void {
        let data = column.bytes().as_ptr();
        if data.addr().is_multiple_of(8) || column.is_empty() {
            return data.cast();
        }
        // Words are aligned, and little-endian like the values; what is behind those is never read.
        let bytes = column.bytes();
        let words = bytes.chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(word)
        });
        copies.push(Column::from_values::<u64>(words.collect()));
        copies.last().map_or(std::ptr::null(), |copy| {
            copy.bytes().as_ptr().cast::<c_void>()
        })
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({:?})", self.schema)
    }
}

/// Takes over batches of the other side; keeps what neighbouring ones have in common.
#[derive(Debug, Default)]
pub struct Reader {
    schema: Option<Schema>,
    key: Option<(BucketKey, Timeframe)>,
}

impl Reader {
    /// Copies the rows. Columns of unknown types are left out if `lenient`.
    ///
    /// # Errors
    /// If it is no batch.
    ///
    /// # Safety
    /// `batch` and what it points to are as lent by the other side, for this call.
    pub unsafe fn rows(
        &mut self,
        batch: &Batch,
        lenient: bool,
    ) -> Result<(RowKind, ColumnBatch), PluginError> {
        let kind = u8::try_from(batch.row_kind)
            .ok()
            .and_then(RowKind::from_code)
            .ok_or_else(|| bad(format!("row_kind {}", batch.row_kind)))?;
        let count = batch.ncols as usize;
        if count == 0 || batch.cols.is_null() || count > model::COLUMNS_MAX + 1 {
            return Err(bad(format!("{count} columns")));
        }
        // SAFETY: promised by the caller.
        let cols = unsafe { std::slice::from_raw_parts(batch.cols, count) };
        let known = |col: &&Col| !lenient || type_of(col).is_some();
        let rows = usize::try_from(batch.nrows).map_err(|_| bad("nrows"))?;
        let mut columns = Vec::with_capacity(count);
        // SAFETY: promised by the caller.
        unsafe { copy(cols.iter().filter(known), rows, &mut columns)? };
        let mut columns = columns.into_iter();
        let times = columns.next().ok_or_else(|| bad("no time column"))?;
        if cols[0].flags & COL_TIME == 0 || times.ty() != ColumnType::I64 {
            return Err(bad(
                "the first column is not that of the times (MKTS_COL_TIME, MKTS_TYPE_I64)",
            ));
        }
        // SAFETY: promised by the caller.
        let schema = unsafe { self.schema(cols[1..].iter().filter(known))? };
        ColumnBatch::new(schema, times, columns.collect())
            .map(|batch| (kind, batch))
            .map_err(|error| bad(error.to_string()))
    }

    /// The schema of columns; that of the batch before if it is the same.
    unsafe fn schema<'a>(
        &mut self,
        cols: impl Iterator<Item = &'a Col> + Clone,
    ) -> Result<Schema, PluginError> {
        // SAFETY: promised by the caller.
        let parts = cols.map(|col| unsafe { (buf::text(&col.name), type_of(col)) });
        if let Some(last) = &self.schema {
            let same = last.columns().iter();
            let same = same.map(|def| (Some(def.name.as_str()), Some(def.ty)));
            if same.eq(parts.clone()) {
                return Ok(last.clone());
            }
        }
        let defs = parts.map(|(name, ty)| {
            let name = name.ok_or_else(|| bad("a column's name is no UTF-8"))?;
            let ty = ty.ok_or_else(|| bad(format!("column \"{name}\" has an unknown type")))?;
            Ok(ColumnDef::new(name, ty))
        });
        let defs = defs.collect::<Result<_, PluginError>>()?;
        let schema = Schema::new(defs).map_err(|error| bad(error.to_string()))?;
        self.schema = Some(schema.clone());
        Ok(schema)
    }

    /// The bucket key and its timeframe.
    ///
    /// # Errors
    /// If it is none.
    ///
    /// # Safety
    /// `key` is as lent by the other side, for this call.
    pub unsafe fn key(&mut self, key: &Str) -> Result<&(BucketKey, Timeframe), PluginError> {
        // SAFETY: promised by the caller.
        let text = unsafe { buf::text(key) }.ok_or_else(|| bad("the key is no UTF-8"))?;
        let last = self.key.take().filter(|(key, _)| key.as_str() == text);
        let parsed = match last {
            Some(last) => last,
            None => {
                let key = BucketKey::parse(text).map_err(|error| bad(error.to_string()))?;
                let timeframe = Timeframe::parse(key.timeframe())
                    .map_err(|error| bad(format!("{key}: {error}")))?;
                (key, timeframe)
            }
        };
        Ok(self.key.insert(parsed))
    }
}

/// Copies columns into one piece of memory.
unsafe fn copy<'a>(
    cols: impl Iterator<Item = &'a Col> + Clone,
    rows: usize,
    columns: &mut Vec<Column>,
) -> Result<(), PluginError> {
    let mut words = 0_usize;
    for col in cols.clone() {
        let ty = type_of(col).ok_or_else(|| bad(format!("a column of type {}", col.ty)))?;
        if col.data.is_null() && rows > 0 {
            return Err(bad("a column without data"));
        }
        let bytes = rows.checked_mul(ty.size());
        words = bytes
            .and_then(|bytes| words.checked_add(bytes.div_ceil(8)))
            .filter(|words| *words <= isize::MAX as usize / 8)
            .ok_or_else(|| bad(format!("{rows} rows")))?;
    }
    let mut memory = vec![0_u64; words];
    let mut at = 0;
    for col in cols.clone() {
        let bytes = rows * col.elem_bytes as usize;
        if bytes > 0 {
            let target = memory[at..at + bytes.div_ceil(8)].as_mut_ptr();
            // SAFETY: `bytes` fit behind `target`; the other side promises as many at `data`.
            unsafe {
                std::ptr::copy_nonoverlapping(col.data.cast::<u8>(), target.cast::<u8>(), bytes);
            }
        }
        at += bytes.div_ceil(8);
    }
    let memory = Column::from_values(memory).bytes().clone();
    let mut at = 0;
    for col in cols {
        let bytes = rows * col.elem_bytes as usize;
        let ty = type_of(col).ok_or_else(|| bad("a column of an unknown type"))?;
        let column = Column::new(ty, memory.slice(at..at + bytes));
        columns.push(column.map_err(|error| bad(error.to_string()))?);
        at += bytes.div_ceil(8) * 8;
    }
    Ok(())
}

/// The type of a column, if it is one we know and says so itself.
fn type_of(col: &Col) -> Option<ColumnType> {
    let ty = ColumnType::from_code(u8::try_from(col.ty).ok()?)?;
    (col.elem_bytes as usize == ty.size()).then_some(ty)
}

fn bad(what: impl std::fmt::Display) -> PluginError {
    PluginError::new(Code::Error, format!("a batch cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: usize) -> ColumnBatch {
        let schema = Schema::new(vec![
            ColumnDef::new("Small", ColumnType::I16),
            ColumnDef::new("Text", ColumnType::Str16),
            ColumnDef::new("Price", ColumnType::F32),
        ])
        .unwrap();
        let columns = vec![
            Column::from_values((0..rows as i16).collect()),
            Column::from_values((0..rows as u32).map(|i| [i; 16]).collect()),
            Column::from_values((0..rows).map(|i| i as f32).collect()),
        ];
        let times = Column::from_values((0..rows as i64).collect());
        ColumnBatch::new(schema, times, columns).unwrap()
    }

    fn round(rows: &ColumnBatch) -> ColumnBatch {
        let mut view = View::new(rows.schema(), 3);
        let mut reader = Reader::default();
        view.lend("A/1Min/X", RowKind::Tick, rows, |batch| {
            assert_eq!(batch.schema_version, 3);
            // SAFETY: a batch of `lend`, while it is lent.
            unsafe {
                let cols = std::slice::from_raw_parts(batch.cols, batch.ncols as usize);
                for col in cols.iter().filter(|_| batch.nrows > 0) {
                    assert!(col.data.addr().is_multiple_of(8));
                }
                assert_eq!(reader.key(&batch.key).unwrap().0.as_str(), "A/1Min/X");
                let (kind, read) = reader.rows(batch, false).unwrap();
                assert_eq!(kind, RowKind::Tick);
                read
            }
        })
    }

    #[test]
    fn rows_cross_as_they_are() {
        for rows in [0, 1, 7, 1000] {
            let whole = batch(rows);
            assert_eq!(round(&whole), whole);
        }
        // Slices begin anywhere, but C sees them on a multiple of 8.
        let slice = batch(20).slice(3..9);
        assert_eq!(round(&slice), slice);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let rows = batch(2);
        let mut view = View::new(rows.schema(), 0);
        let mut refused = |change: fn(&mut Batch, &mut [Col])| {
            let mut text = String::new();
            view.lend("A/1Min/X", RowKind::Bar, &rows, |batch| {
                let mut batch = *batch;
                // SAFETY: a batch of `lend`, while it is lent.
                unsafe {
                    let cols = std::slice::from_raw_parts(batch.cols, batch.ncols as usize);
                    let mut cols = cols.to_vec();
                    change(&mut batch, &mut cols);
                    batch.cols = cols.as_ptr();
                    text = match Reader::default().rows(&batch, false) {
                        Ok(_) => "accepted".into(),
                        Err(error) => error.text,
                    };
                }
            });
            text
        };
        assert!(refused(|b, _| b.row_kind = 7).contains("row_kind 7"));
        assert!(refused(|b, _| b.ncols = 0).contains("0 columns"));
        assert!(refused(|b, _| b.nrows = u64::MAX).contains("rows"));
        assert!(refused(|_, c| c[0].flags = 0).contains("first column"));
        assert!(refused(|_, c| c[1].ty = 99).contains("type 99"));
        assert!(refused(|_, c| c[1].elem_bytes = 8).contains("type 9"));
        assert!(refused(|_, c| c[1].data = std::ptr::null()).contains("without data"));
        assert!(refused(|_, c| c[2].name = c[1].name).contains("given twice"));
        assert!(refused(|_, _| {}).contains("accepted"));
    }
}
