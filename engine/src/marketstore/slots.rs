//! The slots of a year file that hold anything, in order. Holes are skipped by the file system's
//! word, blocks of zeros by looking at them; a slot is only cut out where something is.

use disk::SourceFile;

use super::header::HEADER_BYTES;

/// Bytes read at once: large enough for a disk, small against the batch that is being filled.
const BLOCK_BYTES: usize = 1 << 20;
/// Zeros looked at in one go inside a block.
const PIECE_BYTES: usize = 4096;

/// A stretch of a file that something was found in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A slot that is not all zeros. Its bytes are [`Slots::bytes`].
    Slot { index: i64, offset: u64 },
    /// A stretch that the file system did not give.
    Unreadable { offset: u64, why: String },
}

/// Walks over the slots.
#[derive(Debug)]
pub(super) struct Slots {
    record_bytes: usize,
    /// End of the whole slots.
    end: u64,
    /// Where the block in memory begins, and the next slot in it.
    block_at: u64,
    block: Vec<u8>,
    next: usize,
    slot: std::ops::Range<usize>,
}

impl Slots {
    /// Slots of `record_bytes` from the header to `end`.
    pub(super) fn new(record_bytes: usize, end: u64) -> Self {
        let whole = end.saturating_sub(HEADER_BYTES) / record_bytes as u64 * record_bytes as u64;
        Self {
            record_bytes,
            end: HEADER_BYTES + whole,
            block_at: HEADER_BYTES,
            block: Vec::new(),
            next: 0,
            slot: 0..0,
        }
    }

    /// The bytes of the slot found last.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.block[self.slot.clone()]
    }

    /// The next slot that holds something.
    pub(super) fn next(&mut self, file: &SourceFile) -> Option<Found> {
        loop {
            while self.next < self.block.len() {
                let at = self.next;
                let piece = &self.block[at..self.block.len().min(at + PIECE_BYTES)];
                if is_zero(piece) {
                    // Whole slots only: the piece may end inside one.
                    let whole = piece.len() / self.record_bytes * self.record_bytes;
                    self.next += whole.max(self.record_bytes.min(self.block.len() - at));
                    if whole > 0 || is_zero(&self.block[at..self.next]) {
                        continue;
                    }
                    self.next = at;
                }
                self.next += self.record_bytes;
                let slot = at..self.next;
                if !is_zero(&self.block[slot.clone()]) {
                    self.slot = slot;
                    let offset = self.block_at + at as u64;
                    let index = 1 + ((offset - HEADER_BYTES) / self.record_bytes as u64) as i64;
                    return Some(Found::Slot { index, offset });
                }
            }
            match self.read_block(file) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(unreadable) => return Some(unreadable),
            }
        }
    }

    /// Reads the next block that may hold data, from a slot's border on.
    fn read_block(&mut self, file: &SourceFile) -> Result<bool, Found> {
        let record = self.record_bytes as u64;
        let after = self.block_at + self.block.len() as u64;
        self.block.clear();
        self.next = 0;
        self.block_at = after;
        let Some(data) = file.next_data(after).filter(|_| after < self.end) else {
            return Ok(false);
        };
        self.block_at = HEADER_BYTES + (data.max(HEADER_BYTES) - HEADER_BYTES) / record * record;
        let left = self.end.saturating_sub(self.block_at);
        let whole = (BLOCK_BYTES / self.record_bytes).max(1) * self.record_bytes;
        let len = left.min(whole as u64) as usize;
        if len == 0 {
            return Ok(false);
        }
        self.block.resize(len, 0);
        let offset = self.block_at;
        match file.read_at(offset, &mut self.block) {
            Ok(_) => Ok(true),
            Err(error) => {
                // The zeros count as read, so that the walk goes on behind them.
                self.next = len;
                let why = error.to_string();
                Err(Found::Unreadable { offset, why })
            }
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words
        .iter()
        .fold(0, |all, word| all | u64::from_le_bytes(*word))
        == 0
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // makes the files that are then read

    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn every_slot_with_a_bit_set_is_found_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for (record, count) in [(16, 400_000_usize), (24, 90_001), (48, 50_000), (5008, 700)] {
            let path = dir.path().join("x.bin");
            let file = std::fs::File::create(&path).unwrap();
            let end = HEADER_BYTES + (record * count) as u64;
            file.set_len(end + 3).unwrap();
            let mut wanted = Vec::new();
            for k in [
                1,
                2,
                3,
                255,
                256,
                257,
                count / 2,
                count / 2 + 1,
                count - 1,
                count,
            ] {
                let byte = HEADER_BYTES + ((k - 1) * record + k * 7 % record) as u64;
                file.write_all_at(&[1], byte).unwrap();
                wanted.push(k as i64);
            }
            file.write_all_at(&[1], end + 1).unwrap();
            let source = disk::Source::open(dir.path()).unwrap();
            let file = source.open_file("x.bin").unwrap();
            let mut slots = Slots::new(record, end + 3);
            let mut found = Vec::new();
            while let Some(item) = slots.next(&file) {
                let Found::Slot { index, offset } = item else {
                    panic!("{item:?}")
                };
                assert_eq!(offset, HEADER_BYTES + (index as u64 - 1) * record as u64);
                assert_eq!(slots.bytes().iter().filter(|b| **b == 1).count(), 1);
                found.push(index);
            }
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(found, wanted, "slots of {record} bytes");
        }
    }
}
