//! Lists as PostgreSQL's arrays: of one dimension, counted from 1.

use arrow::array::{Array, ListArray};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use sql::ScalarValue;

use super::values::{Put, column, field, numbers, pg_type, widened};

/// Types and those of their arrays.
const ARRAYS: [(Type, Type); 13] = [
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::OID, Type::OID_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
];

/// The type of arrays of a type.
pub(super) fn of(element: &Type) -> Type {
    let found = ARRAYS.iter().find(|(ty, _)| ty == element);
    found.map_or(Type::TEXT_ARRAY, |(_, array)| array.clone())
}

/// The type of an array's elements.
pub(super) fn element(array: &Type) -> Option<Type> {
    let found = ARRAYS.iter().find(|(_, ty)| ty == array);
    found.map(|(element, _)| element.clone())
}

/// Writes a list.
pub(super) fn put(lists: &ListArray, binary: bool) -> Put<'_> {
    let ty = pg_type(&lists.value_type());
    Box::new(move |row, out| {
        let values = widened(&lists.value(row), &ty);
        let column = match binary && ty == Type::NUMERIC {
            true => numbers(&values),
            false => column(&values, binary),
        };
        if !binary {
            text(&column.put, &values, out);
            return;
        }
        let count = i32::try_from(values.len()).unwrap_or(i32::MAX);
        out.put_i32(i32::from(count > 0));
        out.put_i32(i32::from(values.null_count() > 0));
        out.put_u32(ty.oid());
        if count > 0 {
            out.put_i32(count);
            out.put_i32(1);
        }
        (0..values.len()).for_each(|at| field(&column, at, out));
    })
}

fn text(put: &Put<'_>, values: &dyn Array, out: &mut BytesMut) {
    out.put_u8(b'{');
    let mut element = BytesMut::new();
    for at in 0..values.len() {
        if at > 0 {
            out.put_u8(b',');
        }
        if values.is_null(at) {
            out.put_slice(b"NULL");
            continue;
        }
        element.clear();
        put(at, &mut element);
        let needs_quotes = element.is_empty()
            || element.eq_ignore_ascii_case(b"NULL")
            || element
                .iter()
                .any(|b| b.is_ascii_whitespace() || b"{}\",\\".contains(b));
        if !needs_quotes {
            out.put_slice(&element);
            continue;
        }
        out.put_u8(b'"');
        for byte in &element {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(*byte);
        }
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
}

/// The elements of an array that a client sent as text, `None` where there is no value.
pub(super) fn elements(text: &str) -> Result<Vec<Option<String>>, String> {
    let inside = text.trim().strip_prefix('{');
    let inside = inside.and_then(|text| text.strip_suffix('}'));
    let inside = inside.ok_or_else(|| format!("\"{text}\" is no array"))?;
    let mut found = Vec::new();
    let (mut element, mut quoted, mut in_quotes) = (String::new(), false, false);
    let mut characters = inside.chars();
    let mut add = |element: &mut String, quoted: &mut bool| {
        let text = std::mem::take(element);
        let is_null = !*quoted && text.eq_ignore_ascii_case("NULL");
        found.push((!is_null).then_some(text));
        *quoted = false;
    };
    while let Some(c) = characters.next() {
        match c {
            '\\' => element.extend(characters.next()),
            '"' => (in_quotes, quoted) = (!in_quotes, true),
            ',' if !in_quotes => add(&mut element, &mut quoted),
            '{' | '}' if !in_quotes => return Err("arrays have one dimension here".to_owned()),
            c => element.push(c),
        }
    }
    if !inside.is_empty() {
        add(&mut element, &mut quoted);
    }
    Ok(found)
}

/// The number of the type of elements, and the bytes of each; `None` for NULL.
pub(super) type Elements<'a> = (u32, Vec<Option<&'a [u8]>>);

/// The elements of an array that a client sent in binary, and their type's number.
pub(super) fn binary_elements(bytes: &[u8]) -> Result<Elements<'_>, String> {
    fn int(bytes: &mut &[u8]) -> Result<i32, String> {
        let (four, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or("an array is cut off")?;
        *bytes = rest;
        Ok(i32::from_be_bytes(*four))
    }
    let mut rest = bytes;
    let (dimensions, _, oid) = (int(&mut rest)?, int(&mut rest)?, int(&mut rest)?);
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = int(&mut rest)?;
            int(&mut rest)?;
            usize::try_from(count).map_err(|_| "an array of negative length")?
        }
        _ => return Err("arrays have one dimension here".to_owned()),
    };
    let mut found = Vec::new();
    for _ in 0..count {
        let length = int(&mut rest)?;
        let Ok(length) = usize::try_from(length) else {
            found.push(None);
            continue;
        };
        let (value, after) = rest.split_at_checked(length).ok_or("an array is cut off")?;
        found.push(Some(value));
        rest = after;
    }
    Ok((u32::from_be_bytes(oid.to_be_bytes()), found))
}

/// Values of one type as a list.
pub(super) fn list(values: &[ScalarValue], ty: &arrow::datatypes::DataType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list_nullable(values, ty))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListBuilder, StringBuilder};

    use super::*;

    #[test]
    fn arrays_are_written_and_read() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None, Some("b \"c\""), Some(""), Some("null")]);
        let array: ArrayRef = Arc::new(lists.finish());
        let mut out = BytesMut::new();
        (column(&array, false).put)(0, &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(text, r#"{a,NULL,"b \"c\"","","null"}"#);
        let back = elements(&text).unwrap();
        let wanted = [Some("a"), None, Some("b \"c\""), Some(""), Some("null")];
        assert_eq!(back, wanted.map(|text| text.map(str::to_owned)));
        out.clear();
        (column(&array, true).put)(0, &mut out);
        let (oid, back) = binary_elements(&out).unwrap();
        assert_eq!(oid, Type::TEXT.oid());
        assert_eq!(back, wanted.map(|text| text.map(str::as_bytes)));
        assert_eq!(elements("{}"), Ok(Vec::new()));
        assert!(elements("a").is_err());
        assert!(elements("{{1}}").is_err());
        for end in 0..out.len() {
            assert!(binary_elements(&out[..end]).is_err(), "{end}");
        }
    }
}
