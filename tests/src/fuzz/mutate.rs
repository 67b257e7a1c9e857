//! Seeded changes of inputs, as fuzzers make them.

use crate::rng::Rng;

/// Numbers on which lengths and counts break.
const INTERESTING: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A few changes of an input; sometimes a part of another one.
pub fn mutate(input: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 + rng.below(4) {
        change(&mut bytes, other, rng);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let length = bytes.len() as u64;
    let at = rng.below(length + 1) as usize;
    let count = 1 + rng.below(8.min(length + 1)) as usize;
    let end = (at + count).min(bytes.len());
    match rng.below(9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        2 if at < bytes.len() => bytes[at] = rng.next() as u8,
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 | 6 => {
            let number = INTERESTING[rng.below(12) as usize];
            let width = 1 << rng.below(4);
            let number = match rng.chance(50) {
                true => number.to_le_bytes()[..width].to_vec(),
                false => number.to_be_bytes()[8 - width..].to_vec(),
            };
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, number);
        }
        7 => bytes.truncate(at),
        _ if !other.is_empty() => {
            let from = rng.below(other.len() as u64) as usize;
            let piece = from..(from + 1 + rng.below(64) as usize).min(other.len());
            bytes.splice(at..end, other[piece].iter().copied());
        }
        _ => bytes.push(rng.next() as u8),
    }
}
