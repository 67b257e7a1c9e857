//! A fingerprint of rows that does not depend on their order: one 64-bit sum a column, of every
//! value mixed with its row's time. Equal rows give equal sums to the bit; a lost, doubled, changed
//! or swapped value gives others.

use model::{BucketKey, ColumnBatch};

use crate::{Engine, Error, Limit, Scan};

/// Rows looked at in one go.
const SCAN_ROWS: usize = 1 << 18;

/// Number of rows and the sum of each column, that of the times first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) rows: u64,
    pub(super) columns: Vec<u64>,
}

impl Sums {
    pub(super) fn add(&mut self, batch: &ColumnBatch) {
        self.rows += batch.rows() as u64;
        self.columns.resize(1 + batch.columns().len(), 0);
        let times = batch.times();
        for time in times {
            self.columns[0] = self.columns[0].wrapping_add(mix(*time as u64));
        }
        for (sum, column) in self.columns[1..].iter_mut().zip(batch.columns()) {
            let values = column.bytes().chunks_exact(column.ty().size());
            for (time, value) in times.iter().zip(values) {
                *sum = sum.wrapping_add(mix(fold(value) ^ (*time as u64).rotate_left(32)));
            }
        }
    }

    /// The sums of what a store has of a bucket; `None` if it has no such bucket.
    pub(super) fn stored(engine: &Engine, key: &BucketKey) -> Result<Option<Self>, Error> {
        let Some(info) = engine.bucket(key) else {
            return Ok(None);
        };
        let snapshot = engine.snapshot(&[info.id]);
        if snapshot.buckets().is_empty() {
            return Ok(None);
        }
        let mut sums = Self {
            rows: 0,
            columns: vec![0; 1 + info.schema.len()],
        };
        let mut from = i64::MIN;
        loop {
            let first = Scan {
                from,
                limit: Some(Limit::First(SCAN_ROWS)),
                ..Scan::all()
            };
            let rows = snapshot.scan(0, &first)?;
            let times = rows.times();
            let Some(last) = times.last().filter(|_| times.len() == SCAN_ROWS) else {
                sums.add(&rows);
                return Ok(Some(sums));
            };
            // The last time may go on behind the limit, so its rows are left to the next turn.
            let whole = times.partition_point(|time| time < last);
            if whole > 0 {
                sums.add(&rows.slice(0..whole));
                from = *last;
            } else {
                let equal = Scan {
                    from: *last,
                    to: *last,
                    ..Scan::all()
                };
                sums.add(&snapshot.scan(0, &equal)?);
                from = last.saturating_add(1);
            }
        }
    }
}

/// The bytes of a value as one number; text of 64 bytes is mixed word by word.
fn fold(value: &[u8]) -> u64 {
    let mut folded = 0;
    for piece in value.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        folded = mix(folded) ^ u64::from_le_bytes(word);
    }
    folded
}

/// Spreads every bit over the word (the finalizer of splitmix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
