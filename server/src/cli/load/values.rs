//! Texts of a CSV column to typed values.

use model::{Column, ColumnType};

/// Values of one column under construction.
#[derive(Debug)]
pub(super) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Str16(Vec<[u32; 16]>),
}

macro_rules! each {
    ($self:expr, $list:ident => $body:expr) => {
        match $self {
            Values::F32($list) => $body,
            Values::F64($list) => $body,
            Values::I8($list) => $body,
            Values::I16($list) => $body,
            Values::I32($list) => $body,
            Values::I64($list) => $body,
            Values::U8($list) => $body,
            Values::U16($list) => $body,
            Values::U32($list) => $body,
            Values::U64($list) => $body,
            Values::Str16($list) => $body,
        }
    };
}

impl Values {
    pub(super) fn new(ty: ColumnType) -> Self {
        match ty {
            ColumnType::F32 => Self::F32(Vec::new()),
            ColumnType::F64 => Self::F64(Vec::new()),
            ColumnType::I8 => Self::I8(Vec::new()),
            ColumnType::I16 => Self::I16(Vec::new()),
            ColumnType::I32 => Self::I32(Vec::new()),
            ColumnType::I64 => Self::I64(Vec::new()),
            ColumnType::U8 => Self::U8(Vec::new()),
            ColumnType::U16 => Self::U16(Vec::new()),
            ColumnType::U32 => Self::U32(Vec::new()),
            ColumnType::U64 => Self::U64(Vec::new()),
            ColumnType::Str16 => Self::Str16(Vec::new()),
        }
    }

    /// Adds a value; an error leaves the column as it was.
    pub(super) fn push(&mut self, text: &str) -> Result<(), &'static str> {
        match self {
            // Not by way of f64: rounding twice may miss the nearest f32.
            Self::F32(list) => list.push(float(text, f32::NAN)?),
            Self::F64(list) => list.push(float(text, f64::NAN)?),
            Self::I8(list) => {
                list.push(bool_word(text).map_or_else(|| whole(text), |b| Ok(b.into()))?)
            }
            Self::I16(list) => list.push(whole(text)?),
            Self::I32(list) => list.push(whole(text)?),
            Self::I64(list) => list.push(whole(text)?),
            Self::U8(list) => {
                list.push(bool_word(text).map_or_else(|| whole(text), |b| Ok(b.into()))?)
            }
            Self::U16(list) => list.push(whole(text)?),
            Self::U32(list) => list.push(whole(text)?),
            Self::U64(list) => list.push(whole(text)?),
            Self::Str16(list) => list.push(text16(text)?),
        }
        Ok(())
    }

    /// Takes the values that a rejected row left behind out again.
    pub(super) fn truncate(&mut self, rows: usize) {
        each!(self, list => list.truncate(rows));
    }

    pub(super) fn finish(self) -> Column {
        each!(self, list => Column::from_values(list))
    }
}

/// An empty field is a missing value, which only floats have.
fn float<T: std::str::FromStr>(text: &str, missing: T) -> Result<T, &'static str> {
    match text.trim() {
        "" => Ok(missing),
        text => text.parse().map_err(|_| "not a number"),
    }
}

/// The words that MarketStore's loader takes for a bool; it becomes a byte.
fn bool_word(text: &str) -> Option<bool> {
    match text.trim() {
        "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// `20000.0` is a whole number, too: many exports write volumes that way.
fn whole<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
    let text = text.trim();
    let digits = match text.split_once('.') {
        Some((digits, fraction)) if fraction.bytes().all(|b| b == b'0') => digits,
        _ => text.strip_prefix('+').unwrap_or(text),
    };
    digits.parse().map_err(|_| match text {
        "" => "empty, and only float columns have missing values",
        _ if bool_word(text).is_some() => "a bool, which only columns of one byte have",
        _ => "not a whole number of this type",
    })
}

fn text16(text: &str) -> Result<[u32; 16], &'static str> {
    let mut out = [0; 16];
    let mut slots = out.iter_mut();
    for c in text.chars() {
        match slots.next() {
            Some(slot) => *slot = u32::from(c),
            None => return Err("longer than 16 characters"),
        }
    }
    Ok(out)
}

/// Reads a type: the code of the wire (`f4`) or MarketStore's name (`float32`).
pub(super) fn parse_type(text: &str) -> Result<ColumnType, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "f4" | "float32" | "float" => ColumnType::F32,
        "f8" | "float64" | "double" => ColumnType::F64,
        "i1" | "int8" | "byte" => ColumnType::I8,
        "i2" | "int16" => ColumnType::I16,
        "i4" | "int32" | "int" => ColumnType::I32,
        "i8" | "int64" => ColumnType::I64,
        "u1" | "uint8" => ColumnType::U8,
        "u2" | "uint16" => ColumnType::U16,
        "u4" | "uint32" => ColumnType::U32,
        "u8" | "uint64" => ColumnType::U64,
        "u16" | "str16" | "string16" | "text" => ColumnType::Str16,
        _ => {
            return Err(format!(
                "type \"{text}\" is not known; use f4, f8, i1, i2, i4, i8, u1, u2, u4, u8 or U16 (text)"
            ));
        }
    })
}

/// The code of a type that [`parse_type`] reads.
pub(crate) fn type_code(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::F32 => "f4",
        ColumnType::F64 => "f8",
        ColumnType::I8 => "i1",
        ColumnType::I16 => "i2",
        ColumnType::I32 => "i4",
        ColumnType::I64 => "i8",
        ColumnType::U8 => "u1",
        ColumnType::U16 => "u2",
        ColumnType::U32 => "u4",
        ColumnType::U64 => "u8",
        ColumnType::Str16 => "U16",
    }
}

/// The type that holds these values: whole numbers are i8, other numbers f8, else text. A stray
/// text among numbers is a bad line, not a text column: one in a hundred is tolerated.
pub(super) fn infer<'a>(values: impl Iterator<Item = &'a str>) -> ColumnType {
    let (mut wholes, mut floats, mut texts) = (0usize, 0usize, 0usize);
    for value in values {
        if value.trim().is_empty() {
            floats += 1;
        } else if whole::<i64>(value).is_ok() {
            wholes += 1;
        } else if float(value, f64::NAN).is_ok() {
            floats += 1;
        } else {
            texts += 1;
        }
    }
    if texts * 100 > wholes + floats {
        ColumnType::Str16
    } else if floats > 0 {
        ColumnType::F64
    } else {
        ColumnType::I64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_inferred_from_values() {
        let of = |list: &[&str]| infer(list.iter().copied());
        assert_eq!(of(&["1", "2.0", "-3"]), ColumnType::I64);
        assert_eq!(of(&["1", "2.5"]), ColumnType::F64);
        assert_eq!(of(&["1", ""]), ColumnType::F64);
        assert_eq!(of(&["P", "Q", "1"]), ColumnType::Str16);
        let mut long = vec!["1.5"; 200];
        long.push("bad");
        assert_eq!(of(&long), ColumnType::F64);
    }

    #[test]
    fn values_are_exact_or_refused() {
        let mut list = Values::new(ColumnType::I16);
        list.push("32767").unwrap();
        list.push("-5.00").unwrap();
        assert_eq!(list.push("32768"), Err("not a whole number of this type"));
        assert_eq!(list.push("1.5"), Err("not a whole number of this type"));
        assert!(list.push("").unwrap_err().starts_with("empty"));
        assert_eq!(list.finish().values::<i16>(), Some(&[32767, -5][..]));
        let mut bools = Values::new(ColumnType::I8);
        bools.push("true").unwrap();
        bools.push("F").unwrap();
        bools.push("-1").unwrap();
        assert!(bools.push("yes").is_err());
        assert_eq!(bools.finish().values::<i8>(), Some(&[1, 0, -1][..]));
        let mut floats = Values::new(ColumnType::F64);
        floats.push("").unwrap();
        floats.push("1e3").unwrap();
        floats.truncate(2);
        let floats = floats.finish();
        let floats = floats.values::<f64>().unwrap();
        assert!(floats[0].is_nan() && floats[1] == 1000.0);
        let mut text = Values::new(ColumnType::Str16);
        text.push("ab").unwrap();
        assert_eq!(
            text.push("12345678901234567"),
            Err("longer than 16 characters")
        );
        assert_eq!(
            text.finish().values::<[u32; 16]>().unwrap()[0][1],
            u32::from('b')
        );
    }

    #[test]
    fn types_have_two_spellings() {
        assert_eq!(parse_type("f4"), Ok(ColumnType::F32));
        assert_eq!(parse_type("FLOAT64"), Ok(ColumnType::F64));
        assert_eq!(parse_type("U16"), Ok(ColumnType::Str16));
        assert!(parse_type("decimal").unwrap_err().contains("use f4"));
    }
}
