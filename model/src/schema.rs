//! Columns of a bucket.

use std::fmt;
use std::sync::Arc;

/// Most columns of a bucket, time not counted.
pub const COLUMNS_MAX: usize = 1024;

/// Longest column name in bytes.
pub const COLUMN_NAME_BYTES_MAX: usize = 255;

/// Whether a bucket keeps one row per time or every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Time is floored to the timeframe, one row per time, the last write wins.
    Bar,
    /// Every row is kept, in order of time; equal times keep the order of writing.
    Tick,
}

impl RowKind {
    /// Stored number: 0 bar, 1 tick (the record type of the MarketStore wire).
    pub fn code(self) -> u8 {
        match self {
            Self::Bar => 0,
            Self::Tick => 1,
        }
    }

    /// Inverse of [`RowKind::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Bar),
            1 => Some(Self::Tick),
            _ => None,
        }
    }
}

/// Type of the values of a column. All have a fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// 32-bit float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 64-bit float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// Text of up to 16 code points, each a 32-bit little-endian number, padded with zeros.
    Str16,
}

impl ColumnType {
    /// Every type.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::I32,
        Self::F64,
        Self::I64,
        Self::I8,
        Self::I16,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Str16,
    ];

    /// Bytes of one value.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::Str16 => 64,
        }
    }

    /// Alignment that a typed view of the values needs.
    pub const fn align(self) -> usize {
        match self {
            Self::Str16 => 4,
            other => other.size(),
        }
    }

    /// Stored number; the element type of MarketStore.
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::I32 => 1,
            Self::F64 => 2,
            Self::I64 => 3,
            Self::I8 => 5,
            Self::I16 => 9,
            Self::U8 => 10,
            Self::U16 => 11,
            Self::U32 => 12,
            Self::U64 => 13,
            Self::Str16 => 14,
        }
    }

    /// Inverse of [`ColumnType::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.code() == code)
    }

    /// Whether every value of this type is a value of `wider`, which is another type: what a
    /// column may become without losing a bit.
    pub const fn widens_to(self, wider: Self) -> bool {
        use ColumnType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(
            (self, wider),
            (I8, I16 | I32 | I64 | F32 | F64)
                | (I16, I32 | I64 | F32 | F64)
                | (I32, I64 | F64)
                | (U8, U16 | U32 | U64 | I16 | I32 | I64 | F32 | F64)
                | (U16, U32 | U64 | I32 | I64 | F32 | F64)
                | (U32, U64 | I64 | F64)
                | (F32, F64)
        )
    }

    /// The name in upper case that MarketStore shows in messages, `FLOAT32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "FLOAT32",
            Self::I32 => "INT32",
            Self::F64 => "FLOAT64",
            Self::I64 => "INT64",
            Self::I8 => "BYTE",
            Self::I16 => "INT16",
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::Str16 => "STRING16",
        }
    }
}

/// One column: its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDef {
    /// Case-sensitive name; never `Epoch`.
    pub name: String,
    /// Type of the values.
    pub ty: ColumnType,
}

impl ColumnDef {
    /// A column of this name and type.
    pub fn new(name: impl Into<String>, ty: ColumnType) -> Self {
        Self {
            name: name.into(),
            ty,
        }
    }
}

/// The columns of a bucket, time not counted, in stored order. Cheap to clone, and a clone is
/// cheap to compare.
#[derive(Clone, Eq)]
pub struct Schema {
    columns: Arc<[ColumnDef]>,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.columns, &other.columns) || self.columns == other.columns
    }
}

/// Why columns are no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Two columns of one name.
    #[error("column \"{0}\" is given twice")]
    Duplicate(String),
    /// A name that cannot be used.
    #[error("column name \"{0}\" is not allowed: {1}")]
    Name(String, &'static str),
    /// Too many columns.
    #[error("{0} columns, the limit is {COLUMNS_MAX}")]
    TooMany(usize),
    /// No column besides time.
    #[error("at least one column besides Epoch is needed")]
    None,
}

impl Schema {
    /// Checks names and counts.
    ///
    /// # Errors
    /// If there is no column, too many, a name is empty, too long, used twice, holds a control
    /// character, or is `Epoch`, which names the time of a row.
    pub fn new(columns: Vec<ColumnDef>) -> Result<Self, SchemaError> {
        if columns.is_empty() {
            return Err(SchemaError::None);
        }
        if columns.len() > COLUMNS_MAX {
            return Err(SchemaError::TooMany(columns.len()));
        }
        let mut names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        for name in &names {
            check_name(name)?;
        }
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SchemaError::Duplicate(pair[0].into()));
        }
        Ok(Self {
            columns: columns.into(),
        })
    }

    /// The columns in stored order.
    pub fn columns(&self) -> &[ColumnDef] {
        &self.columns
    }

    /// How many columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Never true: a schema has at least one column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Bytes of one row, time included.
    pub fn row_bytes(&self) -> usize {
        8 + self.columns.iter().map(|c| c.ty.size()).sum::<usize>()
    }
}

fn check_name(name: &str) -> Result<(), SchemaError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > COLUMN_NAME_BYTES_MAX {
        "it is over 255 bytes long"
    } else if name == "Epoch" {
        "Epoch is the time of the row"
    } else if name.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return Ok(());
    };
    let shown = name.chars().filter(|c| !c.is_control()).take(40).collect();
    Err(SchemaError::Name(shown, why))
}

impl fmt::Debug for Schema {
    /// `[{Open FLOAT32} {Volume INT32}]`, the form MarketStore clients see in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, column) in self.columns.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{{{} {}}}", column.name, column.ty.name())?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_inverse_and_sizes_align() {
        for ty in ColumnType::ALL {
            assert_eq!(ColumnType::from_code(ty.code()), Some(ty));
            assert_eq!(ty.size() % ty.align(), 0);
        }
        assert_eq!(ColumnType::from_code(4), None);
    }

    /// The rule against the ranges: bits of integers (a sign takes one), bits of a mantissa.
    #[test]
    fn widening_never_loses_a_bit() {
        use ColumnType::*;
        // (signed, bits of the magnitude) for integers; exact integers of floats.
        let integer = |ty| match ty {
            I8 => Some((true, 7)),
            I16 => Some((true, 15)),
            I32 => Some((true, 31)),
            I64 => Some((true, 63)),
            U8 => Some((false, 8)),
            U16 => Some((false, 16)),
            U32 => Some((false, 32)),
            U64 => Some((false, 64)),
            _ => None,
        };
        let mantissa = |ty| match ty {
            F32 => Some(24),
            F64 => Some(53),
            _ => None,
        };
        for from in ColumnType::ALL {
            for to in ColumnType::ALL {
                let fits = match (integer(from), integer(to), mantissa(from), mantissa(to)) {
                    (Some((from_sign, from)), Some((to_sign, to)), ..) => {
                        from <= to && (to_sign || !from_sign)
                    }
                    (Some((_, bits)), _, _, Some(mantissa)) => bits <= mantissa,
                    (_, _, Some(from), Some(to)) => from <= to,
                    _ => false,
                };
                assert_eq!(from.widens_to(to), fits && from != to, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn bad_columns_are_refused() {
        let f = |name: &str| ColumnDef::new(name, ColumnType::F32);
        assert_eq!(Schema::new(vec![]), Err(SchemaError::None));
        assert_eq!(
            Schema::new(vec![f("A"), f("B"), f("A")]),
            Err(SchemaError::Duplicate("A".into()))
        );
        assert!(Schema::new(vec![f("Epoch")]).is_err());
        assert!(Schema::new(vec![f("")]).is_err());
        assert!(Schema::new(vec![f("a\n")]).is_err());
        assert!(Schema::new((0..1025).map(|i| f(&i.to_string())).collect()).is_err());
    }
}
