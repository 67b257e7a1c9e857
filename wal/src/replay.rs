//! Replay: walks the log from a mark, judges what is no frame, sets damage aside.
//!
//! `S` (`promised` below) is the highest `synced` of any frame header that holds, of the
//! caller's mark, and of the segment headers' `previous end`: everything below it was promised.
//! The first bad bytes at or behind `S` are the end of the log; bad bytes before it are damage.

use disk::Disk;

use crate::frame::{FRAME_HEADER_BYTES, KIND_CLOSED, KIND_SEGMENT_END};
use crate::scan::{Found, LogFile, Scan};
use crate::segment::path_of;
use crate::{Damage, FrameView, Lsn, Recovered, Result, WalError};

/// Where damaged bytes are set aside; nothing there is ever removed by mkts.
const QUARANTINE_DIR: &str = "quarantine";

/// Where the copy of damaged bytes lies: named by position, so that a second recovery finds it.
pub(crate) fn copy_path(from: Lsn, to: Lsn) -> String {
    format!("{QUARANTINE_DIR}/wal-{:016x}-{:016x}.bin", from.0, to.0)
}

/// What the caller does with a frame.
pub(crate) type Visit<'v, E> = &'v mut dyn FnMut(FrameView) -> Result<(), E>;

#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) store_id: [u8; 16],
    pub(crate) files: Vec<LogFile>,
    /// `S` as far as it is known.
    promised: Lsn,
    /// The end of the last header that holds, anywhere; known after the first bad bytes.
    pub(crate) last_header_end: Option<Lsn>,
    /// The file the log ends in, if its end is a place where a frame may be written.
    pub(crate) end_file: Option<LogFile>,
    /// The log ends at the mark of a good close.
    pub(crate) closed: bool,
    /// Files behind the end that were not looked into: nothing in them was promised, but a torn
    /// group may read as frames where it lies.
    pub(crate) unread: Vec<LogFile>,
    pub(crate) found: Recovered,
    /// Whether damaged bytes are copied to the quarantine.
    sets_aside: bool,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        disk: &'a dyn Disk,
        store_id: [u8; 16],
        files: Vec<LogFile>,
        from: Lsn,
    ) -> Self {
        let previous_ends = files.iter().filter_map(|file| file.previous_end);
        let promised = previous_ends.max().unwrap_or(from).max(from);
        let found = Recovered {
            start: from,
            end: from,
            ..Recovered::default()
        };
        Self {
            disk,
            store_id,
            files,
            promised,
            last_header_end: None,
            end_file: None,
            closed: false,
            unread: Vec::new(),
            found,
            sets_aside: true,
        }
    }

    /// Changes no byte from now on. What lies below `promised` was promised, although the visit
    /// begins before it.
    pub(crate) fn only_look(&mut self, promised: Lsn) {
        self.sets_aside = false;
        self.promised = self.promised.max(promised);
    }

    /// Visits every frame of the log from the mark on.
    pub(crate) fn run<E: From<WalError>>(&mut self, visit: Visit<'_, E>) -> Result<(), E> {
        let from = self.found.start;
        // Where the log goes on: behind a segment end that is the next file.
        let mut expected = from;
        let start = self.files.iter().position(|file| from < file.limit);
        for index in start.unwrap_or(self.files.len())..self.files.len() {
            let file = self.files[index];
            if file.is_cut_off() {
                continue;
            }
            let mut scan = Scan::open(self.disk, &self.store_id, file)?;
            if from <= file.first {
                if !self.enter(index, &mut scan, expected)? {
                    return Ok(());
                }
                self.found.end = file.frames_start();
            }
            if !self.run_file(index, &mut scan, visit)? {
                self.end_file = Some(file);
                return Ok(());
            }
            expected = file.limit;
        }
        Ok(())
    }

    /// Visits the frames of one file; false if the log ends in it.
    fn run_file<E: From<WalError>>(
        &mut self,
        index: usize,
        scan: &mut Scan,
        visit: Visit<'_, E>,
    ) -> Result<bool, E> {
        let mut position = self.found.start.max(scan.file.frames_start());
        if scan.ended_at(position)? {
            return Ok(true);
        }
        loop {
            match scan.at(position)? {
                Found::End => return Ok(true),
                Found::Frame(header, _) if header.kind == KIND_CLOSED => {
                    self.promised = self.promised.max(header.synced);
                    if self.is_closed_at(index, position) {
                        self.closed = true;
                        self.last_header_end = self.last_header_end.or(Some(Lsn::ZERO));
                        self.found.end = position;
                        return Ok(false);
                    }
                    // Somebody else wrote behind it: bytes like any others that do not belong here.
                    if !self.bad(index, scan, position, header.end())? {
                        return Ok(false);
                    }
                    position = header.end();
                }
                Found::Frame(header, payload) => {
                    position = header.end();
                    self.promised = self.promised.max(header.synced);
                    self.found.end = position;
                    if header.kind == KIND_SEGMENT_END {
                        return Ok(true);
                    }
                    self.found.frames += 1;
                    self.found.bytes += header.end().0 - header.lsn.0;
                    visit(header.view(payload))?;
                }
                Found::Bad(to) => {
                    if !self.bad(index, scan, position, to)? {
                        return Ok(false);
                    }
                    position = to;
                }
            }
        }
    }

    /// Whether the mark of a good close at `position` is the end: nobody began a file behind it,
    /// and nothing says that the log was promised further.
    fn is_closed_at(&self, index: usize, position: Lsn) -> bool {
        let mut behind = self.files[index + 1..].iter();
        self.promised <= position && behind.all(|file| file.previous_end.is_none())
    }

    /// Whether the log goes on into this file, whose predecessor ended at `expected`. A header
    /// that does not hold, or a missing file before this one, are bad bytes like any others.
    fn enter(&mut self, index: usize, scan: &mut Scan, expected: Lsn) -> Result<bool> {
        let file = scan.file;
        if file.previous_end.is_some_and(|end| end <= expected) {
            return Ok(true);
        }
        self.survey(index, scan, file.frames_start())?;
        if expected >= self.promised {
            return Ok(false);
        }
        let (to, copy) = match file.previous_end {
            Some(_) => (file.first, None),
            None => {
                let to = file.frames_start();
                let bytes = scan.range(file.first, to)?;
                (to, self.quarantine(expected, to, &bytes)?)
            }
        };
        self.found.quarantined.push(Damage {
            file: path_of(file.first),
            from: expected,
            to,
            copy,
        });
        Ok(true)
    }

    /// Judges bad bytes: true if they are damage (set aside, go on), false if the log ends here.
    fn bad(&mut self, index: usize, scan: &mut Scan, from: Lsn, to: Lsn) -> Result<bool> {
        self.survey(index, scan, to)?;
        if from >= self.promised {
            self.found.end = from;
            if scan.header_at(from)?.is_some() {
                self.found.cut_bytes = to.0 - from.0;
            }
            return Ok(false);
        }
        let copy = self.quarantine(from, to, &scan.range(from, to)?)?;
        let file = path_of(scan.file.first);
        self.found.quarantined.push(Damage {
            file,
            from,
            to,
            copy,
        });
        Ok(true)
    }

    /// Looks once at everything from here on, to know `S` and whether anything reads as a frame.
    fn survey(&mut self, index: usize, scan: &mut Scan, from: Lsn) -> Result<()> {
        if self.last_header_end.is_some() {
            return Ok(());
        }
        let mut last = Lsn::ZERO;
        let mut ended = self.survey_file(scan, from, &mut last)?;
        for later in index + 1..self.files.len() {
            let file = self.files[later];
            if file.is_cut_off() {
                continue;
            }
            // A file is begun only behind a segment end that is durable.
            if file.untouched && !ended {
                self.unread.push(file);
                continue;
            }
            let mut scan = Scan::open(self.disk, &self.store_id, file)?;
            ended = self.survey_file(&mut scan, from, &mut last)?;
        }
        self.last_header_end = Some(last);
        Ok(())
    }

    /// Moves `last` to the end of the last header that holds; whether one ends the segment.
    fn survey_file(&mut self, scan: &mut Scan, from: Lsn, last: &mut Lsn) -> Result<bool> {
        let mut ended = false;
        let mut position = from.max(scan.file.frames_start());
        while position < scan.file.limit {
            match scan.header_at(position)? {
                Some(header) => {
                    self.promised = self.promised.max(header.synced);
                    position = header.end();
                    ended |= header.kind == KIND_SEGMENT_END;
                    if header.kind != KIND_CLOSED {
                        *last = position;
                    }
                }
                None => position = scan.next_header(position)?,
            }
        }
        Ok(ended)
    }

    /// Wipes the mark of a good close, durably: from now on frames may lie behind it.
    pub(crate) fn wipe_mark(&self) -> Result<()> {
        let Some(file) = self.end_file.filter(|_| self.closed) else {
            return Ok(());
        };
        let handle = self.disk.open_write(&path_of(file.first))?;
        let offset = self.found.end.0 - file.first.0;
        handle.write_at(offset, &[0; FRAME_HEADER_BYTES as usize])?;
        Ok(handle.sync_data()?)
    }

    /// Copies damaged bytes; a second recovery finds the copy of the first.
    pub(crate) fn quarantine(&self, from: Lsn, to: Lsn, bytes: &[u8]) -> Result<Option<String>> {
        if !self.sets_aside {
            return Ok(None);
        }
        let path = copy_path(from, to);
        if !self.disk.exists(&path)? {
            self.disk.create_dir_all(QUARANTINE_DIR)?;
            let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
            let written = &bytes[..bytes.len() - zeros];
            disk::publish(self.disk, &path, |file| file.write_at(0, written))?;
        }
        Ok(Some(path))
    }

    /// Writes what was never promised, but is going to be, once more, and syncs it. Without this
    /// the frames could be in the page cache only, and after a failed sync not even dirty there.
    pub(crate) fn make_durable(&self) -> Result<()> {
        for file in &self.files {
            let from = self.promised.max(file.first);
            let to = self.found.end.min(file.limit);
            if from >= to {
                continue;
            }
            let path = path_of(file.first);
            let offset = from.0 - file.first.0;
            let bytes = self.disk.read_at(&path, offset, (to.0 - from.0) as usize)?;
            let handle = self.disk.open_write(&path)?;
            handle.write_at(offset, &bytes)?;
            handle.sync_data()?;
        }
        Ok(())
    }
}
