//! The functions of `pg_catalog`.

use std::sync::Arc;

use sql::datafusion::logical_expr::ScalarUDF;

use crate::call::{Answer, Arguments, Call, NAME_OR_NUMBER, Run};
use crate::rows::{FUNCTION_OID, OWNER, OWNER_OID, PG_CATALOG_OID, PUBLIC_OID, USER_OID};
use crate::{DATABASE, Known, SERVER_VERSION, public, types};

fn null(_: &Known, _: &Arguments<'_>) -> Answer {
    Answer::Null
}

fn yes(_: &Known, _: &Arguments<'_>) -> Answer {
    Answer::Bool(true)
}

fn no(_: &Known, _: &Arguments<'_>) -> Answer {
    Answer::Bool(false)
}

fn zero(_: &Known, _: &Arguments<'_>) -> Answer {
    Answer::Int(0)
}

fn user(known: &Known, _: &Arguments<'_>) -> Answer {
    known.session.user.as_str().into()
}

fn database(_: &Known, _: &Arguments<'_>) -> Answer {
    DATABASE.into()
}

/// Functions by name, with the letter of their type; see `definitions`.
const FUNCTIONS: &[(&str, u8, Run)] = &[
    ("version", b't', version),
    ("current_schema", b'n', |_, _| "public".into()),
    ("current_schemas", b'T', current_schemas),
    ("current_database", b'n', database),
    ("current_catalog", b'n', database),
    ("current_user", b'n', user),
    ("session_user", b'n', user),
    ("current_role", b'n', user),
    ("user", b'n', user),
    ("current_setting", b't', current_setting),
    ("set_config", b't', |_, args| args.text(1).into()),
    ("format_type", b't', format_type),
    ("quote_ident", b't', |_, args| {
        args.text(0).map(|text| quoted(&text)).into()
    }),
    ("quote_literal", b't', |_, args| {
        args.text(0)
            .map(|text| format!("'{}'", text.replace('\'', "''")))
            .into()
    }),
    ("parse_ident", b'T', |_, args| {
        args.text(0)
            .map_or(Answer::Null, |text| Answer::Texts(parts(&text)))
    }),
    ("array_lower", b'4', |_, args| bound(args, |_| 1)),
    ("array_upper", b'4', |_, args| bound(args, |count| count)),
    ("regclass", NAME_OR_NUMBER, regclass),
    ("regtype", NAME_OR_NUMBER, regtype),
    ("regnamespace", NAME_OR_NUMBER, regnamespace),
    ("regrole", NAME_OR_NUMBER, regrole),
    ("regproc", NAME_OR_NUMBER, regproc),
    ("to_regclass", b'o', |known, args| {
        args.text(0).and_then(|name| class(known, &name)).into()
    }),
    ("to_regtype", b'o', |_, args| {
        args.text(0).and_then(|name| types::number(&name)).into()
    }),
    ("to_regnamespace", b'o', |_, args| {
        args.text(0).and_then(|name| schema(&name)).into()
    }),
    ("to_regproc", b'o', |_, args| {
        args.text(0).and_then(|name| function(&name)).into()
    }),
    ("pg_backend_pid", b'4', |known, _| {
        Answer::Int(known.session.pid.into())
    }),
    ("pg_is_in_recovery", b'b', no),
    ("pg_is_other_temp_schema", b'b', no),
    ("pg_my_temp_schema", b'o', zero),
    ("pg_table_is_visible", b'b', yes),
    ("pg_type_is_visible", b'b', yes),
    ("pg_function_is_visible", b'b', yes),
    ("pg_operator_is_visible", b'b', yes),
    ("pg_opclass_is_visible", b'b', yes),
    ("pg_opfamily_is_visible", b'b', yes),
    ("pg_collation_is_visible", b'b', yes),
    ("pg_conversion_is_visible", b'b', yes),
    ("pg_statistics_obj_is_visible", b'b', yes),
    ("pg_ts_config_is_visible", b'b', yes),
    ("pg_ts_dict_is_visible", b'b', yes),
    ("pg_ts_parser_is_visible", b'b', yes),
    ("pg_ts_template_is_visible", b'b', yes),
    ("pg_relation_is_publishable", b'b', no),
    ("pg_has_role", b'b', yes),
    ("has_table_privilege", b'b', privilege),
    ("has_any_column_privilege", b'b', privilege),
    ("has_column_privilege", b'b', privilege),
    ("has_schema_privilege", b'b', privilege),
    ("has_database_privilege", b'b', privilege),
    ("has_function_privilege", b'b', yes),
    ("has_sequence_privilege", b'b', no),
    ("has_tablespace_privilege", b'b', no),
    ("row_security_active", b'b', no),
    ("pg_get_userbyid", b'n', userbyid),
    ("pg_encoding_to_char", b'n', |_, _| "UTF8".into()),
    ("pg_get_expr", b't', null),
    ("pg_get_constraintdef", b't', null),
    ("pg_get_indexdef", b't', null),
    ("pg_get_viewdef", b't', null),
    ("pg_get_ruledef", b't', null),
    ("pg_get_triggerdef", b't', null),
    ("pg_get_functiondef", b't', null),
    ("pg_get_partkeydef", b't', null),
    ("pg_get_partition_constraintdef", b't', null),
    ("pg_get_serial_sequence", b't', null),
    ("pg_get_statisticsobjdef_columns", b't', null),
    ("pg_get_function_result", b't', |_, args| {
        function_text(args, |found| found.1)
    }),
    ("pg_get_function_arguments", b't', |_, args| {
        function_text(args, |found| found.2)
    }),
    ("pg_get_function_identity_arguments", b't', |_, args| {
        function_text(args, |found| found.2)
    }),
    ("pg_get_function_sqlbody", b't', null),
    ("pg_tablespace_location", b't', |_, _| "".into()),
    ("pg_tablespace_size", b'8', null),
    // The size of a bucket on the disk is known to `mkts status`, not to SQL.
    ("pg_relation_size", b'8', null),
    ("pg_table_size", b'8', null),
    ("pg_indexes_size", b'8', zero),
    ("pg_total_relation_size", b'8', null),
    ("pg_database_size", b'8', null),
    ("pg_size_pretty", b't', |_, args| {
        args.int(0).map(size).into()
    }),
    ("obj_description", b't', null),
    ("col_description", b't', null),
    ("shobj_description", b't', null),
    ("inet_server_addr", b't', null),
    ("inet_client_addr", b't', null),
    ("inet_server_port", b'4', null),
    ("inet_client_port", b'4', null),
    ("txid_current", b'8', zero),
    ("pg_export_snapshot", b't', |_, _| {
        "00000001-00000001-1".into()
    }),
    ("pg_current_wal_lsn", b't', |_, _| "0/0".into()),
    ("pg_column_compression", b't', null),
    ("pg_index_column_has_property", b'b', no),
    // Nothing is locked, ever.
    ("pg_advisory_unlock_all", b't', |_, _| "".into()),
    ("pg_advisory_lock", b't', |_, _| "".into()),
    ("pg_advisory_unlock", b'b', yes),
    ("pg_try_advisory_lock", b'b', yes),
    ("no_texts", b'T', |_, _| Answer::Texts(Vec::new())),
];

/// The functions as one caller sees them.
pub(crate) fn all(known: &Arc<Known>) -> Vec<Arc<ScalarUDF>> {
    let function = |(name, letter, run): &(&'static str, u8, Run)| {
        Arc::new(ScalarUDF::new_from_impl(Call::new(
            name, *letter, *run, known,
        )))
    };
    FUNCTIONS.iter().map(function).collect()
}

fn version(_: &Known, _: &Arguments<'_>) -> Answer {
    let ours = env!("CARGO_PKG_VERSION");
    Answer::Text(format!("PostgreSQL {SERVER_VERSION} (mkts {ours})"))
}

fn current_schemas(_: &Known, args: &Arguments<'_>) -> Answer {
    let implicit = args.text(0).as_deref() == Some("true");
    let schemas = ["pg_catalog", "public"]
        .into_iter()
        .skip(usize::from(!implicit));
    Answer::Texts(schemas.map(str::to_owned).collect())
}

fn current_setting(known: &Known, args: &Arguments<'_>) -> Answer {
    let name = args.text(0).map(|name| name.to_lowercase());
    let value = name.and_then(|name| known.session.settings.get(&name).cloned());
    value.into()
}

fn format_type(_: &Known, args: &Arguments<'_>) -> Answer {
    let modifier = args.int(1).unwrap_or(-1);
    args.int(0)
        .map(|oid| types::long_name(oid, modifier))
        .into()
}

/// A name as it must be written.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    match begins && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The parts of a name with dots, without quotes.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_quotes = false;
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        let part = parts.last_mut().expect("there is one from the beginning");
        match c {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            c if in_quotes => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts
}

/// A bound of an array; an empty one has none.
fn bound(args: &Arguments<'_>, of: fn(i64) -> i64) -> Answer {
    let count = match args.0.first() {
        Some(sql::ScalarValue::List(list)) => list.value_length(0),
        _ => 0,
    };
    match count {
        0 => Answer::Null,
        count => Answer::Int(of(count.into())),
    }
}

/// The last part of a name; the schema in front of it is ours.
fn last(name: &str) -> String {
    parts(name).pop().unwrap_or_default()
}

/// A number in a text, or the number of a name; the name of a number.
fn name_or_number(
    args: &Arguments<'_>,
    number: impl Fn(&str) -> Option<i64>,
    name: impl Fn(i64) -> Option<String>,
) -> Answer {
    let is_number = args
        .0
        .first()
        .is_some_and(|value| value.data_type().is_numeric());
    match (args.text(0), args.int(0)) {
        (Some(text), Some(oid)) if is_number => name(oid).map_or(Answer::Text(text), Answer::Text),
        (_, Some(oid)) => Answer::Int(oid),
        (Some(text), None) => number(&text).into(),
        (None, None) => Answer::Null,
    }
}

/// The number of a table. Those of the catalog itself have none but 0: nothing else names them.
fn class(known: &Known, name: &str) -> Option<i64> {
    let last = last(name);
    let bucket = known.named(&last).or_else(|| known.named(name));
    let bucket = bucket.map(|bucket| Known::oid(bucket));
    bucket.or_else(|| {
        crate::definitions::ALL
            .contains_key(last.as_str())
            .then_some(0)
    })
}

fn regclass(known: &Known, args: &Arguments<'_>) -> Answer {
    let name = |oid| known.bucket(oid).map(|bucket| quoted(bucket.key.as_str()));
    name_or_number(args, |name| class(known, name), name)
}

fn regtype(_: &Known, args: &Arguments<'_>) -> Answer {
    name_or_number(args, types::number, |oid| Some(types::long_name(oid, -1)))
}

fn schema(name: &str) -> Option<i64> {
    match last(name).as_str() {
        "public" => Some(PUBLIC_OID),
        "pg_catalog" => Some(PG_CATALOG_OID),
        _ => None,
    }
}

fn regnamespace(_: &Known, args: &Arguments<'_>) -> Answer {
    let name = |oid| match oid {
        PUBLIC_OID => Some("public".to_owned()),
        PG_CATALOG_OID => Some("pg_catalog".to_owned()),
        _ => None,
    };
    name_or_number(args, schema, name)
}

fn role(known: &Known, oid: i64) -> Option<String> {
    match oid {
        OWNER_OID => Some(OWNER.to_owned()),
        USER_OID => Some(known.session.user.clone()),
        _ => None,
    }
}

fn regrole(known: &Known, args: &Arguments<'_>) -> Answer {
    let number = |name: &str| match last(name) {
        name if name == OWNER => Some(OWNER_OID),
        name if name == known.session.user => Some(USER_OID),
        _ => None,
    };
    name_or_number(args, number, |oid| role(known, oid))
}

fn function(name: &str) -> Option<i64> {
    let last = last(name);
    let at = public::FUNCTIONS.iter().position(|found| found.0 == last)?;
    Some(FUNCTION_OID + at as i64)
}

fn regproc(_: &Known, args: &Arguments<'_>) -> Answer {
    let name = |oid: i64| found(oid).map(|found| found.0.to_owned());
    name_or_number(args, function, name)
}

fn found(oid: i64) -> Option<&'static (&'static str, &'static str, &'static str, bool)> {
    let at = usize::try_from(oid - FUNCTION_OID).ok()?;
    public::FUNCTIONS.get(at)
}

fn function_text(
    args: &Arguments<'_>,
    text: fn(&(&'static str, &'static str, &'static str, bool)) -> &'static str,
) -> Answer {
    args.int(0)
        .and_then(found)
        .map_or(Answer::Null, |found| text(found).into())
}

fn userbyid(known: &Known, args: &Arguments<'_>) -> Answer {
    let Some(oid) = args.int(0) else {
        return Answer::Null;
    };
    let unknown = format!("unknown (OID={oid})");
    Answer::Text(role(known, oid).unwrap_or(unknown))
}

/// Everything in a catalog may be read, and nothing be written. The privilege is the last argument.
fn privilege(_: &Known, args: &Arguments<'_>) -> Answer {
    let Some(wanted) = args.0.len().checked_sub(1).and_then(|at| args.text(at)) else {
        return Answer::Null;
    };
    let mut wanted = wanted.split(',').map(|word| word.trim().to_uppercase());
    Answer::Bool(wanted.any(|word| matches!(word.as_str(), "SELECT" | "USAGE" | "CONNECT")))
}

/// `pg_size_pretty`: the next unit from 10 of the last on.
fn size(bytes: i64) -> String {
    let mut rest = bytes;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if rest.abs() < 10 * 1024 {
            return format!("{rest} {unit}");
        }
        rest /= 1024;
    }
    format!("{rest} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_quoted_name_is_one_part_and_itself(name in "\\PC{1,20}") {
            proptest::prop_assert_eq!(parts(&quoted(&name)), [name]);
        }
    }

    #[test]
    fn names_are_quoted_and_taken_apart() {
        assert_eq!(quoted("close"), "close");
        assert_eq!(quoted("Close"), "\"Close\"");
        assert_eq!(quoted("AAPL/1Min/OHLCV"), "\"AAPL/1Min/OHLCV\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(parts("public.\"A.B/1Min/X\""), ["public", "A.B/1Min/X"]);
        assert_eq!(parts("Public.T"), ["public", "t"]);
        assert_eq!(parts("\"a\"\"b\""), ["a\"b"]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(10_239), "10239 bytes");
        assert_eq!(size(1 << 20), "1024 kB");
        assert_eq!(size(i64::MAX), "8388607 TB");
    }
}
