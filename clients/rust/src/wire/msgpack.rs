//! MessagePack: a strict reader over shared bytes and a plain writer.

use bytes::Bytes;
use rmp::Marker;

/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 64;

/// Why bytes are not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What is wrong.
    pub what: String,
    /// Where.
    pub at: usize,
}

/// Reads values one after the other. Never looks past the end, never allocates by a length field.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    data: &'a Bytes,
    at: usize,
    /// Bytes that what is decoded may still take.
    budget: usize,
}

/// Memory that every message may take, however short it is.
const BUDGET_MIN: usize = 1 << 20;

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    pub fn new(data: &'a Bytes) -> Self {
        Self {
            data,
            at: 0,
            budget: data.len().saturating_mul(4).saturating_add(BUDGET_MIN),
        }
    }

    /// Position of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Notes that `count` decoded things of `size` bytes are about to be kept: many short values
    /// must not become much more memory than they were bytes.
    ///
    /// # Errors
    /// If all that was kept is over four times the message.
    pub fn charge(&mut self, count: usize, size: usize) -> Result<(), DecodeError> {
        match self.budget.checked_sub(count.saturating_mul(size)) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.error("the message needs more than four times its size in memory")),
        }
    }

    /// An error at the current position.
    pub fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError {
            what: what.into(),
            at: self.at,
        }
    }

    /// Whether the next value is nil; it is consumed if so.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.data.get(self.at) == Some(&0xc0);
        self.at += usize::from(is_nil);
        is_nil
    }

    /// Whether the next value is a map.
    pub fn is_map(&self) -> bool {
        matches!(
            self.peek(),
            Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32)
        )
    }

    /// Whether the next value is an array.
    pub fn is_array(&self) -> bool {
        matches!(
            self.peek(),
            Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32)
        )
    }

    /// A boolean.
    ///
    /// # Errors
    /// If the next value is something else.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        let value = match self.peek() {
            Some(Marker::True) => true,
            Some(Marker::False) => false,
            other => return Err(self.expected("true or false", other)),
        };
        self.at += 1;
        Ok(value)
    }

    /// A whole number of any width.
    ///
    /// # Errors
    /// If the next value is something else or does not fit.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let marker = self.peek();
        let start = self.at;
        self.at += 1;
        let value = match marker {
            Some(Marker::FixPos(v)) => Ok(i64::from(v)),
            Some(Marker::FixNeg(v)) => Ok(i64::from(v)),
            Some(Marker::U8) => self.fixed::<1>().map(|b| i64::from(b[0])),
            Some(Marker::U16) => self.fixed().map(|b| i64::from(u16::from_be_bytes(b))),
            Some(Marker::U32) => self.fixed().map(|b| i64::from(u32::from_be_bytes(b))),
            Some(Marker::U64) => {
                let value = u64::from_be_bytes(self.fixed()?);
                i64::try_from(value).map_err(|_| DecodeError {
                    what: format!("number {value} is too large"),
                    at: start,
                })
            }
            Some(Marker::I8) => self.fixed().map(|b| i64::from(i8::from_be_bytes(b))),
            Some(Marker::I16) => self.fixed().map(|b| i64::from(i16::from_be_bytes(b))),
            Some(Marker::I32) => self.fixed().map(|b| i64::from(i32::from_be_bytes(b))),
            Some(Marker::I64) => self.fixed().map(i64::from_be_bytes),
            other => {
                self.at = start;
                Err(self.expected("a whole number", other))
            }
        };
        if value.is_err() {
            self.at = start;
        }
        value
    }

    /// A float of either width.
    ///
    /// # Errors
    /// If the next value is something else or is cut off.
    pub fn float(&mut self) -> Result<f64, DecodeError> {
        let marker = self.peek();
        if !matches!(marker, Some(Marker::F32 | Marker::F64)) {
            return Err(self.expected("a float", marker));
        }
        self.at += 1;
        match marker {
            Some(Marker::F32) => self.fixed().map(|b| f64::from(f32::from_be_bytes(b))),
            _ => self.fixed().map(f64::from_be_bytes),
        }
    }

    /// Whether the next value is written as str.
    pub(crate) fn is_text(&self) -> bool {
        matches!(
            self.peek(),
            Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32)
        )
    }

    /// Text, written as str or bin.
    ///
    /// # Errors
    /// If the next value is something else, is cut off or is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        let range = self.blob("text")?;
        std::str::from_utf8(&self.data[range]).map_err(|_| DecodeError {
            what: "text is not UTF-8".into(),
            at: start,
        })
    }

    /// Bytes, written as bin or str, without a copy.
    ///
    /// # Errors
    /// If the next value is something else or is cut off.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let range = self.blob("bytes")?;
        Ok(self.data.slice(range))
    }

    /// Number of items of an array. Never more than there are bytes left.
    ///
    /// # Errors
    /// If the next value is no array or the array cannot be complete.
    pub fn array(&mut self) -> Result<usize, DecodeError> {
        let start = self.at;
        let marker = self.peek();
        self.at += 1;
        let len = match marker {
            Some(Marker::FixArray(len)) => usize::from(len),
            Some(Marker::Array16) => usize::from(u16::from_be_bytes(self.fixed()?)),
            Some(Marker::Array32) => u32::from_be_bytes(self.fixed()?) as usize,
            other => {
                self.at = start;
                return Err(self.expected("a list", other));
            }
        };
        self.enough(len)?;
        Ok(len)
    }

    /// Number of entries of a map. Never more than there are bytes left.
    ///
    /// # Errors
    /// If the next value is no map or the map cannot be complete.
    pub fn map(&mut self) -> Result<usize, DecodeError> {
        let start = self.at;
        let marker = self.peek();
        self.at += 1;
        let len = match marker {
            Some(Marker::FixMap(len)) => usize::from(len),
            Some(Marker::Map16) => usize::from(u16::from_be_bytes(self.fixed()?)),
            Some(Marker::Map32) => u32::from_be_bytes(self.fixed()?) as usize,
            other => {
                self.at = start;
                return Err(self.expected("a map", other));
            }
        };
        self.enough(len.saturating_mul(2))?;
        Ok(len)
    }

    /// Steps over one value.
    ///
    /// # Errors
    /// If it is cut off, uses the one byte that has no meaning, or nests deeper than
    /// [`DEPTH_MAX`].
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        // Values still to come at each open level; a stack of fixed size instead of recursion.
        let mut open = [0_usize; DEPTH_MAX];
        let mut depth = 0;
        loop {
            let inner = self.skip_one()?;
            if inner > 0 {
                if depth == DEPTH_MAX {
                    return Err(self.error(format!("nesting is deeper than {DEPTH_MAX}")));
                }
                open[depth] = inner;
                depth += 1;
                continue;
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                open[depth - 1] -= 1;
                if open[depth - 1] > 0 {
                    break;
                }
                depth -= 1;
            }
        }
    }

    /// One value as its bytes.
    ///
    /// # Errors
    /// See [`Reader::skip`].
    pub fn raw(&mut self) -> Result<Bytes, DecodeError> {
        let start = self.at;
        self.skip()?;
        Ok(self.data.slice(start..self.at))
    }

    /// Steps over a scalar or over the header of a list or map; answers how many values follow.
    fn skip_one(&mut self) -> Result<usize, DecodeError> {
        let Some(marker) = self.peek() else {
            return Err(self.error("the message is cut off"));
        };
        let fixed = match marker {
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => return Ok(self.map()? * 2),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => return self.array(),
            Marker::FixStr(_)
            | Marker::Str8
            | Marker::Str16
            | Marker::Str32
            | Marker::Bin8
            | Marker::Bin16
            | Marker::Bin32 => return self.blob("text").map(|_| 0),
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                1
            }
            Marker::U8 | Marker::I8 => 2,
            Marker::U16 | Marker::I16 | Marker::FixExt1 => 3,
            Marker::FixExt2 => 4,
            Marker::U32 | Marker::I32 | Marker::F32 => 5,
            Marker::FixExt4 => 6,
            Marker::U64 | Marker::I64 | Marker::F64 => 9,
            Marker::FixExt8 => 10,
            Marker::FixExt16 => 18,
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => return self.skip_ext(marker),
            Marker::Reserved => return Err(self.error("0xc1 has no meaning")),
        };
        self.enough(fixed)?;
        self.at += fixed;
        Ok(0)
    }

    fn skip_ext(&mut self, marker: Marker) -> Result<usize, DecodeError> {
        self.at += 1;
        let len = match marker {
            Marker::Ext8 => usize::from(self.fixed::<1>()?[0]),
            Marker::Ext16 => usize::from(u16::from_be_bytes(self.fixed()?)),
            _ => u32::from_be_bytes(self.fixed()?) as usize,
        };
        // One byte more for the type.
        let len = len.saturating_add(1);
        self.enough(len)?;
        self.at += len;
        Ok(0)
    }

    fn blob(&mut self, wanted: &str) -> Result<std::ops::Range<usize>, DecodeError> {
        let start = self.at;
        let marker = self.peek();
        self.at += 1;
        let len = match marker {
            Some(Marker::FixStr(len)) => usize::from(len),
            Some(Marker::Str8 | Marker::Bin8) => usize::from(self.fixed::<1>()?[0]),
            Some(Marker::Str16 | Marker::Bin16) => usize::from(u16::from_be_bytes(self.fixed()?)),
            Some(Marker::Str32 | Marker::Bin32) => u32::from_be_bytes(self.fixed()?) as usize,
            other => {
                self.at = start;
                return Err(self.expected(wanted, other));
            }
        };
        self.enough(len)?;
        let range = self.at..self.at + len;
        self.at += len;
        Ok(range)
    }

    fn peek(&self) -> Option<Marker> {
        self.data.get(self.at).map(|byte| Marker::from_u8(*byte))
    }

    fn enough(&self, len: usize) -> Result<(), DecodeError> {
        if len <= self.data.len().saturating_sub(self.at) {
            Ok(())
        } else {
            Err(self.error("the message is cut off"))
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.enough(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.data[self.at..self.at + N]);
        self.at += N;
        Ok(bytes)
    }

    fn expected(&self, wanted: &str, found: Option<Marker>) -> DecodeError {
        match found {
            None => self.error("the message is cut off"),
            Some(marker) => self.error(format!("expected {wanted}, found {}", name(marker))),
        }
    }
}

fn name(marker: Marker) -> &'static str {
    match marker {
        Marker::Null => "nil",
        Marker::True | Marker::False => "a boolean",
        Marker::F32 | Marker::F64 => "a float",
        Marker::FixPos(_)
        | Marker::FixNeg(_)
        | Marker::U8
        | Marker::U16
        | Marker::U32
        | Marker::U64
        | Marker::I8
        | Marker::I16
        | Marker::I32
        | Marker::I64 => "a number",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "text",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        _ => "an extension",
    }
}

/// Appends values to a buffer. Lengths over 32 bits cannot occur: bodies are smaller.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub out: Vec<u8>,
}

impl Writer {
    /// Nil.
    pub fn nil(&mut self) {
        self.marker(Marker::Null);
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.marker(if value { Marker::True } else { Marker::False });
    }

    /// A whole number, always nine bytes, as the reference sends them.
    pub fn int(&mut self, value: i64) {
        self.marker(Marker::I64);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A large unsigned number.
    pub fn uint(&mut self, value: u64) {
        self.marker(Marker::U64);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// An unsigned byte, two bytes long.
    pub fn u8(&mut self, value: u8) {
        self.marker(Marker::U8);
        self.out.push(value);
    }

    /// A signed byte, two bytes long.
    pub fn i8(&mut self, value: i8) {
        self.marker(Marker::I8);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A 64-bit float.
    pub fn f64(&mut self, value: f64) {
        self.marker(Marker::F64);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        match text.len() {
            len @ 0..=31 => self.marker(Marker::FixStr(len as u8)),
            len @ 32..=255 => self.sized(Marker::Str8, &[len as u8]),
            len @ 256..=65_535 => self.sized(Marker::Str16, &(len as u16).to_be_bytes()),
            len => self.sized(Marker::Str32, &(len as u32).to_be_bytes()),
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    /// The header of bytes that the caller appends.
    pub fn bytes_header(&mut self, len: usize) {
        match len {
            0..=255 => self.sized(Marker::Bin8, &[len as u8]),
            256..=65_535 => self.sized(Marker::Bin16, &(len as u16).to_be_bytes()),
            _ => self.sized(Marker::Bin32, &(len as u32).to_be_bytes()),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes_header(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// The header of a list of `len` items.
    pub fn array(&mut self, len: usize) {
        match len {
            0..=15 => self.marker(Marker::FixArray(len as u8)),
            16..=65_535 => self.sized(Marker::Array16, &(len as u16).to_be_bytes()),
            _ => self.sized(Marker::Array32, &(len as u32).to_be_bytes()),
        }
    }

    /// The header of a map of `len` entries.
    pub fn map(&mut self, len: usize) {
        match len {
            0..=15 => self.marker(Marker::FixMap(len as u8)),
            16..=65_535 => self.sized(Marker::Map16, &(len as u16).to_be_bytes()),
            _ => self.sized(Marker::Map32, &(len as u32).to_be_bytes()),
        }
    }

    fn marker(&mut self, marker: Marker) {
        self.out.push(marker.to_u8());
    }

    fn sized(&mut self, marker: Marker, len: &[u8]) {
        self.marker(marker);
        self.out.extend_from_slice(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_of_a_number_is_read() {
        for (bytes, value) in [
            (&b"\x07"[..], 7),
            (b"\xff", -1),
            (b"\xcc\xff", 255),
            (b"\xcd\xff\xff", 65_535),
            (b"\xce\xff\xff\xff\xff", 4_294_967_295),
            (b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
            (b"\xd0\x80", -128),
            (b"\xd1\x80\x00", -32_768),
            (b"\xd2\x80\x00\x00\x00", -2_147_483_648),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", i64::MIN),
        ] {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(Reader::new(&bytes).int(), Ok(value));
            let cut = bytes.slice(..bytes.len() - 1);
            assert!(Reader::new(&cut).int().is_err());
        }
        for bad in [
            &b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\xca\0\0\0\0",
            b"\xa11",
            b"",
        ] {
            assert!(Reader::new(&Bytes::from_static(bad)).int().is_err());
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bad in [
            &b"\xdf\xff\xff\xff\xff"[..],
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            b"\x93\x01\x02",
            b"\x82\x01\x02\x03",
            b"\xc1",
            b"",
        ] {
            assert!(
                Reader::new(&Bytes::from_static(bad)).skip().is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| Bytes::from([vec![0x91; levels], vec![0xc0]].concat());
        assert!(Reader::new(&nested(DEPTH_MAX)).skip().is_ok());
        assert!(Reader::new(&nested(DEPTH_MAX + 1)).skip().is_err());
        assert!(Reader::new(&nested(1_000_000)).skip().is_err());
    }

    #[test]
    fn what_is_written_is_read_by_others_and_by_us() {
        let mut writer = Writer::default();
        writer.array(7);
        writer.nil();
        writer.bool(true);
        writer.int(-5);
        writer.text(&"x".repeat(300));
        writer.bytes(&[7; 70_000]);
        writer.f64(1.5);
        writer.map(1);
        writer.u8(200);
        writer.uint(u64::MAX);
        let bytes = Bytes::from(writer.out);
        let value = rmpv::decode::read_value(&mut &bytes[..]).unwrap();
        assert_eq!(value[3].as_str().map(str::len), Some(300));
        assert_eq!(value[4].as_slice().map(<[u8]>::len), Some(70_000));
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.array(), Ok(7));
        assert!(reader.nil());
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.int(), Ok(-5));
        assert_eq!(reader.text().unwrap().len(), 300);
        assert_eq!(reader.bytes().unwrap().len(), 70_000);
        reader.skip().unwrap();
        reader.skip().unwrap();
        assert_eq!(reader.position(), bytes.len());
    }
}
