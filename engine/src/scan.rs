//! Range, columns, limit from either end -> one `ColumnBatch`.
//!
//! I7: later source wins. The sources of a bucket (chunks, frozen tails, tail) are each in scan
//! order. Where only one has rows its rows are taken as they stand; only in stretches of time
//! that several share are they merged, older first, so that of equal times the newest row stays.
//! With a limit, stretches are read from the end that is wanted and no further than needed.

use std::ops::Range;
use std::sync::Arc;

use model::{ColumnBatch, RowKind, Schema};
use wal::Lsn;

use crate::mapping::Mapping;
use crate::segment::Chunk;
use crate::tail::{Tail, concat, project};
use crate::view::View;
use crate::{BucketInfo, Error};

/// Sources named in all stretches of a cluster together. Beyond, so many overlap everywhere that
/// cutting costs more than merging all of them as one stretch.
const CUT_WORK_MAX: usize = 1 << 14;

/// Which rows of a bucket.
#[derive(Debug, Clone)]
pub struct Scan {
    /// First time, inclusive (ns).
    pub from: i64,
    /// Last time, inclusive (ns).
    pub to: i64,
    /// Positions of the columns in the bucket's schema, in the order wanted; `None` for all.
    pub columns: Option<Vec<usize>>,
    /// At most this many rows.
    pub limit: Option<Limit>,
}

/// How many rows, counted from which end of the range. Rows come back ascending either way.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The first n.
    First(usize),
    /// The last n.
    Last(usize),
}

impl Scan {
    /// All rows, all columns.
    pub fn all() -> Self {
        Self {
            from: i64::MIN,
            to: i64::MAX,
            columns: None,
            limit: None,
        }
    }
}

impl Scan {
    /// The time of one row, from an end: its first column, as there is no scan without any.
    pub(crate) fn one(limit: Limit) -> Self {
        Self {
            columns: Some(vec![0]),
            limit: Some(limit),
            ..Self::all()
        }
    }
}

impl Limit {
    fn count(self) -> usize {
        match self {
            Self::First(count) | Self::Last(count) => count,
        }
    }

    pub(crate) fn is_last(self) -> bool {
        matches!(self, Self::Last(_))
    }

    /// At most `left` of the rows, from the end that is wanted.
    fn trim(self, rows: Range<usize>, left: usize) -> Range<usize> {
        match self {
            _ if rows.len() <= left => rows,
            Self::First(_) => rows.start..rows.start + left,
            Self::Last(_) => rows.end - left..rows.end,
        }
    }
}

/// Rows of a bucket at an LSN.
pub(crate) fn scan(view: &View, lsn: Lsn, scan: &Scan) -> Result<ColumnBatch, Error> {
    let projection = Projection::new(&view.info.schema, scan.columns.as_deref())?;
    if scan.from > scan.to {
        return Ok(ColumnBatch::empty(projection.schema));
    }
    let limit = scan.limit.unwrap_or(Limit::First(usize::MAX));
    let sources = sources(view, lsn, scan);
    let clusters = clusters(&sources);
    let reader = Reader {
        view,
        projection: &projection,
        limit,
    };
    let mut left = limit.count();
    let mut groups: Vec<Vec<ColumnBatch>> = Vec::new();
    let mut cluster = |range: &Range<usize>, left: &mut usize| -> Result<(), Error> {
        let mut stretches = stretches(&sources[range.clone()], scan);
        if limit.is_last() {
            stretches.reverse();
        }
        for stretch in stretches {
            if *left == 0 {
                break;
            }
            let group = reader.read(&stretch, *left)?;
            *left -= group.iter().map(ColumnBatch::rows).sum::<usize>();
            groups.push(group);
        }
        Ok(())
    };
    if limit.is_last() {
        for range in clusters.iter().rev() {
            cluster(range, &mut left)?;
            if left == 0 {
                break;
            }
        }
        groups.reverse();
    } else {
        for range in &clusters {
            cluster(range, &mut left)?;
            if left == 0 {
                break;
            }
        }
    }
    let pieces = groups.into_iter().flatten().collect();
    Ok(concat(&projection.schema, pieces))
}

/// How many rows there are with `from <= time <= to`. Rows are read only where bars of several
/// sources may have the same time.
pub(crate) fn count(view: &View, lsn: Lsn, from: i64, to: i64) -> Result<u64, Error> {
    let info = &view.info;
    let by_size = |index: &usize| info.schema.columns()[*index].ty.size();
    let narrowest = (0..info.schema.len()).min_by_key(by_size);
    let projection = Projection::new(&info.schema, narrowest.as_slice().into())?;
    let scan = Scan {
        from,
        to,
        ..Scan::all()
    };
    if from > to {
        return Ok(0);
    }
    let sources = sources(view, lsn, &scan);
    let reader = Reader {
        view,
        projection: &projection,
        limit: Limit::First(usize::MAX),
    };
    let mut count = 0;
    for cluster in clusters(&sources) {
        for stretch in stretches(&sources[cluster], &scan) {
            count += reader.count(&stretch)?;
        }
    }
    Ok(count)
}

/// The columns wanted.
struct Projection {
    columns: Vec<usize>,
    schema: Schema,
}

impl Projection {
    fn new(schema: &Schema, columns: Option<&[usize]>) -> Result<Self, Error> {
        let Some(columns) = columns else {
            return Ok(Self {
                columns: (0..schema.len()).collect(),
                schema: schema.clone(),
            });
        };
        let defs = columns.iter().map(|index| schema.columns().get(*index));
        let Some(defs) = defs.map(|def| def.cloned()).collect::<Option<Vec<_>>>() else {
            let message = format!("columns {columns:?} of a bucket with {}", schema.len());
            return Err(Error::Invalid(message));
        };
        let projected = Schema::new(defs).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self {
            columns: columns.to_vec(),
            schema: projected,
        })
    }
}

/// Rows in scan order from one place. Those outside its times do not count: they are deleted.
#[derive(Clone)]
struct Source<'a> {
    min: i64,
    max: i64,
    /// Later wins.
    age: u64,
    /// The bucket when the rows were written.
    info: &'a BucketInfo,
    rows: Rows<'a>,
}

#[derive(Clone)]
enum Rows<'a> {
    Chunk(&'a Chunk),
    Tail(&'a Tail, usize),
    Sorted(Arc<ColumnBatch>),
}

/// The sources with times in the range, by least time.
fn sources<'a>(view: &'a View, lsn: Lsn, scan: &Scan) -> Vec<Source<'a>> {
    let begin_in_range = view.chunks.partition_point(|chunk| chunk.min <= scan.to);
    let chunks = view.chunks[..begin_in_range].iter();
    let mut sources: Vec<Source<'_>> = Vec::new();
    for chunk in chunks.filter(|chunk| chunk.max >= scan.from) {
        let source = Source {
            min: chunk.min,
            max: chunk.max,
            age: chunk.age(),
            // Of a version that nobody knows: reading the chunk says so.
            info: view.version(chunk.schema_version()).unwrap_or(&view.info),
            rows: Rows::Chunk(chunk),
        };
        push_live(&mut sources, source, view, chunk.last_lsn(), scan);
    }
    for (index, frozen) in view.frozen.iter().enumerate() {
        let age = u64::MAX / 2 + 2 * index as u64;
        for source in tail_sources(&frozen.tail, &frozen.info, age, lsn, scan) {
            push_live(&mut sources, source, view, frozen.upto, scan);
        }
    }
    let age = u64::MAX / 2 + 2 * view.frozen.len() as u64;
    sources.extend(tail_sources(&view.tail, &view.info, age, lsn, scan));
    if !sources.is_sorted_by_key(|source| source.min) {
        sources.sort_by_key(|source| source.min);
    }
    sources
}

/// Adds a source, or those parts of its times in which it is not masked.
fn push_live<'a>(
    sources: &mut Vec<Source<'a>>,
    source: Source<'a>,
    view: &View,
    last_lsn: Lsn,
    scan: &Scan,
) {
    if view.masks.is_empty() {
        sources.push(source);
        return;
    }
    for (min, max) in view.live(last_lsn, source.min, source.max) {
        if min <= scan.to && max >= scan.from {
            sources.push(Source {
                min,
                max,
                ..source.clone()
            });
        }
    }
}

/// At most two, if some rows are in the range.
fn tail_sources<'a>(
    tail: &'a Tail,
    info: &'a BucketInfo,
    age: u64,
    lsn: Lsn,
    scan: &Scan,
) -> Vec<Source<'a>> {
    let in_range = |(min, max)| min <= scan.to && max >= scan.from;
    let prefix = tail.prefix(lsn);
    let Some(prefix) = prefix.filter(|prefix| in_range((prefix.min, prefix.max))) else {
        return Vec::new();
    };
    let source = |min, max, age, rows| Source {
        min,
        max,
        age,
        info,
        rows,
    };
    if prefix.ordered {
        let rows = Rows::Tail(tail, prefix.rows);
        return vec![source(prefix.min, prefix.max, age, rows)];
    }
    let runs = (age..).zip(tail.sorted_runs(prefix.rows));
    let runs = runs.filter_map(|(age, batch)| {
        let (min, max) = (*batch.times().first()?, *batch.times().last()?);
        in_range((min, max)).then(|| source(min, max, age, Rows::Sorted(batch)))
    });
    runs.collect()
}

/// Groups of neighbours whose spans of time touch; different groups share no time.
fn clusters(sources: &[Source<'_>]) -> Vec<Range<usize>> {
    let mut clusters: Vec<Range<usize>> = Vec::with_capacity(sources.len());
    let mut max = i64::MIN;
    for (index, source) in sources.iter().enumerate() {
        match clusters.last_mut() {
            Some(cluster) if source.min <= max => cluster.end = index + 1,
            _ => clusters.push(index..index + 1),
        }
        max = max.max(source.max);
    }
    clusters
}

/// A span of time (inclusive) and who may have rows in it, oldest first.
struct Stretch<'s, 'a> {
    from: i64,
    to: i64,
    sources: Vec<&'s Source<'a>>,
}

/// Cuts a cluster where sources begin and end, so that rows are merged only where they must be.
fn stretches<'s, 'a>(cluster: &'s [Source<'a>], scan: &Scan) -> Vec<Stretch<'s, 'a>> {
    let whole = || {
        let mut sources: Vec<&Source<'_>> = cluster.iter().collect();
        sources.sort_by_key(|source| source.age);
        vec![Stretch {
            from: scan.from,
            to: scan.to,
            sources,
        }]
    };
    if cluster.len() == 1 {
        return whole();
    }
    // (position, source that begins or ends there). Stored times are far from the ends of i64,
    // so the position behind the last time exists.
    let mut borders: Vec<(i64, &Source<'_>)> = Vec::with_capacity(2 * cluster.len());
    for source in cluster {
        borders.push((source.min.max(scan.from), source));
        borders.push((source.max.min(scan.to).saturating_add(1), source));
    }
    borders.sort_by_key(|border| border.0);
    let mut stretches = Vec::with_capacity(borders.len());
    let mut active: Vec<&Source<'_>> = Vec::new();
    let mut work = 0;
    let mut from = scan.from;
    for (position, source) in borders {
        if position > from && !active.is_empty() {
            work += active.len();
            if work > CUT_WORK_MAX {
                return whole();
            }
            stretches.push(Stretch {
                from,
                to: position - 1,
                sources: active.clone(),
            });
        }
        from = position;
        match active.binary_search_by_key(&source.age, |active| active.age) {
            Ok(ends) => drop(active.remove(ends)),
            Err(begins) => active.insert(begins, source),
        }
    }
    stretches
}

struct Reader<'a> {
    view: &'a View,
    projection: &'a Projection,
    limit: Limit,
}

impl Reader<'_> {
    /// At most `left` rows of a stretch, in scan order.
    fn read(&self, stretch: &Stretch<'_, '_>, left: usize) -> Result<Vec<ColumnBatch>, Error> {
        let mut pieces = Vec::new();
        let mut contributors = 0;
        for source in &stretch.sources {
            let rows = self.rows_between(source, stretch.from, stretch.to)?;
            // Rows beyond the limit of one source cannot be within the limit of the merge.
            let rows = self.limit.trim(rows, left);
            if !rows.is_empty() {
                contributors += 1;
                self.read_rows(source, rows, &mut pieces)?;
            }
        }
        if contributors < 2 {
            return Ok(pieces);
        }
        let merged = merge(&self.projection.schema, pieces, self.view.info.kind);
        let rows = self.limit.trim(0..merged.rows(), left);
        Ok(vec![merged.slice(rows)])
    }

    /// How many rows [`Reader::read`] would give without a limit.
    fn count(&self, stretch: &Stretch<'_, '_>) -> Result<u64, Error> {
        let mut rows = 0;
        let mut contributors = 0;
        for source in &stretch.sources {
            let range = self.rows_between(source, stretch.from, stretch.to)?;
            contributors += usize::from(!range.is_empty());
            rows += range.len() as u64;
        }
        if contributors < 2 || self.view.info.kind == RowKind::Tick {
            return Ok(rows);
        }
        let read = self.read(stretch, usize::MAX)?;
        Ok(read.iter().map(|batch| batch.rows() as u64).sum())
    }

    fn rows_between(&self, source: &Source<'_>, from: i64, to: i64) -> Result<Range<usize>, Error> {
        // The stretch may be wider than what is not deleted of the source.
        let (from, to) = (from.max(source.min), to.min(source.max));
        match &source.rows {
            Rows::Chunk(chunk) => chunk.rows_between(from, to, &self.view.info),
            Rows::Tail(tail, rows) => Ok(tail.rows_between(*rows, from, to)),
            Rows::Sorted(batch) => {
                let times = batch.times();
                let start = times.partition_point(|time| *time < from);
                Ok(start..times.partition_point(|time| *time <= to).max(start))
            }
        }
    }

    fn read_rows(
        &self,
        source: &Source<'_>,
        rows: Range<usize>,
        pieces: &mut Vec<ColumnBatch>,
    ) -> Result<(), Error> {
        let Projection { columns, schema } = self.projection;
        let info = &self.view.info;
        if source.info.schema_version == info.schema_version {
            return source.read(rows, columns, schema, pieces);
        }
        let mapping = Mapping::project(source.info, info, columns, schema.clone());
        let (columns, schema) = mapping.sources(&source.info.schema);
        let before = pieces.len();
        source.read(rows, &columns, &schema, pieces)?;
        pieces[before..]
            .iter_mut()
            .for_each(|piece| *piece = mapping.finish(piece));
        Ok(())
    }
}

impl Source<'_> {
    /// Rows with columns of the source's own schema.
    fn read(
        &self,
        rows: Range<usize>,
        columns: &[usize],
        schema: &Schema,
        pieces: &mut Vec<ColumnBatch>,
    ) -> Result<(), Error> {
        match &self.rows {
            Rows::Chunk(chunk) => pieces.push(chunk.read(rows, columns, schema, self.info)?),
            Rows::Tail(tail, _) => tail.read(rows, columns, schema, pieces),
            Rows::Sorted(batch) => pieces.push(project(batch, rows, columns, schema)),
        }
        Ok(())
    }
}

/// Joins sorted runs, oldest first. The sort is stable and made for runs: it merges.
fn merge(schema: &Schema, pieces: Vec<ColumnBatch>, kind: RowKind) -> ColumnBatch {
    concat(schema, pieces).ordered(kind)
}
