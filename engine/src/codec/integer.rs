//! Integers as `for` or `delta`, whichever is smaller.

use crate::codec::bitpack::Word;
use crate::codec::{Codec, delta, frame};

/// How to write some integers.
pub(crate) enum Plan {
    Frame(frame::Plan),
    Delta(delta::Plan),
}

/// Values that say which of the two it will be.
const SAMPLE: usize = 512;

/// The smaller of the two, judged by the first values: planning is most of the work of encoding.
/// `for` decodes faster, so `delta` has to save a sixteenth.
pub(crate) fn plan(values: &[i64]) -> Plan {
    let sample = &values[..values.len().min(SAMPLE)];
    let frame = frame::plan(sample).bytes;
    if delta::plan(sample).bytes() < frame - frame / 16 {
        Plan::Delta(delta::plan(values))
    } else {
        Plan::Frame(frame::plan(values))
    }
}

impl Plan {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Frame(plan) => plan.bytes,
            Self::Delta(plan) => plan.bytes(),
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        match self {
            Self::Frame(_) => Codec::Frame,
            Self::Delta(_) => Codec::Delta,
        }
    }

    pub(crate) fn width(&self) -> u8 {
        let width = match self {
            Self::Frame(plan) => plan.width,
            Self::Delta(plan) => plan.width(),
        };
        u8::try_from(width).expect("integers have 64 bits")
    }

    /// Appends the page of the values it was made for.
    pub(crate) fn encode(&self, values: &[i64], target: &mut Vec<u8>) {
        match self {
            Self::Frame(plan) => frame::encode(values, plan, target),
            Self::Delta(plan) => delta::encode(plan, target),
        }
    }
}

/// Hands the values on in blocks, as [`frame::decode`] does.
pub(crate) fn decode<W: Word>(
    codec: Codec,
    page: &[u8],
    width: u8,
    rows: usize,
    emit: impl FnMut(&[W]),
) -> Option<()> {
    match codec {
        Codec::Frame => frame::decode(page, width, rows, emit),
        Codec::Delta => delta::decode(page, width, rows, emit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) {
        let both = [
            Plan::Frame(frame::plan(values)),
            Plan::Delta(delta::plan(values)),
        ];
        for plan in both {
            let mut page = Vec::new();
            plan.encode(values, &mut page);
            assert_eq!(page.len(), plan.bytes());
            let read = |page: &[u8], rows| {
                let mut back = Vec::new();
                decode(plan.codec(), page, plan.width(), rows, |block: &[i64]| {
                    back.extend_from_slice(block);
                })
                .map(|()| back)
            };
            assert_eq!(read(&page, values.len()).as_deref(), Some(values));
            assert_eq!(read(&page[..page.len() - 1], values.len()), None);
            page.push(0);
            assert_eq!(read(&page, values.len()), None);
        }
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values in proptest::collection::vec(any::<i64>(), 0..100)) {
            round_trip(&values);
        }

        #[test]
        fn outliers_and_units_come_back(small in proptest::collection::vec(0_i64..50, 1..3000), unit in 1_i64..1_000_000_000, every in 1_usize..200, large in any::<i64>()) {
            let mut values: Vec<i64> = small.iter().map(|v| v * unit).collect();
            values.iter_mut().step_by(every).for_each(|v| *v = v.wrapping_add(large));
            round_trip(&values);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(page in proptest::collection::vec(any::<u8>(), 0..600), calm: bool, width in 0_u8..70, rows in 0_usize..4097) {
            let mut page = page;
            // A header whose fields are plausible gets further.
            for byte in page.iter_mut().take(32).skip(16).filter(|_| calm) {
                *byte &= 1;
            }
            for codec in [Codec::Frame, Codec::Delta, Codec::Raw] {
                let mut found = 0;
                if decode(codec, &page, width, rows, |block: &[i64]| found += block.len()).is_some() {
                    prop_assert_eq!(found, rows);
                }
            }
        }
    }

    #[test]
    fn the_sizes_around_a_block_and_the_extremes_come_back() {
        for rows in [0, 1, 2, 1023, 1024, 1025, 4095, 4096] {
            round_trip(&vec![i64::MIN; rows]);
            round_trip(&(0..rows as i64).map(|i| i * i * i).collect::<Vec<_>>());
            let swing = |i| [i64::MIN, i64::MAX, 0, -1][i % 4];
            round_trip(&(0..rows).map(swing).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_few_large_values_and_a_common_unit_cost_little() {
        let mut values: Vec<i64> = (0..4096).map(|i| i * 7 % 13 * 1_000_000).collect();
        values[99] = 1 << 40;
        values[99] -= values[99] % 1_000_000;
        // 4 bits of 4096 values, the headers, one outlier.
        assert_eq!(frame::plan(&values).bytes, 24 + 2048 + 6);
        let line: Vec<i64> = (0..4096).map(|i| 5 + i * 60_000_000_000).collect();
        assert_eq!(plan(&line).bytes(), 8 + 24);
    }

    #[test]
    fn pages_that_do_not_add_up_are_refused() {
        let mut values = vec![3; 100];
        (values[7], values[70]) = (1 << 30, 1 << 31);
        let plan = frame::plan(&values);
        let mut page = Vec::new();
        frame::encode(&values, &plan, &mut page);
        let accepts =
            |page: &[u8]| frame::decode(page, plan.width as u8, 100, |_: &[i64]| ()).is_some();
        assert!(accepts(&page));
        let end = page.len();
        for (at, byte) in [(18, 1), (16, 3), (end - 2, 100), (end - 4, 71)] {
            let mut bad = page.clone();
            bad[at] = byte;
            assert!(!accepts(&bad), "byte {at}");
        }
    }
}
