//! Cutting a scan: into partitions, and into pieces that can be read at the same time.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;

use super::{BucketScan, PART_ROWS_MIN, Piece};
use crate::Error;
use crate::range::Range;

impl BucketScan {
    /// All members, one piece each.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let range = self.wanted.range;
        let piece = |member| Piece { member, range };
        (0..self.wanted.members.len()).map(piece).collect()
    }

    /// Pieces for several partitions: neighbouring buckets, or parts of the time of a large one.
    pub(super) fn parts(&self, partitions: usize) -> Result<Vec<Vec<Piece>>> {
        let mut pieces = self.pieces();
        if partitions == 1 || pieces.is_empty() {
            return Ok(vec![pieces]);
        }
        if let [piece] = pieces[..] {
            return Ok(self
                .cut(piece, partitions)?
                .into_iter()
                .map(|p| vec![p])
                .collect());
        }
        let count = partitions.min(pieces.len());
        let mut parts = Vec::with_capacity(count);
        for left in (1..=count).rev() {
            let rest = pieces.split_off(pieces.len().div_ceil(left));
            parts.push(std::mem::replace(&mut pieces, rest));
        }
        Ok(parts)
    }

    pub(super) fn cut(&self, piece: Piece, parts: usize) -> Result<Vec<Piece>> {
        let index = self.wanted.members[piece.member].index;
        let Some((min, max)) = self.snapshot.time_range(index) else {
            return Ok(vec![piece]);
        };
        let range = piece.range.and(Range { from: min, to: max });
        if range.is_empty() {
            return Ok(vec![piece]);
        }
        let rows = self.snapshot.count(index, range.from, range.to);
        let rows = rows.map_err(|error| Error::from(error).wrap())?;
        let parts = (rows / PART_ROWS_MIN).min(parts as u64).max(1);
        let width = (i128::from(range.to) - i128::from(range.from)) / i128::from(parts) + 1;
        let mut from = piece.range.from;
        let mut pieces = Vec::with_capacity(parts as usize);
        for part in 1..=parts {
            let end = i128::from(range.from) + width * i128::from(part) - 1;
            let to = match part == parts {
                true => piece.range.to,
                false => end as i64,
            };
            let range = Range { from, to };
            pieces.push(Piece { range, ..piece });
            from = to.saturating_add(1);
        }
        Ok(pieces)
    }

    /// The same rows in one partition, cut into pieces that can be read at the same time.
    pub(crate) fn in_pieces(&self) -> Result<Self> {
        let mut pieces = Vec::new();
        for piece in self.pieces() {
            pieces.extend(self.cut(piece, usize::MAX)?);
        }
        let mut scan = self.clone();
        scan.partitions = Arc::new(vec![pieces]);
        scan.properties = Arc::new(scan.declared());
        Ok(scan)
    }

    /// How many pieces the first partition has.
    pub(crate) fn piece_count(&self) -> usize {
        self.partitions.first().map_or(0, Vec::len)
    }

    /// All rows of a piece of the first partition.
    pub(crate) fn read_piece(&self, piece: usize, rows: usize) -> Result<Vec<RecordBatch>> {
        let mut reader = self.reader(0);
        let pieces = self.partitions.first();
        let piece = pieces.and_then(|pieces| pieces.get(piece).copied());
        reader.pieces = piece.into_iter().collect();
        std::iter::from_fn(|| reader.next(rows).transpose()).collect()
    }
}
