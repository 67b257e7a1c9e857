//! Packs the low bits of integers.
//!
//! A block has up to 256 values. Value `i` belongs to lane `i % 8`; a lane is a stream of
//! little-endian bits, lowest first, in words of 32 bits, and word `k` of all 8 lanes lies
//! together. So one shift serves all lanes, plain code becomes vector code, and with the width
//! known to the compiler every shift is a constant. A lane ends with a whole word; bits without a
//! value are zero.

pub(crate) const BLOCK: usize = 256;
const LANES: usize = 8;
const WORD_BYTES: usize = 4 * LANES;

/// Bytes of `rows` (up to [`BLOCK`]) values of `width` bits, 32 at most.
pub(crate) fn bytes(rows: usize, width: u32) -> usize {
    (rows.div_ceil(LANES) * width as usize).div_ceil(32) * WORD_BYTES
}

/// Appends the low `width` bits of each value of a block.
pub(crate) fn pack(values: &[u32], width: u32, target: &mut Vec<u8>) {
    let mask = mask(width);
    let mut words = [[0_u32; LANES]; 33];
    for (row, lanes) in values.chunks(LANES).enumerate() {
        let bit = row as u32 * width;
        let at = (bit / 32) as usize;
        for (lane, value) in lanes.iter().enumerate() {
            let shifted = u64::from(value & mask) << (bit % 32);
            words[at][lane] |= shifted as u32;
            words[at + 1][lane] |= (shifted >> 32) as u32;
        }
    }
    let used = bytes(values.len(), width) / 4;
    let words = words.as_flattened()[..used].iter();
    target.extend(words.flat_map(|word| word.to_le_bytes()));
}

/// The values of a block; `packed` has its [`bytes`]. Those behind the last are zero or nothing
/// in particular.
pub(crate) fn unpack(packed: &[u8], width: u32, target: &mut [u32; BLOCK]) {
    // Made only for the last block of a page: it takes a third as long as to unpack.
    let mut padded;
    let whole = width as usize * WORD_BYTES;
    let packed = if packed.len() < whole {
        padded = [0; BLOCK * 4];
        padded[..packed.len()].copy_from_slice(packed);
        &padded[..]
    } else {
        packed
    };
    macro_rules! widths {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<$width>(packed, target),)*
                _ => target.fill(0),
            }
        };
    }
    widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

fn unpack_width<const WIDTH: u32>(packed: &[u8], target: &mut [u32; BLOCK]) {
    let words = &packed.as_chunks::<WORD_BYTES>().0[..WIDTH as usize];
    let rows = target.as_chunks_mut::<LANES>().0;
    let mask = mask(WIDTH);
    macro_rules! rows {
        ($($row:literal)*) => {$({
            let at = ($row * WIDTH / 32) as usize;
            let shift = $row * WIDTH % 32;
            let mut lanes = lanes(&words[at]).map(|word| word >> shift);
            if shift + WIDTH > 32 {
                let high = self::lanes(&words[at + 1]);
                for (lane, high) in lanes.iter_mut().zip(high) {
                    *lane |= high << (32 - shift);
                }
            }
            rows[$row as usize] = lanes.map(|lane| lane & mask);
        })*};
    }
    rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

#[inline(always)]
fn lanes(word: &[u8; WORD_BYTES]) -> [u32; LANES] {
    let mut lanes = [0; LANES];
    for (lane, bytes) in lanes.iter_mut().zip(word.as_chunks().0) {
        *lane = u32::from_le_bytes(*bytes);
    }
    lanes
}

const fn mask(width: u32) -> u32 {
    match width {
        0 => 0,
        _ => u32::MAX >> (32 - width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back() {
        for rows in [1, 7, 8, 9, 31, 33, 255, 256] {
            for width in 0..=32 {
                let mut bits = 1_u32;
                let values = std::iter::repeat_with(|| {
                    bits = bits.wrapping_mul(0x9E37_79B1).rotate_left(13) ^ 5;
                    bits
                });
                let values: Vec<u32> = values.take(rows).collect();
                let mut page = Vec::new();
                pack(&values, width, &mut page);
                assert_eq!(page.len(), bytes(rows, width));
                let mut block = [0; BLOCK];
                unpack(&page, width, &mut block);
                let wanted: Vec<u32> = values.iter().map(|v| v & mask(width)).collect();
                assert_eq!(block[..rows], wanted, "{rows} rows of {width} bits");
            }
        }
    }

    #[test]
    fn the_bits_lie_as_documented() {
        let mut page = Vec::new();
        // Lane 1 has value 1 in its first 3 bits and value 9 in the next.
        let values: Vec<u32> = (0..16)
            .map(|i| [5, 2][usize::from(i == 9)] * u32::from(i % 8 == 1))
            .collect();
        pack(&values, 3, &mut page);
        assert_eq!(page.len(), 32);
        assert_eq!(page[..8], [0, 0, 0, 0, 5 | 2 << 3, 0, 0, 0]);
    }
}
