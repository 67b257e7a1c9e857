//! Lines of a file, with the place behind each.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use plugin_sdk::{Code, PluginError, Progress};

/// Longest line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a token: offset of the next line, its number, checksum of the first line.
const TOKEN_BYTES: usize = 20;

/// Where a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    /// Counted from 1.
    line: u64,
}

/// A file that is read line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    name: String,
    reader: BufReader<File>,
    follow: bool,
    /// Of the line that is next.
    place: Place,
    /// That line as it stands in the file, if it was looked at.
    next: Vec<u8>,
    /// Checksum of the first line: that it is the same file.
    header: u32,
}

impl Lines {
    /// Opens a file in front of its first line.
    pub(crate) fn open(name: &str, follow: bool) -> Result<Self, PluginError> {
        if name.is_empty() {
            let what = "params is empty; it must be the path of a CSV file";
            return Err(PluginError::new(Code::Config, what));
        }
        let file =
            File::open(name).map_err(|error| PluginError::from(format!("{name}: {error}")))?;
        Ok(Self {
            name: name.into(),
            reader: BufReader::with_capacity(1 << 16, file),
            follow,
            place: Place { offset: 0, line: 1 },
            next: Vec::new(),
            header: 0,
        })
    }

    /// Takes the first line, which names the columns.
    pub(crate) fn header(&mut self) -> Result<String, PluginError> {
        if !self.read()? {
            return Err(self.at("no line with the names of the columns").into());
        }
        // As spreadsheets begin a file.
        let line = self.line()?.trim_start_matches('\u{feff}').to_owned();
        self.header = crc32fast::hash(line.as_bytes());
        self.take();
        Ok(line)
    }

    /// Goes to the place behind what is stored.
    pub(crate) fn resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        let read = |range: std::ops::Range<usize>| -> Option<u64> {
            Some(u64::from_le_bytes(token.get(range)?.try_into().ok()?))
        };
        let (Some(offset), Some(line), true) =
            (read(0..8), read(8..16), token.len() == TOKEN_BYTES)
        else {
            let what = "the stored place is not one of this plugin";
            return Err(PluginError::new(Code::Config, what));
        };
        if token[16..] != self.header.to_le_bytes() || offset > self.len()? {
            return Err(PluginError::new(
                Code::Config,
                format!(
                    "{} is not the file that was replayed up to line {line}: its first line differs or \
                     it is shorter; give the entry a new \"name\" to replay it from the start",
                    self.name
                ),
            ));
        }
        self.place = Place { offset, line };
        self.next.clear();
        self.seek()
    }

    /// The place behind the lines taken.
    pub(crate) fn token(&self) -> [u8; TOKEN_BYTES] {
        let mut token = [0; TOKEN_BYTES];
        token[..8].copy_from_slice(&self.place.offset.to_le_bytes());
        token[8..16].copy_from_slice(&self.place.line.to_le_bytes());
        token[16..].copy_from_slice(&self.header.to_le_bytes());
        token
    }

    /// Looks at the next line; whether there is one. A file that is followed may end inside of one
    /// that is being written.
    pub(crate) fn read(&mut self) -> Result<bool, PluginError> {
        if !self.next.is_empty() {
            return Ok(true);
        }
        let mut reader = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        let result = reader.read_until(b'\n', &mut self.next);
        let is_long = self.next.len() > LINE_BYTES_MAX;
        let is_part = self.follow && !self.next.ends_with(b"\n") && !self.next.is_empty();
        if result.is_err() || is_long || is_part {
            self.next.clear();
            self.seek()?;
        }
        result.map_err(|error| PluginError::from(self.at(&error.to_string())))?;
        if is_long {
            let what = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Err(self.at(&what).into());
        }
        Ok(!self.next.is_empty())
    }

    /// The line that was looked at, without its end.
    pub(crate) fn line(&self) -> Result<&str, PluginError> {
        let line = self.next.strip_suffix(b"\n").unwrap_or(&self.next);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line).map_err(|_| self.at("the line is not UTF-8").into())
    }

    /// Takes the line that was looked at.
    pub(crate) fn take(&mut self) {
        self.place.offset += self.next.len() as u64;
        self.place.line += u64::from(!self.next.is_empty());
        self.next.clear();
    }

    /// Words about the line that is next.
    pub(crate) fn at(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.name, self.place.line)
    }

    pub(crate) fn progress(&self) -> Progress {
        let len = self.len().unwrap_or(0).max(1);
        Progress {
            share: self.place.offset as f64 / len as f64,
            text: format!("line {}", self.place.line),
        }
    }

    fn len(&self) -> Result<u64, PluginError> {
        let file = self.reader.get_ref();
        file.metadata()
            .map(|found| found.len())
            .map_err(|error| self.at(&error.to_string()).into())
    }

    fn seek(&mut self) -> Result<(), PluginError> {
        let start = SeekFrom::Start(self.place.offset);
        match self.reader.seek(start) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.at(&error.to_string()).into()),
        }
    }
}
