//! What clients ask PostgreSQL's catalog. There is none: the questions of psql (`\d`, `\dt`), DuckDB
//! and libraries are known by their words, and answered from the buckets that the caller may read.
//! What is asked about things that a bucket never has (indexes, policies, ...) has no rows.
//!
//! Everything is text: a catalog is small, and these clients read it as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use engine::{BucketInfo, Engine};
use model::ColumnType;
use sql::Caller;

use super::session::SERVER_VERSION;

/// Schema of the buckets, and its number in PostgreSQL.
const SCHEMA: &str = "public";
const SCHEMA_OID: &str = "2200";

/// Numbers below are PostgreSQL's own.
const FIRST_OID: u64 = 16_384;

/// A table of texts.
struct Table {
    names: Vec<&'static str>,
    rows: Vec<Vec<Option<String>>>,
}

/// The answer to a question about the catalog; `None` if the text is none.
pub(super) fn answer(engine: &Engine, caller: &Caller, text: &str) -> Option<RecordBatch> {
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let squeezed = squeezed.trim_end_matches([';', ' ']);
    let table = fixed(squeezed).or_else(|| asked(engine, caller, squeezed))?;
    batch(&table)
}

fn batch(table: &Table) -> Option<RecordBatch> {
    let fields = table
        .names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let column = |at: usize| {
        let values = table.rows.iter().map(|row| row[at].as_deref());
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    };
    let columns = (0..table.names.len()).map(column).collect();
    RecordBatch::try_new(schema, columns).ok()
}

fn one(name: &'static str, value: &str) -> Table {
    Table {
        names: vec![name],
        rows: vec![vec![Some(value.to_owned())]],
    }
}

fn nothing() -> Table {
    Table {
        names: vec!["nothing"],
        rows: Vec::new(),
    }
}

/// Functions that every client may ask for.
fn fixed(text: &str) -> Option<Table> {
    let lower = text.to_lowercase().replace("pg_catalog.", "");
    let version = format!(
        "PostgreSQL {SERVER_VERSION} (mkts {})",
        env!("CARGO_PKG_VERSION")
    );
    let table = match lower.as_str() {
        "select version()" => one("version", &version),
        "select current_schema()" | "select current_schema" => one("current_schema", SCHEMA),
        "select current_database()" => one("current_database", "mkts"),
        "select current_user" | "select user" => one("current_user", "mkts"),
        "select pg_backend_pid()" => one("pg_backend_pid", "1"),
        "select pg_is_in_recovery()" => one("pg_is_in_recovery", "f"),
        text if text.starts_with("select version(), (select count(*) from pg_settings") => Table {
            names: vec!["version", "count"],
            rows: vec![vec![Some(version), Some("0".to_owned())]],
        },
        _ => return None,
    };
    Some(table)
}

/// Words of a question that only a catalog answers.
const CATALOG: [&str; 12] = [
    "pg_catalog.",
    "pg_class",
    "pg_namespace",
    "pg_type",
    "pg_attribute",
    "pg_index",
    "pg_enum",
    "pg_settings",
    "pg_database",
    "pg_roles",
    "pg_proc",
    "pg_constraint",
];

fn asked(engine: &Engine, caller: &Caller, text: &str) -> Option<Table> {
    // A text or a quoted name may hold such a word; a catalog's name stands outside of quotes.
    let outside = without_quotes(text).to_lowercase();
    if !CATALOG.iter().any(|word| outside.contains(word)) {
        return None;
    }
    let buckets = Buckets { engine, caller };
    Some(
        if outside.contains("as \"schema\"") || text.contains("as \"Schema\"") {
            buckets.listed(text)
        } else if outside.starts_with("select c.oid, n.nspname, c.relname") {
            buckets.found(text)
        } else if outside.contains("c.relchecks, c.relkind") {
            buckets.kind(text)
        } else if outside.contains("format_type(a.atttypid") {
            buckets.columns(text)
        } else if outside.starts_with("select oid, nspname from pg_namespace") {
            Table {
                names: vec!["oid", "nspname"],
                rows: vec![vec![Some(SCHEMA_OID.into()), Some(SCHEMA.into())]],
            }
        } else if outside.contains("namespace_id, relname, relpages, attname") {
            buckets.of_duckdb()
        } else {
            nothing()
        },
    )
}

fn without_quotes(text: &str) -> String {
    let kept = super::local::tokens(text)
        .into_iter()
        .map(|(a, b)| &text[a..b]);
    let kept = kept.filter(|token| !token.starts_with('\''));
    kept.collect::<Vec<_>>()
        .join(" ")
        .replace(" ,", ",")
        .replace(" . ", ".")
        .replace("( ", "(")
        .replace(" (", "(")
}

struct Buckets<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
}

impl Buckets<'_> {
    fn readable(&self) -> Vec<Arc<BucketInfo>> {
        let all = self.engine.buckets();
        let mut all: Vec<_> = all
            .iter()
            .filter(|bucket| self.caller.access.may_read(&bucket.key))
            .cloned()
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Those whose name a pattern of psql matches.
    fn matching(&self, text: &str) -> Vec<Arc<BucketInfo>> {
        let Some(pattern) = pattern(text) else {
            return self.readable();
        };
        let mut readable = self.readable();
        readable.retain(|bucket| matches(pattern.as_bytes(), bucket.key.as_str().as_bytes()));
        readable
    }

    /// `\dt`.
    fn listed(&self, text: &str) -> Table {
        let row = |bucket: Arc<BucketInfo>| {
            let texts = [SCHEMA, bucket.key.as_str(), "table", "mkts"];
            texts.map(|text| Some(text.to_owned())).into()
        };
        Table {
            names: vec!["Schema", "Name", "Type", "Owner"],
            rows: self.matching(text).into_iter().map(row).collect(),
        }
    }

    /// `\d name`, first question.
    fn found(&self, text: &str) -> Table {
        let row = |bucket: Arc<BucketInfo>| {
            let texts = [oid(&bucket), SCHEMA.to_owned(), bucket.key.to_string()];
            texts.map(Some).into()
        };
        Table {
            names: vec!["oid", "nspname", "relname"],
            rows: self.matching(text).into_iter().map(row).collect(),
        }
    }

    /// `\d name`, second question: a plain table.
    fn kind(&self, text: &str) -> Table {
        const ROW: [(&str, &str); 15] = [
            ("relchecks", "0"),
            ("relkind", "r"),
            ("relhasindex", "f"),
            ("relhasrules", "f"),
            ("relhastriggers", "f"),
            ("relrowsecurity", "f"),
            ("relforcerowsecurity", "f"),
            ("relhasoids", "f"),
            ("relispartition", "f"),
            ("?column?", ""),
            ("reltablespace", "0"),
            ("reloftype", ""),
            ("relpersistence", "p"),
            ("relreplident", "d"),
            ("amname", "mkts"),
        ];
        let rows = self.of_oid(text).map(|_| {
            let values = ROW.iter().map(|(_, value)| Some((*value).to_owned()));
            values.collect()
        });
        Table {
            names: ROW.iter().map(|(name, _)| *name).collect(),
            rows: rows.into_iter().collect(),
        }
    }

    /// `\d name`, third question.
    fn columns(&self, text: &str) -> Table {
        let names = vec![
            "attname",
            "format_type",
            "pg_get_expr",
            "attnotnull",
            "attcollation",
            "attidentity",
            "attgenerated",
        ];
        let row = |(name, ty): (String, &'static str)| {
            let texts = [Some(name), Some(ty.into()), None, Some("t".into()), None];
            let more = [Some(String::new()), Some(String::new())];
            texts.into_iter().chain(more).collect()
        };
        let rows = self.of_oid(text).map(|bucket| {
            let columns = columns(&bucket).into_iter();
            columns
                .map(|(name, ty)| row((name, long_name(ty))))
                .collect()
        });
        Table {
            names,
            rows: rows.unwrap_or_default(),
        }
    }

    /// Every column of every bucket, as DuckDB's extension asks for them.
    fn of_duckdb(&self) -> Table {
        let names = vec![
            "namespace_id",
            "relname",
            "relpages",
            "attname",
            "type_name",
            "type_modifier",
            "ndim",
            "attnum",
            "notnull",
            "constraint_id",
            "constraint_type",
            "constraint_key",
        ];
        let mut rows = Vec::new();
        for bucket in self.readable() {
            for (at, (name, ty)) in columns(&bucket).into_iter().enumerate() {
                let texts = [
                    SCHEMA_OID.to_owned(),
                    bucket.key.to_string(),
                    "0".to_owned(),
                    name,
                    short_name(ty).to_owned(),
                    "-1".to_owned(),
                    "0".to_owned(),
                    (at + 1).to_string(),
                    "t".to_owned(),
                ];
                let none = [None, None, None];
                rows.push(texts.into_iter().map(Some).chain(none).collect());
            }
        }
        Table { names, rows }
    }

    fn of_oid(&self, text: &str) -> Option<Arc<BucketInfo>> {
        let (_, rest) = text
            .split_once("oid = '")
            .or_else(|| text.split_once("attrelid = '"))?;
        let wanted = rest.split('\'').next()?;
        self.readable()
            .into_iter()
            .find(|bucket| oid(bucket) == wanted)
    }
}

fn oid(bucket: &BucketInfo) -> String {
    (FIRST_OID + u64::from(bucket.id.0)).to_string()
}

/// The columns of a bucket; `None` is the time.
fn columns(bucket: &BucketInfo) -> Vec<(String, Option<ColumnType>)> {
    let time = (arrow_batch::EPOCH.to_owned(), None);
    let columns = bucket.schema.columns().iter();
    let columns = columns.map(|column| (column.name.to_string(), Some(column.ty)));
    std::iter::once(time).chain(columns).collect()
}

fn short_name(ty: Option<ColumnType>) -> &'static str {
    match ty {
        None => "timestamptz",
        Some(ColumnType::F32) => "float4",
        Some(ColumnType::F64) => "float8",
        Some(ColumnType::I8 | ColumnType::I16 | ColumnType::U8) => "int2",
        Some(ColumnType::I32 | ColumnType::U16) => "int4",
        Some(ColumnType::I64 | ColumnType::U32) => "int8",
        Some(ColumnType::U64) => "numeric",
        Some(ColumnType::Str16) => "text",
    }
}

fn long_name(ty: Option<ColumnType>) -> &'static str {
    match short_name(ty) {
        "timestamptz" => "timestamp with time zone",
        "float4" => "real",
        "float8" => "double precision",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        other => other,
    }
}

/// The pattern of `c.relname OPERATOR(pg_catalog.~) '^(...)$'`, its own escapes undone: `.` and
/// `.*` stay what they are.
fn pattern(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("c.relname ")?;
    let (_, rest) = rest.split_once("'^(")?;
    let (pattern, _) = rest.split_once(")$'")?;
    Some(pattern.to_owned())
}

/// A regular expression of characters, `\c`, `.` and `.*`: psql writes no others for a name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'.', b'*', rest @ ..] => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        [b'.', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        [b'\\', wanted, rest @ ..] | [wanted, rest @ ..] => {
            name.first() == Some(wanted) && matches(rest, &name[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_psql_are_understood() {
        let text = "WHERE c.relname OPERATOR(pg_catalog.~) '^(A\\.B/1Min/.*)$' COLLATE x";
        let pattern = pattern(text).unwrap();
        for (name, wanted) in [("A.B/1Min/OHLCV", true), ("AXB/1Min/OHLCV", false)] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                wanted,
                "{name}"
            );
        }
        assert!(matches(b"a.c", b"abc"));
        assert!(!matches(b"a.c", b"ac"));
    }

    #[test]
    fn only_words_outside_of_texts_are_questions() {
        assert!(!without_quotes("SELECT 'pg_class'").contains("pg_class"));
        assert!(without_quotes("SELECT 1 FROM pg_class").contains("pg_class"));
        assert!(fixed("SELECT pg_catalog.version()").is_some());
        assert!(fixed("SELECT 1").is_none());
    }
}
