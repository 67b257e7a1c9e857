//! `dictionary`: text as its distinct values and one index a row.
//!
//! ```text
//! 0 u16 distinct values, 2 u8 codec of the indices, 3 five zero bytes,
//! 8 a head per value: u8 code points (0 to 16), and 64 or 128 if they have 2 or 4 bytes each,
//! then the code points of each value, then a `blocks` or `pco` page of indices
//! ```
//! Behind the code points of a value are zeros, as text ends. Any 64 bytes come back, text or not.
//! Frequent values come first: small indices are narrow, and the rare ones become outliers.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::ops::Range;

use foldhash::{HashMap, HashMapExt};

use crate::codec::{Codec, integer};
use crate::fields::Fields;

/// A value of a column of text.
pub(crate) type Text = [u32; 16];

const HEADER_BYTES: usize = 8;
const LENGTH: u8 = 0x1f;
const TWO_BYTES: u8 = 0x40;
const FOUR_BYTES: u8 = 0x80;

/// A distinct value of a page.
struct Distinct<'v> {
    text: &'v Text,
    rows: usize,
}

/// The page; `None` if its values alone need more than `bytes_max` bytes.
pub(crate) fn encode(values: &[Text], dense: bool, bytes_max: usize) -> Option<Vec<u8>> {
    let (distinct, rows) = distinct(values, bytes_max)?;
    let mut order: Vec<usize> = (0..distinct.len()).collect();
    // Stable: values that are equally frequent stay in the order they came in.
    order.sort_by_key(|number| Reverse(distinct[*number].rows));
    let mut indices = vec![0_i64; distinct.len()];
    for (index, number) in (0..).zip(&order) {
        indices[*number] = index;
    }
    let rows = rows.into_iter().map(|number| indices[usize::from(number)]);
    let rows: Vec<i64> = rows.collect();
    let (codec, packed) = integer::encode(&rows, dense);

    let mut page = Vec::with_capacity(HEADER_BYTES + 17 * distinct.len() + packed.len());
    let count = u16::try_from(distinct.len()).expect("a page has at most 4096 rows");
    page.extend_from_slice(&count.to_le_bytes());
    page.extend_from_slice(&[codec.code(), 0, 0, 0, 0, 0]);
    let texts = || order.iter().map(|number| distinct[*number].text);
    page.extend(texts().map(head));
    for text in texts() {
        let (length, bytes) = sizes(head(text)).expect("a head just made");
        for point in &text[..length] {
            page.extend_from_slice(&point.to_le_bytes()[..bytes]);
        }
    }
    page.extend_from_slice(&packed);
    Some(page)
}

/// The distinct values as they come, and for each row the number of its own.
fn distinct(values: &[Text], bytes_max: usize) -> Option<(Vec<Distinct<'_>>, Vec<u16>)> {
    let mut numbers = HashMap::new();
    let mut distinct: Vec<Distinct<'_>> = Vec::new();
    let mut rows: Vec<u16> = Vec::with_capacity(values.len());
    let mut bytes = HEADER_BYTES;
    // The number last seen in a place: few values take nearly all rows, and the map is slower.
    let mut seen = [0_u16; 256];
    for text in values {
        let place = &mut seen[place(text)];
        let near = usize::from(*place);
        if distinct.get(near).is_none_or(|near| !same(near.text, text)) {
            *place = match numbers.entry(text) {
                Entry::Occupied(number) => *number.get(),
                Entry::Vacant(entry) => {
                    let (length, point_bytes) = sizes(head(text)).expect("a head just made");
                    bytes += 1 + length * point_bytes;
                    if bytes > bytes_max {
                        return None;
                    }
                    let number = distinct.len() as u16;
                    distinct.push(Distinct { text, rows: 0 });
                    *entry.insert(number)
                }
            };
        }
        distinct[usize::from(*place)].rows += 1;
        rows.push(*place);
    }
    Some((distinct, rows))
}

/// One of 256, by all code points. The products do not wait for each other.
fn place(text: &Text) -> usize {
    const ODD: [u64; 8] = [
        0x9E37_79B9_7F4A_7C15,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x85EB_CA77_C2B2_AE63,
        0x27D4_EB2F_1656_67C5,
        0xBF58_476D_1CE4_E5B9,
        0x94D0_49BB_1331_11EB,
        0xD6E8_FEB8_6659_FD93,
    ];
    let products = text.as_chunks::<2>().0.iter().zip(ODD);
    let mix = products.fold(0_u64, |mix, ([low, high], odd)| {
        let word = u64::from(*low) | u64::from(*high) << 32;
        mix.wrapping_add(word.wrapping_mul(odd))
    });
    (mix >> 56) as usize
}

/// Whether all code points are equal, in a few vector instructions.
fn same(a: &Text, b: &Text) -> bool {
    a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

fn head(text: &Text) -> u8 {
    let length = text
        .iter()
        .rposition(|point| *point > 0)
        .map_or(0, |last| last as u8 + 1);
    let all = text.iter().fold(0, |all, point| all | point);
    match all {
        0..=0xff => length,
        0x100..=0xffff => length | TWO_BYTES,
        _ => length | FOUR_BYTES,
    }
}

/// Code points of a value and the bytes of each.
fn sizes(head: u8) -> Option<(usize, usize)> {
    let length = usize::from(head & LENGTH);
    let bytes = match head & !LENGTH {
        0 => 1,
        TWO_BYTES => 2,
        FOUR_BYTES => 4,
        _ => return None,
    };
    (length <= 16).then_some((length, bytes))
}

/// Writes rows `wanted` of a page to the target, which is as long. `None` if the bytes are not such
/// a page.
pub(crate) fn decode(
    page: &[u8],
    rows: usize,
    wanted: Range<usize>,
    target: &mut [Text],
) -> Option<()> {
    let mut fields = Fields::new(page);
    let count = usize::from(fields.u16()?);
    let codec = Codec::from_code(fields.u8()?)?;
    // So the values never take more memory than the rows.
    if count > rows || fields.take(5)? != [0; 5] {
        return None;
    }
    let mut texts: Vec<Text> = Vec::with_capacity(count);
    for head in fields.take(count)? {
        let (length, bytes) = sizes(*head)?;
        texts.push(text(fields.take(length * bytes)?, bytes));
    }
    let holds = Cell::new(true);
    let of = |index: i64| {
        let text = usize::try_from(index).ok().and_then(|at| texts.get(at));
        text.copied().unwrap_or_else(|| {
            holds.set(false);
            Text::default()
        })
    };
    let packed = &page[fields.position()..];
    integer::decode(codec, packed, rows, wanted, |done, part| {
        part.put_i64(&mut target[done..], of);
    })?;
    holds.get().then_some(())
}

/// Code points of `bytes` each.
fn text(packed: &[u8], bytes: usize) -> Text {
    let mut text = Text::default();
    for (point, packed) in text.iter_mut().zip(packed.chunks_exact(bytes)) {
        let mut whole = [0; 4];
        whole[..bytes].copy_from_slice(packed);
        *point = u32::from_le_bytes(whole);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(page: &[u8], rows: usize, wanted: Range<usize>) -> Option<Vec<Text>> {
        let mut back = vec![[7; 16]; wanted.len()];
        decode(page, rows, wanted, &mut back).map(|()| back)
    }

    fn text_of(text: &str) -> Text {
        let mut points = Text::default();
        for (point, char) in points.iter_mut().zip(text.chars()) {
            *point = char.into();
        }
        points
    }

    /// Code points of every width, zeros between them too.
    fn any_text() -> impl Strategy<Value = Text> {
        let point = prop_oneof![
            Just(0),
            32_u32..127,
            0_u32..0x300,
            0_u32..0x11_0000,
            any::<u32>()
        ];
        (proptest::collection::vec(point, 0..=16)).prop_map(|points| {
            let mut text = Text::default();
            text[..points.len()].copy_from_slice(&points);
            text
        })
    }

    proptest! {
        #[test]
        fn any_bits_come_back(texts in proptest::collection::vec(any_text(), 1..60), picks in proptest::collection::vec(any::<proptest::sample::Index>(), 1..700), dense in any::<bool>()) {
            let values: Vec<Text> = picks.iter().map(|pick| *pick.get(&texts)).collect();
            let rows = values.len();
            let page = encode(&values, dense, usize::MAX).unwrap();
            for wanted in [0..rows, rows / 3..rows - rows / 4, rows - 1..rows] {
                prop_assert_eq!(&read(&page, rows, wanted.clone()).unwrap(), &values[wanted]);
            }
            for wrong in [page[..page.len() - 1].to_vec(), [&page[..], &[0]].concat()] {
                // What is behind a pco file is for its crate to judge.
                if page[2] == Codec::Blocks.code() || wrong.len() < page.len() {
                    prop_assert_eq!(read(&wrong, rows, 0..rows), None);
                }
            }
        }

        #[test]
        fn garbage_is_refused_without_a_panic(mut page in proptest::collection::vec(any::<u8>(), 0..400), rows in 0_usize..600, count in 0_u8..20) {
            let _ = read(&page, rows, 0..rows);
            // Past the first checks too.
            for codec in [Codec::Blocks, Codec::Pco, Codec::Dictionary] {
                let header = [count, 0, codec.code(), 0, 0, 0, 0, 0];
                let len = page.len().min(8);
                page[..len].copy_from_slice(&header[..len]);
                let heads = len..page.len().min(8 + usize::from(count));
                page[heads].iter_mut().for_each(|head| *head %= 18);
                let _ = read(&page, rows, 0..rows);
            }
        }

        #[test]
        fn damaged_pages_never_panic(texts in proptest::collection::vec(any_text(), 1..300), dense in any::<bool>(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let rows = texts.len();
            let mut page = encode(&texts, dense, usize::MAX).unwrap();
            let at = at.index(page.len());
            page[at] = byte;
            let _ = read(&page, rows, 0..rows);
        }
    }

    #[test]
    fn the_bytes_lie_as_documented() {
        let [rare, often] = ["\u{20ac}", "NQ"].map(text_of);
        let page = encode(&[rare, often, often], false, usize::MAX).unwrap();
        assert_eq!(page[..8], [2, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(page[8..14], [2, 1 | TWO_BYTES, b'N', b'Q', 0xac, 0x20]);
        let (codec, indices) = integer::encode(&[1, 0, 0], false);
        assert_eq!(codec, Codec::Blocks);
        assert_eq!(page[14..], indices);
    }

    #[test]
    fn what_the_writer_does_not_write_is_refused() {
        let page = encode(&[text_of("N"), text_of("Q")], false, usize::MAX).unwrap();
        assert!(read(&page, 2, 0..2).is_some());
        for (at, byte, what) in [
            (0, 3, "more values than rows"),
            (0, 1, "an index without a value"),
            (2, 0, "indices that are raw"),
            (3, 1, "a zero that is not zero"),
            (8, 17, "17 code points"),
            (
                8,
                1 | TWO_BYTES | FOUR_BYTES,
                "code points of 2 and 4 bytes",
            ),
            (8, 1 | 0x20, "a bit without a meaning"),
        ] {
            let mut page = page.clone();
            page[at] = byte;
            // One value less: its head and its code point go too.
            if what == "an index without a value" {
                page.remove(11);
                page.remove(9);
            }
            assert_eq!(read(&page, 2, 0..2), None, "{what}");
        }
    }

    #[test]
    fn values_that_need_too_many_bytes_are_not_for_this_codec() {
        let texts: Vec<Text> = (1..100).map(|point| [point << 16; 16]).collect();
        assert!(encode(&texts, false, texts.len() * 64).is_none());
        assert!(encode(&texts, false, texts.len() * 65 + 8).is_some());
    }
}
