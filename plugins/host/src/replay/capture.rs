//! Rows that a replay has computed, as their buckets would keep them.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{BucketId, BucketInfo, Engine, Rows, as_stored};
use model::{BatchBuilder, BucketKey, ColumnBatch, Timeframe, Zone};

/// Most bytes of computed rows: they are kept in memory until they are compared.
pub(super) const COMPUTED_BYTES_MAX: usize = 256 << 20;

/// A bucket is not folded below so many rows.
const FOLD_ROWS: usize = 16_384;

/// What was computed, by bucket.
#[derive(Debug, Default)]
pub(super) struct Captured {
    buckets: BTreeMap<BucketKey, Bucket>,
    bytes: usize,
}

#[derive(Debug)]
struct Bucket {
    info: Arc<BucketInfo>,
    parts: Vec<ColumnBatch>,
    rows: usize,
    /// Rows after the last fold.
    folded: usize,
}

impl Captured {
    /// Takes rows that an event wrote.
    pub(super) fn add(&mut self, engine: &Engine, zone: &Zone, rows: Rows) -> Result<(), String> {
        let bucket = match self.buckets.get_mut(&rows.key) {
            Some(bucket) => bucket,
            None => {
                let info = engine
                    .bucket(&rows.key)
                    .map_or_else(|| new_bucket(&rows), Ok)?;
                self.buckets.entry(rows.key.clone()).or_insert(Bucket {
                    info,
                    parts: Vec::new(),
                    rows: 0,
                    folded: 0,
                })
            }
        };
        let fitted = as_stored(&rows.batch, &bucket.info, zone)
            .map_err(|error| format!("{}: {error}", rows.key))?;
        self.bytes += fitted.bytes();
        bucket.rows += fitted.rows();
        bucket.parts.push(fitted);
        if bucket.rows > FOLD_ROWS.max(2 * bucket.folded) {
            self.bytes -= bucket.fold();
        }
        if self.bytes > COMPUTED_BYTES_MAX {
            self.bytes -= self.buckets.values_mut().map(Bucket::fold).sum::<usize>();
        }
        if self.bytes > COMPUTED_BYTES_MAX {
            return Err(format!(
                "replay: the rows computed have over {COMPUTED_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// All rows of each bucket, in the order in which it keeps them.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (Arc<BucketInfo>, ColumnBatch)> {
        self.buckets.into_values().map(|mut bucket| {
            bucket.fold();
            let rows = bucket.parts.pop().expect("a fold leaves one part");
            (bucket.info, rows)
        })
    }
}

impl Bucket {
    /// Joins what was written; of bars with one time the last stays. The bytes saved.
    fn fold(&mut self) -> usize {
        let before: usize = self.parts.iter().map(ColumnBatch::bytes).sum();
        let mut builder = BatchBuilder::new(self.info.schema.clone(), self.rows);
        for part in &self.parts {
            builder
                .append(part)
                .expect("all parts were brought to the bucket's schema");
        }
        let joined = builder.finish().ordered(self.info.kind);
        (self.rows, self.folded) = (joined.rows(), joined.rows());
        let after = joined.bytes();
        self.parts = vec![joined];
        before - after
    }
}

/// The bucket that a first write would make.
fn new_bucket(rows: &Rows) -> Result<Arc<BucketInfo>, String> {
    let timeframe =
        Timeframe::parse(rows.key.timeframe()).map_err(|error| format!("{}: {error}", rows.key))?;
    let kind = rows.create.expect("a fire says what it writes");
    let schema = rows.batch.schema().clone();
    Ok(Arc::new(BucketInfo::new(
        BucketId(u32::MAX),
        rows.key.clone(),
        timeframe,
        kind,
        schema,
    )))
}
