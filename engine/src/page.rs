//! I8: what is decoded is what was encoded, to the bit.
//!
//! Up to [`PAGE_ROWS_MAX`] values of one column. The entry in the page table says where the page
//! is, how to read it, its checksum and the bounds of its values (the zone map).

use std::ops::Range;

use bytes::Bytes;
use model::{Column, ColumnType, Value};

use crate::buffer::Buffer;
use crate::codec::dictionary::Text;
use crate::codec::grid::{self, Grid};
use crate::codec::{Codec, decimal, dictionary, integer, raw};
use crate::fields::Fields;

/// Rows per page. One decoded f64 page is 32 KiB and fits a level-1 cache; a last-N query decodes
/// at most one page per column more than it needs.
pub(crate) const PAGE_ROWS_MAX: usize = 4096;

/// Pages of [`LARGE_PAGE_BYTES`] and more begin on this: a cache line. A whole column of full raw
/// pages is one slice of the mapping.
pub(crate) const PAGE_ALIGN: usize = 64;

/// Smaller pages begin on this: every value is aligned, and little is lost between many of them.
const SMALL_PAGE_ALIGN: usize = 8;

const LARGE_PAGE_BYTES: usize = 4096;

/// Pages of at most so many bytes are raw unless all values are equal.
const TINY_BYTES: usize = 64;

/// Bytes of an entry in the page table.
pub(crate) const PAGE_ENTRY_BYTES: usize = 40;

const _: () = assert!(PAGE_ROWS_MAX.is_multiple_of(PAGE_ALIGN));

/// What the offset of a page of so many bytes is a multiple of.
pub(crate) fn align_of(bytes: usize) -> u64 {
    match bytes {
        LARGE_PAGE_BYTES.. => PAGE_ALIGN as u64,
        _ => SMALL_PAGE_ALIGN as u64,
    }
}

/// The bounds are set.
const FLAG_BOUNDS: u8 = 1;
/// There are NaNs; they are outside the bounds.
const FLAG_NAN: u8 = 2;

/// One entry of a page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageEntry {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) rows: u16,
    pub(crate) codec: u8,
    /// Digits behind the point of `decimal`.
    pub(crate) exponent: i8,
    pub(crate) flags: u8,
    pub(crate) crc: u32,
    /// Bounds in the column's widest type of its kind: i64, u64 or f64 bits.
    pub(crate) min: [u8; 8],
    pub(crate) max: [u8; 8],
}

/// What an entry says about the values of its page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bounds {
    Integers(i128, i128),
    Floats {
        /// Least and greatest, if there is more than NaN.
        values: Option<(f64, f64)>,
        nan: bool,
    },
}

impl PageEntry {
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.offset.to_le_bytes());
        target.extend_from_slice(&self.bytes.to_le_bytes());
        target.extend_from_slice(&self.rows.to_le_bytes());
        let [exponent] = self.exponent.to_le_bytes();
        target.extend_from_slice(&[self.codec, 0, exponent, self.flags, 0, 0]);
        target.extend_from_slice(&self.crc.to_le_bytes());
        target.extend_from_slice(&self.min);
        target.extend_from_slice(&self.max);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (offset, len, rows) = (fields.u64()?, fields.u32()?, fields.u16()?);
        let codec = fields.u8()?;
        fields.u8()?;
        let exponent = i8::from_le_bytes([fields.u8()?]);
        let flags = fields.u8()?;
        fields.u16()?;
        Some(Self {
            offset,
            bytes: len,
            rows,
            codec,
            exponent,
            flags,
            crc: fields.u32()?,
            min: fields.u64()?.to_le_bytes(),
            max: fields.u64()?.to_le_bytes(),
        })
    }

    /// Sets the bounds of a page of times.
    pub(crate) fn set_times(&mut self, min: i64, max: i64) {
        self.flags = FLAG_BOUNDS;
        (self.min, self.max) = (min.to_le_bytes(), max.to_le_bytes());
    }

    /// Sets the bounds to those of the page's values.
    pub(crate) fn set_bounds(&mut self, values: &Column) {
        (self.flags, self.min, self.max) = bounds(values);
    }

    /// Bounds of a page of `ty`; `None` if the entry has none.
    pub(crate) fn bounds(&self, ty: ColumnType) -> Option<Bounds> {
        let known = self.flags & FLAG_BOUNDS != 0;
        let nan = self.flags & FLAG_NAN != 0;
        match ty {
            ColumnType::I8 | ColumnType::I16 | ColumnType::I32 | ColumnType::I64 => {
                let wide = |bytes| i128::from(i64::from_le_bytes(bytes));
                known.then(|| Bounds::Integers(wide(self.min), wide(self.max)))
            }
            ColumnType::U8 | ColumnType::U16 | ColumnType::U32 | ColumnType::U64 => {
                let wide = |bytes| i128::from(u64::from_le_bytes(bytes));
                known.then(|| Bounds::Integers(wide(self.min), wide(self.max)))
            }
            ColumnType::F32 | ColumnType::F64 => {
                let ends = (f64::from_le_bytes(self.min), f64::from_le_bytes(self.max));
                let values = known.then_some(ends);
                (known || nan).then_some(Bounds::Floats { values, nan })
            }
            ColumnType::Str16 => None,
        }
    }

    /// Bounds of a page of times.
    pub(crate) fn times(&self) -> (i64, i64) {
        (i64::from_le_bytes(self.min), i64::from_le_bytes(self.max))
    }
}

/// A page ready to be written; its entry lacks the offset.
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) entry: PageEntry,
}

/// What is known of values besides themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints {
    /// Of times of bars.
    pub(crate) grid: Option<Grid>,
    /// Size counts more than speed: ticks are many, and seldom read.
    pub(crate) dense: bool,
}

/// Encodes at most [`PAGE_ROWS_MAX`] values with the smallest codec; raw unless an eighth is saved.
pub(crate) fn encode(values: &Column, hints: Hints) -> Encoded {
    let rows = u16::try_from(values.len()).expect("a page has at most 4096 rows");
    let raw = values.bytes();
    let bytes_max = raw.len() - raw.len() / 8;
    let page = packed(values, hints, bytes_max).filter(|page| page.bytes.len() <= bytes_max);
    let page = page.unwrap_or_else(|| Packed::new(Codec::Raw, raw.clone()));
    let (flags, min, max) = bounds(values);
    Encoded {
        entry: PageEntry {
            offset: 0,
            bytes: u32::try_from(page.bytes.len()).expect("a page has at most 256 KiB"),
            rows,
            codec: page.codec.code(),
            exponent: page.exponent,
            flags,
            crc: crc32fast::hash(&page.bytes),
            min,
            max,
        },
        bytes: page.bytes,
    }
}

/// A page in some codec and how to read it.
struct Packed {
    codec: Codec,
    exponent: i8,
    bytes: Bytes,
}

impl Packed {
    fn new(codec: Codec, bytes: impl Into<Bytes>) -> Self {
        Self {
            codec,
            exponent: 0,
            bytes: bytes.into(),
        }
    }
}

/// Whether packing is not worth its time: `blocks` has 24 bytes before the first block, whose words
/// have 32.
fn is_tiny(values: &Column, hints: Hints) -> bool {
    let (bytes, size) = (values.bytes(), values.ty().size());
    let is_small = !hints.dense && size <= bytes.len() && bytes.len() <= TINY_BYTES;
    // All equal, they are packed in half of that.
    is_small && bytes[size..] != bytes[..bytes.len() - size]
}

/// The smallest page; larger than `bytes_max` bytes none is wanted.
fn packed(values: &Column, hints: Hints, bytes_max: usize) -> Option<Packed> {
    macro_rules! integers {
        ($rust:ty) => {{
            let values: &[$rust] = values.values()?;
            let values: Vec<i64> = values.iter().map(|v| *v as i64).collect();
            Some(packed_integers(&values, hints))
        }};
    }
    let is_tiny = is_tiny(values, hints);
    match values.ty() {
        ColumnType::I64 => {
            let times: &[i64] = values.values()?;
            let gridded = hints
                .grid
                .and_then(|grid| grid::encode(times, grid, bytes_max))
                .map(|page| Packed::new(Codec::Grid, page));
            // Small enough: nothing is faster to read.
            if let Some(page) = &gridded
                && (is_tiny || page.bytes.len() <= values.bytes().len() / 32)
            {
                return gridded;
            }
            if is_tiny {
                return None;
            }
            let page = packed_integers(times, hints);
            gridded
                .filter(|gridded| gridded.bytes.len() <= page.bytes.len())
                .or(Some(page))
        }
        _ if is_tiny => None,
        ColumnType::I8 => integers!(i8),
        ColumnType::I16 => integers!(i16),
        ColumnType::I32 => integers!(i32),
        ColumnType::U8 => integers!(u8),
        ColumnType::U16 => integers!(u16),
        ColumnType::U32 => integers!(u32),
        // Beyond i64 they wrap, and wrap back when they are read.
        ColumnType::U64 => integers!(u64),
        ColumnType::F32 => packed_floats::<f32>(values.values()?, hints),
        ColumnType::F64 => packed_floats::<f64>(values.values()?, hints),
        ColumnType::Str16 => dictionary::encode(values.values()?, hints.dense, bytes_max)
            .map(|page| Packed::new(Codec::Dictionary, page)),
    }
}

fn packed_integers(values: &[i64], hints: Hints) -> Packed {
    let (codec, bytes) = integer::encode(values, hints.dense);
    Packed::new(codec, bytes)
}

fn packed_floats<T: decimal::Float>(values: &[T], hints: Hints) -> Option<Packed> {
    let integers = decimal::integers(values)?;
    Some(Packed {
        codec: Codec::Decimal,
        exponent: integers.exponent,
        bytes: decimal::encode(values, &integers, hints.dense).into(),
    })
}

/// Whether the bounds of an entry are those of its values.
pub(crate) fn has_bounds(values: &Column, entry: &PageEntry) -> bool {
    bounds(values) == (entry.flags, entry.min, entry.max)
}

/// The values of a page of `ty` as a column; `None` if the bytes are not what the entry says.
pub(crate) fn decode(ty: ColumnType, entry: &PageEntry, page: Bytes) -> Option<Column> {
    match Codec::from_code(entry.codec)? {
        Codec::Raw => raw::decode(ty, page, entry.rows.into()),
        _ => join(ty, &[(*entry, page)], 0..entry.rows.into()).ok(),
    }
}

/// Rows `wanted` of pages of `ty` that lie one behind the other; the number of the first page
/// whose bytes are not what its entry says. Blocks without a wanted row are not decoded.
pub(crate) fn join(
    ty: ColumnType,
    pages: &[(PageEntry, Bytes)],
    wanted: Range<usize>,
) -> Result<Column, usize> {
    // All but the widest are exact modulo 2^32.
    macro_rules! integers {
        ($rust:ty, $put:ident) => {
            joined(pages, wanted, |entry, page, wanted, target| {
                put_integers(entry, page, wanted, |done, part| {
                    part.$put(&mut target[done..], |v| v as $rust);
                })
            })
        };
    }
    match ty {
        ColumnType::I8 => integers!(i8, put_i32),
        ColumnType::I16 => integers!(i16, put_i32),
        ColumnType::I32 => integers!(i32, put_i32),
        ColumnType::I64 => joined(pages, wanted, put_times),
        ColumnType::U8 => integers!(u8, put_i32),
        ColumnType::U16 => integers!(u16, put_i32),
        ColumnType::U32 => integers!(u32, put_i32),
        ColumnType::U64 => integers!(u64, put_i64),
        ColumnType::F32 => joined(pages, wanted, put_floats::<f32>),
        ColumnType::F64 => joined(pages, wanted, put_floats::<f64>),
        ColumnType::Str16 => joined(pages, wanted, put_texts),
    }
}

fn joined<T: Value>(
    pages: &[(PageEntry, Bytes)],
    wanted: Range<usize>,
    mut put: impl FnMut(&PageEntry, &[u8], Range<usize>, &mut [T]) -> Option<()>,
) -> Result<Column, usize> {
    let mut buffer = Buffer::new(wanted.len() * size_of::<T>());
    let mut target: &mut [T] = buffer.values();
    let mut before = 0;
    for (number, (entry, page)) in pages.iter().enumerate() {
        let rows = usize::from(entry.rows);
        let from = wanted.start.clamp(before, before + rows) - before;
        let to = wanted.end.clamp(before, before + rows) - before;
        before += rows;
        let (values, rest) = target.split_at_mut_checked(to - from).ok_or(number)?;
        target = rest;
        if entry.codec == Codec::Raw.code() {
            let raw = raw::decode(T::TYPE, page.clone(), rows).ok_or(number)?;
            let raw = raw.values().ok_or(number)?;
            values.copy_from_slice(&raw[from..to]);
        } else {
            put(entry, page, from..to, values).ok_or(number)?;
        }
    }
    // Else the rest would be what the memory had before.
    match target.is_empty() {
        true => Ok(buffer.column::<T>()),
        false => Err(pages.len().saturating_sub(1)),
    }
}

fn put_times(
    entry: &PageEntry,
    page: &[u8],
    wanted: Range<usize>,
    target: &mut [i64],
) -> Option<()> {
    if entry.codec == Codec::Grid.code() {
        return grid::decode(page, entry.rows.into(), wanted, target);
    }
    put_integers(entry, page, wanted, |done, part| {
        part.put_i64(&mut target[done..], |v| v);
    })
}

fn put_integers(
    entry: &PageEntry,
    page: &[u8],
    wanted: Range<usize>,
    emit: impl FnMut(usize, integer::Part<'_>),
) -> Option<()> {
    let codec = Codec::from_code(entry.codec)?;
    integer::decode(codec, page, entry.rows.into(), wanted, emit)
}

fn put_floats<T: decimal::Float>(
    entry: &PageEntry,
    page: &[u8],
    wanted: Range<usize>,
    target: &mut [T],
) -> Option<()> {
    if entry.codec != Codec::Decimal.code() {
        return None;
    }
    decimal::decode(page, entry.exponent, entry.rows.into(), wanted, target)
}

fn put_texts(
    entry: &PageEntry,
    page: &[u8],
    wanted: Range<usize>,
    target: &mut [Text],
) -> Option<()> {
    if entry.codec != Codec::Dictionary.code() {
        return None;
    }
    dictionary::decode(page, entry.rows.into(), wanted, target)
}

/// Flags, least and greatest value.
fn bounds(values: &Column) -> (u8, [u8; 8], [u8; 8]) {
    macro_rules! integers {
        ($rust:ty as $wide:ty) => {{
            let values: &[$rust] = values.values().expect("the type is the one just matched");
            let min = values.iter().copied().min().map_or(0, <$wide>::from);
            let max = values.iter().copied().max().map_or(0, <$wide>::from);
            (FLAG_BOUNDS, min.to_le_bytes(), max.to_le_bytes())
        }};
    }
    macro_rules! floats {
        ($rust:ty) => {{
            let values: &[$rust] = values.values().expect("the type is the one just matched");
            let (mut min, mut max) = (<$rust>::INFINITY, <$rust>::NEG_INFINITY);
            let mut nan = false;
            for value in values {
                nan |= value.is_nan();
                min = if *value < min { *value } else { min };
                max = if *value > max { *value } else { max };
            }
            let flags = if nan { FLAG_NAN } else { 0 };
            let flags = flags | if min <= max { FLAG_BOUNDS } else { 0 };
            let wide = |v: $rust| f64::from(v).to_le_bytes();
            (flags, wide(min), wide(max))
        }};
    }
    match values.ty() {
        ColumnType::I8 => integers!(i8 as i64),
        ColumnType::I16 => integers!(i16 as i64),
        ColumnType::I32 => integers!(i32 as i64),
        ColumnType::I64 => integers!(i64 as i64),
        ColumnType::U8 => integers!(u8 as u64),
        ColumnType::U16 => integers!(u16 as u64),
        ColumnType::U32 => integers!(u32 as u64),
        ColumnType::U64 => integers!(u64 as u64),
        ColumnType::F32 => floats!(f32),
        ColumnType::F64 => floats!(f64),
        ColumnType::Str16 => (0, [0; 8], [0; 8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bits_come_back_from_a_page(bits in proptest::collection::vec(any::<u64>(), 1..200)) {
            let raw: Vec<u8> = bits.iter().flat_map(|v| v.to_le_bytes()).collect();
            for ty in ColumnType::ALL {
                let whole = raw.len() / ty.size() * ty.size();
                let column = Column::new(ty, Bytes::from(raw[..whole].to_vec())).unwrap();
                let grid = Some(Grid { step: 60, anchor: 0 });
                let hints = Hints { grid, dense: bits[0] % 2 == 0 };
                let page = encode(&column, hints);
                prop_assert_eq!(&decode(ty, &page.entry, page.bytes).unwrap(), &column);
            }
        }

        #[test]
        fn an_entry_comes_back_and_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), PAGE_ENTRY_BYTES), page in proptest::collection::vec(any::<u8>(), 0..100)) {
            let entry = PageEntry::decode(&bytes).unwrap();
            let mut again = Vec::new();
            entry.encode(&mut again);
            prop_assert_eq!(PageEntry::decode(&again).unwrap(), entry);
            for ty in ColumnType::ALL {
                if let Some(column) = decode(ty, &entry, Bytes::from(page.clone())) {
                    prop_assert_eq!(column.len(), usize::from(entry.rows));
                }
            }
        }
    }

    #[test]
    fn bounds_leave_nan_out_and_say_so() {
        let page = encode(
            &Column::from_values(vec![2.5_f32, f32::NAN, -1.0]),
            Hints::default(),
        );
        assert_eq!(page.entry.flags, FLAG_BOUNDS | FLAG_NAN);
        assert_eq!(f64::from_le_bytes(page.entry.min), -1.0);
        assert_eq!(f64::from_le_bytes(page.entry.max), 2.5);
        let page = encode(&Column::from_values(vec![f64::NAN]), Hints::default());
        assert_eq!(page.entry.flags, FLAG_NAN);
        let only_nan = Bounds::Floats {
            values: None,
            nan: true,
        };
        assert_eq!(page.entry.bounds(ColumnType::F64), Some(only_nan));
        let page = encode(
            &Column::from_values(vec![7_u64, u64::MAX]),
            Hints::default(),
        );
        let whole = Bounds::Integers(7, u64::MAX.into());
        assert_eq!(page.entry.bounds(ColumnType::U64), Some(whole));
        assert_eq!(page.entry.bounds(ColumnType::Str16), None);
    }
}
