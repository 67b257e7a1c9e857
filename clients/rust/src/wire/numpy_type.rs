//! Names of column types: numpy codes on the wire (`f4`), words in texts (`float32`).

use model::ColumnType;

/// Code and word of each type; the first of a type is the one written.
const NAMES: [(&str, &str, ColumnType); 11] = [
    ("f4", "float32", ColumnType::F32),
    ("i4", "int32", ColumnType::I32),
    ("f8", "float64", ColumnType::F64),
    ("i8", "int64", ColumnType::I64),
    ("i1", "byte", ColumnType::I8),
    ("i2", "int16", ColumnType::I16),
    ("u1", "uint8", ColumnType::U8),
    ("u2", "uint16", ColumnType::U16),
    ("u4", "uint32", ColumnType::U32),
    ("u8", "uint64", ColumnType::U64),
    ("U16", "string16", ColumnType::Str16),
];

/// The type of a numpy code (`f4`, also `<f4`, `=f4`, `|u1`).
pub fn parse_type(code: &str) -> Option<ColumnType> {
    let bare = code.strip_prefix(['<', '=', '|']).unwrap_or(code);
    NAMES.iter().find(|n| n.0 == bare).map(|n| n.2)
}

/// The type of a word (`float32`, any case) or of a code. `Create` knows both.
pub fn parse_type_or_word(text: &str) -> Option<ColumnType> {
    parse_type(text).or_else(|| {
        let word = NAMES.iter().find(|n| n.1.eq_ignore_ascii_case(text));
        word.map(|n| n.2)
    })
}

/// The code of a column in a reply. Bytes come back as `u1`, as the reference sends them.
pub fn reply_code(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::I8 => "u1",
        other => write_code(other),
    }
}

/// The code of a column in a write request.
pub fn write_code(ty: ColumnType) -> &'static str {
    let name = NAMES.iter().find(|n| n.2 == ty);
    name.expect("every type has a name").0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_code() {
        for ty in ColumnType::ALL {
            assert_eq!(parse_type(write_code(ty)), Some(ty));
            assert_eq!(parse_type(&format!("<{}", write_code(ty))), Some(ty));
            assert_eq!(parse_type_or_word(&ty.name().to_lowercase()), Some(ty));
        }
        assert_eq!(reply_code(ColumnType::I8), "u1");
        for bad in [
            "", "f2", "b1", "S8", "U8", "M8", "F4", "u16", ">f4", "<<f4", "f4;", "<",
        ] {
            assert_eq!(parse_type(bad), None, "{bad}");
        }
    }
}
