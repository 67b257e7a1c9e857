//! One segment, from its length to the last value of its last page.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, ReadFile};
use model::{Column, ColumnBatch, ColumnType, RowKind};

use super::files::Found;
use super::{CheckReport, Level, Loss, Meter, Place, Remedy, bucket_name};
use crate::catalog::BucketInfo;
use crate::manifest::SegmentEntry;
use crate::page::{self, PageEntry};
use crate::segment::{
    CHUNK_ENTRY_BYTES, ChunkEntry, FOOTER_BYTES, Footer, HEADER_BYTES, check_header, path_of,
};
use crate::{Error, tail};

/// A segment whose directory holds.
pub(super) struct Opened {
    path: String,
    file: Box<dyn ReadFile>,
    pub(super) footer: Footer,
    pub(super) chunks: Vec<ChunkEntry>,
    /// The last rows of all chunks, one behind the other.
    latest: Bytes,
    /// Where each begins.
    latest_at: Vec<usize>,
}

/// The wrong places of a chunk.
#[derive(Default)]
pub(super) struct Faults {
    /// Pages whose rows cannot be given back, with the reason.
    pub(super) pages: BTreeMap<usize, Fault>,
    /// What is wrong beyond pages: it is put right when the chunk is written anew.
    other: Vec<Fault>,
    /// Empty if the page table does not hold: no page can be found then.
    table: Vec<PageEntry>,
}

/// A wrong place.
pub(super) struct Fault {
    offset: u64,
    what: String,
}

const NOT_OPEN: &str = "the store does not open";
const WRONG_BOUNDS: &str = "the bounds of the chunk are not those of its rows";

/// Verifies a segment that MANIFEST names.
pub(super) fn check(
    disk: &dyn Disk,
    named: &SegmentEntry,
    found: &Found,
    report: &mut CheckReport,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let path = path_of(named.sequence);
    let opened = match open(disk, named, &found.manifest.store_id) {
        Ok(opened) => opened,
        Err(error) => {
            refuse(disk, &path, named, &error, report)?;
            return Ok(());
        }
    };
    let (mut seen, mut is_damaged) = (0, false);
    for (index, chunk) in opened.chunks.iter().enumerate() {
        report.rows += u64::from(chunk.rows);
        report.pages += chunk.page_count() as u64;
        let mut read = |bytes: u64| {
            seen += bytes;
            meter.read(&path, bytes);
        };
        let faults = opened.faults(index, found, &mut read)?;
        is_damaged |= faults.any();
        tell(&opened, chunk, &faults, found, report);
    }
    // Directory, tables, gaps between pages.
    meter.read(&path, named.bytes.saturating_sub(seen));
    if is_damaged && found.catalog_holds {
        report.step(&path, named.sequence, Remedy::Rewrite);
    }
    Ok(())
}

/// The segment as a whole cannot be read.
fn refuse(
    disk: &dyn Disk,
    path: &str,
    named: &SegmentEntry,
    error: &Error,
    report: &mut CheckReport,
) -> Result<(), Error> {
    report.add_error(path, error, NOT_OPEN);
    let missing = !disk.exists(path)?;
    let remedy = if missing {
        Remedy::Forget
    } else {
        Remedy::SetAside
    };
    report.step(path, named.sequence, remedy);
    report.losses.push(Loss {
        file: path.to_owned(),
        bucket: None,
        rows: None,
        times: None,
        what: format!(
            "all rows of the file ({} bytes): how many and of which buckets is not known",
            named.bytes
        ),
    });
    Ok(())
}

fn tell(
    opened: &Opened,
    chunk: &ChunkEntry,
    faults: &Faults,
    found: &Found,
    report: &mut CheckReport,
) {
    let bucket = bucket_name(&found.catalog, chunk.bucket);
    let dead = found.catalog_holds && found.catalog.by_id(chunk.bucket).is_none();
    let means = match dead {
        true => "the bucket was dropped, nobody asks for its rows",
        false => "a query that needs these rows fails and names the place; the rest is served",
    };
    for fault in faults.pages.values() {
        let place = Place::of(&opened.path, fault.offset, bucket.clone());
        report.add(Level::Damage, place, fault.what.clone(), means);
    }
    for fault in &faults.other {
        let place = Place::of(&opened.path, fault.offset, bucket.clone());
        let means = "queries may miss rows; a repair writes it anew";
        report.add(Level::Damage, place, fault.what.clone(), means);
    }
    if dead {
        return;
    }
    for (rows, times) in opened.lost(chunk, faults) {
        report.losses.push(Loss {
            file: opened.path.clone(),
            bucket: Some(bucket.clone()),
            rows: Some(rows),
            times,
            what: String::new(),
        });
    }
}

/// Opens a segment and verifies all but its pages.
pub(super) fn open(
    disk: &dyn Disk,
    named: &SegmentEntry,
    store_id: &[u8; 16],
) -> Result<Opened, Error> {
    let path = path_of(named.sequence);
    let bad = |at: u64, what: String| Error::Corrupt {
        file: path.clone(),
        offset: at,
        what,
    };
    if !disk.exists(&path)? {
        return Err(bad(0, "the file is missing".into()));
    }
    let file = disk.open_read(&path)?;
    let length = file.len()?;
    if length != named.bytes || length < (HEADER_BYTES + FOOTER_BYTES) as u64 {
        let what = format!("the file has {length} bytes, not {}", named.bytes);
        return Err(bad(length.min(named.bytes), what));
    }
    check_header(
        &path,
        &file.read_at(0, HEADER_BYTES)?,
        named.sequence,
        store_id,
    )?;
    let footer_at = length - FOOTER_BYTES as u64;
    let footer = Footer::decode(&file.read_at(footer_at, FOOTER_BYTES)?)
        .filter(|(footer, crc)| footer.file_bytes == length && *crc == named.footer_crc);
    let Some((footer, _)) = footer else {
        return Err(bad(footer_at, "the footer is not this segment's".into()));
    };
    let corrupt = |at, what: &str| Err(bad(at, what.to_owned()));
    let length = u64::from(footer.chunks).checked_mul(CHUNK_ENTRY_BYTES as u64);
    let directory_end = length.and_then(|length| footer.directory.checked_add(length));
    let in_order = HEADER_BYTES as u64 <= footer.tables
        && footer.tables <= footer.directory
        && directory_end == Some(footer.latest)
        && footer.latest <= footer_at;
    if !in_order {
        return corrupt(footer_at, "the footer does not add up");
    }
    let end = read(&*file, footer.directory, footer_at)?;
    if crc32fast::hash(&end) != footer.directory_crc {
        return corrupt(footer.directory, "the directory fails its checksum");
    }
    let latest_at = usize::try_from(footer.latest - footer.directory).expect("it is in memory");
    let chunks = end[..latest_at].chunks_exact(CHUNK_ENTRY_BYTES);
    let chunks = chunks.map(|entry| ChunkEntry::decode(entry).expect("an entry's length"));
    let chunks: Vec<ChunkEntry> = chunks.collect();
    let mut at = 0;
    let starts = chunks.iter().map(|chunk| {
        at += chunk.latest_bytes();
        at - chunk.latest_bytes()
    });
    let opened = Opened {
        path: path.clone(),
        file,
        footer,
        latest_at: starts.collect(),
        chunks,
        latest: end.slice(latest_at..),
    };
    match opened.adds_up() {
        true => Ok(opened),
        false => corrupt(footer.directory, "the directory does not add up"),
    }
}

fn read(file: &dyn ReadFile, from: u64, to: u64) -> Result<Bytes, Error> {
    let length = usize::try_from(to - from).unwrap_or(usize::MAX);
    Ok(file.read_at(from, length)?)
}

impl Opened {
    /// Whether chunks are in order, share no time within a bucket, and their page tables and last
    /// rows follow each other without a gap.
    fn adds_up(&self) -> bool {
        let mut table = self.footer.tables;
        let mut latest = 0;
        let mut before: Option<&ChunkEntry> = None;
        for chunk in &self.chunks {
            let follows = before.is_none_or(|before| {
                before.bucket < chunk.bucket
                    || (before.bucket == chunk.bucket && before.max < chunk.min)
            });
            let whole = chunk.rows > 0 && chunk.pages > 0 && chunk.min <= chunk.max;
            if chunk.table != table || !follows || !whole || chunk.latest_words == 0 {
                return false;
            }
            before = Some(chunk);
            table += chunk.table_bytes() as u64;
            latest += chunk.latest_bytes();
        }
        table == self.footer.directory && latest == self.latest.len()
    }

    /// The entries of a chunk's pages, time first; `None` if they fail their checksum.
    fn table(&self, chunk: &ChunkEntry) -> Result<Option<Vec<PageEntry>>, Error> {
        let end = chunk.table + chunk.table_bytes() as u64;
        let table = read(&*self.file, chunk.table, end)?;
        if crc32fast::hash(&table) != chunk.table_crc {
            return Ok(None);
        }
        Ok(Some(chunk.page_entries(&table).unwrap_or_default()))
    }

    /// The stored copy of a chunk's last row.
    fn last_row(&self, index: usize) -> Bytes {
        let from = self.latest_at[index];
        self.latest
            .slice(from..from + self.chunks[index].latest_bytes())
    }

    /// Verifies the pages of a chunk.
    pub(super) fn faults(
        &self,
        index: usize,
        found: &Found,
        read: &mut dyn FnMut(u64),
    ) -> Result<Faults, Error> {
        let chunk = &self.chunks[index];
        let mut faults = Faults::default();
        let Some(pages) = self.table(chunk)? else {
            faults.all(chunk, "a page table fails its checksum");
            return Ok(faults);
        };
        if let Some(what) = wrong_table(chunk, &pages, self.footer.tables) {
            faults.all(chunk, what);
            return Ok(faults);
        }
        faults.table = pages.clone();
        let layout = Layout::of(chunk, found);
        let alive = found.catalog_holds && found.catalog.by_id(chunk.bucket).is_some();
        if alive && layout.columns.is_none() {
            faults.all(chunk, "the columns of its schema are not in the catalog");
            return Ok(faults);
        }
        let count = chunk.pages as usize;
        let mut last_row: Vec<Bytes> = Vec::new();
        let mut before = None;
        for (number, entry) in pages.iter().enumerate() {
            let (column, page) = (number / count, number % count);
            read(u64::from(entry.bytes));
            let values = match self.values(entry, layout.ty(column))? {
                Ok(values) => values,
                Err(what) => {
                    faults.page(page, entry, format!("{}: {what}", layout.name(column)));
                    continue;
                }
            };
            let Some(values) = values else { continue };
            // A short table has none; those of times are the directory's.
            if !chunk.is_short() && !page::has_bounds(&values, entry) {
                let what = "the values are not within the bounds of the page table";
                faults.page(page, entry, format!("{}: {what}", layout.name(column)));
            }
            if column == 0 {
                let times = values.values::<i64>().expect("times are I64");
                let strict = layout.is_bar;
                if let Some(what) = out_of_order(times, before, strict) {
                    faults.page(page, entry, what);
                }
                before = times.last().copied();
                let ends = times.first().copied().zip(before);
                if chunk.is_short() && ends != Some((chunk.min, chunk.max)) {
                    faults.other(chunk.table, WRONG_BOUNDS);
                }
            }
            if page + 1 == count {
                let size = values.ty().size();
                last_row.push(values.bytes().slice(values.bytes().len() - size..));
            }
        }
        faults.check_ends(chunk, &self.last_row(index), &last_row);
        Ok(faults)
    }

    /// The values of a page; `None` if their type is not known (of a dropped bucket).
    fn values(
        &self,
        entry: &PageEntry,
        ty: Option<ColumnType>,
    ) -> Result<Result<Option<Column>, &'static str>, Error> {
        let end = entry.offset + u64::from(entry.bytes);
        let bytes = read(&*self.file, entry.offset, end)?;
        if crc32fast::hash(&bytes) != entry.crc {
            return Ok(Err("a page fails its checksum"));
        }
        let Some(ty) = ty else {
            return Ok(Ok(None));
        };
        let values = page::decode(ty, entry, bytes);
        let values = values.filter(|values| values.len() == usize::from(entry.rows));
        Ok(values.map(Some).ok_or("a page does not decode"))
    }

    /// Rows that cannot be given back, neighbours together, with their first and last time.
    pub(super) fn lost(
        &self,
        chunk: &ChunkEntry,
        faults: &Faults,
    ) -> Vec<(u64, Option<(i64, i64)>)> {
        let pages = &faults.table;
        if pages.is_empty() {
            return vec![(u64::from(chunk.rows), Some((chunk.min, chunk.max)))];
        }
        let mut lost: Vec<(u64, Option<(i64, i64)>)> = Vec::new();
        let mut before = None;
        for page in faults.pages.keys() {
            let entry = &pages[*page];
            let (from, to) = entry.times();
            let rows = u64::from(entry.rows);
            match lost.last_mut() {
                Some((sum, Some((_, end)))) if before == Some(page - 1) => {
                    *sum += rows;
                    *end = to;
                }
                _ => lost.push((rows, Some((from, to)))),
            }
            before = Some(*page);
        }
        lost
    }

    /// The rows of the pages that hold, in order, at most a page a batch.
    pub(super) fn readable(
        &self,
        chunk: &ChunkEntry,
        info: &BucketInfo,
        faults: &Faults,
    ) -> Result<Vec<ColumnBatch>, Error> {
        let mut batches = Vec::new();
        let pages = &faults.table;
        let count = pages.len() / (usize::from(chunk.columns) + 1);
        for page in (0..count).filter(|page| !faults.pages.contains_key(page)) {
            let column = |index: usize, ty: ColumnType| {
                let values = self.values(&pages[index * count + page], Some(ty))?;
                let lost = || Error::Io(format!("{} changed while it was read", self.path));
                values.ok().flatten().ok_or_else(lost)
            };
            let times = column(0, ColumnType::I64)?;
            let types = info.schema.columns().iter().map(|column| column.ty);
            let columns = (1..).zip(types).map(|(index, ty)| column(index, ty));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            batches.push(tail::batch(&info.schema, times, columns));
        }
        Ok(batches)
    }
}

/// Types and names of a chunk's columns.
struct Layout {
    is_bar: bool,
    columns: Option<Vec<(String, ColumnType)>>,
}

impl Layout {
    fn of(chunk: &ChunkEntry, found: &Found) -> Self {
        let info = found.version(chunk.bucket, chunk.schema_version);
        let fits = |info: &&Arc<BucketInfo>| info.schema.len() == usize::from(chunk.columns);
        let columns = info.filter(fits).map(|info| {
            let columns = info.schema.columns().iter();
            columns.map(|c| (c.name.clone(), c.ty)).collect()
        });
        Self {
            is_bar: info.is_some_and(|info| info.kind == RowKind::Bar),
            columns,
        }
    }

    /// The type of a column; 0 is time.
    fn ty(&self, column: usize) -> Option<ColumnType> {
        match column {
            0 => Some(ColumnType::I64),
            _ => Some(self.columns.as_ref()?.get(column - 1)?.1),
        }
    }

    fn name(&self, column: usize) -> String {
        let named = self
            .columns
            .as_ref()
            .and_then(|c| c.get(column.wrapping_sub(1)));
        match (column, named) {
            (0, _) => "time".to_owned(),
            (_, Some((name, _))) => format!("column {name}"),
            (number, None) => format!("column number {number}"),
        }
    }
}

impl Faults {
    pub(super) fn any(&self) -> bool {
        !self.pages.is_empty() || !self.other.is_empty()
    }

    fn page(&mut self, page: usize, entry: &PageEntry, what: String) {
        let offset = entry.offset;
        self.pages.entry(page).or_insert(Fault { offset, what });
    }

    fn all(&mut self, chunk: &ChunkEntry, what: &str) {
        self.table.clear();
        self.other(chunk.table, what);
    }

    fn other(&mut self, offset: u64, what: &str) {
        let what = what.to_owned();
        self.other.push(Fault { offset, what });
    }

    /// Bounds of the chunk and its last row; only if the pages they come from hold.
    fn check_ends(&mut self, chunk: &ChunkEntry, last: &Bytes, row: &[Bytes]) {
        let pages = &self.table;
        let count = chunk.pages as usize;
        let holds = |page: usize| !self.pages.contains_key(&page);
        let (min, _) = pages[0].times();
        let (_, max) = pages[count - 1].times();
        let wrong_min = holds(0) && min != chunk.min;
        let wrong_max = holds(count - 1) && max != chunk.max;
        if wrong_min || wrong_max {
            self.other(chunk.table, WRONG_BOUNDS);
        }
        if row.len() == usize::from(chunk.columns) + 1 {
            let mut expected = Vec::with_capacity(last.len());
            for value in row {
                expected.extend_from_slice(value);
                expected.resize(expected.len().next_multiple_of(8), 0);
            }
            if last[..] != expected[..] {
                self.other(chunk.table, "the copy of the last row is not the last row");
            }
        }
    }
}

/// What is wrong with a page table, if it does not fit its chunk.
fn wrong_table(chunk: &ChunkEntry, pages: &[PageEntry], end: u64) -> Option<&'static str> {
    let count = chunk.pages as usize;
    let Some((times, _)) = pages.split_at_checked(count).filter(|_| count > 0) else {
        return Some("the page table has no pages");
    };
    let rows: u64 = times.iter().map(|page| u64::from(page.rows)).sum();
    if rows != u64::from(chunk.rows) {
        return Some("the page table has another number of rows than the directory");
    }
    let fits = |(number, page): (usize, &PageEntry)| {
        let inside = page
            .offset
            .checked_add(page.bytes.into())
            .is_some_and(|e| e <= end);
        let size = (1..=page::PAGE_ROWS_MAX).contains(&usize::from(page.rows));
        inside && size && page.rows == times[number % count].rows
    };
    let all = pages.iter().enumerate().all(fits);
    (!all).then_some("the page table does not add up")
}

/// What is wrong with the order of times, behind the last time of the page before.
fn out_of_order(times: &[i64], before: Option<i64>, strict: bool) -> Option<String> {
    let wrong = |a: i64, b: i64| if strict { a >= b } else { a > b };
    let border = before.zip(times.first()).is_some_and(|(a, b)| wrong(a, *b));
    let inside = times.windows(2).any(|pair| wrong(pair[0], pair[1]));
    (border || inside).then(|| "time: the rows are not in order".to_owned())
}
