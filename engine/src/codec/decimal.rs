//! `decimal`: floats that were written with a few digits, as integers.
//!
//! ```text
//! 0 u16 exceptions, 2 u8 codec of the integers (2 for, 3 delta), 3 u8 1 if every integer is an i32,
//! 4 four zero bytes,
//! 8 exceptions x value, then exceptions x u16 row, then the integers (frame.rs, delta.rs)
//! ```
//! A value is `integer / 10^exponent` in the arithmetic of its type, exponent 0 to 10 (in the page
//! table). What that does not give back to the bit (-0.0, NaN, infinities, too many digits) is an
//! exception.

use crate::codec::{Codec, integer};
use crate::fields::Fields;

const EXPONENT_MAX: usize = 10;
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

/// f32 and f64.
pub(crate) trait Float: Copy + Default {
    const BYTES: usize;
    fn wide(self) -> f64;
    /// The value that `integer` stands for.
    fn of(integer: i64, power: f64) -> Self;
    /// The same of a small integer, faster.
    fn of_small(integer: i32, power: f64) -> Self;
    fn same(self, other: Self) -> bool;
    fn put(self, target: &mut Vec<u8>);
    fn take(fields: &mut Fields<'_>) -> Option<Self>;
}

macro_rules! float {
    ($rust:ty) => {
        impl Float for $rust {
            const BYTES: usize = size_of::<$rust>();

            fn wide(self) -> f64 {
                self.into()
            }

            fn of(integer: i64, power: f64) -> Self {
                to_float(integer) as $rust / power as $rust
            }

            fn of_small(integer: i32, power: f64) -> Self {
                integer as $rust / power as $rust
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
float!(f32);
float!(f64);

/// How to write some floats.
pub(crate) struct Plan {
    integers: Vec<i64>,
    exceptions: Vec<u16>,
    plan: integer::Plan,
    pub(crate) exponent: i8,
    pub(crate) bytes: usize,
}

/// `None` if more than 5 % of the values are no short decimals.
pub(crate) fn plan<T: Float>(values: &[T]) -> Option<Plan> {
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
    let plan = integer::plan(&integers);
    Some(Plan {
        bytes: HEADER_BYTES + exceptions.len() * (T::BYTES + 2) + plan.bytes(),
        integers,
        exceptions,
        plan,
        exponent: exponent as i8,
    })
}

fn integer_of<T: Float>(value: T, power: f64) -> Option<i64> {
    let scaled = value.wide() * power;
    let integer = to_integer(scaled);
    (scaled.abs() < INTEGER_MAX && T::of(integer, power).same(value)).then_some(integer)
}

impl Plan {
    pub(crate) fn width(&self) -> u8 {
        self.plan.width()
    }
}

/// Appends the page that was planned for these values.
pub(crate) fn encode<T: Float>(values: &[T], plan: &Plan, target: &mut Vec<u8>) {
    let count = plan.exceptions.len() as u16;
    target.extend_from_slice(&count.to_le_bytes());
    let small = plan.integers.iter().all(|v| i32::try_from(*v).is_ok());
    target.extend_from_slice(&[plan.plan.codec().code(), small.into(), 0, 0, 0, 0]);
    for row in &plan.exceptions {
        values[usize::from(*row)].put(target);
    }
    for row in &plan.exceptions {
        target.extend_from_slice(&row.to_le_bytes());
    }
    plan.plan.encode(&plan.integers, target);
}

/// Appends the values of a page; `None` if the bytes are not such a page.
pub(crate) fn decode<T: Float>(
    page: &[u8],
    width: u8,
    exponent: i8,
    rows: usize,
    target: &mut Vec<T>,
) -> Option<()> {
    let power = *POWERS.get(usize::try_from(exponent).ok()?)?;
    let mut fields = Fields::new(page);
    let exceptions = usize::from(fields.u16()?);
    let codec = Codec::from_code(fields.u8()?)?;
    let small = fields.u8()?;
    if small > 1 || fields.take(4)? != [0; 4] {
        return None;
    }
    let mut values = Fields::new(fields.take(exceptions * T::BYTES)?);
    let mut places = Fields::new(fields.take(exceptions * 2)?);
    let start = target.len();
    let integers = &page[fields.position()..];
    if small == 1 {
        integer::decode(codec, integers, width, rows, |block: &[i32]| {
            target.extend(block.iter().map(|v| T::of_small(*v, power)));
        })?;
    } else {
        integer::decode(codec, integers, width, rows, |block: &[i64]| {
            target.extend(block.iter().map(|v| T::of(*v, power)));
        })?;
    }
    for _ in 0..exceptions {
        let row = usize::from(places.u16()?);
        *target.get_mut(start + row)? = T::take(&mut values)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<T: Float + std::fmt::Debug>(values: &[T]) -> Option<usize> {
        let plan = plan(values)?;
        let mut page = Vec::new();
        encode(values, &plan, &mut page);
        assert_eq!(page.len(), plan.bytes);
        let mut back = vec![T::default()];
        let rows = values.len();
        decode(&page, plan.width(), plan.exponent, rows, &mut back).unwrap();
        assert_eq!(back.len(), rows + 1);
        for (back, value) in back[1..].iter().zip(values) {
            assert!(back.same(*value), "{back:?} {value:?}");
        }
        let cut = &page[..page.len() - 1];
        assert!(decode(cut, plan.width(), plan.exponent, rows, &mut Vec::<T>::new()).is_none());
        Some(page.len())
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
        fn garbage_is_refused_without_a_panic(page in proptest::collection::vec(any::<u8>(), 0..600), calm: bool, width in 0_u8..70, exponent: i8, rows in 0_usize..4097) {
            let mut page = page;
            for (byte, limit) in page.iter_mut().zip([3, 0, 3, 1, 0, 0, 0, 0]).filter(|_| calm) {
                *byte &= limit;
            }
            let mut back = Vec::<f32>::new();
            if decode(&page, width, exponent, rows, &mut back).is_some() {
                prop_assert_eq!(back.len(), rows);
            }
            let _ = decode(&page, width, exponent, rows, &mut Vec::<f64>::new());
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
        assert_eq!(round_trip(&values), Some(8 + 8 * 10 + 24 + 1024 * 6 / 8));
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
        assert!(plan(&third(21)).is_some());
        assert!(plan(&third(19)).is_none());
        assert!(plan(&third(1)).is_none());
        assert!(plan::<f64>(&[]).is_none());
    }

    #[test]
    fn prices_of_every_tick_size_come_back_small() {
        for (digits, power) in POWERS.iter().enumerate() {
            let values: Vec<f64> = (0..4096)
                .map(|i| f64::from(500_000_000 + i) / power)
                .collect();
            assert!(round_trip(&values).unwrap() < 100, "{digits} digits");
        }
    }
}
