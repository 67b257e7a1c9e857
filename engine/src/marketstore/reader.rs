//! One bucket as a stream of batches in order of time.

use std::collections::{BTreeSet, HashMap, VecDeque, btree_map};
use std::iter::Peekable;

use model::{ColumnBatch, RowKind, Schema, Timeframe};

use super::compress::{Area, Compression, Form};
use super::fault::{Fault, Faults};
use super::header;
use super::overlay::{FileSets, WriteSet};
use super::rows::Rows;
use super::slots::{Found, Slots};
use super::tree::{SourceBucket, Tree};
use super::year::YearFile;

/// Bytes of a batch: large enough to be worth a call, small against what a call takes.
const BATCH_BYTES: usize = 4 << 20;
/// Largest data area that is believed: all ticks of one interval.
const AREA_BYTES_MAX: u64 = 1 << 30;
/// Areas of a file that are asked how they are stored before it is given up.
const PROBED_MAX: usize = 1000;

/// Rows that MarketStore itself would have answered wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repaired {
    /// Daily rows of 1 January, which it writes and cannot find.
    pub first_january: u64,
    /// Rows that only the log had.
    pub from_log: u64,
    /// Ticks that the log has and the file as well: its replay would store them twice.
    pub not_doubled: u64,
}

impl Repaired {
    pub(super) fn add(&mut self, other: Self) {
        self.first_january += other.first_january;
        self.from_log += other.from_log;
        self.not_doubled += other.not_doubled;
    }
}

/// Streams one bucket.
#[derive(Debug)]
pub struct BucketReader<'a> {
    tree: &'a Tree,
    bucket: &'a SourceBucket,
    timeframe: Option<Timeframe>,
    layout: Option<(RowKind, Schema)>,
    years: VecDeque<YearFile>,
    cursor: Option<Cursor<'a>>,
    faults: Vec<Fault>,
    repaired: Repaired,
    /// How the areas of the bucket that leave no doubt are stored, once somebody asked.
    form: Option<Option<Form>>,
}

/// Where the reader is in a year file.
#[derive(Debug)]
struct Cursor<'a> {
    year: YearFile,
    slots: Slots,
    /// What [`Slots`] found and is not used yet.
    found: Option<Found>,
    sets: Peekable<btree_map::Iter<'a, i64, Vec<WriteSet>>>,
    /// Slot of 1 January that waits to be used, in front of all others.
    first: Option<Vec<u8>>,
    faults: Faults,
}

/// One interval: what the file and the logs have of it.
struct Interval<'a> {
    index: i64,
    slot: Option<Vec<u8>>,
    sets: &'a [WriteSet],
}

impl<'a> BucketReader<'a> {
    pub(super) fn new(tree: &'a Tree, bucket: &'a SourceBucket) -> Self {
        let mut reader = Self {
            tree,
            bucket,
            timeframe: None,
            layout: None,
            years: VecDeque::new(),
            cursor: None,
            faults: Vec::new(),
            repaired: Repaired::default(),
            form: None,
        };
        match Timeframe::parse(bucket.key.timeframe()) {
            Ok(timeframe) => {
                reader.timeframe = Some(timeframe);
                reader.open_years(timeframe);
            }
            Err(error) => reader.fault_of_bucket(&format!("{error}; the bucket is left out")),
        }
        reader
    }

    /// Kind and columns of the bucket; `None` if no year file of it can be read.
    pub fn layout(&self) -> Option<(RowKind, &Schema)> {
        self.layout.as_ref().map(|(kind, schema)| (*kind, schema))
    }

    /// What of the bucket was left out so far; complete once the last batch was given.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What was put right so far.
    pub fn repaired(&self) -> Repaired {
        self.repaired
    }

    fn fault_of_bucket(&mut self, what: &str) {
        let first = self.bucket.years.first().map_or("", |(_, path)| path);
        let dir = first.rsplit_once('/').map_or(first, |(dir, _)| dir);
        self.faults.push(Fault::new(dir, None, what));
    }

    /// Opens all years; those that differ from the newest one in kind or columns are left out, as
    /// MarketStore copies the header of one year to the next and cannot read such a bucket.
    fn open_years(&mut self, timeframe: Timeframe) {
        let mut logged: BTreeSet<&str> = BTreeSet::new();
        for (year, path) in &self.bucket.years {
            let (source, options) = (&self.tree.source, &self.tree.options);
            match YearFile::open(source, path, *year, timeframe, options) {
                Ok(opened) => self.years.push_back(opened),
                Err(fault) => {
                    self.faults.push(fault);
                    logged.insert(path);
                }
            }
        }
        let Some(newest) = self.years.back() else {
            return;
        };
        let newest_year = newest.path.clone();
        let layout = (newest.header.kind, newest.header.schema.clone());
        for year in std::mem::take(&mut self.years) {
            if (year.header.kind, &year.header.schema) == (layout.0, &layout.1) {
                self.years.push_back(year);
            } else {
                let what = format!(
                    "columns {:?} of record type {}, unlike {newest_year}: the file is left out",
                    year.header.schema,
                    year.header.kind.code()
                );
                self.faults.push(Fault::new(&year.path, 288, what));
            }
        }
        self.layout = Some(layout);
        for path in logged {
            let sets = self
                .tree
                .overlay
                .file(path)
                .and_then(|sets| sets.values().flatten().next());
            if let Some(set) = sets {
                let what =
                    format!("writes to {path:?}, which cannot be read, are left out as well");
                self.faults.push(self.tree.overlay.fault(set, what));
            }
        }
    }

    fn next_year(&mut self) -> bool {
        if let Some(mut done) = self.cursor.take() {
            self.faults.extend(done.faults.take(&done.year.path));
        }
        let Some(year) = self.years.pop_front() else {
            return false;
        };
        self.cursor = Some(Cursor::new(year, self.tree));
        true
    }

    /// Adds the next interval that holds anything; `false` at the end of the bucket.
    fn step(&mut self, rows: &mut Rows) -> bool {
        let Some(cursor) = &mut self.cursor else {
            return self.next_year();
        };
        let Some(interval) = cursor.next_interval() else {
            return self.next_year();
        };
        if cursor.year.clock.time(interval.index).is_some() {
            match cursor.year.header.kind {
                RowKind::Bar => self.bar(&interval, rows),
                RowKind::Tick => self.ticks(&interval, rows),
            }
        } else {
            cursor.fault(
                interval.index,
                "a slot behind the end of the year, left out",
            );
        }
        true
    }

    fn bar(&mut self, interval: &Interval<'a>, rows: &mut Rows) {
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        let values_bytes = cursor.year.header.values_bytes;
        let Some(mut time) = cursor.year.clock.time(interval.index) else {
            return;
        };
        if let (true, Some(timeframe)) = (self.tree.options.floor_bars, self.timeframe) {
            time = timeframe.floor(time, &self.tree.options.zone);
        }
        let stored = interval
            .slot
            .as_deref()
            .filter(|slot| cursor.has_index(interval.index, slot));
        let stored = stored.map(|slot| &slot[8..8 + values_bytes]);
        let logged = cursor.logged(interval, self.tree, 0);
        let row = match (stored, logged.last()) {
            (None, None) => return,
            (Some(stored), None) => stored,
            (Some(stored), Some((set, logged))) if set.doubtful && logged != stored => {
                let what = format!(
                    "the row of {} differs, and a later part of the log is damaged: the file's row is \
                     taken",
                    cursor.year.path
                );
                cursor.faults.push(self.tree.overlay.fault(set, what));
                stored
            }
            (stored, Some((_, logged))) => {
                self.repaired.from_log += u64::from(stored != Some(logged));
                logged
            }
        };
        self.repaired.first_january += u64::from(interval.index == 0);
        rows.push(time, row);
    }

    fn ticks(&mut self, interval: &Interval<'a>, rows: &mut Rows) {
        let form = |reader: &mut Self| {
            *reader
                .form
                .get_or_insert_with(|| probe(reader.tree, reader.bucket))
        };
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        let row_bytes = cursor.year.header.values_bytes + 4;
        let area = interval
            .slot
            .as_deref()
            .and_then(|slot| cursor.area(interval.index, slot));
        let logged = cursor.logged(interval, self.tree, row_bytes);
        let mut stored = Vec::new();
        if let Some((offset, bytes)) = area {
            let area = Area::new(bytes, row_bytes);
            let decided = area.rows(self.tree.options.compression, || form(self));
            let Some(cursor) = &mut self.cursor else {
                return;
            };
            match decided {
                Ok(bytes) => stored = bytes,
                Err(why) => {
                    let what = format!("{why} (interval {}): left out", interval.index);
                    cursor
                        .faults
                        .push(Fault::new(&cursor.year.path, offset, what));
                }
            }
        }
        let missing = missing(&stored, &logged, row_bytes, &mut self.repaired);
        self.repaired.from_log += (missing.len() / row_bytes) as u64;
        stored.extend_from_slice(&missing);
        let count = self.push_ticks(interval.index, &stored, row_bytes, rows);
        if interval.index == 0 {
            self.repaired.first_january += count;
        }
    }

    /// Adds ticks in order of time, equal times in the order of the file.
    fn push_ticks(&mut self, index: i64, bytes: &[u8], row_bytes: usize, rows: &mut Rows) -> u64 {
        let Some(cursor) = &mut self.cursor else {
            return 0;
        };
        let clock = &cursor.year.clock;
        let ticks = clock
            .time(index)
            .and_then(|start| clock.ticks(index, start));
        let Some(ticks) = ticks else {
            cursor.fault(
                index,
                "ticks of an interval over a day, whose times are not stored: left out",
            );
            return 0;
        };
        let mut times = Vec::with_capacity(bytes.len() / row_bytes);
        let mut bad = (0, "");
        for (number, row) in bytes.chunks_exact(row_bytes).enumerate() {
            let (_, stored) = row.split_at(row_bytes - 4);
            let stored = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]);
            match ticks.time(stored) {
                Ok(time) => times.push((time, number)),
                Err(why) => bad = (bad.0 + 1, why),
            }
        }
        if bad.0 > 0 {
            let what = format!("the time of {} ticks {}: left out", bad.0, bad.1);
            cursor.fault(index, &what);
        }
        // Stable, and already sorted where MarketStore sorted: version 2 did not.
        times.sort_by_key(|(time, _)| *time);
        for (time, number) in &times {
            let row = &bytes[number * row_bytes..(number + 1) * row_bytes - 4];
            rows.push(*time, row);
        }
        times.len() as u64
    }
}

impl Iterator for BucketReader<'_> {
    type Item = ColumnBatch;

    fn next(&mut self) -> Option<ColumnBatch> {
        let (_, schema) = self.layout.as_ref()?;
        let mut rows = Rows::new(schema.clone());
        while rows.bytes() < BATCH_BYTES && self.step(&mut rows) {}
        (!rows.is_empty()).then(|| rows.take())
    }
}

impl<'a> Cursor<'a> {
    fn new(year: YearFile, tree: &'a Tree) -> Self {
        static NONE: FileSets = FileSets::new();
        let mut faults = Faults::default();
        if let Some(fault) = year.length_fault() {
            faults.push(fault);
        }
        let first = year.first_january().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let end = match year.header.kind {
            RowKind::Bar => year.file.len(),
            RowKind::Tick => year.file.len().min(year.slots_end()),
        };
        let sets = tree.overlay.file(&year.path).unwrap_or(&NONE);
        Self {
            slots: Slots::new(year.header.record_bytes, end),
            found: None,
            sets: sets.iter().peekable(),
            first,
            faults,
            year,
        }
    }

    fn fault(&mut self, index: i64, what: &str) {
        let offset = u64::try_from(self.year.slot_at(index)).ok();
        self.faults.push(Fault::new(&self.year.path, offset, what));
    }

    /// The next interval of file and logs together, in order.
    fn next_interval(&mut self) -> Option<Interval<'a>> {
        if let Some(slot) = self.first.take() {
            let sets = self.sets.next_if(|(index, _)| **index == 0);
            let sets = sets.map_or(&[][..], |(_, sets)| sets);
            return Some(Interval {
                index: 0,
                slot: Some(slot),
                sets,
            });
        }
        let found = loop {
            match self
                .found
                .take()
                .or_else(|| self.slots.next(&self.year.file))
            {
                Some(Found::Unreadable { offset, why }) => {
                    self.faults.push(Fault::new(&self.year.path, offset, why));
                }
                Some(Found::Slot { index, offset }) => break Some((index, offset)),
                None => break None,
            }
        };
        let logged = self.sets.peek().map(|(index, _)| **index);
        let index = match (found, logged) {
            (None, None) => return None,
            (Some((index, _)), None) => index,
            (None, Some(logged)) => logged,
            (Some((index, _)), Some(logged)) => index.min(logged),
        };
        let sets = self.sets.next_if(|(logged, _)| **logged == index);
        let sets = sets.map_or(&[][..], |(_, sets)| sets);
        let mut slot = None;
        if let Some((found, offset)) = found {
            if found == index {
                slot = Some(self.slots.bytes().to_vec());
            } else {
                self.found = Some(Found::Slot {
                    index: found,
                    offset,
                });
            }
        }
        Some(Interval { index, slot, sets })
    }

    /// Whether a slot says what its place says.
    fn has_index(&mut self, index: i64, slot: &[u8]) -> bool {
        match header::word(slot, 0) {
            found if found == index => return true,
            0 => self.fault(index, "a slot with values but no index, left out"),
            other => {
                let what = format!("the slot of interval {index} says it is {other}, left out");
                self.fault(index, &what);
            }
        }
        false
    }

    /// The bytes that the slot of a tick bucket points to, and where they begin.
    fn area(&mut self, index: i64, slot: &[u8]) -> Option<(u64, Vec<u8>)> {
        if !self.has_index(index, slot) {
            return None;
        }
        let (offset, len) = (header::word(slot, 8), header::word(slot, 16));
        let inside = u64::try_from(offset)
            .ok()
            .zip(u64::try_from(len).ok())
            .filter(|(offset, len)| {
                let end = offset.checked_add(*len);
                (1..=AREA_BYTES_MAX).contains(len)
                    && *offset >= self.year.slots_end()
                    && end.is_some_and(|end| end <= self.year.file.len())
            });
        let Some((offset, len)) = inside else {
            let what =
                format!("the slot points to {len} bytes at {offset}, outside the data: left out");
            self.fault(index, &what);
            return None;
        };
        let mut bytes = vec![0; len as usize];
        match self.year.file.read_at(offset, &mut bytes) {
            Ok(_) => Some((offset, bytes)),
            Err(error) => {
                self.faults
                    .push(Fault::new(&self.year.path, offset, error.to_string()));
                None
            }
        }
    }

    /// The rows that the logs have of an interval, of those writes that fit the file.
    fn logged(
        &mut self,
        interval: &Interval<'a>,
        tree: &Tree,
        row_bytes: usize,
    ) -> Vec<(&'a WriteSet, Vec<u8>)> {
        let mut logged = Vec::with_capacity(interval.sets.len());
        for set in interval.sets {
            let ticks = self.year.header.kind == RowKind::Tick;
            let fits = set.ticks == ticks
                && set.slot_at == self.year.slot_at(interval.index)
                && usize::try_from(set.row_bytes).is_ok_and(|bytes| bytes == row_bytes);
            let rows = tree.overlay.rows(set);
            let whole = |rows: &Vec<u8>| match ticks {
                true => !rows.is_empty() && rows.len().is_multiple_of(row_bytes),
                false => rows.len() == self.year.header.values_bytes,
            };
            match rows {
                Ok(rows) if fits && whole(&rows) => logged.push((set, rows)),
                Ok(_) => {
                    let what = format!("a write that does not fit {}, left out", self.year.path);
                    self.faults.push(tree.overlay.fault(set, what));
                }
                Err(error) => self.faults.push(tree.overlay.fault(set, error.to_string())),
            }
        }
        logged
    }
}

/// The logged rows that the file does not have. A write is in the file wholly or not at all, so it
/// is there if all its rows are, each as often as it and the writes before it have them.
fn missing(
    stored: &[u8],
    logged: &[(&WriteSet, Vec<u8>)],
    row_bytes: usize,
    repaired: &mut Repaired,
) -> Vec<u8> {
    let mut missing = Vec::new();
    if logged.is_empty() {
        return missing;
    }
    let mut left: HashMap<&[u8], usize> = HashMap::new();
    for row in stored.chunks_exact(row_bytes) {
        *left.entry(row).or_default() += 1;
    }
    for (_, rows) in logged {
        let mut wanted: HashMap<&[u8], usize> = HashMap::new();
        for row in rows.chunks_exact(row_bytes) {
            *wanted.entry(row).or_default() += 1;
        }
        let has = |(row, count): (&&[u8], &usize)| left.get(row).is_some_and(|left| left >= count);
        if wanted.iter().all(has) {
            for (row, count) in &wanted {
                if let Some(left) = left.get_mut(row) {
                    *left -= count;
                }
            }
            repaired.not_doubled += (rows.len() / row_bytes) as u64;
        } else {
            missing.extend_from_slice(rows);
        }
    }
    missing
}

/// How the areas of a bucket that leave no doubt are stored; `None` if there is none, or both.
fn probe(tree: &Tree, bucket: &SourceBucket) -> Option<Form> {
    let timeframe = Timeframe::parse(bucket.key.timeframe()).ok()?;
    let (mut plain, mut snappy) = (false, false);
    for (year, path) in &bucket.years {
        let opened = YearFile::open(&tree.source, path, *year, timeframe, &tree.options);
        let Some(year) = opened.ok().filter(|year| year.header.kind == RowKind::Tick) else {
            continue;
        };
        let row_bytes = year.header.values_bytes + 4;
        let mut cursor = Cursor::new(year, tree);
        for _ in 0..PROBED_MAX {
            let Some(interval) = cursor.next_interval() else {
                break;
            };
            let slot = interval.slot.as_deref();
            let Some((_, bytes)) = slot.and_then(|slot| cursor.area(interval.index, slot)) else {
                continue;
            };
            match Area::new(bytes, row_bytes).proven() {
                Some(Form::Plain) => plain = true,
                Some(Form::Snappy) => snappy = true,
                None => {}
            }
        }
    }
    match (plain, snappy) {
        (true, false) => Some(Form::Plain),
        (false, true) => Some(Form::Snappy),
        (true, true) => None,
        (false, false) => match tree.options.in_doubt {
            Compression::On => Some(Form::Snappy),
            Compression::Off => Some(Form::Plain),
            Compression::Auto => None,
        },
    }
}
