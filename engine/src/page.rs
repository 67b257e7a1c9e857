//! I8: what is decoded is what was encoded, to the bit.
//!
//! Up to [`PAGE_ROWS_MAX`] values of one column. The entry in the page table says where the page
//! is, how to read it, its checksum and the bounds of its values (the zone map).

use bytes::Bytes;
use model::{Column, ColumnType, Value};

use crate::codec::bitpack::Word;
use crate::codec::grid::{self, Grid};
use crate::codec::{Codec, decimal, integer, raw};
use crate::fields::Fields;

/// Rows per page. One decoded f64 page is 32 KiB and fits a level-1 cache; a last-N query decodes
/// at most one page per column more than it needs.
pub(crate) const PAGE_ROWS_MAX: usize = 4096;

/// Pages begin on this, so that every value is aligned and a whole column of full raw pages is one
/// slice of the mapping.
pub(crate) const PAGE_ALIGN: usize = 64;

/// Bytes of an entry in the page table.
pub(crate) const PAGE_ENTRY_BYTES: usize = 40;

const _: () = assert!(PAGE_ROWS_MAX.is_multiple_of(PAGE_ALIGN));

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
    /// Bits of a packed integer.
    pub(crate) width: u8,
    /// Digits behind the point of `decimal`.
    pub(crate) exponent: i8,
    pub(crate) flags: u8,
    pub(crate) crc: u32,
    /// Bounds in the column's widest type of its kind: i64, u64 or f64 bits.
    pub(crate) min: [u8; 8],
    pub(crate) max: [u8; 8],
}

impl PageEntry {
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.offset.to_le_bytes());
        target.extend_from_slice(&self.bytes.to_le_bytes());
        target.extend_from_slice(&self.rows.to_le_bytes());
        let [exponent] = self.exponent.to_le_bytes();
        target.extend_from_slice(&[self.codec, self.width, exponent, self.flags, 0, 0]);
        target.extend_from_slice(&self.crc.to_le_bytes());
        target.extend_from_slice(&self.min);
        target.extend_from_slice(&self.max);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (offset, len, rows) = (fields.u64()?, fields.u32()?, fields.u16()?);
        let (codec, width) = (fields.u8()?, fields.u8()?);
        let exponent = i8::from_le_bytes([fields.u8()?]);
        let flags = fields.u8()?;
        fields.u16()?;
        Some(Self {
            offset,
            bytes: len,
            rows,
            codec,
            width,
            exponent,
            flags,
            crc: fields.u32()?,
            min: fields.u64()?.to_le_bytes(),
            max: fields.u64()?.to_le_bytes(),
        })
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

/// Encodes at most [`PAGE_ROWS_MAX`] values with the smallest codec; raw unless an eighth is saved.
pub(crate) fn encode(values: &Column, grid: Option<Grid>) -> Encoded {
    let rows = u16::try_from(values.len()).expect("a page has at most 4096 rows");
    let raw = values.bytes();
    let page = packed(values, grid, raw.len() - raw.len() / 8).unwrap_or_else(|| Packed {
        codec: Codec::Raw,
        width: 0,
        exponent: 0,
        bytes: raw.clone(),
    });
    let (flags, min, max) = bounds(values);
    Encoded {
        entry: PageEntry {
            offset: 0,
            bytes: u32::try_from(page.bytes.len()).expect("a page has at most 256 KiB"),
            rows,
            codec: page.codec.code(),
            width: page.width,
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
    width: u8,
    exponent: i8,
    bytes: Bytes,
}

/// The smallest page, if it has at most `bytes_max` bytes.
fn packed(values: &Column, grid: Option<Grid>, bytes_max: usize) -> Option<Packed> {
    macro_rules! integers {
        ($rust:ty) => {{
            let values: &[$rust] = values.values()?;
            packed_integers(values.iter().map(|v| *v as i64).collect(), bytes_max)
        }};
    }
    match values.ty() {
        ColumnType::I8 => integers!(i8),
        ColumnType::I16 => integers!(i16),
        ColumnType::I32 => integers!(i32),
        ColumnType::I64 => {
            let times: &[i64] = values.values()?;
            let gridded = grid.and_then(|grid| grid::encode(times, grid, bytes_max));
            let left = match &gridded {
                // Small enough: nothing is faster to read.
                Some(page) if page.len() <= values.bytes().len() / 32 => 0,
                Some(page) => page.len() - 1,
                None => bytes_max,
            };
            let page = packed_integers(times.to_vec(), left);
            page.or(gridded.map(|page| Packed {
                codec: Codec::Grid,
                width: 0,
                exponent: 0,
                bytes: page.into(),
            }))
        }
        ColumnType::U8 => integers!(u8),
        ColumnType::U16 => integers!(u16),
        ColumnType::U32 => integers!(u32),
        // Beyond i64 they wrap, and wrap back when they are read.
        ColumnType::U64 => integers!(u64),
        ColumnType::F32 => packed_floats::<f32>(values.values()?, bytes_max),
        ColumnType::F64 => packed_floats::<f64>(values.values()?, bytes_max),
        ColumnType::Str16 => None,
    }
}

fn packed_integers(values: Vec<i64>, bytes_max: usize) -> Option<Packed> {
    if bytes_max == 0 {
        return None;
    }
    let plan = integer::plan(&values);
    if plan.bytes() > bytes_max {
        return None;
    }
    let mut bytes = Vec::with_capacity(plan.bytes());
    plan.encode(&values, &mut bytes);
    Some(Packed {
        codec: plan.codec(),
        width: plan.width(),
        exponent: 0,
        bytes: bytes.into(),
    })
}

fn packed_floats<T: decimal::Float>(values: &[T], bytes_max: usize) -> Option<Packed> {
    let plan = decimal::plan(values).filter(|plan| plan.bytes <= bytes_max)?;
    let mut bytes = Vec::with_capacity(plan.bytes);
    decimal::encode(values, &plan, &mut bytes);
    Some(Packed {
        codec: Codec::Decimal,
        width: plan.width(),
        exponent: plan.exponent,
        bytes: bytes.into(),
    })
}

/// The values of a page of `ty` as a column; `None` if the bytes are not what the entry says.
pub(crate) fn decode(ty: ColumnType, entry: &PageEntry, page: Bytes) -> Option<Column> {
    match Codec::from_code(entry.codec)? {
        Codec::Raw => raw::decode(ty, page, entry.rows.into()),
        _ => join(ty, &[(*entry, page)]).ok(),
    }
}

/// The values of pages of `ty`, one behind the other; the number of the first page whose bytes are
/// not what its entry says.
pub(crate) fn join(ty: ColumnType, pages: &[(PageEntry, Bytes)]) -> Result<Column, usize> {
    // All but the widest are exact modulo 2^32.
    macro_rules! integers {
        ($rust:ty as $word:ty) => {
            joined(pages, |entry, page, target: &mut Vec<$rust>| {
                append_integers(entry, page, target, |v: $word| v as $rust)
            })
        };
    }
    match ty {
        ColumnType::I8 => integers!(i8 as i32),
        ColumnType::I16 => integers!(i16 as i32),
        ColumnType::I32 => integers!(i32 as i32),
        ColumnType::I64 => joined(pages, |entry, page, times| match entry.codec {
            code if code == Codec::Grid.code() => grid::decode(page, entry.rows.into(), times),
            _ => append_integers(entry, page, times, |v: i64| v),
        }),
        ColumnType::U8 => integers!(u8 as i32),
        ColumnType::U16 => integers!(u16 as i32),
        ColumnType::U32 => integers!(u32 as i32),
        ColumnType::U64 => integers!(u64 as i64),
        ColumnType::F32 => joined(pages, append_floats::<f32>),
        ColumnType::F64 => joined(pages, append_floats::<f64>),
        ColumnType::Str16 => joined::<[u32; 16]>(pages, |_, _, _| None),
    }
}

fn joined<T: Value>(
    pages: &[(PageEntry, Bytes)],
    mut append: impl FnMut(&PageEntry, &[u8], &mut Vec<T>) -> Option<()>,
) -> Result<Column, usize> {
    let rows = pages.iter().map(|(entry, _)| usize::from(entry.rows)).sum();
    let mut target = Vec::with_capacity(rows);
    for (number, (entry, page)) in pages.iter().enumerate() {
        if entry.codec == Codec::Raw.code() {
            let values = raw::decode(T::TYPE, page.clone(), entry.rows.into()).ok_or(number)?;
            target.extend_from_slice(values.values().ok_or(number)?);
        } else {
            append(entry, page, &mut target).ok_or(number)?;
        }
    }
    Ok(Column::from_values(target))
}

fn append_integers<T, W: Word>(
    entry: &PageEntry,
    page: &[u8],
    target: &mut Vec<T>,
    narrow: impl Fn(W) -> T,
) -> Option<()> {
    let codec = Codec::from_code(entry.codec)?;
    integer::decode(
        codec,
        page,
        entry.width,
        entry.rows.into(),
        |block: &[W]| {
            target.extend(block.iter().map(|v| narrow(*v)));
        },
    )
}

fn append_floats<T: decimal::Float>(
    entry: &PageEntry,
    page: &[u8],
    target: &mut Vec<T>,
) -> Option<()> {
    if entry.codec != Codec::Decimal.code() {
        return None;
    }
    decimal::decode(page, entry.width, entry.exponent, entry.rows.into(), target)
}

/// Whether the bounds of an entry are those of its values.
pub(crate) fn has_bounds(values: &Column, entry: &PageEntry) -> bool {
    bounds(values) == (entry.flags, entry.min, entry.max)
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
                let page = encode(&column, grid);
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
        let page = encode(&Column::from_values(vec![2.5_f32, f32::NAN, -1.0]), None);
        assert_eq!(page.entry.flags, FLAG_BOUNDS | FLAG_NAN);
        assert_eq!(f64::from_le_bytes(page.entry.min), -1.0);
        assert_eq!(f64::from_le_bytes(page.entry.max), 2.5);
        let page = encode(&Column::from_values(vec![f64::NAN]), None);
        assert_eq!(page.entry.flags, FLAG_NAN);
    }
}
