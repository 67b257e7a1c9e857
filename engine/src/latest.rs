//! The last row of every bucket in memory: "all symbols, last bar" without a scan.

use std::slice::ChunksExact;

use bytes::Bytes;
use model::{Column, ColumnBatch, ColumnType, Schema};
use wal::Lsn;

use crate::scan::{Limit, Scan, scan};
use crate::view::View;
use crate::{BucketId, Error, mask};

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

/// Last rows of buckets that have one schema.
#[derive(Debug, Clone)]
pub struct LastRows {
    /// The bucket of each row.
    pub buckets: Vec<BucketId>,
    /// One row a bucket, in that order.
    pub rows: ColumnBatch,
}

/// Rows that are gathered before their values go to the columns: a loop a column, over rows that
/// are still in the nearest cache.
const STRIPE_ROWS: usize = 256;

/// Buckets that are looked at before their rows are copied. What is read of each lies somewhere
/// else: in a loop that does no more than look, several are on their way from memory at a time.
const LOOK_AHEAD: usize = 32;

/// Last rows on their way into [`LastRows`].
pub(crate) struct Gathered<'a> {
    schema: &'a Schema,
    /// Where a value begins in a row, and its size; first the time.
    places: Vec<(usize, usize)>,
    /// Bytes of a row: as [`Latest`] has them.
    row_bytes: usize,
    buckets: Vec<BucketId>,
    /// Rows that are not in the columns yet.
    stripe: Vec<u8>,
    columns: Vec<Vec<u8>>,
}

impl<'a> Gathered<'a> {
    fn new(schema: &'a Schema, rows: usize) -> Self {
        let types = schema.columns().iter().map(|def| def.ty);
        let types = [ColumnType::I64].into_iter().chain(types);
        let mut row_bytes = 0;
        let place = |ty: ColumnType| {
            let at = row_bytes;
            row_bytes = (at + ty.size()).next_multiple_of(8);
            (at, ty.size())
        };
        let places: Vec<_> = types.map(place).collect();
        let column = |(_, size): &(usize, usize)| Vec::with_capacity(rows * size);
        Self {
            schema,
            columns: places.iter().map(column).collect(),
            places,
            row_bytes,
            buckets: Vec::with_capacity(rows),
            stripe: Vec::with_capacity(rows.min(STRIPE_ROWS) * row_bytes),
        }
    }

    /// Adds a row; `value` gives the bytes of a column of this size.
    pub(crate) fn push<'v>(&mut self, time: i64, value: impl Fn(usize, usize) -> &'v [u8]) {
        let start = self.stripe.len();
        self.stripe.resize(start + self.row_bytes, 0);
        let row = &mut self.stripe[start..];
        row[..size_of::<i64>()].copy_from_slice(&time.to_le_bytes());
        for (column, (at, size)) in self.places[1..].iter().enumerate() {
            let value = value(column, *size);
            let target = &mut row[*at..at + size];
            // A copy of a size that is known is one instruction.
            match size {
                4 => target[..4].copy_from_slice(&value[..4]),
                8 => target[..8].copy_from_slice(&value[..8]),
                _ => target.copy_from_slice(value),
            }
        }
    }

    /// False if the row is too short.
    fn push_latest(&mut self, latest: &Latest) -> bool {
        let row = latest.values.get(..self.row_bytes);
        row.is_some_and(|row| {
            self.stripe.extend_from_slice(row);
            true
        })
    }

    /// The row pushed last is this bucket's.
    fn finish_row(&mut self, bucket: BucketId) {
        self.buckets.push(bucket);
        if self.stripe.len() >= STRIPE_ROWS * self.row_bytes {
            self.empty_stripe();
        }
    }

    fn empty_stripe(&mut self) {
        for (column, (at, size)) in self.columns.iter_mut().zip(&self.places) {
            let rows = self.stripe.chunks_exact(self.row_bytes);
            match size {
                1 => append::<1>(column, rows, *at),
                2 => append::<2>(column, rows, *at),
                4 => append::<4>(column, rows, *at),
                8 => append::<8>(column, rows, *at),
                _ => rows.for_each(|row| column.extend_from_slice(&row[*at..at + size])),
            }
        }
        self.stripe.clear();
    }

    fn finish(mut self) -> LastRows {
        self.empty_stripe();
        let mut columns = self.columns.into_iter();
        let mut column = |ty| {
            let bytes = columns.next().expect("there is one for each type");
            Column::new(ty, bytes.into()).expect("values are pushed whole")
        };
        let times = column(ColumnType::I64);
        let values = self.schema.columns().iter().map(|def| column(def.ty));
        let rows = ColumnBatch::new(self.schema.clone(), times, values.collect());
        LastRows {
            buckets: self.buckets,
            rows: rows.expect("every column got one value a row"),
        }
    }
}

/// Appends the `SIZE` bytes at `at` of each row.
fn append<const SIZE: usize>(column: &mut Vec<u8>, rows: ChunksExact<'_, u8>, at: usize) {
    let start = column.len();
    column.resize(start + rows.len() * SIZE, 0);
    let targets = column[start..].as_chunks_mut::<SIZE>().0;
    for (target, row) in targets.iter_mut().zip(rows) {
        target.copy_from_slice(&row[at..at + SIZE]);
    }
}

/// The last rows of buckets, in as few batches as there are schemas: one allocation a column
/// instead of several a bucket. Without `may_scan` the answer is `None` if pages had to be read.
pub(crate) fn gather(
    views: &[&View],
    lsn: Lsn,
    may_scan: bool,
) -> Result<Option<Vec<LastRows>>, Error> {
    let mut groups: Vec<Gathered<'_>> = Vec::new();
    let mut group = 0;
    for some in views.chunks(LOOK_AHEAD) {
        if let Some(target) = groups.get_mut(group)
            && some
                .iter()
                .all(|view| is_at_rest(view) && view.info.schema == *target.schema)
        {
            for view in some {
                if push(view, view.latest.as_ref(), target)? {
                    target.finish_row(view.info.id);
                }
            }
            continue;
        }
        for view in some {
            group = group_of(&mut groups, group, &view.info.schema, views.len());
            let target = &mut groups[group];
            let found = if is_simple(view) {
                let latest = view.latest.as_ref();
                let at_least = latest.map_or(i64::MIN, Latest::time);
                view.tail.push_last(lsn, at_least, target) || push(view, latest, target)?
            } else if may_scan || (view.unsure.is_none() && !view.has_past()) {
                push(view, of_view(view, lsn)?.as_ref(), target)?
            } else {
                return Ok(None);
            };
            if found {
                target.finish_row(view.info.id);
            }
        }
    }
    let filled = groups.into_iter().filter(|group| !group.buckets.is_empty());
    Ok(Some(filled.map(Gathered::finish).collect()))
}

/// The group of a schema; `last` is that of the bucket before, which is mostly alike.
fn group_of<'a>(
    groups: &mut Vec<Gathered<'a>>,
    last: usize,
    schema: &'a Schema,
    rows: usize,
) -> usize {
    if groups.get(last).is_some_and(|known| known.schema == schema) {
        return last;
    }
    let known = groups.iter().position(|known| known.schema == schema);
    known.unwrap_or_else(|| {
        groups.push(Gathered::new(schema, rows));
        groups.len() - 1
    })
}

/// Whether the last row is in the tail or the one kept of chunks.
fn is_simple(view: &View) -> bool {
    view.frozen.is_empty() && view.unsure.is_none()
}

/// Whether the last row is the one kept of chunks.
fn is_at_rest(view: &View) -> bool {
    is_simple(view) && !view.tail.is_filled()
}

/// Whether there is a row.
fn push(view: &View, latest: Option<&Latest>, target: &mut Gathered<'_>) -> Result<bool, Error> {
    let Some(latest) = latest else {
        return Ok(false);
    };
    match target.push_latest(latest) {
        true => Ok(true),
        false => Err(Error::Corrupt {
            file: view.info.key.to_string(),
            offset: 0,
            what: "the last row does not fit the schema".to_owned(),
        }),
    }
}
