//! Packs the low bits of integers.
//!
//! Blocks of 1024 values, the last may be short. Value `i` of a block belongs to lane `i % 32`; a
//! lane is a stream of little-endian bits, lowest first, in words of 32 bits, and word `k` of all
//! 32 lanes lies together: one shift serves a whole row of lanes, so plain loops become vector
//! code. A lane ends with a whole word; bits without a value are zero.
//!
//! More than 32 bits are two arrays, one behind the other: the low 32 bits, then the rest.

pub(crate) const BLOCK: usize = 1024;
const LANES: usize = 32;
const ROW_BYTES: usize = 4 * LANES;

/// Bytes of `rows` values of `width` bits.
pub(crate) fn bytes(rows: usize, width: u32) -> usize {
    if width > 32 {
        return bytes(rows, 32) + bytes(rows, width - 32);
    }
    rows / BLOCK * block_bytes(BLOCK, width) + block_bytes(rows % BLOCK, width)
}

fn block_bytes(rows: usize, width: u32) -> usize {
    (rows.div_ceil(LANES) * width as usize).div_ceil(32) * ROW_BYTES
}

/// Appends the low `width` bits of each value.
pub(crate) fn pack(values: &[u64], width: u32, target: &mut Vec<u8>) {
    pack_shifted(values, 0, width.min(32), target);
    if width > 32 {
        pack_shifted(values, 32, width - 32, target);
    }
}

fn pack_shifted(values: &[u64], right: u32, width: u32, target: &mut Vec<u8>) {
    let mask = mask(width);
    for block in values.chunks(BLOCK) {
        let mut words = [0_u32; BLOCK + LANES];
        for (row, lanes) in block.chunks(LANES).enumerate() {
            let bit = row as u32 * width;
            let at = (bit / 32) as usize * LANES;
            let shift = bit % 32;
            let (low, high) = words[at..at + 2 * LANES].split_at_mut(LANES);
            for ((value, low), high) in lanes.iter().zip(low).zip(high) {
                let shifted = u64::from((value >> right) as u32 & mask) << shift;
                *low |= shifted as u32;
                *high |= (shifted >> 32) as u32;
            }
        }
        let used = block_bytes(block.len(), width) / 4;
        target.extend(words[..used].iter().flat_map(|word| word.to_le_bytes()));
    }
}

/// What integers are unpacked as: modulo 2^32 is half the work where 32 bits are enough.
pub(crate) trait Word: Copy + Default {
    fn of(value: i64) -> Self;
    fn lane(value: u32) -> Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! word {
    ($rust:ty) => {
        impl Word for $rust {
            fn of(value: i64) -> Self {
                value as $rust
            }

            fn lane(value: u32) -> Self {
                value as $rust
            }

            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
        }
    };
}
word!(i32);
word!(i64);

/// The values of block `number` of a page, each as `base + unit * value`. The first `len` values of
/// the target are the block's. `page` has [`bytes`] of all `rows` values.
pub(crate) fn unpack<W: Word>(
    page: &[u8],
    rows: usize,
    width: u32,
    number: usize,
    (base, unit): (i64, i64),
    target: &mut [W; BLOCK],
) {
    let used = (rows - number * BLOCK).min(BLOCK).div_ceil(LANES);
    let target = &mut target.as_chunks_mut().0[..used];
    let (base, factor) = (W::of(base), W::of(unit));
    let low = width.min(32);
    let at = number * block_bytes(BLOCK, low);
    if unit == 1 {
        unpack_block(&page[at..], low, target, |_, lane| base.plus(lane));
    } else {
        unpack_block(&page[at..], low, target, |_, lane| {
            base.plus(lane.times(factor))
        });
    }
    if width > 32 {
        let at = bytes(rows, 32) + number * block_bytes(BLOCK, width - 32);
        let factor = W::of(unit << 32);
        unpack_block(&page[at..], width - 32, target, |value, lane| {
            value.plus(lane.times(factor))
        });
    }
}

fn unpack_block<W: Word>(
    words: &[u8],
    width: u32,
    target: &mut [[W; LANES]],
    join: impl Fn(W, W) -> W,
) {
    let mask = mask(width);
    for (row, target) in target.iter_mut().enumerate() {
        let bit = row as u32 * width;
        let shift = bit % 32;
        let words = words[(bit / 32) as usize * ROW_BYTES..]
            .as_chunks::<ROW_BYTES>()
            .0;
        let mut lanes = [0_u32; LANES];
        if width > 0 {
            for (lane, low) in lanes.iter_mut().zip(words[0].as_chunks().0) {
                *lane = u32::from_le_bytes(*low) >> shift;
            }
        }
        if shift + width > 32 {
            for (lane, high) in lanes.iter_mut().zip(words[1].as_chunks().0) {
                *lane |= u32::from_le_bytes(*high) << (32 - shift);
            }
        }
        for (target, lane) in target.iter_mut().zip(lanes) {
            *target = join(*target, W::lane(lane & mask));
        }
    }
}

fn mask(width: u32) -> u32 {
    u32::MAX.checked_shr(32 - width).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back() {
        for rows in [1, 31, 32, 33, 1023, 1024, 1025, 4096] {
            for width in 0..=64 {
                let keep = u64::MAX.checked_shr(64 - width).unwrap_or(0);
                let mut bits = 1_u64;
                let values = std::iter::repeat_with(|| {
                    bits = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ 5;
                    bits & keep
                });
                let values: Vec<u64> = values.take(rows).collect();
                let mut page = Vec::new();
                pack(&values, width, &mut page);
                assert_eq!(page.len(), bytes(rows, width));
                let (mut block, mut half) = ([0_i64; BLOCK], [0_i32; BLOCK]);
                for (number, values) in values.chunks(BLOCK).enumerate() {
                    unpack(&page, rows, width, number, (7, 3), &mut block);
                    unpack(&page, rows, width, number, (7, 3), &mut half);
                    let tripled = values
                        .iter()
                        .map(|v| v.wrapping_mul(3).wrapping_add(7) as i64);
                    let found = block[..values.len()].iter().copied();
                    assert!(tripled.clone().eq(found), "{rows} rows of {width} bits");
                    let found = half[..values.len()].iter().copied();
                    assert!(tripled.map(|v| v as i32).eq(found), "{rows} of {width}");
                }
            }
        }
    }

    #[test]
    fn the_bits_lie_as_documented() {
        let mut page = Vec::new();
        // Lane 1 has value 1 in its first 3 bits and value 33 in the next.
        let values: Vec<u64> = (0..64)
            .map(|i| [5, 2][usize::from(i == 33)] * u64::from(i % 32 == 1))
            .collect();
        pack(&values, 3, &mut page);
        assert_eq!(page.len(), 128);
        assert_eq!(page[..8], [0, 0, 0, 0, 5 | 2 << 3, 0, 0, 0]);
    }
}
