//! Rows of many buckets into the chunks of a segment, on both cores while what is ready is
//! written.
//!
//! Buckets are taken in groups, in their order: one of many rows by itself, whose pages the threads
//! share, or as many of few rows as are worth a hand-over. One group is written while the next is
//! encoded, so about three are in memory besides the rows themselves.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use model::{ColumnBatch, Zone};

use super::builder::{ChunkBuilder, PARALLEL_ROWS, Pages, cut};
use super::parallel;
use super::writer::Writer;
use crate::Error;
use crate::catalog::BucketInfo;
use crate::manifest::FillError;

/// Limits of a group of buckets of few rows.
const GROUP_ROWS: usize = 8 * PARALLEL_ROWS;
const GROUP_BUCKETS: usize = 4096;

/// Parts of a group: threads that are not equally fast finish at about the same time.
const PARTS: usize = 16;

/// Rows below which no thread is started.
const ALONE_ROWS: usize = 4096;

/// Rows of one bucket.
pub(crate) trait Source: Sync {
    /// The bucket.
    fn info(&self) -> &Arc<BucketInfo>;
    /// About how many rows there are.
    fn size(&self) -> usize;
    /// The rows in scan order.
    fn rows(&self) -> ColumnBatch;
}

/// Adds the chunks of buckets, which come in order.
pub(crate) fn fill<S: Source>(
    sources: &[S],
    zone: &Zone,
    writer: &mut Writer<'_>,
) -> Result<(), FillError> {
    if sources.iter().map(S::size).sum::<usize>() < ALONE_ROWS {
        for source in sources {
            write(&chunks(source, zone)?, writer)?;
        }
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Result<Vec<Pages>, Error>>(1);
        scope.spawn(move || {
            let mut rest = sources;
            while !rest.is_empty() {
                let (group, behind) = rest.split_at(group_of(rest));
                rest = behind;
                // Nobody wants it if the writer failed.
                let send = |pages| sender.send(pages).is_ok();
                if !encode(group, zone, send) {
                    return;
                }
            }
        });
        for pages in receiver {
            write(&pages?, writer)?;
        }
        Ok(())
    })
}

fn write(pages: &[Pages], writer: &mut Writer<'_>) -> std::io::Result<()> {
    pages.iter().try_for_each(|pages| writer.chunk(pages))
}

/// How many sources make the next group.
fn group_of<S: Source>(sources: &[S]) -> usize {
    let mut rows = 0;
    let fits = |source: &&S| {
        rows += source.size();
        source.size() < PARALLEL_ROWS && rows <= GROUP_ROWS
    };
    let few = sources.iter().take(GROUP_BUCKETS).take_while(fits).count();
    few.max(1)
}

/// Hands the chunks of a group on; `false` if `send` did not want them.
fn encode<S: Source>(
    group: &[S],
    zone: &Zone,
    send: impl Fn(Result<Vec<Pages>, Error>) -> bool,
) -> bool {
    if let [source] = group {
        let rows = source.rows();
        let mut ranges = cut(rows.times()).into_iter();
        return ranges.all(|range| {
            let pages = chunk(source.info(), zone, &rows, range);
            send(pages.map(|pages| vec![pages]))
        });
    }
    let size = group.len().div_ceil(PARTS);
    let parts: Vec<&[S]> = group.chunks(size).collect();
    let encoded = parallel::map(parts.len(), |number| {
        let mut all = Vec::with_capacity(size);
        for source in parts[number] {
            all.append(&mut chunks(source, zone)?);
        }
        Ok(all)
    });
    encoded.into_iter().all(send)
}

fn chunks<S: Source>(source: &S, zone: &Zone) -> Result<Vec<Pages>, Error> {
    let rows = source.rows();
    let ranges = cut(rows.times()).into_iter();
    ranges
        .map(|range| chunk(source.info(), zone, &rows, range))
        .collect()
}

fn chunk(
    info: &Arc<BucketInfo>,
    zone: &Zone,
    rows: &ColumnBatch,
    range: Range<usize>,
) -> Result<Pages, Error> {
    let mut chunk = ChunkBuilder::new(info, zone);
    chunk.encode(rows, range);
    chunk.finish()
}
