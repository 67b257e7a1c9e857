//! How the chunks of one bucket become one run of rows: which pages are copied as they stand, and
//! which stretches of time are read and written anew.

use std::ops::Range;

use crate::Error;
use crate::page::PAGE_ROWS_MAX;
use crate::segment::{CHUNK_ROWS_MAX, Chunk};
use crate::view::View;

/// Rows that are read at once, give or take the pages at the ends of a stretch.
const STRETCH_ROWS: usize = CHUNK_ROWS_MAX / 2;

/// Pages of fewer rows are packed anew together with their neighbours.
const SMALL_ROWS: usize = PAGE_ROWS_MAX / 2;

/// Steps follow each other in time and share none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Pages of a chunk, which has the present schema, as they stand.
    Copy { chunk: usize, pages: Range<usize> },
    /// Everything with these times (inclusive).
    Read { from: i64, to: i64 },
}

/// One page of the bucket.
#[derive(Debug, Clone, Copy)]
struct Page {
    min: i64,
    max: i64,
    rows: usize,
    chunk: usize,
    number: usize,
    /// It may be copied.
    whole: bool,
}

/// Pages that touch in time, and no others do.
struct Cluster {
    pages: Range<usize>,
    max: i64,
    rows: usize,
    /// All of one chunk and whole.
    copy: bool,
}

pub(super) fn plan(view: &View) -> Result<Vec<Step>, Error> {
    let pages = pages(view)?;
    let mut steps = Vec::new();
    let mut read: Option<Read> = None;
    let clusters = clusters(&pages);
    for (index, cluster) in clusters.iter().enumerate() {
        // Small pages are read if they have a neighbour to be packed with.
        let next = clusters.get(index + 1);
        let beside = read.is_some() || next.is_some_and(|next| !next.copy || next.is_small());
        if cluster.copy && !(cluster.is_small() && beside) {
            steps.extend(read.take().map(Read::step));
            let first = &pages[cluster.pages.start];
            steps.push(Step::Copy {
                chunk: first.chunk,
                pages: first.number..first.number + cluster.pages.len(),
            });
        } else {
            let read = read.get_or_insert_with(|| Read::new(pages[cluster.pages.start].min));
            for page in &pages[cluster.pages.clone()] {
                steps.extend(read.add(page));
            }
        }
    }
    steps.extend(read.map(Read::step));
    Ok(steps)
}

/// A stretch of time that is read.
struct Read {
    from: i64,
    to: i64,
    rows: usize,
}

impl Read {
    fn new(from: i64) -> Self {
        Self {
            from,
            to: from,
            rows: 0,
        }
    }

    fn step(self) -> Step {
        Step::Read {
            from: self.from,
            to: self.to,
        }
    }

    /// Adds a page that begins no earlier than all before. Returns what is full; the rest of pages
    /// that reach beyond counts there, which no memory depends on.
    fn add(&mut self, page: &Page) -> Option<Step> {
        let mut full = None;
        if self.rows >= STRETCH_ROWS && page.min > self.from {
            full = Some(Step::Read {
                from: self.from,
                to: page.min - 1,
            });
            self.from = page.min;
            self.rows = 0;
        }
        self.to = self.to.max(page.max);
        self.rows += page.rows;
        full
    }
}

impl Cluster {
    fn is_small(&self) -> bool {
        self.rows < SMALL_ROWS
    }
}

/// All pages by least time.
fn pages(view: &View) -> Result<Vec<Page>, Error> {
    let count = view.chunks.iter().map(Chunk::pages).sum();
    let mut pages: Vec<Page> = Vec::with_capacity(count);
    for (index, chunk) in view.chunks.iter().enumerate() {
        let present = chunk.schema_version() == view.info.schema_version;
        for number in 0..chunk.pages() {
            let (min, max) = chunk.page_times(number, &view.info)?;
            let rows = chunk.page_rows(number..number + 1, &view.info)?.len();
            let whole = present && !view.is_masked(chunk, min, max);
            pages.push(Page {
                min,
                max,
                rows,
                chunk: index,
                number,
                whole,
            });
        }
    }
    // Stable: pages of a chunk with one time keep their order.
    pages.sort_by_key(|page| page.min);
    Ok(pages)
}

fn clusters(pages: &[Page]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        match clusters.last_mut() {
            Some(cluster) if page.min <= cluster.max => {
                let chunk = pages[cluster.pages.start].chunk;
                cluster.pages.end = index + 1;
                cluster.max = cluster.max.max(page.max);
                cluster.rows += page.rows;
                cluster.copy &= page.whole && page.chunk == chunk;
            }
            _ => clusters.push(Cluster {
                pages: index..index + 1,
                max: page.max,
                rows: page.rows,
                copy: page.whole,
            }),
        }
    }
    clusters
}
