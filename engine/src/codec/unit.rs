//! Numbers that are all multiples of one: times of whole milliseconds, sizes of round lots.

/// Divides multiples of a number by it, and knows what is none, with a product: a division takes
/// ten times as long.
///
/// An odd number has an inverse modulo 2^64, and the product of a multiple with it is the quotient.
/// What is no multiple gives a product above all quotients there are. The zeros of an even number
/// are rotated to the top first, where others than zeros are above all quotients too.
#[derive(Clone, Copy)]
pub(super) struct Multiples {
    pub(super) unit: u64,
    inverse: u64,
    zeros: u32,
    most: u64,
}

impl Multiples {
    /// `unit` is not zero.
    fn new(unit: u64) -> Self {
        let zeros = unit.trailing_zeros();
        let odd = unit >> zeros;
        // Right in its 5 lowest bits, then in twice as many each time.
        let mut inverse = odd.wrapping_mul(3) ^ 2;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self {
            unit,
            inverse,
            zeros,
            most: u64::MAX / unit,
        }
    }

    /// The greatest number that divides the differences of all values to the base; 1 if nothing
    /// greater does, or all are zero.
    pub(super) fn of(values: &[i64], base: i64) -> Self {
        let mut found: Option<Self> = None;
        for value in values {
            let difference = value.wrapping_sub(base) as u64;
            match found {
                Some(unit) if unit.divide(difference) <= unit.most => {}
                Some(unit) => {
                    let unit = Self::new(gcd(difference, unit.unit));
                    if unit.unit == 1 {
                        return unit;
                    }
                    found = Some(unit);
                }
                None if difference > 0 => found = Some(Self::new(difference)),
                None => {}
            }
        }
        found.unwrap_or_else(|| Self::new(1))
    }

    /// The quotient of a multiple.
    pub(super) fn divide(self, multiple: u64) -> u64 {
        multiple.wrapping_mul(self.inverse).rotate_right(self.zeros)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quotients_are_those_of_a_division(unit in 1_u64.., shift in 0_u32..64, value: u64) {
            for unit in [unit, (unit >> shift).max(1), 1 << shift] {
                let by = Multiples::new(unit);
                let multiple = value - value % unit;
                prop_assert_eq!(by.divide(multiple), multiple / unit);
                prop_assert_eq!(by.divide(value) <= by.most, value % unit == 0);
            }
        }

        #[test]
        fn the_unit_is_the_greatest_common_divisor(numbers in proptest::collection::vec(0_u64..1 << 20, 1..100), unit in 1_u64..1 << 40, base: i64) {
            let values: Vec<i64> = numbers.iter().map(|n| base.wrapping_add((n * unit) as i64)).collect();
            let expected = numbers.iter().fold(0, |all, n| gcd(n * unit, all));
            prop_assert_eq!(Multiples::of(&values, base).unit, expected.max(1));
        }
    }
}
