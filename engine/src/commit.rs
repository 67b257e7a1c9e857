//! One atomic set of rows, and the checks it passes in the caller's thread.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind, Schema, TIME_MAX, TIME_MIN, Timeframe, Zone};

use crate::catalog::{BucketId, BucketInfo, Origin};
use crate::{Error, Options, frame};

/// One atomic set of rows. Shared by clients (`section: None`) and plugins (`Some`).
#[derive(Debug)]
pub struct Commit {
    /// Who writes.
    pub origin: Origin,
    /// How many triggers led to this write; 0 from a client.
    pub hops: u8,
    /// Rows of any number of buckets. Several entries of one bucket are applied in order.
    pub rows: Vec<Rows>,
    /// Plugin section, opaque to the engine: its presence makes a plugin commit.
    pub section: Option<Bytes>,
}

/// Rows for one bucket. Columns are matched by name, in any order, and cast to the bucket's types.
/// Bars are floored to the timeframe (in `Options::zone`), sorted, and reduced to one row per time.
#[derive(Debug)]
pub struct Rows {
    /// The bucket.
    pub key: BucketKey,
    /// The rows; need not be sorted.
    pub batch: ColumnBatch,
    /// What kind of bucket to make if there is none; `None` makes a missing bucket an error.
    pub create: Option<RowKind>,
}

/// Rows as they go into the log: those given, if they are already as the bucket keeps them.
pub(crate) struct Prepared<'a> {
    pub(crate) bucket: Target,
    pub(crate) batch: Cow<'a, ColumnBatch>,
}

/// The bucket of prepared rows.
pub(crate) enum Target {
    Stored(Arc<BucketInfo>),
    /// Position in [`Checked::missing`].
    Missing(usize),
}

/// A commit that passed every check.
pub(crate) struct Checked<'a> {
    pub(crate) rows: Vec<Prepared<'a>>,
    /// Buckets to define, in the order of their first rows; their numbers are not given yet.
    pub(crate) missing: Vec<BucketInfo>,
}

/// Checks a commit against the catalog, which `find` asks. Entries without rows are left out.
pub(crate) fn check<'a>(
    rows: &'a [Rows],
    section: Option<&Bytes>,
    deletes: usize,
    options: &Options,
    find: impl Fn(&BucketKey) -> Option<Arc<BucketInfo>>,
) -> Result<Checked<'a>, Error> {
    let checked = prepare(rows, options, find)?;
    let batches = checked.rows.iter().map(|prepared| &*prepared.batch);
    let bytes = frame::rows_bytes(section, deletes, batches);
    if bytes > options.frame_bytes_max {
        return Err(Error::Limit {
            what: "bytes of one commit",
            found: bytes as u64,
            limit: options.frame_bytes_max as u64,
            option: "frame_bytes_max",
        });
    }
    Ok(checked)
}

/// All checks but that of the size.
pub(crate) fn prepare<'a>(
    rows: &'a [Rows],
    options: &Options,
    find: impl Fn(&BucketKey) -> Option<Arc<BucketInfo>>,
) -> Result<Checked<'a>, Error> {
    let mut checked = Checked {
        rows: Vec::with_capacity(rows.len()),
        missing: Vec::new(),
    };
    let mut new = New::default();
    for Rows { key, batch, create } in rows {
        if batch.is_empty() {
            continue;
        }
        let (bucket, info) = match find(key) {
            Some(info) => (Target::Stored(info.clone()), info),
            None => {
                let (index, info) = new.bucket(key, *create, batch.schema())?;
                (Target::Missing(index), info)
            }
        };
        let batch = fit(batch, &info, &options.zone)?;
        checked.rows.push(Prepared { bucket, batch });
    }
    checked.missing = new.infos.iter().map(|info| (**info).clone()).collect();
    Ok(checked)
}

/// Buckets that a commit makes, in the order of their first rows.
#[derive(Default)]
struct New {
    infos: Vec<Arc<BucketInfo>>,
    index: HashMap<BucketKey, usize>,
}

impl New {
    fn bucket(
        &mut self,
        key: &BucketKey,
        create: Option<RowKind>,
        schema: &Schema,
    ) -> Result<(usize, Arc<BucketInfo>), Error> {
        let Some(kind) = create else {
            return Err(Error::NotFound(key.clone()));
        };
        if let Some(index) = self.index.get(key) {
            let info = self.infos[*index].clone();
            if info.kind != kind {
                let message = format!("one commit makes bucket {key} both of bars and of ticks");
                return Err(Error::Invalid(message));
            }
            return Ok((*index, info));
        }
        let info = Arc::new(new_bucket(key.clone(), kind, schema.clone())?);
        let index = self.infos.len();
        self.index.insert(key.clone(), index);
        self.infos.push(info.clone());
        Ok((index, info))
    }
}

/// A bucket that has no number yet.
pub(crate) fn new_bucket(
    key: BucketKey,
    kind: RowKind,
    schema: Schema,
) -> Result<BucketInfo, Error> {
    let timeframe =
        Timeframe::parse(key.timeframe()).map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(BucketInfo::new(BucketId(0), key, timeframe, kind, schema))
}

/// Rows as a bucket would keep them: its columns and types, times as it has them, in its order.
///
/// # Errors
/// As for writing them.
pub fn as_stored(
    batch: &ColumnBatch,
    info: &BucketInfo,
    zone: &Zone,
) -> Result<ColumnBatch, Error> {
    fit(batch, info, zone).map(Cow::into_owned)
}

/// Rows as the bucket keeps them.
fn fit<'a>(
    batch: &'a ColumnBatch,
    info: &BucketInfo,
    zone: &Zone,
) -> Result<Cow<'a, ColumnBatch>, Error> {
    check_times(batch)?;
    let batch = fit_columns(batch, &info.schema)?;
    let batch = match info.kind {
        RowKind::Tick => batch,
        RowKind::Bar if info.timeframe.are_floored(batch.times(), zone) => batch,
        RowKind::Bar => {
            let mut times = batch.times().to_vec();
            info.timeframe.floor_all(&mut times, zone);
            let floored = batch.into_owned().with_times(times);
            Cow::Owned(floored.expect("there are as many times as before"))
        }
    };
    // A single row, as in a write of many buckets, is in order.
    Ok(match batch.rows() {
        1 => batch,
        _ => Cow::Owned(batch.into_owned().ordered(info.kind)),
    })
}

fn check_times(batch: &ColumnBatch) -> Result<(), Error> {
    let times = batch.times();
    let (min, max) = times.iter().fold((i64::MAX, i64::MIN), |(min, max), time| {
        (min.min(*time), max.max(*time))
    });
    for time in [min, max] {
        if !(TIME_MIN..=TIME_MAX).contains(&time) {
            let (seconds, _) = model::epoch_and_nanos(time);
            return Err(Error::Invalid(format!(
                "epoch {seconds} is outside 1678-01-01..2261-12-31 (seconds)"
            )));
        }
    }
    Ok(())
}

/// The columns of `stored`, in its order and of its types.
fn fit_columns<'a>(batch: &'a ColumnBatch, stored: &Schema) -> Result<Cow<'a, ColumnBatch>, Error> {
    if batch.schema() == stored {
        return Ok(Cow::Borrowed(batch));
    }
    let mismatch = || Error::SchemaMismatch {
        given: batch.schema().clone(),
        stored: stored.clone(),
    };
    if batch.schema().len() != stored.len() {
        return Err(mismatch());
    }
    let columns = stored.columns().iter().map(|def| {
        let column = batch.column(&def.name).ok_or_else(mismatch)?;
        column.cast(def.ty).map_err(|_| mismatch())
    });
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    let batch = ColumnBatch::new(stored.clone(), batch.time_column().clone(), columns);
    batch.map(Cow::Owned).map_err(|_| mismatch())
}
