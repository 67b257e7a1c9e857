//! `blocks`: integers as `base + unit * n`, the `n` in blocks of 256, each packed as narrow as its
//! own values allow.
//!
//! ```text
//! 0 u8 flags (1 delta, 2 wide, 4 short), 1 seven zero bytes, 8 i64 base, 16 u64 unit,
//! 24 a head per block: u8 width, u8 bytes of an outlier's high bits (1, 2, 4), u8 outliers, u8 zero,
//!    least, and if delta: start (u32 each, u64 if wide, i16 if short),
//! then per block the packed values (bitpack.rs), the outliers' high bits, their rows (u8)
//! ```
//! A number of a block is `least` and the packed value; with delta it is the difference to the
//! number before, of the first to `start`. All sums wrap. Outliers keep a few large values from
//! widening all others. Every block can be read without the others before it.

mod read;

use crate::codec::bitpack::{self, BLOCK};
use crate::codec::unit::Multiples;

pub(crate) use read::Page;

const HEADER_BYTES: usize = 24;
const DELTA: u8 = 1;
const WIDE: u8 = 2;
const SHORT: u8 = 4;

/// How to write one block.
#[derive(Clone, Copy)]
struct Shape {
    width: u32,
    high_bytes: usize,
    outliers: usize,
    bytes: usize,
}

/// Values as numbers, and how to pack them.
pub(crate) struct Plan {
    base: i64,
    unit: u64,
    numbers: Vec<u64>,
    wide: bool,
    delta: bool,
    /// Of the page, about.
    bytes: usize,
}

impl Plan {
    pub(crate) fn new(values: &[i64]) -> Self {
        let base = values.iter().copied().min().unwrap_or(0);
        let multiples = Multiples::of(values, base);
        let differences = values.iter().map(|v| v.wrapping_sub(base) as u64);
        let numbers: Vec<u64> = match multiples.unit {
            1 => differences.collect(),
            _ => differences.map(|v| multiples.divide(v)).collect(),
        };
        let wide = numbers.iter().fold(0, |all, n| all | n) > u64::from(u32::MAX);
        let (delta, bytes) = is_delta(&numbers, wide);
        Self {
            base,
            unit: multiples.unit,
            numbers,
            wide,
            delta,
            bytes,
        }
    }

    /// What divides all differences between the values.
    pub(crate) fn unit(&self) -> u64 {
        self.unit
    }

    /// The values over their unit, from the least.
    pub(crate) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// About the bytes of the page, judged by two of its blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn page(&self) -> Vec<u8> {
        encode(self)
    }
}

/// The page of some values.
fn encode(plan: &Plan) -> Vec<u8> {
    let Plan {
        base,
        unit,
        ref numbers,
        wide,
        delta,
        ..
    } = *plan;
    let mut packed = Vec::with_capacity(numbers.len() * 2);
    let mut heads = Vec::with_capacity(numbers.len().div_ceil(BLOCK));
    let mut block = [0; BLOCK];
    for numbers in numbers.chunks(BLOCK) {
        let block = &mut block[..numbers.len()];
        let (least, start) = reduce(numbers, delta, wide, block);
        let shape = shape(block);
        put_block(block, shape, &mut packed);
        heads.push((shape, [least, start]));
    }
    let is_short = |word: u64| i16::try_from(word as u32 as i32).is_ok();
    let short = !wide
        && heads
            .iter()
            .all(|(_, words)| words.map(is_short) == [true; 2]);
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(delta, DELTA) | flag(wide, WIDE) | flag(short, SHORT);
    let mut page = Vec::with_capacity(HEADER_BYTES + heads.len() * 20 + packed.len());
    page.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0, 0]);
    page.extend_from_slice(&base.to_le_bytes());
    page.extend_from_slice(&unit.to_le_bytes());
    for (shape, words) in &heads {
        let sizes = [
            shape.width as u8,
            shape.high_bytes as u8,
            shape.outliers as u8,
        ];
        page.extend_from_slice(&sizes);
        page.push(0);
        for word in &words[..1 + usize::from(delta)] {
            page.extend_from_slice(&word.to_le_bytes()[..word_bytes(flags)]);
        }
    }
    page.extend_from_slice(&packed);
    page
}

/// Bytes of `least` and `start` in a head.
fn word_bytes(flags: u8) -> usize {
    match flags & (WIDE | SHORT) {
        0 => 4,
        SHORT => 2,
        _ => 8,
    }
}

/// Whether differences are smaller, judged by the first and a middle block: planning is most of the
/// work of encoding. Without them it decodes faster, so they have to save a sixteenth. Also the
/// bytes that all would take if they were like these.
fn is_delta(numbers: &[u64], wide: bool) -> (bool, usize) {
    let count = numbers.len().div_ceil(BLOCK);
    let (mut plain, mut delta, mut rows) = (0, 0, 0);
    let mut block = [0; BLOCK];
    for (index, numbers) in numbers.chunks(BLOCK).enumerate() {
        if index != 0 && index != count / 2 {
            continue;
        }
        let block = &mut block[..numbers.len()];
        reduce(numbers, false, wide, block);
        plain += shape(block).bytes;
        reduce(numbers, true, wide, block);
        delta += shape(block).bytes + 4;
        rows += numbers.len();
    }
    let is_delta = delta < plain - plain / 16;
    let sampled = if is_delta { delta } else { plain };
    let bytes = sampled * numbers.len() / rows.max(1);
    (is_delta, HEADER_BYTES + 6 * count + bytes)
}

/// The values to pack, with the least of the numbers or differences and the start.
fn reduce(numbers: &[u64], delta: bool, wide: bool, block: &mut [u64]) -> (u64, u64) {
    if !delta {
        let least = numbers.iter().copied().min().unwrap_or(0);
        for (target, number) in block.iter_mut().zip(numbers) {
            *target = number - least;
        }
        return (least, 0);
    }
    let signed = |a: u64, b: u64| match wide {
        true => a.wrapping_sub(b) as i64,
        false => i64::from((a as u32).wrapping_sub(b as u32) as i32),
    };
    let differences = numbers.windows(2).map(|pair| signed(pair[1], pair[0]));
    let least = differences.min().unwrap_or(0);
    let first = numbers.first().copied().unwrap_or(0);
    let mut last = first.wrapping_sub(least as u64);
    let start = last;
    for (target, number) in block.iter_mut().zip(numbers) {
        *target = signed(*number, last).wrapping_sub(least) as u64;
        last = *number;
    }
    (least as u64, start)
}

/// The smallest way to pack some values.
fn shape(values: &[u64]) -> Shape {
    // Values by number of bits.
    let mut lengths = [0_usize; 65];
    for value in values {
        lengths[(64 - value.leading_zeros()) as usize] += 1;
    }
    let longest = lengths.iter().rposition(|count| *count > 0).unwrap_or(0) as u32;
    let mut best = Shape {
        width: longest,
        high_bytes: 1,
        outliers: 0,
        bytes: packed_bytes(values.len(), longest),
    };
    let mut outliers = 0;
    for width in (longest.saturating_sub(32)..longest).rev() {
        outliers += lengths[width as usize + 1];
        if outliers > usize::from(u8::MAX) {
            break;
        }
        let high_bytes = match longest - width {
            ..=8 => 1,
            9..=16 => 2,
            _ => 4,
        };
        let bytes = packed_bytes(values.len(), width) + outliers * (high_bytes + 1);
        if bytes < best.bytes {
            best = Shape {
                width,
                high_bytes,
                outliers,
                bytes,
            };
        }
    }
    best
}

/// More than 32 bits are two arrays, one behind the other: the low 32 bits, then the rest.
fn packed_bytes(rows: usize, width: u32) -> usize {
    bitpack::bytes(rows, width.min(32)) + bitpack::bytes(rows, width.saturating_sub(32))
}

fn put_block(values: &[u64], shape: Shape, target: &mut Vec<u8>) {
    let mut half = [0; BLOCK];
    let half = &mut half[..values.len()];
    for (shift, width) in [
        (0, shape.width.min(32)),
        (32, shape.width.saturating_sub(32)),
    ] {
        for (half, value) in half.iter_mut().zip(values) {
            *half = (value >> shift) as u32;
        }
        bitpack::pack(half, width, target);
    }
    if shape.outliers == 0 {
        return;
    }
    let high = |value: u64| value.checked_shr(shape.width).unwrap_or(0);
    let outliers = values.iter().filter(|value| high(**value) > 0);
    for value in outliers {
        target.extend_from_slice(&high(*value).to_le_bytes()[..shape.high_bytes]);
    }
    let rows = (0..=u8::MAX).zip(values);
    target.extend(
        rows.filter(|(_, value)| high(**value) > 0)
            .map(|(row, _)| row),
    );
}
