//! `delta`: the differences of neighbours as a frame; for integers that go smoothly.
//!
//! ```text
//! 0 i64 start, 8 the differences (frame.rs)
//! ```
//! Value `k` is `start` and the differences `0..=k`, wrapping. The first difference is written as
//! the second: it makes no frame wider.

use crate::codec::bitpack::{BLOCK, Word};
use crate::codec::frame;

const HEADER_BYTES: usize = 8;

/// The differences and how to write them.
#[derive(Debug)]
pub(crate) struct Plan {
    start: i64,
    differences: Vec<i64>,
    frame: frame::Plan,
}

impl Plan {
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.frame.bytes
    }

    pub(crate) fn width(&self) -> u32 {
        self.frame.width
    }
}

pub(crate) fn plan(values: &[i64]) -> Plan {
    let mut differences = Vec::with_capacity(values.len());
    let second = values.get(1).or(values.first()).copied().unwrap_or(0);
    let first = values.first().copied().unwrap_or(0);
    let mut last = first.wrapping_sub(second.wrapping_sub(first));
    let start = last;
    for value in values {
        differences.push(value.wrapping_sub(last));
        last = *value;
    }
    Plan {
        start,
        frame: frame::plan(&differences),
        differences,
    }
}

/// Appends the page.
pub(crate) fn encode(plan: &Plan, target: &mut Vec<u8>) {
    target.extend_from_slice(&plan.start.to_le_bytes());
    frame::encode(&plan.differences, &plan.frame, target);
}

/// Hands the values on in blocks, as [`frame::decode`] does.
pub(crate) fn decode<W: Word>(
    page: &[u8],
    width: u8,
    rows: usize,
    mut emit: impl FnMut(&[W]),
) -> Option<()> {
    let (start, differences) = page.split_first_chunk()?;
    let mut value = W::of(i64::from_le_bytes(*start));
    let mut block = [W::default(); BLOCK];
    frame::decode(differences, width, rows, |differences: &[W]| {
        let block = &mut block[..differences.len()];
        for (target, difference) in block.iter_mut().zip(differences) {
            value = value.plus(*difference);
            *target = value;
        }
        emit(block);
    })
}
