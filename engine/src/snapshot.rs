//! A consistent view of some buckets at one LSN.

use std::sync::Arc;

use model::ColumnBatch;
use wal::Lsn;

use crate::catalog::BucketInfo;
use crate::latest::{self, LastRows};
use crate::scan::{self, Limit, Scan};
use crate::view::View;
use crate::zone::{self, Condition, Zones};
use crate::{BucketId, Error};

/// A consistent view of some buckets at one LSN. Files it needs live as long as it does.
#[derive(Debug)]
pub struct Snapshot {
    lsn: Lsn,
    views: Vec<Arc<View>>,
    infos: Vec<Arc<BucketInfo>>,
}

impl Snapshot {
    pub(crate) fn new(lsn: Lsn, views: Vec<Arc<View>>) -> Self {
        let infos = views.iter().map(|view| view.info.clone()).collect();
        Self { lsn, views, infos }
    }

    /// Everything below is in the view.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The buckets of the view, in the order asked for.
    pub fn buckets(&self) -> &[Arc<BucketInfo>] {
        &self.infos
    }

    /// Where a bucket stands in [`Snapshot::buckets`].
    pub fn position(&self, id: BucketId) -> Option<usize> {
        self.infos.iter().position(|info| info.id == id)
    }

    /// Rows of a bucket, ascending in time. `index` is the position in [`Snapshot::buckets`].
    ///
    /// # Errors
    /// If a page that is needed is damaged, or a column does not exist.
    ///
    /// # Panics
    /// If `index` is not below the number of buckets.
    pub fn scan(&self, index: usize, scan: &Scan) -> Result<ColumnBatch, Error> {
        scan::scan(&self.views[index], self.lsn, scan)
    }

    /// The times in `from..=to` outside of which no row of a bucket meets all `conditions`, by the
    /// bounds of pages. Rows within may fail them, so whoever asks compares what [`Snapshot::scan`]
    /// gives. No page is read.
    ///
    /// # Errors
    /// If a page table that is needed is damaged, or a column does not exist.
    ///
    /// # Panics
    /// If `index` is not below the number of buckets.
    pub fn zones(
        &self,
        index: usize,
        from: i64,
        to: i64,
        conditions: &[Condition],
    ) -> Result<Zones, Error> {
        zone::zones(&self.views[index], self.lsn, (from, to), conditions)
    }

    /// The last row, without a scan: it is kept in memory per bucket.
    ///
    /// # Errors
    /// If the stored row does not fit the schema.
    ///
    /// # Panics
    /// If `index` is not below the number of buckets.
    pub fn last(&self, index: usize) -> Result<Option<ColumnBatch>, Error> {
        let view = &self.views[index];
        let Some(latest) = latest::of_view(view, self.lsn)? else {
            return Ok(None);
        };
        match latest.batch(&view.info.schema) {
            Some(batch) => Ok(Some(batch)),
            None => Err(Error::Corrupt {
                file: view.info.key.to_string(),
                offset: 0,
                what: "the last row does not fit the schema".to_owned(),
            }),
        }
    }

    /// The last rows of all buckets of the view that have rows, in as few batches as there are
    /// schemas: one allocation a column instead of one a bucket.
    ///
    /// # Errors
    /// If a stored row does not fit its schema.
    pub fn last_rows(&self) -> Result<Vec<LastRows>, Error> {
        let views: Vec<&View> = self.views.iter().map(AsRef::as_ref).collect();
        let found = latest::gather(&views, self.lsn, true)?;
        Ok(found.expect("pages may be read"))
    }

    /// Least and greatest time of the bucket (an upper bound on what is stored), if it has rows.
    ///
    /// # Panics
    /// If `index` is not below the number of buckets.
    pub fn time_range(&self, index: usize) -> Option<(i64, i64)> {
        let view = &self.views[index];
        let tails = view.frozen.iter().map(|frozen| &frozen.tail);
        let tails = tails.chain([&view.tail]);
        let tails = tails.filter_map(|tail| tail.prefix(self.lsn));
        let chunks = view.chunks.iter().map(|chunk| (chunk.min, chunk.max));
        let (min, max) = chunks
            .chain(tails.map(|prefix| (prefix.min, prefix.max)))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let may_be_masked = |time| view.masks.iter().any(|mask| mask.contains(time));
        let found = |limit| match self.scan(index, &Scan::one(limit)) {
            Ok(batch) => batch.times().first().copied(),
            // Whoever reads the rows will get the error.
            Err(_) => Some(if limit.is_last() { max } else { min }),
        };
        let min = match may_be_masked(min) {
            true => found(Limit::First(1))?,
            false => min,
        };
        let max = match may_be_masked(max) {
            true => found(Limit::Last(1))?,
            false => max,
        };
        Some((min, max))
    }

    /// How many rows a bucket has with `from <= time <= to`. Cheap where its sources do not
    /// overlap: only pages at the ends of the range are read.
    ///
    /// # Errors
    /// If a page that is needed is damaged.
    ///
    /// # Panics
    /// If `index` is not below the number of buckets.
    pub fn count(&self, index: usize, from: i64, to: i64) -> Result<u64, Error> {
        scan::count(&self.views[index], self.lsn, from, to)
    }
}
