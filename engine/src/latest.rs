//! The last row of every bucket in memory: "all symbols, last bar" without a scan.

use bytes::Bytes;
use model::{Column, ColumnBatch, ColumnType, Schema};
use wal::Lsn;

use crate::scan::{Limit, Scan, scan};
use crate::view::View;
use crate::{Error, mask};

/// One row: its time, and its values in the order of the schema, each padded to 8 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    time: i64,
    values: Bytes,
}

impl Latest {
    pub(crate) fn new<'a>(time: i64, values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut target = Vec::with_capacity(64);
        target.extend_from_slice(&time.to_le_bytes());
        for value in values {
            target.extend_from_slice(value);
            target.resize(target.len().next_multiple_of(8), 0);
        }
        Self {
            time,
            values: target.into(),
        }
    }

    pub(crate) fn of_batch(batch: &ColumnBatch, row: usize) -> Self {
        let values = batch.columns().iter().map(|column| {
            let size = column.ty().size();
            &column.bytes()[row * size..(row + 1) * size]
        });
        Self::new(batch.times()[row], values)
    }

    /// The row from its stored bytes; `None` if they are too short.
    pub(crate) fn decode(values: Bytes) -> Option<Self> {
        let time = values.first_chunk::<8>()?;
        Some(Self {
            time: i64::from_le_bytes(*time),
            values,
        })
    }

    pub(crate) fn time(&self) -> i64 {
        self.time
    }

    /// Time and values as they are stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.values
    }

    /// The row as a batch; `None` if the bytes do not fit the schema.
    pub(crate) fn batch(&self, schema: &Schema) -> Option<ColumnBatch> {
        let mut at = 0;
        let mut next = |ty: ColumnType| {
            let end = at + ty.size();
            if end > self.values.len() {
                return None;
            }
            let column = Column::new(ty, self.values.slice(at..end)).ok();
            at = end.next_multiple_of(8);
            column
        };
        let times = next(ColumnType::I64)?;
        let columns: Option<Vec<_>> = schema.columns().iter().map(|c| next(c.ty)).collect();
        ColumnBatch::new(schema.clone(), times, columns?).ok()
    }

    /// Rows as one batch; `None` if the bytes of one do not fit the schema.
    pub(crate) fn batch_of(rows: &[Self], schema: &Schema) -> Option<ColumnBatch> {
        let mut at = 0;
        let mut next = |ty: ColumnType| {
            let place = at..at + ty.size();
            at = place.end.next_multiple_of(8);
            let mut values = Vec::with_capacity(rows.len() * ty.size());
            for row in rows {
                values.extend_from_slice(row.values.get(place.clone())?);
            }
            Column::new(ty, values.into()).ok()
        };
        let times = next(ColumnType::I64)?;
        let columns: Option<Vec<_>> = schema.columns().iter().map(|c| next(c.ty)).collect();
        ColumnBatch::new(schema.clone(), times, columns?).ok()
    }
}

/// The last row of a bucket at an LSN, in its present schema. Only where the row kept in memory is
/// deleted does it need a scan; of chunks that is done once.
pub(crate) fn of_view(view: &View, lsn: Lsn) -> Result<Option<Latest>, Error> {
    let mut latest = of_chunks(view)?;
    for frozen in &view.frozen {
        let at_least = latest.as_ref().map_or(i64::MIN, Latest::time);
        let Some(newer) = frozen.tail.last(lsn, at_least) else {
            continue;
        };
        if mask::is_masked(&view.masks, frozen.upto, newer.time()) {
            return by_scan(view, lsn);
        }
        match view.present(frozen.info.schema_version, &newer) {
            Some(newer) => latest = Some(newer),
            None => return by_scan(view, lsn),
        }
    }
    let at_least = latest.as_ref().map_or(i64::MIN, Latest::time);
    Ok(view.tail.last(lsn, at_least).or(latest))
}

fn of_chunks(view: &View) -> Result<Option<Latest>, Error> {
    let Some(unsure) = &view.unsure else {
        return Ok(view.latest.clone());
    };
    if let Some(found) = unsure.get() {
        return Ok(found.clone());
    }
    let found = by_scan(&view.only_chunks(), Lsn(0))?;
    // Two readers may both have looked.
    Ok(unsure.get_or_init(|| found).clone())
}

fn by_scan(view: &View, lsn: Lsn) -> Result<Option<Latest>, Error> {
    let limit = Some(Limit::Last(1));
    let last = scan(
        view,
        lsn,
        &Scan {
            limit,
            ..Scan::all()
        },
    )?;
    Ok((!last.is_empty()).then(|| Latest::of_batch(&last, 0)))
}
