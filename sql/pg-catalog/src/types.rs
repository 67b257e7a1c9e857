//! PostgreSQL's types: their numbers, names and what a bucket's columns are.

use model::ColumnType;

/// The key of a field's metadata that names its type in PostgreSQL, where Arrow has none of its own.
pub const TYPE_KEY: &str = "postgres";

/// A type as `pg_type` has it.
#[derive(Debug)]
pub(crate) struct PgType {
    pub(crate) oid: i64,
    /// The type of arrays of it; 0 if there is none.
    pub(crate) array: i64,
    pub(crate) name: &'static str,
    /// As SQL writes it.
    pub(crate) long: &'static str,
    /// Bytes, or -1.
    pub(crate) size: i64,
    pub(crate) category: &'static str,
}

const fn of(
    oid: i64,
    array: i64,
    name: &'static str,
    long: &'static str,
    size: i64,
    category: &'static str,
) -> PgType {
    PgType {
        oid,
        array,
        name,
        long,
        size,
        category,
    }
}

/// Numbers are PostgreSQL's own.
pub(crate) const TYPES: [PgType; 34] = [
    of(16, 1000, "bool", "boolean", 1, "B"),
    of(17, 1001, "bytea", "bytea", -1, "U"),
    of(18, 1002, "char", "\"char\"", 1, "Z"),
    of(19, 1003, "name", "name", 64, "S"),
    of(20, 1016, "int8", "bigint", 8, "N"),
    of(21, 1005, "int2", "smallint", 2, "N"),
    of(22, 1006, "int2vector", "int2vector", -1, "A"),
    of(23, 1007, "int4", "integer", 4, "N"),
    of(24, 1008, "regproc", "regproc", 4, "N"),
    of(25, 1009, "text", "text", -1, "S"),
    of(26, 1028, "oid", "oid", 4, "N"),
    of(27, 1010, "tid", "tid", 6, "U"),
    of(28, 1011, "xid", "xid", 4, "U"),
    of(29, 1012, "cid", "cid", 4, "U"),
    of(30, 1013, "oidvector", "oidvector", -1, "A"),
    of(114, 199, "json", "json", -1, "U"),
    of(700, 1021, "float4", "real", 4, "N"),
    of(701, 1022, "float8", "double precision", 8, "N"),
    of(705, 0, "unknown", "unknown", -2, "X"),
    of(1042, 1014, "bpchar", "character", -1, "S"),
    of(1043, 1015, "varchar", "character varying", -1, "S"),
    of(1082, 1182, "date", "date", 4, "D"),
    of(1083, 1183, "time", "time without time zone", 8, "D"),
    of(
        1114,
        1115,
        "timestamp",
        "timestamp without time zone",
        8,
        "D",
    ),
    of(
        1184,
        1185,
        "timestamptz",
        "timestamp with time zone",
        8,
        "D",
    ),
    of(1186, 1187, "interval", "interval", 16, "T"),
    of(1700, 1231, "numeric", "numeric", -1, "N"),
    of(2205, 2210, "regclass", "regclass", 4, "N"),
    of(2206, 2211, "regtype", "regtype", 4, "N"),
    of(2249, 2287, "record", "record", -1, "P"),
    of(2278, 0, "void", "void", 4, "P"),
    of(2950, 2951, "uuid", "uuid", 16, "U"),
    of(3802, 3807, "jsonb", "jsonb", -1, "U"),
    of(4089, 4090, "regnamespace", "regnamespace", 4, "N"),
];

/// The type of a bucket's column; `None` is the time.
pub(crate) fn of_column(ty: Option<ColumnType>) -> &'static PgType {
    let name = match ty {
        None => "timestamptz",
        Some(ColumnType::F32) => "float4",
        Some(ColumnType::F64) => "float8",
        Some(ColumnType::I8 | ColumnType::I16 | ColumnType::U8) => "int2",
        Some(ColumnType::I32 | ColumnType::U16) => "int4",
        Some(ColumnType::I64 | ColumnType::U32) => "int8",
        Some(ColumnType::U64) => "numeric",
        Some(ColumnType::Str16) => "text",
    };
    let found = TYPES.iter().find(|ty| ty.name == name);
    found.expect("every column has a type of the table")
}

/// `format_type`.
pub(crate) fn long_name(oid: i64, modifier: i64) -> String {
    if let Some(ty) = TYPES.iter().find(|ty| ty.oid == oid) {
        return match (ty.name, modifier) {
            ("varchar" | "bpchar", 5..) => format!("{}({})", ty.long, modifier - 4),
            _ => ty.long.to_owned(),
        };
    }
    match TYPES.iter().find(|ty| ty.array == oid && oid != 0) {
        Some(ty) => format!("{}[]", ty.long),
        None if oid == 0 => "-".to_owned(),
        None => "???".to_owned(),
    }
}

/// The number of a type by either of its names, arrays included.
pub(crate) fn number(name: &str) -> Option<i64> {
    let name = name.trim().trim_start_matches("pg_catalog.");
    let (name, is_array) = match name.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (
            name.strip_prefix('_').unwrap_or(name),
            name.starts_with('_'),
        ),
    };
    let bare = name.trim_matches('"');
    let other = match bare {
        "int" => "int4",
        "decimal" => "numeric",
        other => other,
    };
    let ty = TYPES
        .iter()
        .find(|ty| ty.name == other || ty.long == name)?;
    Some(if is_array { ty.array } else { ty.oid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_types_belong_together() {
        for ty in &TYPES {
            assert_eq!(number(ty.name), Some(ty.oid), "{}", ty.name);
            assert_eq!(number(&long_name(ty.oid, -1)), Some(ty.oid), "{}", ty.long);
        }
        assert_eq!(long_name(1016, -1), "bigint[]");
        assert_eq!(long_name(1043, 14), "character varying(10)");
        assert_eq!(number("_int8"), Some(1016));
        assert_eq!(number("nothing"), None);
    }
}
