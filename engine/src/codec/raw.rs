//! Little-endian values, aligned: a slice of the mapping is the column.

use bytes::Bytes;
use model::{Column, ColumnType};

/// The values, without a copy; `None` if the bytes are not `rows` values.
pub(crate) fn decode(ty: ColumnType, page: Bytes, rows: usize) -> Option<Column> {
    if page.len() != rows * ty.size() {
        return None;
    }
    Column::new(ty, page).ok()
}
