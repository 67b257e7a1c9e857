//! Rows and schemas as they travel; plugin.proto says how the bytes lie.

use std::collections::HashMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::v1;

/// What is wrong with bytes that came over a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(String);

fn wrong(text: impl Into<String>) -> WireError {
    WireError(text.into())
}

/// Bytes of `len` with the padding behind them.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// Bytes of the rows of a batch on the wire.
pub fn encoded_len(batch: &ColumnBatch) -> usize {
    let columns = batch.columns().iter();
    let values: usize = columns.map(|c| padded(c.bytes().len())).sum();
    8 + batch.rows() * 8 + values
}

/// The rows of a batch as a `rows` field.
pub fn encode_rows(batch: &ColumnBatch) -> Bytes {
    let mut out = BytesMut::with_capacity(encoded_len(batch));
    out.put_u64_le(batch.rows() as u64);
    out.put_slice(batch.time_column().bytes());
    for column in batch.columns() {
        let bytes = column.bytes();
        out.put_slice(bytes);
        out.put_bytes(0, padded(bytes.len()) - bytes.len());
    }
    out.freeze()
}

/// A `rows` field as a batch; its columns are slices of it where alignment allows.
///
/// # Errors
/// If the bytes are not those of such rows.
pub fn decode_rows(schema: &Schema, bytes: &Bytes) -> Result<ColumnBatch, WireError> {
    let head = bytes
        .first_chunk::<8>()
        .ok_or_else(|| wrong(format!("rows of {} bytes have no count", bytes.len())))?;
    let rows = u64::from_le_bytes(*head);
    let row_bytes = schema.row_bytes();
    let rows = usize::try_from(rows)
        .ok()
        .filter(|rows| {
            rows.checked_mul(row_bytes)
                .is_some_and(|n| n <= bytes.len())
        })
        .ok_or_else(|| wrong(format!("{rows} rows do not fit {} bytes", bytes.len())))?;
    let mut at = 8;
    let mut part = |ty: ColumnType| {
        let len = rows * ty.size();
        let end = at + len;
        if end > bytes.len() {
            return Err(wrong(format!("rows end at byte {} of {end}", bytes.len())));
        }
        let column = Column::new(ty, bytes.slice(at..end));
        at += padded(len);
        column.map_err(|error| wrong(error.to_string()))
    };
    let times = part(ColumnType::I64)?;
    let columns = schema.columns().iter().map(|column| part(column.ty));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    if at != bytes.len() {
        return Err(wrong(format!("rows end at byte {at} of {}", bytes.len())));
    }
    ColumnBatch::new(schema.clone(), times, columns).map_err(|error| wrong(error.to_string()))
}

/// Numbers the schemas that one side sends.
#[derive(Debug, Default)]
pub struct Sent {
    known: Vec<(RowKind, Schema)>,
    /// The one used last: mostly the next one, too.
    last: usize,
}

impl Sent {
    /// The id of a schema, and its message if the other side has not seen it.
    pub fn id(&mut self, kind: RowKind, schema: &Schema) -> (u32, Option<v1::Schema>) {
        let is_it = |known: &(RowKind, Schema)| known.0 == kind && known.1 == *schema;
        if !self.known.get(self.last).is_some_and(is_it) {
            match self.known.iter().position(is_it) {
                Some(at) => self.last = at,
                None => {
                    self.last = self.known.len();
                    self.known.push((kind, schema.clone()));
                    return (
                        number(self.last),
                        Some(message(number(self.last), kind, schema)),
                    );
                }
            }
        }
        (number(self.last), None)
    }
}

/// Ids begin at 1: 0 is a field that was forgotten.
fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// A schema as it travels.
pub fn message(id: u32, kind: RowKind, schema: &Schema) -> v1::Schema {
    let columns = schema.columns().iter().map(|column| v1::schema::Column {
        name: column.name.clone(),
        r#type: u32::from(column.ty.code()),
    });
    v1::Schema {
        id,
        kind: u32::from(kind.code()),
        columns: columns.collect(),
    }
}

/// A schema that came.
///
/// # Errors
/// If it has an unknown type or kind, or is no legal schema.
pub fn schema(message: &v1::Schema) -> Result<(RowKind, Schema), WireError> {
    let small = |number: u32| u8::try_from(number).ok();
    let kind = small(message.kind).and_then(RowKind::from_code);
    let kind = kind.ok_or_else(|| wrong(format!("no kind of rows has number {}", message.kind)))?;
    let columns = message.columns.iter().map(|column| {
        let ty = small(column.r#type).and_then(ColumnType::from_code);
        let ty = ty.ok_or_else(|| wrong(format!("no column type has number {}", column.r#type)))?;
        Ok(ColumnDef::new(column.name.clone(), ty))
    });
    let columns = columns.collect::<Result<Vec<_>, WireError>>()?;
    let schema = Schema::new(columns).map_err(|error| wrong(error.to_string()))?;
    Ok((kind, schema))
}

/// Most schemas that one side may number: a child that makes up more is broken.
const SCHEMAS_MAX: usize = 100_000;

/// The schemas that the other side has sent.
#[derive(Debug, Default)]
pub struct Received(HashMap<u32, (RowKind, Schema)>);

impl Received {
    /// Takes note of a schema.
    ///
    /// # Errors
    /// As [`schema`], and if there are too many.
    pub fn add(&mut self, message: &v1::Schema) -> Result<(), WireError> {
        if self.0.len() >= SCHEMAS_MAX {
            return Err(wrong(format!("more than {SCHEMAS_MAX} schemas")));
        }
        self.0.insert(message.id, schema(message)?);
        Ok(())
    }

    /// The rows of a schema by its id.
    ///
    /// # Errors
    /// If the id was never sent, or as [`decode_rows`].
    pub fn rows(&self, id: u32, rows: &Bytes) -> Result<(RowKind, ColumnBatch), WireError> {
        let known = self.0.get(&id);
        let (kind, schema) = known.ok_or_else(|| wrong(format!("schema {id} was never sent")))?;
        Ok((*kind, decode_rows(schema, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> ColumnBatch {
        let schema = Schema::new(vec![
            ColumnDef::new("Open", ColumnType::F32),
            ColumnDef::new("Flag", ColumnType::U8),
            ColumnDef::new("Name", ColumnType::Str16),
            ColumnDef::new("Volume", ColumnType::I64),
        ])
        .unwrap();
        let text = Bytes::from(vec![7_u8; 3 * 64]);
        ColumnBatch::new(
            schema,
            Column::from_values(vec![1_i64, 2, 3]),
            vec![
                Column::from_values(vec![1.5_f32, 2.5, 3.5]),
                Column::from_values(vec![1_u8, 2, 3]),
                Column::new(ColumnType::Str16, text).unwrap(),
                Column::from_values(vec![10_i64, 20, 30]),
            ],
        )
        .unwrap()
    }

    #[test]
    fn rows_come_back_and_every_part_is_padded() {
        let batch = bars();
        let bytes = encode_rows(&batch);
        assert_eq!(bytes.len(), encoded_len(&batch));
        // count, times, f32 padded to 16, u8 padded to 8, text, i64
        assert_eq!(bytes.len(), 8 + 24 + 16 + 8 + 192 + 24);
        assert_eq!(
            bytes[..16],
            [3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes[48..52], [1, 2, 3, 0]);
        assert_eq!(decode_rows(batch.schema(), &bytes).unwrap(), batch);
        let none = ColumnBatch::empty(batch.schema().clone());
        assert_eq!(
            decode_rows(none.schema(), &encode_rows(&none)).unwrap(),
            none
        );
    }

    #[test]
    fn rows_cut_or_grown_anywhere_are_refused() {
        let batch = bars();
        let bytes = encode_rows(&batch);
        for len in 0..bytes.len() {
            assert!(
                decode_rows(batch.schema(), &bytes.slice(..len)).is_err(),
                "{len}"
            );
        }
        let mut longer = bytes.to_vec();
        longer.extend([0; 8]);
        assert!(decode_rows(batch.schema(), &longer.into()).is_err());
        let mut many = bytes.to_vec();
        many[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = decode_rows(batch.schema(), &many.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} rows do not fit 272 bytes", u64::MAX)
        );
    }

    #[test]
    fn a_schema_is_sent_once_per_kind() {
        let (mut sent, mut received) = (Sent::default(), Received::default());
        let batch = bars();
        let (id, first) = sent.id(RowKind::Bar, batch.schema());
        received.add(&first.unwrap()).unwrap();
        let (ticks, other) = sent.id(RowKind::Tick, batch.schema());
        assert!(other.is_some() && ticks != id);
        assert_eq!(sent.id(RowKind::Bar, batch.schema()), (id, None));
        let rows = encode_rows(&batch);
        assert_eq!(received.rows(id, &rows).unwrap(), (RowKind::Bar, batch));
        let error = received.rows(ticks, &rows).unwrap_err();
        assert_eq!(error.to_string(), format!("schema {ticks} was never sent"));
    }
}
