//! The last row of every bucket in memory: "all symbols, last bar" without a scan.

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

/// Last rows on their way into [`LastRows`].
pub(crate) struct Gathered<'a> {
    schema: &'a Schema,
    sizes: Vec<usize>,
    buckets: Vec<BucketId>,
    times: Vec<i64>,
    columns: Vec<Vec<u8>>,
}

impl<'a> Gathered<'a> {
    fn new(schema: &'a Schema, rows: usize) -> Self {
        let sizes: Vec<usize> = schema.columns().iter().map(|def| def.ty.size()).collect();
        let column = |size: &usize| Vec::with_capacity(rows * size);
        Self {
            schema,
            columns: sizes.iter().map(column).collect(),
            sizes,
            buckets: Vec::with_capacity(rows),
            times: Vec::with_capacity(rows),
        }
    }

    /// Adds a row; `value` gives the bytes of a column of this size.
    pub(crate) fn push<'v>(&mut self, time: i64, value: impl Fn(usize, usize) -> &'v [u8]) {
        self.times.push(time);
        for (at, (column, size)) in self.columns.iter_mut().zip(&self.sizes).enumerate() {
            column.extend_from_slice(value(at, *size));
        }
    }

    fn push_latest(&mut self, latest: &Latest) {
        self.times.push(latest.time);
        let mut rest = &latest.values[size_of::<i64>()..];
        for (column, size) in self.columns.iter_mut().zip(&self.sizes) {
            let (value, after) = rest.split_at(*size);
            column.extend_from_slice(value);
            rest = &after[(size.next_multiple_of(8) - size).min(after.len())..];
        }
    }

    fn finish(self) -> LastRows {
        let columns = self.columns.into_iter().zip(self.schema.columns());
        let columns = columns.map(|(bytes, def)| {
            Column::new(def.ty, bytes.into()).expect("values are pushed whole")
        });
        let times = Column::from_values(self.times);
        let rows = ColumnBatch::new(self.schema.clone(), times, columns.collect());
        LastRows {
            buckets: self.buckets,
            rows: rows.expect("every column got one value a row"),
        }
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
    for view in views {
        let schema = &view.info.schema;
        // Neighbours are mostly alike.
        if groups.get(group).is_none_or(|known| known.schema != schema) {
            let known = groups.iter().position(|known| known.schema == schema);
            group = known.unwrap_or(groups.len());
            if known.is_none() {
                groups.push(Gathered::new(schema, views.len()));
            }
        }
        let target = &mut groups[group];
        let simple = view.frozen.is_empty() && view.unsure.is_none();
        let found = if simple {
            let latest = view.latest.as_ref();
            check_fits(view, latest)?;
            let at_least = latest.map_or(i64::MIN, Latest::time);
            let in_tail = view.tail.push_last(lsn, at_least, target);
            if let (false, Some(latest)) = (in_tail, latest) {
                target.push_latest(latest);
            }
            in_tail || latest.is_some()
        } else if may_scan || (view.unsure.is_none() && !view.has_past()) {
            let latest = of_view(view, lsn)?;
            check_fits(view, latest.as_ref())?;
            latest.iter().for_each(|latest| target.push_latest(latest));
            latest.is_some()
        } else {
            return Ok(None);
        };
        if found {
            target.buckets.push(view.info.id);
        }
    }
    let filled = groups.into_iter().filter(|group| !group.buckets.is_empty());
    Ok(Some(filled.map(Gathered::finish).collect()))
}

fn check_fits(view: &View, latest: Option<&Latest>) -> Result<(), Error> {
    let columns = view.info.schema.columns().iter();
    let needed: usize = 8 + columns
        .map(|def| def.ty.size().next_multiple_of(8))
        .sum::<usize>();
    match latest {
        Some(latest) if latest.values.len() < needed => Err(Error::Corrupt {
            file: view.info.key.to_string(),
            offset: 0,
            what: "the last row does not fit the schema".to_owned(),
        }),
        _ => Ok(()),
    }
}
