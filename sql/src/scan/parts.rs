//! Cutting a scan: into partitions, and into pieces that can be read at the same time.

use std::sync::Arc;

use datafusion::error::Result;

use super::{BucketScan, COUNTED_MAX, PART_ROWS_MIN, Piece};
use crate::Error;
use crate::pieces::nearness;
use crate::range::Range;

/// Parts for each thread of a table of so many buckets that they are not counted.
const PARTS_OF_UNCOUNTED: usize = 16;

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

    /// The same rows in one partition.
    pub(crate) fn in_one(&self) -> Self {
        self.in_partitions(vec![self.pieces()])
    }

    /// The same rows in many partitions that follow each other, each of about [`PART_ROWS_MIN`] to twice
    /// as many rows. `moved` says for a bucket and the first time that is wanted of it where else it may
    /// be cut than at these times.
    pub(crate) fn in_parts(&self, moved: &Moved<'_>) -> Result<Parts> {
        let mut parts: Vec<Vec<Piece>> = Vec::new();
        let mut wanted = 0;
        // Of neighbouring buckets, until they are enough for a part.
        let (mut small, mut small_rows) = (Vec::new(), 0);
        for piece in self.pieces() {
            let rows = self.rows(piece)?;
            if small_rows + rows > PART_ROWS_MIN && !small.is_empty() {
                parts.push(std::mem::take(&mut small));
                (wanted, small_rows) = (wanted + 1, 0);
            }
            if rows < 2 * PART_ROWS_MIN {
                small.push(piece);
                small_rows += rows;
                continue;
            }
            let (range, borders) = self.borders(piece, rows)?;
            wanted += borders.len() + 1;
            let borders = moved(piece.member, (range.from, borders))?;
            parts.extend(between(piece, &borders).map(|piece| vec![piece]));
        }
        if !small.is_empty() {
            parts.push(small);
            wanted += 1;
        }
        if self.backwards {
            parts.reverse();
        }
        Ok(Parts {
            scan: self.in_partitions(parts),
            wanted,
        })
    }

    /// A partition for each bucket, with its first rows or, the newest first, its last ones.
    pub(crate) fn by_bucket(&self, newest: bool, limit: Option<usize>) -> Self {
        let mut scan = self.clone();
        scan.backwards = newest;
        scan.wanted.limit = limit;
        scan.statistics = Arc::default();
        scan.in_partitions(scan.pieces().into_iter().map(|piece| vec![piece]).collect())
    }

    /// The same rows, the newest first.
    pub(crate) fn newest_first(&self) -> Self {
        let mut scan = self.clone();
        scan.backwards = true;
        scan
    }

    /// The buckets of a partition that may have rows: how near they are to the wanted end of time, and
    /// their places.
    pub(crate) fn bucket_ends(&self, partition: usize, newest: bool) -> Vec<(i64, usize)> {
        let pieces = self.partitions.get(partition).into_iter().flatten();
        let ends = pieces.filter_map(|piece| {
            let index = self.wanted.members[piece.member].index;
            let (min, max) = self.snapshot.time_range(index)?;
            let range = piece.range.and(Range { from: min, to: max });
            let end = if newest { range.to } else { range.from };
            (!range.is_empty()).then(|| (nearness(end, newest), piece.member))
        });
        ends.collect()
    }

    fn in_partitions(&self, partitions: Vec<Vec<Piece>>) -> Self {
        let mut scan = self.clone();
        scan.partitions = Arc::new(partitions);
        scan.is_cut = true;
        scan.properties = Arc::new(scan.declared());
        scan
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// How many parts are worked on at once: while the first is handed out, no thread stands still.
    pub(crate) fn ahead(&self) -> usize {
        2 * self.threads
    }

    /// Rows of a piece; a guess if there are many buckets.
    fn rows(&self, piece: Piece) -> Result<u64> {
        let members = self.wanted.members.len();
        if members > COUNTED_MAX {
            let parts = PARTS_OF_UNCOUNTED * self.threads;
            return Ok(PART_ROWS_MIN * parts as u64 / members as u64);
        }
        self.count(piece.member, piece.range)
    }

    fn count(&self, member: usize, range: Range) -> Result<u64> {
        let index = self.wanted.members[member].index;
        let rows = self.snapshot.count(index, range.from, range.to);
        rows.map_err(|error| Error::from(error).wrap())
    }

    /// The times of a piece that may have rows, and where to cut it: in halves, until they are short
    /// enough.
    fn borders(&self, piece: Piece, rows: u64) -> Result<(Range, Vec<i64>)> {
        let index = self.wanted.members[piece.member].index;
        let (min, max) = self.snapshot.time_range(index).unwrap_or((0, 0));
        let all = piece.range.and(Range { from: min, to: max });
        let mut borders = Vec::new();
        // The first comes out first.
        let mut left = vec![(all, rows)];
        while let Some((range, rows)) = left.pop() {
            if rows <= 2 * PART_ROWS_MIN || range.from >= range.to {
                borders.push(range.from);
                continue;
            }
            let middle = range.from + (range.to.abs_diff(range.from) / 2) as i64;
            let first = Range {
                to: middle,
                ..range
            };
            let second = Range {
                from: middle + 1,
                ..range
            };
            let before = self.count(piece.member, first)?;
            // A half without rows belongs to the other.
            if before < rows {
                left.push((second, rows - before));
            }
            if before > 0 {
                left.push((first, before));
            }
        }
        borders.retain(|border| *border > all.from);
        Ok((all, borders))
    }
}

/// See [`BucketScan::in_parts`].
pub(crate) type Moved<'a> = dyn Fn(usize, (i64, Vec<i64>)) -> Result<Vec<i64>> + 'a;

/// A scan whose partitions follow each other.
pub(crate) struct Parts {
    pub(crate) scan: BucketScan,
    /// How many there would be if all could be cut anywhere.
    pub(crate) wanted: usize,
}

/// The pieces of a piece, of which all but the first begin at a border.
fn between(piece: Piece, borders: &[i64]) -> impl Iterator<Item = Piece> {
    let starts = [piece.range.from]
        .into_iter()
        .chain(borders.iter().copied());
    let ends = borders.iter().map(|border| border - 1);
    let ends = ends.chain([piece.range.to]);
    starts.zip(ends).map(move |(from, to)| {
        let range = Range { from, to };
        Piece { range, ..piece }
    })
}
