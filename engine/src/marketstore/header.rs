//! The header of a year file: 37 024 bytes without a checksum. Everything that can be compared with
//! something else is; a header that contradicts itself or its name is not believed.

use model::{ColumnDef, ColumnType, RowKind, Schema};

/// Bytes of the header; the first slot follows.
pub(super) const HEADER_BYTES: u64 = 37_024;

/// Bytes of the slot of a variable-length bucket: index, offset and length of the data.
pub(super) const POINTER_BYTES: usize = 24;

const VERSION: i64 = 2;
const NAMES_AT: usize = 312;
const NAME_BYTES: usize = 32;
const TYPES_AT: usize = 33_080;
const COLUMNS_MAX: i64 = 1024;

/// A header that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) year: i16,
    /// Length of an interval in nanoseconds.
    pub(super) timeframe: i64,
    pub(super) kind: RowKind,
    pub(super) schema: Schema,
    /// Bytes of a slot.
    pub(super) record_bytes: usize,
    /// Bytes of the columns of one row, without padding.
    pub(super) values_bytes: usize,
    /// Where the bytes end that describe columns: what lies behind may hold the slot of 1 January.
    pub(super) used_bytes: u64,
}

/// What is wrong and at which byte.
pub(super) type Wrong = (u64, String);

/// Checks the first 37 024 bytes of a year file.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, Wrong> {
    if (bytes.len() as u64) < HEADER_BYTES {
        let what = format!("the file ends inside the header of {HEADER_BYTES} bytes");
        return Err((bytes.len() as u64, what));
    }
    let version = word(bytes, 0);
    if version != VERSION {
        let what = format!("not a MarketStore year file: its version is {version}, not {VERSION}");
        return Err((0, what));
    }
    let year = word(bytes, 264);
    let year = i16::try_from(year).map_err(|_| (264, format!("{year} is not a year")))?;
    let timeframe = word(bytes, 272);
    if timeframe <= 0 {
        return Err((272, format!("a timeframe of {timeframe} nanoseconds")));
    }
    let kind = match word(bytes, 280) {
        0 => RowKind::Bar,
        1 => RowKind::Tick,
        other => {
            return Err((
                280,
                format!("record type {other} is neither fixed nor variable"),
            ));
        }
    };
    let count = word(bytes, 288);
    if !(1..=COLUMNS_MAX).contains(&count) {
        return Err((
            288,
            format!("{count} columns, at least 1 and at most {COLUMNS_MAX} are possible"),
        ));
    }
    let count = count as usize;
    let schema = schema(bytes, count)?;
    let values_bytes = schema.columns().iter().map(|c| c.ty.size()).sum::<usize>();
    let record_bytes = match kind {
        RowKind::Bar => 8 + values_bytes.next_multiple_of(8),
        RowKind::Tick => POINTER_BYTES,
    };
    let stored = word(bytes, 296);
    if stored != record_bytes as i64 {
        let what = format!("slots of {stored} bytes, the columns need {record_bytes}");
        return Err((296, what));
    }
    Ok(Header {
        year,
        timeframe,
        kind,
        schema,
        record_bytes,
        values_bytes,
        used_bytes: (TYPES_AT + count) as u64,
    })
}

fn schema(bytes: &[u8], count: usize) -> Result<Schema, Wrong> {
    let mut columns = Vec::with_capacity(count);
    for index in 0..count {
        let at = NAMES_AT + index * NAME_BYTES;
        let name = &bytes[at..at + NAME_BYTES];
        let end = name.iter().position(|b| *b == 0).unwrap_or(NAME_BYTES);
        let Ok(name) = std::str::from_utf8(&name[..end]) else {
            return Err((
                at as u64,
                format!("the name of column {index} is not UTF-8"),
            ));
        };
        let at = TYPES_AT + index;
        let ty =
            column_type(bytes[at]).map_err(|why| (at as u64, format!("column {name:?}: {why}")))?;
        columns.push(ColumnDef::new(name, ty));
    }
    Schema::new(columns).map_err(|error| (NAMES_AT as u64, error.to_string()))
}

/// The type of an element code. MarketStore reads bool as a signed byte, so it becomes one.
fn column_type(code: u8) -> Result<ColumnType, String> {
    match code {
        6 => Ok(ColumnType::I8),
        4 => Err("type 4 (epoch) has no fixed width over the versions of MarketStore".into()),
        7 => Err("type 7 (none) holds no values".into()),
        8 => Err("type 8 (string) cannot be stored".into()),
        code => ColumnType::from_code(code).ok_or_else(|| format!("type {code} is not known")),
    }
}

/// The integer at `at`; the caller has checked the length.
pub(super) fn word(bytes: &[u8], at: usize) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    i64::from_le_bytes(word)
}
