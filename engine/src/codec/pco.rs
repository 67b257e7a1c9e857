//! `pco`: integers with an entropy stage (crate pco), for pages where size counts more than speed.
//!
//! ```text
//! 0 u8 bytes of an integer (4, 8), then a standalone pco file (format 1) of i32 or i64
//! ```

use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use crate::codec::blocks::Plan;
use crate::codec::entropy::Bits;

/// Of 0 to 12. Measured on trades and quotes: as small as 8 but for a few hundredths, and decoded
/// an eighth faster.
const LEVEL: usize = 6;

/// The page of some values, if it has less than `bytes_max` bytes.
pub(crate) fn encode(values: &[i64], plan: &Plan, bytes_max: usize) -> Option<Vec<u8>> {
    let bits = Bits::of(plan.numbers());
    let bytes = |bits: f32| (values.len() as f32 * bits / 8.0) as usize;
    let near = || {
        let is_possible = bytes(bits.near()) < bytes_max;
        is_possible.then(|| near(values, plan, &bits)).flatten()
    };
    let page = if bits.is_lookback() {
        // Of values over their unit all differences are small, and the crate loses its track.
        let page = compress(values, ModeSpec::Classic, DeltaSpec::TryLookback)?;
        // Looking back may fail on rows outside the sample.
        let failed = page.len() > bytes(bits.near());
        let near = failed.then(near).flatten();
        near.filter(|near| near.len() < page.len()).unwrap_or(page)
    } else {
        near()?
    };
    (page.len() < bytes_max).then_some(page)
}

/// Without looking farther back than one value.
fn near(values: &[i64], plan: &Plan, bits: &Bits) -> Option<Vec<u8>> {
    let delta = match bits.is_delta() {
        true => DeltaSpec::TryConsecutive(1),
        false => DeltaSpec::NoOp,
    };
    // What the plan knows need not be searched for again.
    let mode = match plan.unit() {
        1 => ModeSpec::Auto,
        unit => ModeSpec::TryIntMult(unit),
    };
    compress(values, mode, delta)
}

fn compress(values: &[i64], mode: ModeSpec, delta: DeltaSpec) -> Option<Vec<u8>> {
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(mode)
        .with_delta_spec(delta);
    let narrow: Option<Vec<i32>> = values.iter().map(|v| i32::try_from(*v).ok()).collect();
    let (width, packed) = match &narrow {
        Some(narrow) => (4, simple_compress(narrow, &config).ok()?),
        None => (8, simple_compress(values, &config).ok()?),
    };
    let mut page = Vec::with_capacity(packed.len() + 1);
    page.push(width);
    page.extend_from_slice(&packed);
    Some(page)
}

/// The values; `None` if the bytes are not a page of that many.
pub(crate) fn decode(page: &[u8], rows: usize) -> Option<Vec<i64>> {
    let (width, packed) = page.split_first()?;
    match width {
        4 => {
            let narrow: Vec<i32> = decompress(packed, rows)?;
            Some(narrow.into_iter().map(i64::from).collect())
        }
        8 => decompress(packed, rows),
        _ => None,
    }
}

fn decompress<T: Number + Default>(packed: &[u8], rows: usize) -> Option<Vec<T>> {
    let mut values = vec![T::default(); rows];
    let progress = simple_decompress_into(packed, &mut values).ok()?;
    (progress.finished && progress.n_processed == rows).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All ways to compress, whichever would be chosen.
    fn round_trip(values: &[i64]) {
        let unit = Plan::new(values).unit();
        let modes = [
            ModeSpec::Auto,
            ModeSpec::Classic,
            ModeSpec::TryIntMult(unit),
        ];
        for mode in modes {
            for delta in [
                DeltaSpec::NoOp,
                DeltaSpec::TryConsecutive(1),
                DeltaSpec::TryLookback,
            ] {
                // The crate refuses some units.
                if let Some(page) = compress(values, mode.clone(), delta.clone()) {
                    let back = decode(&page, values.len());
                    assert_eq!(back.as_deref(), Some(values), "{mode:?} {delta:?}");
                } else {
                    assert!(matches!(mode, ModeSpec::TryIntMult(_)));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_way_gives_the_values_back(values in proptest::collection::vec(prop_oneof![-500_i64..500, any::<i64>()], 1..500), unit in 1_i64..1 << 50, sides in 1_usize..5) {
            round_trip(&values);
            let scaled = values.iter().map(|v| v.wrapping_mul(unit));
            round_trip(&scaled.collect::<Vec<_>>());
            let missing = values.iter().enumerate().map(|(row, v)| if row % sides == 0 { *v } else { 0 });
            round_trip(&missing.collect::<Vec<_>>());
        }
    }

    #[test]
    fn extremes_come_back() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN]);
        round_trip(&[i64::MAX; 300]);
        round_trip(&[i32::MIN.into(), i32::MAX.into(), 0]);
    }

    #[test]
    fn quotes_of_one_side_a_row_take_a_bit_or_two() {
        let mut price = 18_000;
        let side = |row: i64| {
            price += row * row % 3;
            price * (row % 2)
        };
        let values: Vec<i64> = (0..4096).map(side).collect();
        let plan = Plan::new(&values);
        let page = encode(&values, &plan, usize::MAX).unwrap();
        let near = near(&values, &plan, &Bits::of(plan.numbers())).unwrap();
        assert!(page.len() * 2 < near.len(), "{} {}", page.len(), near.len());
        assert_eq!(decode(&page, values.len()), Some(values));
    }
}
