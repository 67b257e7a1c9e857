//! `for`, frame of reference: integers as `base + unit * n`, the `n` packed.
//!
//! ```text
//! 0 i64 base, 8 u64 unit, 16 u16 outliers, 18 six zero bytes, 24 packed n (bitpack.rs),
//! then outliers x u32 the bits of n above the width, then outliers x u16 their rows
//! ```
//! The width is in the page table. Sums and products wrap, so that no difference is too large. The
//! unit (milliseconds of times, whole minutes) divides all differences; outliers keep a few large
//! values from widening all others.

use crate::codec::bitpack::{self, BLOCK, Word};
use crate::fields::Fields;

const HEADER_BYTES: usize = 24;
const OUTLIER_BYTES: usize = 6;

/// How to write some values smallest; `bytes` is the size of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    base: i64,
    unit: u64,
    pub(crate) width: u32,
    pub(crate) bytes: usize,
}

/// The smallest frame of some values.
pub(crate) fn plan(values: &[i64]) -> Plan {
    let base = values.iter().copied().min().unwrap_or(0);
    let unit = unit(values, base);
    // Values by number of bits.
    let mut lengths = [0_usize; 65];
    for value in values {
        lengths[(64 - above(*value, base, unit).leading_zeros()) as usize] += 1;
    }
    let longest = lengths.iter().rposition(|count| *count > 0).unwrap_or(0) as u32;
    let mut best = Plan {
        base,
        unit,
        width: longest,
        bytes: HEADER_BYTES + bitpack::bytes(values.len(), longest),
    };
    let mut outliers = 0;
    // What is above the width has 32 bits.
    for width in (longest.saturating_sub(32)..longest).rev() {
        outliers += lengths[width as usize + 1];
        let packed = bitpack::bytes(values.len(), width);
        let bytes = HEADER_BYTES + packed + outliers * OUTLIER_BYTES;
        if bytes < best.bytes {
            best = Plan {
                width,
                bytes,
                ..best
            };
        }
    }
    best
}

/// The greatest common divisor of the differences to the base.
fn unit(values: &[i64], base: i64) -> u64 {
    let mut unit = 0;
    for value in values {
        let difference = value.wrapping_sub(base) as u64;
        if !difference.is_multiple_of(unit) {
            unit = gcd(difference, unit);
        }
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn above(value: i64, base: i64, unit: u64) -> u64 {
    let difference = value.wrapping_sub(base) as u64;
    if unit == 1 {
        difference
    } else {
        difference / unit
    }
}

/// Appends the page that was planned for these values.
pub(crate) fn encode(values: &[i64], plan: &Plan, target: &mut Vec<u8>) {
    let Plan {
        base, unit, width, ..
    } = *plan;
    let numbers: Vec<u64> = values.iter().map(|v| above(*v, base, unit)).collect();
    let high = |n: &u64| n.checked_shr(width).unwrap_or(0);
    let outliers: Vec<usize> = (0..numbers.len())
        .filter(|row| high(&numbers[*row]) > 0)
        .collect();
    target.extend_from_slice(&base.to_le_bytes());
    target.extend_from_slice(&unit.to_le_bytes());
    target.extend_from_slice(&(outliers.len() as u16).to_le_bytes());
    target.extend_from_slice(&[0; 6]);
    bitpack::pack(&numbers, width, target);
    for row in &outliers {
        target.extend_from_slice(&(high(&numbers[*row]) as u32).to_le_bytes());
    }
    for row in &outliers {
        target.extend_from_slice(&(*row as u16).to_le_bytes());
    }
}

/// Hands the values (modulo 2^32 or 2^64) on in blocks of at most 1024. `None` if the bytes are not such a page; blocks
/// may have been handed on by then.
pub(crate) fn decode<W: Word>(
    page: &[u8],
    width: u8,
    rows: usize,
    mut emit: impl FnMut(&[W]),
) -> Option<()> {
    let width = u32::from(width);
    let mut fields = Fields::new(page);
    let (base, unit) = (fields.i64()?, fields.u64()? as i64);
    let outliers = usize::from(fields.u16()?);
    if fields.take(6)? != [0; 6] || width > 64 || (width == 64 && outliers > 0) {
        return None;
    }
    let packed = fields.take(bitpack::bytes(rows, width))?;
    let highs = fields.take(outliers * 4)?.as_chunks().0;
    let places = fields.take(outliers * 2)?.as_chunks().0;
    if !fields.is_empty() {
        return None;
    }
    let mut patches = highs.iter().zip(places).map(|(high, row)| {
        let high = i64::from(u32::from_le_bytes(*high)) << width;
        (
            high.wrapping_mul(unit),
            usize::from(u16::from_le_bytes(*row)),
        )
    });
    let mut patch = patches.next();
    let mut next_row = 0;
    let mut block = [W::default(); BLOCK];
    for (number, start) in (0..rows).step_by(BLOCK).enumerate() {
        bitpack::unpack(packed, rows, width, number, (base, unit), &mut block);
        let block = &mut block[..(rows - start).min(BLOCK)];
        while let Some((high, row)) = patch.filter(|(_, row)| *row < start + block.len()) {
            if row < next_row {
                return None;
            }
            next_row = row + 1;
            let value = &mut block[row.checked_sub(start)?];
            *value = value.plus(W::of(high));
            patch = patches.next();
        }
        emit(block);
    }
    patch.is_none().then_some(())
}
