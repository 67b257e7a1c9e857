//! Integers as `blocks` or, where size counts more than speed, as `pco`.

use std::ops::Range;

use crate::codec::blocks::{Page, Plan};
use crate::codec::{Codec, pco};

/// The page of some integers. Where they are to be `dense`, pco is taken if it saves an eighth of
/// what blocks would take by the plan: both are never packed.
pub(crate) fn encode(values: &[i64], dense: bool) -> (Codec, Vec<u8>) {
    let plan = Plan::new(values);
    let bytes_max = plan.bytes() - plan.bytes() / 8;
    match dense.then(|| pco::encode(values, &plan, bytes_max)) {
        Some(Some(page)) => (Codec::Pco, page),
        _ => (Codec::Blocks, plan.page()),
    }
}

/// Some values of a page, as they were packed.
pub(crate) enum Part<'v> {
    /// `base + unit * n`.
    Narrow(&'v [u32], i64, i64),
    /// The values themselves.
    Whole(&'v [i64]),
}

impl Part<'_> {
    /// Writes the values modulo 2^32 to the target, which is as long.
    pub(crate) fn put_i32<T>(&self, target: &mut [T], of: impl Fn(i32) -> T) {
        match *self {
            Self::Narrow(numbers, base, 1) => {
                let base = base as i32;
                for (target, n) in target.iter_mut().zip(numbers) {
                    *target = of(base.wrapping_add(*n as i32));
                }
            }
            Self::Narrow(numbers, base, unit) => {
                let (base, unit) = (base as i32, unit as i32);
                for (target, n) in target.iter_mut().zip(numbers) {
                    *target = of(base.wrapping_add(unit.wrapping_mul(*n as i32)));
                }
            }
            Self::Whole(values) => {
                for (target, value) in target.iter_mut().zip(values) {
                    *target = of(*value as i32);
                }
            }
        }
    }

    /// Writes the values to the target, which is as long.
    pub(crate) fn put_i64<T>(&self, target: &mut [T], of: impl Fn(i64) -> T) {
        match *self {
            Self::Narrow(numbers, base, 1) => {
                for (target, n) in target.iter_mut().zip(numbers) {
                    *target = of(base.wrapping_add(i64::from(*n)));
                }
            }
            Self::Narrow(numbers, base, unit) => {
                for (target, n) in target.iter_mut().zip(numbers) {
                    *target = of(base.wrapping_add(unit.wrapping_mul(i64::from(*n))));
                }
            }
            Self::Whole(values) => {
                for (target, value) in target.iter_mut().zip(values) {
                    *target = of(*value);
                }
            }
        }
    }
}

/// Hands the values of rows `wanted` on in parts, with the number of values before. `None` if the
/// bytes are not such a page; parts may have been handed on by then.
pub(crate) fn decode(
    codec: Codec,
    page: &[u8],
    rows: usize,
    wanted: Range<usize>,
    mut emit: impl FnMut(usize, Part<'_>),
) -> Option<()> {
    let mut done = 0;
    match codec {
        Codec::Blocks => {
            let page = Page::open(page, rows)?;
            let (base, unit) = (page.base, page.unit);
            if !page.wide {
                return page.read(wanted, |numbers: &[u32]| {
                    emit(done, Part::Narrow(numbers, base, unit));
                    done += numbers.len();
                });
            }
            let mut values = [0; super::bitpack::BLOCK];
            page.read(wanted, |numbers: &[u64]| {
                let values = &mut values[..numbers.len()];
                for (value, n) in values.iter_mut().zip(numbers) {
                    *value = base.wrapping_add(unit.wrapping_mul(*n as i64));
                }
                emit(done, Part::Whole(values));
                done += numbers.len();
            })
        }
        Codec::Pco => {
            let values = pco::decode(page, rows)?;
            emit(0, Part::Whole(values.get(wanted)?));
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(codec: Codec, page: &[u8], rows: usize, wanted: Range<usize>) -> Option<Vec<i64>> {
        let mut back = vec![0; wanted.len()];
        decode(codec, page, rows, wanted, |done, part| {
            part.put_i64(&mut back[done..], |v| v);
        })?;
        Some(back)
    }

    fn pages(values: &[i64]) -> [(Codec, Vec<u8>); 2] {
        let plan = Plan::new(values);
        let dense = pco::encode(values, &plan, usize::MAX).unwrap();
        [(Codec::Blocks, plan.page()), (Codec::Pco, dense)]
    }

    fn round_trip(values: &[i64]) {
        let rows = values.len();
        for (codec, page) in pages(values) {
            assert_eq!(read(codec, &page, rows, 0..rows).unwrap(), values);
            let part = rows / 3..rows - rows / 4;
            let found = read(codec, &page, rows, part.clone()).unwrap();
            assert_eq!(found, values[part]);
            let mut low = vec![0; rows];
            decode(codec, &page, rows, 0..rows, |done, part| {
                part.put_i32(&mut low[done..], |v| v);
            })
            .unwrap();
            assert!(low.iter().zip(values).all(|(low, v)| *low == *v as i32));
            let cut = &page[..page.len() - 1];
            assert_eq!(read(codec, cut, rows, 0..rows), None);
        }
    }

    fn near(exponent: u32) -> impl Strategy<Value = i64> {
        let span = 1_i64.checked_shl(exponent).unwrap_or(i64::MAX);
        prop_oneof![20 => -span..=span, 1 => any::<i64>()]
    }

    proptest! {
        #[test]
        fn integers_come_back(bits in 0_u32..64, seed in proptest::collection::vec(near(5), 1..700), scale in near(30), offset in any::<i64>()) {
            let spread = |v: &i64| v.wrapping_mul(scale).wrapping_add(offset) >> (63 - bits);
            round_trip(&seed.iter().map(spread).collect::<Vec<_>>());
        }

        #[test]
        fn walks_come_back(steps in proptest::collection::vec(near(9), 1..900), start in any::<i64>(), unit in near(40)) {
            let mut last = start;
            let walk = steps.iter().map(|step| { last = last.wrapping_add(step.wrapping_mul(unit)); last });
            round_trip(&walk.collect::<Vec<_>>());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(mut page in proptest::collection::vec(any::<u8>(), 0..400), rows in 0_usize..600, flags in 0_u8..8) {
            for codec in [Codec::Blocks, Codec::Pco] {
                let _ = read(codec, &page, rows, 0..rows);
            }
            // Past the first checks too.
            let header = page.len().min(8);
            page[..header].fill(0);
            page.first_mut().into_iter().for_each(|first| *first = flags);
            let _ = read(Codec::Blocks, &page, rows, 0..rows);
        }

        #[test]
        fn damaged_pages_never_panic(values in proptest::collection::vec(near(20), 1..600), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let rows = values.len();
            for (codec, mut page) in pages(&values) {
                let at = at.index(page.len());
                page[at] = byte;
                let _ = read(codec, &page, rows, 0..rows);
            }
        }
    }

    #[test]
    fn extremes_come_back() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1, 1, i64::MAX, i64::MIN]);
        round_trip(&[7]);
        round_trip(&[-5; 1000]);
        round_trip(&(0..5000).map(|i| i * i * 1_000_000_007).collect::<Vec<_>>());
        let spikes = (0..4096).map(|i| i % 7 + if i % 100 == 0 { 1 << 60 } else { 0 });
        round_trip(&spikes.collect::<Vec<_>>());
    }
}
