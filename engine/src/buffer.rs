//! Memory of results that is used again.
//!
//! A fresh page of memory costs more to get than to fill: a large result in new memory takes twice
//! the time of the same result in memory that an earlier one had. So large buffers come back when
//! the last slice of a result is dropped, some of them.

use bytemuck::Pod;
use bytes::Bytes;
use model::{Column, Value};
use parking_lot::Mutex;

/// Smaller ones the allocator keeps by itself.
const WORDS_MIN: usize = 8 << 10;
/// All that may wait to be used again, in words of 8 bytes: 32 MiB.
const WORDS_WAITING_MAX: usize = 4 << 20;

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    words: 0,
    buffers: Vec::new(),
});

struct Waiting {
    words: usize,
    buffers: Vec<Vec<u64>>,
}

/// Values to be written, all of them: at first they are anything.
pub(crate) struct Buffer {
    words: Vec<u64>,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn new(bytes: usize) -> Self {
        let words = bytes.div_ceil(8);
        let waiting = match words >= WORDS_MIN {
            true => take(words),
            false => None,
        };
        Self {
            words: waiting.unwrap_or_else(|| vec![0; words]),
            bytes,
        }
    }

    /// The whole buffer as values of a type whose size divides it.
    pub(crate) fn values<T: Pod>(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        bytemuck::cast_slice_mut(&mut bytes[..self.bytes])
    }

    /// The values as a column.
    pub(crate) fn column<T: Value>(self) -> Column {
        Column::new(T::TYPE, Bytes::from_owner(self)).expect("values of this type were written")
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.words.len() < WORDS_MIN {
            return;
        }
        let mut waiting = WAITING.lock();
        if waiting.words + self.words.len() <= WORDS_WAITING_MAX {
            waiting.words += self.words.len();
            waiting.buffers.push(std::mem::take(&mut self.words));
        }
    }
}

/// The smallest buffer that waits and is large enough, but not over twice that.
fn take(words: usize) -> Option<Vec<u64>> {
    let mut waiting = WAITING.lock();
    let sizes = waiting.buffers.iter().map(Vec::len).enumerate();
    let fitting = sizes.filter(|(_, len)| (words..=2 * words).contains(len));
    let (index, len) = fitting.min_by_key(|(_, len)| *len)?;
    waiting.words -= len;
    Some(waiting.buffers.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_was_written_whatever_was_there_before() {
        for round in 0..3_u32 {
            // 70 000 x 4 bytes are kept, 10 x 4 are not.
            for rows in [10_u32, 70_000, 69_999] {
                let mut buffer = Buffer::new(rows as usize * 4);
                for (row, value) in (round..).zip(buffer.values::<u32>()) {
                    *value = row;
                }
                let column = buffer.column::<u32>();
                let values = column.values::<u32>().unwrap();
                assert!(values.iter().copied().eq(round..round + rows));
            }
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let held: Vec<Buffer> = (0..40).map(|_| Buffer::new(1 << 20)).collect();
        drop(held);
        let waiting = WAITING.lock();
        assert!(waiting.words <= WORDS_WAITING_MAX);
        assert_eq!(
            waiting.words,
            waiting.buffers.iter().map(Vec::len).sum::<usize>()
        );
    }
}
