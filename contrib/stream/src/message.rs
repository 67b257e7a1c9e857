//! What a subscriber gets: `{"key": "AAPL/1Min/OHLCV", "data": {column: value, ...}}` in MessagePack.
//!
//! Numbers have the width of their column, whatever their value, as MarketStore sends them: clients
//! read them by type. I8 goes out as an unsigned byte, text as an array of 16 code points.

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind, Scalar, epoch_and_nanos};
use rmp::Marker;
use rmp::encode::{write_array_len, write_map_len, write_str};

/// One row of a bucket.
pub(crate) fn message(key: &BucketKey, kind: RowKind, rows: &ColumnBatch, row: usize) -> Bytes {
    let mut out = Vec::with_capacity(32 + key.as_str().len() + rows.schema().len() * 24);
    write_row(&mut out, key, kind, rows, row).expect("writing to memory does not fail");
    out.into()
}

type Result = std::result::Result<(), rmp::encode::ValueWriteError>;

fn write_row(
    out: &mut Vec<u8>,
    key: &BucketKey,
    kind: RowKind,
    rows: &ColumnBatch,
    row: usize,
) -> Result {
    let (seconds, nanoseconds) = epoch_and_nanos(rows.times()[row]);
    let is_tick = kind == RowKind::Tick;
    // At most 1024 columns, so the count fits.
    let fields = 1 + rows.schema().len() as u32 + u32::from(is_tick);

    write_map_len(out, 2)?;
    write_str(out, "key")?;
    write_str(out, key.as_str())?;
    write_str(out, "data")?;
    write_map_len(out, fields)?;
    write_str(out, "Epoch")?;
    number(out, Marker::I64, seconds.to_be_bytes());
    for (def, column) in rows.schema().columns().iter().zip(rows.columns()) {
        write_str(out, &def.name)?;
        write_scalar(out, column.scalar(row))?;
    }
    if is_tick {
        write_str(out, "Nanoseconds")?;
        number(out, Marker::I32, nanoseconds.to_be_bytes());
    }
    Ok(())
}

fn write_scalar(out: &mut Vec<u8>, value: Scalar) -> Result {
    match value {
        Scalar::F32(v) => number(out, Marker::F32, v.to_be_bytes()),
        Scalar::F64(v) => number(out, Marker::F64, v.to_be_bytes()),
        Scalar::I8(v) => number(out, Marker::U8, v.to_be_bytes()),
        Scalar::I16(v) => number(out, Marker::I16, v.to_be_bytes()),
        Scalar::I32(v) => number(out, Marker::I32, v.to_be_bytes()),
        Scalar::I64(v) => number(out, Marker::I64, v.to_be_bytes()),
        Scalar::U8(v) => number(out, Marker::U8, v.to_be_bytes()),
        Scalar::U16(v) => number(out, Marker::U16, v.to_be_bytes()),
        Scalar::U32(v) => number(out, Marker::U32, v.to_be_bytes()),
        Scalar::U64(v) => number(out, Marker::U64, v.to_be_bytes()),
        Scalar::Str16(points) => {
            write_array_len(out, points.len() as u32)?;
            for point in points {
                number(out, Marker::I32, point.to_be_bytes());
            }
        }
    }
    Ok(())
}

fn number<const N: usize>(out: &mut Vec<u8>, marker: Marker, value: [u8; N]) {
    out.push(marker.to_u8());
    out.extend_from_slice(&value);
}
