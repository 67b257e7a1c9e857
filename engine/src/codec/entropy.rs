//! What numbers are best seen as the difference to, judged by how unevenly a sample is spread: no
//! way has to be tried to choose it.

use std::ops::RangeInclusive;

/// Numbers of a page that are looked at.
const SAMPLE: usize = 256;

/// How far back a number is looked for that is like the present one. Quotes of two sides, one of
/// them missing in each row, come with distances of 2 and a few more.
const LAGS: RangeInclusive<usize> = 2..=8;

/// Bits of a number.
const LOOKBACK_SAVES: f32 = 1.5;

/// Bits of a number of the sample, about.
pub(super) struct Bits {
    /// The number itself.
    plain: f32,
    /// Its difference to the one before.
    last: f32,
    /// Its difference to one farther back.
    earlier: f32,
}

impl Bits {
    pub(super) fn of(numbers: &[u64]) -> Self {
        let behind = *LAGS.end();
        let last = numbers.len().saturating_sub(behind);
        let sample = SAMPLE.min(last);
        let differences = |lag: usize| {
            // Scattered, so that no rhythm of the numbers meets a rhythm of the sample.
            let rows = (0..sample).map(move |k| behind + k * 0x9E37_79B1 % last);
            rows.map(move |row| numbers[row].wrapping_sub(before(numbers, row, lag)) as i64)
        };
        let bits = |lag| bits(&mut differences(lag).collect::<Vec<_>>());
        // The distance with the least differences.
        let length = |number: i64| u64::BITS - number.unsigned_abs().leading_zeros();
        let lag = LAGS.min_by_key(|lag| differences(*lag).map(length).sum::<u32>());
        Self {
            plain: bits(0),
            last: bits(1),
            earlier: lag.map_or(f32::MAX, bits),
        }
    }

    /// The fewest bits without looking farther back than one number.
    pub(super) fn near(&self) -> f32 {
        self.plain.min(self.last)
    }

    /// Whether differences to the number before take fewer bits than the number.
    pub(super) fn is_delta(&self) -> bool {
        self.last < self.plain
    }

    /// Whether to look farther back. That makes encoding three times as slow and decoding half as
    /// fast: it has to save a good deal.
    pub(super) fn is_lookback(&self) -> bool {
        self.earlier + LOOKBACK_SAVES < self.near()
    }
}

/// What a number is seen as the difference to.
fn before(numbers: &[u64], row: usize, lag: usize) -> u64 {
    match lag {
        0 => 0,
        _ => numbers[row - lag],
    }
}

/// About the bits of a number in a code that is made for these: one of `n` that occurs `k` times
/// takes `log2(n / k)`, one that occurs once also what tells it from those near it.
fn bits(numbers: &mut [i64]) -> f32 {
    numbers.sort_unstable();
    let all = numbers.len().max(1) as f32;
    let mut bits = 0.0;
    let mut last = None;
    for equal in numbers.chunk_by(|a, b| a == b) {
        let count = equal.len() as f32;
        bits += count * (all / count).log2();
        if let (1, Some(last)) = (equal.len(), last) {
            bits += (equal[0].wrapping_sub(last) as u64 as f32).log2();
        }
        last = equal.first().copied();
    }
    bits / all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a rhythm, below `below`.
    fn noise(below: u64) -> impl Iterator<Item = u64> {
        let mut state = 1_u64;
        std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        })
    }

    #[test]
    fn what_stands_alone_is_no_difference() {
        let lots: Vec<u64> = noise(6).map(|lots| 100 * lots * lots).take(4096).collect();
        let bits = Bits::of(&lots);
        assert!(!bits.is_delta() && !bits.is_lookback());
        // Six sizes that are equally frequent.
        assert!((bits.near() - 6_f32.log2()).abs() < 0.1, "{}", bits.near());
    }

    #[test]
    fn a_walk_is_differences() {
        let steps = noise(4).scan(1 << 40, |price, step| {
            *price += step;
            Some(*price)
        });
        let bits = Bits::of(&steps.take(4096).collect::<Vec<_>>());
        assert!(bits.is_delta() && !bits.is_lookback());
        assert!((bits.near() - 2.0).abs() < 0.1, "{}", bits.near());
    }

    #[test]
    fn quotes_of_one_side_a_row_look_back() {
        let prices = noise(3).scan(18_000, |price, step| {
            *price += step;
            Some(*price)
        });
        let sides = prices
            .enumerate()
            .map(|(row, price)| price * (row as u64 % 2));
        assert!(Bits::of(&sides.take(4096).collect::<Vec<_>>()).is_lookback());
    }

    #[test]
    fn few_numbers_are_judged_too() {
        for count in 0..20 {
            let bits = Bits::of(&(0..count).map(|n| n << 58).collect::<Vec<_>>());
            assert!(bits.near() >= 0.0 && !bits.is_lookback());
        }
    }
}
