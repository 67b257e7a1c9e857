//! Decimal numbers in PostgreSQL's binary format: digits to the base of 10000.

use bytes::{BufMut, BytesMut};

/// Writes a number that is given as decimal text, such as `-12.50`.
pub(super) fn put(text: &str, out: &mut BytesMut) {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let scale = fraction.len();
    // Groups of four digits, counted from the point.
    let before = whole.len().div_ceil(4);
    let mut digits: Vec<u16> = Vec::new();
    let first = whole.len() % 4;
    let (head, rest) = whole.split_at(first);
    if !head.is_empty() {
        digits.push(group(head));
    }
    digits.extend(rest.as_bytes().chunks(4).map(four));
    digits.extend(fraction.as_bytes().chunks(4).map(four));
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[zeros..];
    let kept = digits.len() - digits.iter().rev().take_while(|d| **d == 0).count();
    let digits = &digits[..kept];
    let weight = match digits.is_empty() {
        true => 0,
        false => small(before).wrapping_sub(small(zeros)).wrapping_sub(1),
    };
    out.put_i16(small(digits.len()));
    out.put_i16(weight);
    out.put_u16(if is_negative && !digits.is_empty() {
        0x4000
    } else {
        0
    });
    out.put_i16(small(scale));
    digits.iter().for_each(|digit| out.put_u16(*digit));
}

/// Numbers have less than a hundred digits.
fn small(count: usize) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

fn group(digits: &str) -> u16 {
    digits.parse().unwrap_or_default()
}

/// Up to four digits behind the point, or four before it.
fn four(digits: &[u8]) -> u16 {
    let value = |at: usize| {
        digits
            .get(at)
            .map_or(0, |digit| u16::from(digit.saturating_sub(b'0')))
    };
    value(0) * 1000 + value(1) * 100 + value(2) * 10 + value(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        // Counts, weight, sign, scale, digits, as a server of PostgreSQL 16 sends them.
        for (text, wanted) in [
            ("0", vec![0, 0, 0, 0]),
            ("1", vec![1, 0, 0, 0, 1]),
            ("10000", vec![1, 1, 0, 0, 1]),
            ("12345", vec![2, 1, 0, 0, 1, 2345]),
            ("-12.50", vec![2, 0, 0x4000, 2, 12, 5000]),
            ("0.0001", vec![1, -1, 0, 4, 1]),
            ("0.00001", vec![1, -2, 0, 5, 1000]),
            (
                "18446744073709551615",
                vec![5, 4, 0, 0, 1844, 6744, 737, 955, 1615],
            ),
            ("0.00", vec![0, 0, 0, 2]),
        ] {
            let mut out = BytesMut::new();
            put(text, &mut out);
            let found = out.chunks(2).map(|b| i16::from_be_bytes([b[0], b[1]]));
            assert_eq!(found.collect::<Vec<_>>(), wanted, "{text}");
        }
    }
}
