//! Writes what MarketStore writes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::marketstore::header::HEADER_BYTES;
use crate::marketstore::md5::Md5;

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// Names and element codes.
pub(super) type Columns<'a> = &'a [(&'a str, u8)];

/// Two float columns.
pub(super) const BID_ASK: Columns<'static> = &[("Bid", 0), ("Ask", 0)];

pub(super) fn sizes(columns: Columns<'_>) -> usize {
    columns.iter().map(|(_, code)| size(*code)).sum()
}

fn size(code: u8) -> usize {
    match code {
        0 | 1 | 12 => 4,
        2 | 3 | 13 => 8,
        5 | 6 | 10 => 1,
        9 | 11 => 2,
        14 => 64,
        _ => 0,
    }
}

pub(super) struct Maker {
    dir: tempfile::TempDir,
}

/// One year file.
pub(super) struct Year {
    pub(super) path: PathBuf,
    file: File,
    record: u64,
}

impl Maker {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("category_name"), "Symbol").unwrap();
        Self { dir }
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a year file, and its directories.
    pub(super) fn year(
        &self,
        key: &str,
        year: i16,
        timeframe: i64,
        ticks: bool,
        columns: Columns<'_>,
    ) -> Year {
        let mut dir = self.root().to_path_buf();
        let categories = ["Timeframe", "AttributeGroup", "Year"];
        for (item, category) in key.split('/').zip(categories) {
            dir.push(item);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("category_name"), category).unwrap();
        }
        let path = dir.join(format!("{year}.bin"));
        let record = if ticks {
            24
        } else {
            8 + sizes(columns).next_multiple_of(8)
        };
        let mut header = vec![0; HEADER_BYTES as usize];
        let mut word =
            |at: usize, value: i64| header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        word(0, 2);
        word(264, i64::from(year));
        word(272, timeframe);
        word(280, i64::from(ticks));
        word(288, columns.len() as i64);
        word(296, record as i64);
        header[8..15].copy_from_slice(b"Default");
        for (at, (name, code)) in columns.iter().enumerate() {
            header[312 + at * 32..][..name.len()].copy_from_slice(name.as_bytes());
            header[33_080 + at] = *code;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).read(true).write(true);
        let file = options.open(&path).unwrap();
        file.write_all_at(&header, 0).unwrap();
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let slots = (365 + i64::from(leap)) * DAY / timeframe;
        file.set_len(HEADER_BYTES + slots as u64 * record as u64)
            .unwrap();
        Year {
            path,
            file,
            record: record as u64,
        }
    }

    pub(super) fn log(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Year {
    pub(super) fn slot_at(&self, index: i64) -> u64 {
        (HEADER_BYTES as i64 + (index - 1) * self.record as i64) as u64
    }

    pub(super) fn len(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub(super) fn truncate(&self, len: u64) {
        self.file.set_len(len).unwrap();
    }

    /// Writes a bar.
    pub(super) fn bar(&self, index: i64, values: &[u8]) {
        self.write(
            self.slot_at(index),
            &[&index.to_le_bytes(), values].concat(),
        );
    }

    /// Writes the rows of an interval, each with its ticks, as one new area.
    pub(super) fn ticks(&self, index: i64, rows: &[u8], snappy: bool) {
        let area = match snappy {
            true => snap::raw::Encoder::new().compress_vec(rows).unwrap(),
            false => rows.to_vec(),
        };
        let at = self.len();
        self.write(at, &area);
        self.pointer(index, at as i64, area.len() as i64);
    }

    pub(super) fn pointer(&self, index: i64, at: i64, len: i64) {
        let slot = [index.to_le_bytes(), at.to_le_bytes(), len.to_le_bytes()].concat();
        self.write(self.slot_at(index), &slot);
    }
}

/// Values of a row of floats.
pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A row of [`BID_ASK`] at a fraction of an interval.
pub(super) fn tick(bid: f32, ticks: u32) -> Vec<u8> {
    [floats(&[bid, bid + 1.0]), ticks.to_le_bytes().to_vec()].concat()
}

/// A log of one server.
pub(super) struct LogMaker {
    pub(super) bytes: Vec<u8>,
    version: u8,
}

/// A write to one interval of one file.
pub(super) struct Write<'a> {
    pub(super) path: &'a str,
    pub(super) ticks: bool,
    pub(super) slot_at: u64,
    pub(super) index: i64,
    pub(super) row_bytes: i32,
    pub(super) rows: Vec<u8>,
}

impl LogMaker {
    pub(super) fn new(version: u8, replay_state: u8) -> Self {
        let mut bytes = vec![2, 1, replay_state];
        bytes.extend_from_slice(&7_i64.to_le_bytes());
        Self { bytes, version }
    }

    pub(super) fn note(&mut self, id: i64, destination: u8, status: u8) {
        self.bytes.push(1);
        self.bytes.extend_from_slice(&id.to_le_bytes());
        self.bytes.extend_from_slice(&[destination, status]);
    }

    /// A group with its announcement and its end; gives the place of the group's message.
    pub(super) fn group(&mut self, id: i64, writes: &[Write<'_>]) -> usize {
        self.note(id, 0, 0);
        let mut group = id.to_le_bytes().to_vec();
        group.extend_from_slice(&(writes.len() as i64).to_le_bytes());
        for write in writes {
            group.push(u8::from(write.ticks));
            group.extend_from_slice(&(write.path.len() as i16).to_le_bytes());
            group.extend_from_slice(write.path.as_bytes());
            group.extend_from_slice(&(write.rows.len() as i32).to_le_bytes());
            group.extend_from_slice(&write.row_bytes.to_le_bytes());
            group.extend_from_slice(&write.slot_at.to_le_bytes());
            group.extend_from_slice(&write.index.to_le_bytes());
            group.extend_from_slice(&write.rows);
            if self.version >= 4 {
                group.extend_from_slice(b"\x03\x05Epoch\x03\x03Bid\x00\x03Ask\x00");
            }
        }
        let at = self.bytes.len();
        let len = (group.len() as i64).to_le_bytes();
        let mut sum = Md5::new();
        sum.update(&len);
        sum.update(&group);
        self.bytes.push(0);
        self.bytes.extend_from_slice(&len);
        self.bytes.extend_from_slice(&group);
        self.bytes.extend_from_slice(&sum.finish());
        self.note(id, 0, 2);
        at
    }

    pub(super) fn checkpoint(&mut self, id: i64) {
        self.note(id, 1, 0);
        self.note(id, 1, 2);
    }
}
