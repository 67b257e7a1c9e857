//! The rows of the tables that have some, cell by cell: only columns that are asked for are made.

use std::sync::Arc;

use engine::BucketInfo;

use crate::types::{self, PgType, TYPES};
use crate::{DATABASE, Known, public};

/// A value of the catalog.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// What PostgreSQL has where nothing was said: 0, false, an empty text or nothing, by type.
    Default,
    Bool(bool),
    Int(i64),
    Text(String),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// What a row is about.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    Bucket(Arc<BucketInfo>),
    /// A column of a bucket; 0 is the time.
    Column(Arc<BucketInfo>, usize),
    Type(&'static PgType),
    /// Arrays of a type.
    Array(&'static PgType),
    Schema(&'static str, i64),
    Role(String, i64),
    Setting(String, String),
    Function(usize),
    /// One of a kind: a name and a number.
    Thing(&'static str, i64),
}

/// Numbers of PostgreSQL's own.
pub(crate) const PUBLIC_OID: i64 = 2200;
pub(crate) const PG_CATALOG_OID: i64 = 11;
const INFORMATION_SCHEMA_OID: i64 = 13_000;
const SCHEMAS: [(&str, i64); 3] = [
    ("pg_catalog", PG_CATALOG_OID),
    ("public", PUBLIC_OID),
    ("information_schema", INFORMATION_SCHEMA_OID),
];
pub(crate) const OWNER: &str = "mkts";
pub(crate) const OWNER_OID: i64 = 10;
pub(crate) const USER_OID: i64 = 16_383;
const AM_OID: i64 = 2;
const TABLESPACE_OID: i64 = 1663;
const DATABASE_OID: i64 = 5;
const LANGUAGE_OID: i64 = 12;
pub(crate) const FUNCTION_OID: i64 = 15_000;
/// Of the default collation.
const COLLATION_OID: i64 = 100;

/// The rows of a table.
pub(crate) fn of(table: &str, known: &Known) -> Vec<Row> {
    let buckets = || known.buckets.iter().map(|b| Row::Bucket(b.clone()));
    match table {
        "pg_class" | "pg_tables" | "pg_stat_user_tables" | "information_schema.tables" => {
            buckets().collect()
        }
        "pg_attribute" | "information_schema.columns" => {
            let columns = |bucket: &Arc<BucketInfo>| {
                let bucket = bucket.clone();
                let count = bucket.schema.columns().len();
                (0..=count).map(move |at| Row::Column(bucket.clone(), at))
            };
            known.buckets.iter().flat_map(columns).collect()
        }
        "pg_namespace" | "information_schema.schemata" => SCHEMAS
            .iter()
            .map(|(name, oid)| Row::Schema(name, *oid))
            .collect(),
        "pg_type" => {
            let arrays = TYPES.iter().filter(|ty| ty.array != 0).map(Row::Array);
            TYPES.iter().map(Row::Type).chain(arrays).collect()
        }
        "pg_roles" | "pg_authid" | "pg_user" => {
            let mut roles = vec![Row::Role(OWNER.to_owned(), OWNER_OID)];
            if known.session.user != OWNER {
                roles.push(Row::Role(known.session.user.clone(), USER_OID));
            }
            roles
        }
        "pg_settings" => {
            let settings = known.session.settings.iter();
            settings
                .map(|(name, value)| Row::Setting(name.clone(), value.clone()))
                .collect()
        }
        "pg_proc" => (0..public::FUNCTIONS.len()).map(Row::Function).collect(),
        "pg_database" | "information_schema.information_schema_catalog_name" => {
            vec![Row::Thing(DATABASE, DATABASE_OID)]
        }
        "pg_am" => vec![Row::Thing(OWNER, AM_OID)],
        "pg_language" => vec![Row::Thing("internal", LANGUAGE_OID)],
        "pg_tablespace" => vec![Row::Thing("pg_default", TABLESPACE_OID)],
        _ => Vec::new(),
    }
}

impl Row {
    /// The value of a column.
    pub(crate) fn cell(&self, column: &str) -> Cell {
        match self {
            Self::Bucket(bucket) => of_bucket(bucket, column),
            Self::Column(bucket, at) => of_column(bucket, *at, column),
            Self::Type(ty) => of_type(ty, column),
            Self::Array(ty) => of_array(ty, column),
            Self::Schema(name, oid) => match column {
                "oid" => (*oid).into(),
                "nspname" | "schema_name" => (*name).into(),
                "nspowner" => OWNER_OID.into(),
                "schema_owner" => OWNER.into(),
                "catalog_name" => DATABASE.into(),
                _ => Cell::Default,
            },
            Self::Role(name, oid) => match column {
                "oid" | "usesysid" => (*oid).into(),
                "rolname" | "usename" => name.as_str().into(),
                "rolinherit" | "rolcanlogin" => true.into(),
                "rolconnlimit" => (-1).into(),
                "rolpassword" | "passwd" => "********".into(),
                _ => Cell::Default,
            },
            Self::Setting(name, value) => match column {
                "name" => name.as_str().into(),
                "setting" | "boot_val" | "reset_val" => value.as_str().into(),
                "source" => "default".into(),
                "context" => "user".into(),
                "vartype" => "string".into(),
                "category" | "short_desc" => "".into(),
                _ => Cell::Default,
            },
            Self::Function(at) => of_function(*at, column),
            Self::Thing(name, oid) => of_thing(name, *oid, column),
        }
    }
}

fn of_bucket(bucket: &BucketInfo, column: &str) -> Cell {
    match column {
        "oid" | "relfilenode" | "relid" => Known::oid(bucket).into(),
        "relname" | "tablename" | "table_name" => bucket.key.as_str().into(),
        "relnamespace" => PUBLIC_OID.into(),
        "schemaname" | "table_schema" => "public".into(),
        "relowner" => OWNER_OID.into(),
        "tableowner" => OWNER.into(),
        "relam" => AM_OID.into(),
        // As PostgreSQL says of a table that nobody has counted.
        "reltuples" => (-1).into(),
        "relpersistence" => "p".into(),
        "relkind" => "r".into(),
        "relnatts" => (bucket.schema.columns().len() as i64 + 1).into(),
        "relispopulated" => true.into(),
        "relreplident" => "d".into(),
        "table_catalog" => DATABASE.into(),
        "table_type" => "BASE TABLE".into(),
        // The wire is read-only.
        "is_insertable_into" | "is_typed" => "NO".into(),
        _ => Cell::Default,
    }
}

/// Name and type of a column; 0 is the time.
fn column_of(bucket: &BucketInfo, at: usize) -> (&str, &'static PgType) {
    let columns = bucket.schema.columns();
    match at.checked_sub(1).and_then(|at| columns.get(at)) {
        Some(column) => (&column.name, types::of_column(Some(column.ty))),
        None => (arrow_batch::EPOCH, types::of_column(None)),
    }
}

fn of_column(bucket: &BucketInfo, at: usize, column: &str) -> Cell {
    let (name, ty) = column_of(bucket, at);
    let is_number = ty.category == "N";
    match column {
        "attrelid" => Known::oid(bucket).into(),
        "attname" | "column_name" => name.into(),
        "atttypid" => ty.oid.into(),
        "attlen" => ty.size.into(),
        "attnum" | "ordinal_position" => (at as i64 + 1).into(),
        "atttypmod" | "attcacheoff" | "attstattarget" => (-1).into(),
        "attbyval" => matches!(ty.size, 1 | 2 | 4 | 8).into(),
        "attalign" => align(ty).into(),
        "attstorage" => storage(ty).into(),
        "attnotnull" | "attislocal" => true.into(),
        "attcollation" => collation(ty).into(),
        "table_catalog" | "udt_catalog" => DATABASE.into(),
        "table_schema" => "public".into(),
        "udt_schema" => "pg_catalog".into(),
        "udt_name" => ty.name.into(),
        "table_name" => bucket.key.as_str().into(),
        "data_type" => ty.long.into(),
        "dtd_identifier" => (at + 1).to_string().as_str().into(),
        "is_generated" => "NEVER".into(),
        "is_nullable"
        | "is_identity"
        | "identity_cycle"
        | "is_updatable"
        | "is_self_referencing" => "NO".into(),
        "numeric_precision" if is_number => match ty.name {
            "int2" => 16.into(),
            "int4" => 32.into(),
            "int8" => 64.into(),
            "float4" => 24.into(),
            "float8" => 53.into(),
            _ => Cell::Default,
        },
        "numeric_precision_radix" if is_number && ty.name != "numeric" => 2.into(),
        "numeric_scale" if ty.name.starts_with("int") => 0.into(),
        "datetime_precision" if ty.category == "D" => 6.into(),
        _ => Cell::Default,
    }
}

fn align(ty: &PgType) -> &'static str {
    match ty.size {
        8 => "d",
        2 => "s",
        1 | 64 => "c",
        _ => "i",
    }
}

fn storage(ty: &PgType) -> &'static str {
    match (ty.name, ty.size) {
        ("numeric", _) => "m",
        (_, -1) => "x",
        _ => "p",
    }
}

fn collation(ty: &PgType) -> i64 {
    if ty.category == "S" { COLLATION_OID } else { 0 }
}

fn of_type(ty: &PgType, column: &str) -> Cell {
    match column {
        "oid" => ty.oid.into(),
        "typname" => ty.name.into(),
        "typarray" => ty.array.into(),
        "typlen" => ty.size.into(),
        "typbyval" => matches!(ty.size, 1 | 2 | 4 | 8).into(),
        "typtype" if ty.category == "P" || ty.category == "X" => "p".into(),
        "typtype" => "b".into(),
        "typcategory" => ty.category.into(),
        "typispreferred" => matches!(ty.name, "bool" | "text" | "float8" | "timestamptz").into(),
        "typalign" => align(ty).into(),
        "typstorage" => storage(ty).into(),
        "typcollation" => collation(ty).into(),
        "typelem" if ty.name == "int2vector" => 21.into(),
        "typelem" if ty.name == "oidvector" => 26.into(),
        "typinput" => format!("{}in", ty.name).as_str().into(),
        "typoutput" => format!("{}out", ty.name).as_str().into(),
        "typreceive" => format!("{}recv", ty.name).as_str().into(),
        "typsend" => format!("{}send", ty.name).as_str().into(),
        other => of_any_type(other),
    }
}

fn of_any_type(column: &str) -> Cell {
    match column {
        "typnamespace" => PG_CATALOG_OID.into(),
        "typowner" => OWNER_OID.into(),
        "typisdefined" => true.into(),
        "typdelim" => ",".into(),
        "typtypmod" => (-1).into(),
        "typsubscript" | "typmodin" | "typmodout" | "typanalyze" => "-".into(),
        _ => Cell::Default,
    }
}

fn of_array(ty: &PgType, column: &str) -> Cell {
    match column {
        "oid" => ty.array.into(),
        "typname" => format!("_{}", ty.name).as_str().into(),
        "typelem" => ty.oid.into(),
        "typlen" => (-1).into(),
        "typtype" if ty.category == "P" => "p".into(),
        "typtype" => "b".into(),
        "typcategory" => "A".into(),
        "typalign" => "i".into(),
        "typstorage" => "x".into(),
        "typcollation" => collation(ty).into(),
        "typinput" => "array_in".into(),
        "typoutput" => "array_out".into(),
        "typreceive" => "array_recv".into(),
        "typsend" => "array_send".into(),
        other => of_any_type(other),
    }
}

fn of_function(at: usize, column: &str) -> Cell {
    let Some((name, _, _, is_aggregate)) = public::FUNCTIONS.get(at) else {
        return Cell::Default;
    };
    match column {
        "oid" => (FUNCTION_OID + at as i64).into(),
        "proname" | "prosrc" => (*name).into(),
        "pronamespace" => PUBLIC_OID.into(),
        "proowner" => OWNER_OID.into(),
        "prolang" => LANGUAGE_OID.into(),
        "procost" => 1.into(),
        "prokind" => if *is_aggregate { "a" } else { "f" }.into(),
        "provolatile" => "s".into(),
        "proparallel" => "s".into(),
        "prorettype" => 2249.into(),
        "prosupport" => "-".into(),
        _ => Cell::Default,
    }
}

fn of_thing(name: &str, oid: i64, column: &str) -> Cell {
    match column {
        "oid" => oid.into(),
        "datname" | "amname" | "lanname" | "spcname" | "catalog_name" => name.into(),
        "datdba" | "spcowner" | "lanowner" => OWNER_OID.into(),
        "encoding" => 6.into(),
        "datlocprovider" => "c".into(),
        "datallowconn" => true.into(),
        "datconnlimit" => (-1).into(),
        "dattablespace" => TABLESPACE_OID.into(),
        "datcollate" | "datctype" => "C".into(),
        "amtype" => "t".into(),
        "amhandler" => "-".into(),
        _ => Cell::Default,
    }
}
