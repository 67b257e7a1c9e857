//! Decoding of `blocks`.

use std::ops::Range;

use super::{DELTA, SHORT, WIDE, packed_bytes, word_bytes};
use crate::codec::bitpack::{self, BLOCK};
use crate::fields::Fields;

/// Differences that are summed up in one go.
const STRIDE: usize = 64;

/// A page whose header and length hold.
pub(crate) struct Page<'p> {
    pub(crate) base: i64,
    pub(crate) unit: i64,
    /// Whether numbers have more than 32 bits.
    pub(crate) wide: bool,
    delta: bool,
    word_bytes: usize,
    rows: usize,
    heads: &'p [u8],
    packed: &'p [u8],
}

struct Head {
    width: u32,
    high_bytes: usize,
    outliers: usize,
    least: u64,
    start: u64,
}

impl Head {
    fn bytes(&self, rows: usize) -> usize {
        packed_bytes(rows, self.width) + self.outliers * (self.high_bytes + 1)
    }
}

impl<'p> Page<'p> {
    /// `None` if the bytes are not such a page.
    pub(crate) fn open(page: &'p [u8], rows: usize) -> Option<Self> {
        let mut fields = Fields::new(page);
        let flags = fields.u8()?;
        if !matches!(flags & !DELTA, 0 | WIDE | SHORT) || fields.take(7)? != [0; 7] {
            return None;
        }
        let (base, unit) = (fields.i64()?, fields.u64()? as i64);
        let (delta, wide) = (flags & DELTA > 0, flags & WIDE > 0);
        let mut opened = Self {
            base,
            unit,
            wide,
            delta,
            word_bytes: word_bytes(flags),
            rows,
            heads: &[],
            packed: &[],
        };
        opened.heads = fields.take(rows.div_ceil(BLOCK) * opened.head_bytes())?;
        opened.packed = &page[fields.position()..];
        let mut left = opened.packed.len();
        for number in 0..rows.div_ceil(BLOCK) {
            let head = opened.head(number)?;
            left = left.checked_sub(head.bytes(opened.block_rows(number)))?;
        }
        (left == 0).then_some(opened)
    }

    fn head_bytes(&self) -> usize {
        4 + self.word_bytes * (1 + usize::from(self.delta))
    }

    fn head(&self, number: usize) -> Option<Head> {
        let mut fields = Fields::new(&self.heads[number * self.head_bytes()..]);
        let (width, high_bytes) = (u32::from(fields.u8()?), usize::from(fields.u8()?));
        let (outliers, zero) = (usize::from(fields.u8()?), fields.u8()?);
        let mut word = || match self.word_bytes {
            2 => fields.u16().map(|word| i64::from(word as i16) as u64),
            4 => fields.u32().map(u64::from),
            _ => fields.u64(),
        };
        let least = word()?;
        let start = if self.delta { word()? } else { 0 };
        let width_max = if self.wide { 64 } else { 32 };
        let fits = width <= width_max && matches!(high_bytes, 1 | 2 | 4) && zero == 0;
        (fits && (width < 64 || outliers == 0)).then_some(Head {
            width,
            high_bytes,
            outliers,
            least,
            start,
        })
    }

    fn block_rows(&self, number: usize) -> usize {
        (self.rows - number * BLOCK).min(BLOCK)
    }

    /// Hands the numbers of rows `wanted` on, a block or a part of one at a time; blocks before and
    /// behind are not decoded. Numbers that are not wide are exact in u32.
    pub(crate) fn read<N: Number>(
        &self,
        wanted: Range<usize>,
        mut emit: impl FnMut(&[N]),
    ) -> Option<()> {
        let mut packed = self.packed;
        let mut block = [N::default(); BLOCK];
        for number in 0..wanted.end.div_ceil(BLOCK) {
            let head = self.head(number)?;
            let rows = self.block_rows(number);
            let (bytes, rest) = packed.split_at(head.bytes(rows));
            packed = rest;
            let start = number * BLOCK;
            if start + rows <= wanted.start {
                continue;
            }
            unpack(&head, rows, bytes, &mut block)?;
            let least = N::of(head.least);
            let wanted = wanted.start.saturating_sub(start)..(wanted.end - start).min(rows);
            if self.delta {
                sum_up(&mut block, least, N::of(head.start), wanted, &mut emit);
            } else {
                for number in &mut block {
                    *number = number.plus(least);
                }
                emit(&block[wanted]);
            }
        }
        Some(())
    }
}

/// The packed values of a block with their high bits.
fn unpack<N: Number>(head: &Head, rows: usize, bytes: &[u8], block: &mut [N; BLOCK]) -> Option<()> {
    let (packed, outliers) = bytes.split_at(packed_bytes(rows, head.width));
    N::unpack(packed, rows, head.width, block);
    let (highs, places) = outliers.split_at(head.outliers * head.high_bytes);
    let block = &mut block[..rows];
    match head.high_bytes {
        1 => add_highs::<N, 1>(highs, places, head.width, block),
        2 => add_highs::<N, 2>(highs, places, head.width, block),
        _ => add_highs::<N, 4>(highs, places, head.width, block),
    }
}

/// With a size that the compiler knows: bytes copied one by one wait for each other.
fn add_highs<N: Number, const BYTES: usize>(
    highs: &[u8],
    places: &[u8],
    width: u32,
    block: &mut [N],
) -> Option<()> {
    let mut next = 0;
    for (high, place) in highs.as_chunks::<BYTES>().0.iter().zip(places) {
        let place = usize::from(*place);
        if place < next {
            return None;
        }
        next = place + 1;
        let mut bits = [0; 8];
        bits[..BYTES].copy_from_slice(high);
        block.get_mut(place)?.add(u64::from_le_bytes(bits) << width);
    }
    Some(())
}

/// Turns differences into numbers and hands on those wanted, some at a time and each time after
/// the next ones are summed up. So a processor that looks ahead does what the caller does with
/// numbers (a division) while it adds up others; done block by block, one waits for the other.
fn sum_up<N: Number>(
    block: &mut [N; BLOCK],
    least: N,
    start: N,
    wanted: Range<usize>,
    emit: &mut impl FnMut(&[N]),
) {
    let mut last = start;
    let strides = wanted.end.div_ceil(STRIDE);
    for number in 0..=strides {
        let at = number * STRIDE;
        if number < strides {
            last = sum_stride(&mut block[at..at + STRIDE], least, last);
        }
        let from = wanted.start.max(at.saturating_sub(STRIDE));
        let to = wanted.end.min(at);
        if from < to {
            emit(&block[from..to]);
        }
    }
}

/// Sums within eight numbers first: the chain from eight to eight is one addition.
fn sum_stride<N: Number>(stride: &mut [N], least: N, mut last: N) -> N {
    for eight in stride.as_chunks_mut::<8>().0 {
        let [a, b, c, d, e, f, g, h] = eight.map(|number| number.plus(least));
        let (ab, cd, ef, gh) = (a.plus(b), c.plus(d), e.plus(f), g.plus(h));
        let (abcd, efgh) = (ab.plus(cd), ef.plus(gh));
        let middle = last.plus(abcd);
        *eight = [
            last.plus(a),
            last.plus(ab),
            last.plus(ab.plus(c)),
            middle,
            middle.plus(e),
            middle.plus(ef),
            middle.plus(ef.plus(g)),
            middle.plus(efgh),
        ];
        last = last.plus(abcd.plus(efgh));
    }
    last
}

/// What numbers are decoded as.
pub(crate) trait Number: Copy + Default {
    fn of(bits: u64) -> Self;
    fn plus(self, other: Self) -> Self;
    fn add(&mut self, bits: u64) {
        *self = self.plus(Self::of(bits));
    }
    fn unpack(packed: &[u8], rows: usize, width: u32, block: &mut [Self; BLOCK]);
}

impl Number for u32 {
    fn of(bits: u64) -> Self {
        bits as Self
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn unpack(packed: &[u8], _: usize, width: u32, block: &mut [Self; BLOCK]) {
        bitpack::unpack(packed, width, block);
    }
}

impl Number for u64 {
    fn of(bits: u64) -> Self {
        bits
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn unpack(packed: &[u8], rows: usize, width: u32, block: &mut [Self; BLOCK]) {
        let mut half = [0; BLOCK];
        let (low, high) = packed.split_at(bitpack::bytes(rows, width.min(32)));
        bitpack::unpack(low, width.min(32), &mut half);
        for (number, low) in block.iter_mut().zip(half) {
            *number = u64::from(low);
        }
        if width > 32 {
            bitpack::unpack(high, width - 32, &mut half);
            for (number, high) in block.iter_mut().zip(half) {
                *number |= u64::from(high) << 32;
            }
        }
    }
}
