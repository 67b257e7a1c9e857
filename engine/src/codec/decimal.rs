//! `decimal`: floats that were written with a few digits, as integers.
//!
//! ```text
//! 0 u16 exceptions, 2 u8 codec of the integers (2 blocks, 4 pco), 3 u8 1 if they are small,
//! 4 four zero bytes,
//! 8 exceptions x value, then exceptions x u16 row, then the integers (blocks, pco.rs)
//! ```
//! A value is `integer / 10^exponent` in the arithmetic of its type, exponent 0 to 10 (in the page
//! table). What that does not give back to the bit (-0.0, NaN, infinities, too many digits) is an
//! exception. Small integers are those of a page where all fit i32 and the exponent is at most 8.

use std::ops::Range;

use crate::codec::{Codec, integer};
use crate::fields::Fields;

const EXPONENT_MAX: usize = 10;
const SMALL_EXPONENT_MAX: usize = 8;
const HEADER_BYTES: usize = 8;
/// Values that are tried to find the exponent.
const SAMPLE: usize = 64;

const POWERS: [f64; EXPONENT_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// Adding 1.5 * 2^52 to a float of less than 2^51 leaves its nearest integer in the low bits. Both
/// ways of conversion become an addition, which has a vector instruction where a cast has none.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const INTEGER_MAX: f64 = (1_i64 << 51) as f64;

fn to_integer(value: f64) -> i64 {
    (value + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
}

fn to_float(integer: i64) -> f64 {
    f64::from_bits((integer as u64).wrapping_add(MAGIC.to_bits())) - MAGIC
}

/// What integers are divided by.
#[derive(Clone, Copy)]
pub(crate) struct Divisor {
    power: f64,
    /// `1 / power`, its first 22 bits and the rest.
    high: f64,
    low: f64,
}

impl Divisor {
    fn new(power: f64) -> Self {
        let high = f64::from_bits((1.0 / power).to_bits() & !((1 << 31) - 1));
        Self {
            power,
            high,
            // The product has at most 22 + 27 bits: product and difference are exact.
            low: (1.0 - high * power) / power,
        }
    }
}

/// f32 and f64.
pub(crate) trait Float: Copy + Default {
    const BYTES: usize;
    fn wide(self) -> f64;
    /// The value that `integer` stands for.
    fn of(integer: i64, power: f64) -> Self;
    /// The same of a small integer, faster.
    fn of_small(integer: i32, by: Divisor) -> Self;
    fn same(self, other: Self) -> bool;
    fn put(self, target: &mut Vec<u8>);
    fn take(fields: &mut Fields<'_>) -> Option<Self>;
}

macro_rules! float {
    ($rust:ty, |$integer:ident, $by:ident| $small:expr) => {
        impl Float for $rust {
            const BYTES: usize = size_of::<$rust>();

            fn wide(self) -> f64 {
                self.into()
            }

            fn of(integer: i64, power: f64) -> Self {
                to_float(integer) as $rust / power as $rust
            }

            fn of_small($integer: i32, $by: Divisor) -> Self {
                $small
            }

            fn same(self, other: Self) -> bool {
                self.to_bits() == other.to_bits()
            }

            fn put(self, target: &mut Vec<u8>) {
                target.extend_from_slice(&self.to_le_bytes());
            }

            fn take(fields: &mut Fields<'_>) -> Option<Self> {
                let bytes = fields.take(Self::BYTES)?.try_into().ok()?;
                Some(Self::from_le_bytes(bytes))
            }
        }
    };
}
float!(f32, |integer, by| integer as f32 / by.power as f32);
// The quotient without a division, which takes several times as long. The first product is exact
// (31 + 22 bits), so that before the rounding of the sum the error is below 2^-72 of the quotient's
// power of two. A quotient by 10^e is at least 2^-53 / 5^e of it away from where rounding turns,
// which is more up to e = 8: the sum rounds as the quotient does.
float!(f64, |integer, by| {
    let integer = f64::from(integer);
    integer * by.high + integer * by.low
});

/// Floats as integers.
pub(crate) struct Integers {
    pub(crate) exponent: i8,
    integers: Vec<i64>,
    exceptions: Vec<u16>,
}

/// `None` if more than 5 % of the values are no short decimals.
pub(crate) fn integers<T: Float>(values: &[T]) -> Option<Integers> {
    let sampled = values.len().min(SAMPLE);
    let misses = |power: f64| {
        // Scattered, so that no rhythm of the values meets a rhythm of the sample.
        let sample = (0..sampled).map(|k| values[k * 0x9E37_79B1 % values.len()]);
        sample.filter(|v| integer_of(*v, power).is_none()).count()
    };
    // The first of the fewest misses: a larger exponent makes larger integers.
    let (mut exponent, mut fewest) = (0, usize::MAX);
    for (candidate, power) in POWERS.iter().enumerate() {
        let misses = misses(*power);
        if misses < fewest {
            (exponent, fewest) = (candidate, misses);
        }
        if misses == 0 {
            break;
        }
    }
    if fewest * 5 > sampled {
        return None;
    }
    let power = POWERS[exponent];
    let mut last = values.iter().find_map(|v| integer_of(*v, power))?;
    let mut exceptions = Vec::new();
    let mut integers = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        match integer_of(*value, power) {
            Some(integer) => last = integer,
            // The neighbour stands in: it makes no frame wider.
            None => exceptions.push(row as u16),
        }
        integers.push(last);
    }
    if exceptions.len() * 20 > values.len() {
        return None;
    }
    Some(Integers {
        exponent: exponent as i8,
        integers,
        exceptions,
    })
}

fn integer_of<T: Float>(value: T, power: f64) -> Option<i64> {
    let scaled = value.wide() * power;
    let integer = to_integer(scaled);
    (scaled.abs() < INTEGER_MAX && T::of(integer, power).same(value)).then_some(integer)
}

/// The page of these values.
pub(crate) fn encode<T: Float>(values: &[T], of: &Integers, dense: bool) -> Vec<u8> {
    let (codec, integers) = integer::encode(&of.integers, dense);
    let count = of.exceptions.len() as u16;
    let mut page = Vec::with_capacity(HEADER_BYTES + of.exceptions.len() * 10 + integers.len());
    page.extend_from_slice(&count.to_le_bytes());
    let small = of.integers.iter().all(|v| i32::try_from(*v).is_ok())
        && usize::try_from(of.exponent).is_ok_and(|e| e <= SMALL_EXPONENT_MAX);
    page.extend_from_slice(&[codec.code(), small.into(), 0, 0, 0, 0]);
    for row in &of.exceptions {
        values[usize::from(*row)].put(&mut page);
    }
    for row in &of.exceptions {
        page.extend_from_slice(&row.to_le_bytes());
    }
    page.extend_from_slice(&integers);
    page
}

/// Writes the values of rows `wanted` to the target, which is as long; `None` if the bytes are not
/// such a page.
pub(crate) fn decode<T: Float>(
    page: &[u8],
    exponent: i8,
    rows: usize,
    wanted: Range<usize>,
    target: &mut [T],
) -> Option<()> {
    let exponent = usize::try_from(exponent).ok()?;
    let power = *POWERS.get(exponent)?;
    let mut fields = Fields::new(page);
    let exceptions = usize::from(fields.u16()?);
    let codec = Codec::from_code(fields.u8()?)?;
    let small = fields.u8()?;
    if small > 1 || fields.take(4)? != [0; 4] || (small == 1 && exponent > SMALL_EXPONENT_MAX) {
        return None;
    }
    let mut values = Fields::new(fields.take(exceptions * T::BYTES)?);
    let mut places = Fields::new(fields.take(exceptions * 2)?);
    let integers = &page[fields.position()..];
    if small == 1 {
        let by = Divisor::new(power);
        integer::decode(codec, integers, rows, wanted.clone(), |done, part| {
            part.put_i32(&mut target[done..], |v| T::of_small(v, by));
        })?;
    } else {
        integer::decode(codec, integers, rows, wanted.clone(), |done, part| {
            part.put_i64(&mut target[done..], |v| T::of(v, power));
        })?;
    }
    for _ in 0..exceptions {
        let (row, value) = (usize::from(places.u16()?), T::take(&mut values)?);
        if row >= rows {
            return None;
        }
        if wanted.contains(&row) {
            target[row - wanted.start] = value;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<T: Float + std::fmt::Debug>(values: &[T]) -> Option<usize> {
        let plan = integers(values)?;
        let rows = values.len();
        let read = |page: &[u8], wanted: Range<usize>| {
            let mut back = vec![T::default(); wanted.len()];
            decode(page, plan.exponent, rows, wanted, &mut back)?;
            Some(back)
        };
        for dense in [true, false] {
            let page = encode(values, &plan, dense);
            for wanted in [0..rows, rows / 3..rows - rows / 4] {
                let back = read(&page, wanted.clone()).unwrap();
                for (back, value) in back.iter().zip(&values[wanted]) {
                    assert!(back.same(*value), "{back:?} {value:?}");
                }
            }
            assert!(read(&page[..page.len() - 1], 0..rows).is_none());
        }
        Some(encode(values, &plan, false).len())
    }

    proptest! {
        #[test]
        fn decimals_with_exceptions_come_back(cents in proptest::collection::vec(-100_000_i64..9_000_000, 1..3000), digits in 0_usize..9, every in 21_usize..100, odd in any::<u64>()) {
            let mut wide: Vec<f64> = cents.iter().map(|v| *v as f64 / POWERS[digits]).collect();
            wide.iter_mut().step_by(every).for_each(|v| *v = f64::from_bits(odd));
            round_trip(&wide);
            let mut narrow: Vec<f32> = cents.iter().map(|v| *v as f32 / POWERS[digits] as f32).collect();
            narrow.iter_mut().step_by(every).for_each(|v| *v = f32::from_bits(odd as u32));
            round_trip(&narrow);
        }

        #[test]
        fn any_bits_come_back(bits in proptest::collection::vec(any::<u64>(), 0..60)) {
            round_trip(&bits.iter().map(|v| f64::from_bits(*v)).collect::<Vec<_>>());
            round_trip(&bits.iter().map(|v| f32::from_bits(*v as u32)).collect::<Vec<_>>());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(page in proptest::collection::vec(any::<u8>(), 0..600), calm: bool, exponent: i8, rows in 0_usize..4097) {
            let mut page = page;
            for (byte, limit) in page.iter_mut().zip([3, 0, 6, 1, 0, 0, 0, 0]).filter(|_| calm) {
                *byte &= limit;
            }
            let _ = decode(&page, exponent, rows, 0..rows, &mut vec![0_f32; rows]);
            let _ = decode(&page, exponent, rows, 0..rows, &mut vec![0_f64; rows]);
        }

        #[test]
        fn small_quotients_are_those_of_a_division(integer: i32, near in -50_000_000..50_000_000_i32) {
            for power in &POWERS[..=SMALL_EXPONENT_MAX] {
                for integer in [integer, near, i32::MIN, i32::MAX] {
                    let quotient = f64::from(integer) / power;
                    prop_assert_eq!(f64::of_small(integer, Divisor::new(*power)).to_bits(), quotient.to_bits());
                }
            }
        }
    }

    #[test]
    fn what_no_decimal_is_comes_back_through_exceptions() {
        let odd = [
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::from_bits(0x7FF8_0000_0000_1234),
            f64::from_bits(0xFFF0_0000_0000_0001),
            f64::MIN_POSITIVE,
            f64::MAX,
            1.0 / 3.0,
        ];
        let mut values: Vec<f64> = (0..1024)
            .map(|i| 100.0 + f64::from(i % 50) / 100.0)
            .collect();
        for (place, odd) in odd.iter().enumerate() {
            values[place * 128] = *odd;
        }
        assert_eq!(
            round_trip(&values),
            Some(8 + 8 * 10 + 24 + 4 * 6 + 1024 * 6 / 8)
        );
        // NaN payloads of f32 are not touched by widening.
        let narrow = |i: u32| match i % 100 {
            7 => f32::from_bits(0x7F80_0000 + i),
            _ => i as f32 / 4.0,
        };
        assert!(round_trip(&(0..2000).map(narrow).collect::<Vec<_>>()).is_some());
    }

    #[test]
    fn too_many_exceptions_are_not_for_this_codec() {
        let third = |every: usize| {
            let value = |i| {
                if i % every == 0 {
                    1.0 / (i as f64 + 3.7).sqrt()
                } else {
                    2.5
                }
            };
            (0..4000).map(value).collect::<Vec<f64>>()
        };
        assert!(integers(&third(21)).is_some());
        assert!(integers(&third(19)).is_none());
        assert!(integers(&third(1)).is_none());
        assert!(integers::<f64>(&[]).is_none());
    }

    #[test]
    fn prices_of_every_tick_size_come_back_small() {
        for (digits, power) in POWERS.iter().enumerate() {
            let values: Vec<f64> = (0..4096)
                .map(|i| f64::from(500_000_000 + i) / power)
                .collect();
            assert!(round_trip(&values).unwrap() < 300, "{digits} digits");
        }
    }
}
