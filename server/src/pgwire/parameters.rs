//! Parameters of the extended protocol as values.

use arrow::datatypes::DataType;
use pgwire::api::Type;
use pgwire::error::PgWireError;
use sql::ScalarValue;

use super::arrays;
use super::errors::user;
use super::values::arrow_type;
use crate::sql::fitted;

/// Between 1970, where we count from, and 2000, where PostgreSQL does.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// The value of parameter `at`, from 0.
pub(super) fn scalar(
    at: usize,
    bytes: Option<&[u8]>,
    binary: bool,
    given: Option<&Type>,
    wanted: Option<&DataType>,
) -> Result<ScalarValue, PgWireError> {
    let refuse = |what: String| user("22P02", format!("parameter ${}: {what}", at + 1));
    let Some(bytes) = bytes else {
        let missing = wanted.map_or(Ok(ScalarValue::Null), |ty| {
            ScalarValue::try_from(ty).map_err(|error| error.to_string())
        });
        return missing.map_err(refuse);
    };
    let value = match (binary, given) {
        (true, Some(ty)) => of_binary(bytes, ty).map_err(refuse)?,
        (true, None) => return Err(refuse("its type is not known".to_owned())),
        (false, _) => {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| refuse("is not UTF-8".to_owned()))?;
            of_text(text, given).map_err(refuse)?
        }
    };
    fitted(value, wanted).map_err(refuse)
}

fn of_text(text: &str, given: Option<&Type>) -> Result<ScalarValue, String> {
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    match given {
        Some(ty) if *ty == Type::BOOL => match text {
            "t" | "true" | "on" | "1" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "off" | "0" => Ok(ScalarValue::Boolean(Some(false))),
            other => Err(format!("\"{other}\" is no boolean")),
        },
        Some(ty) if arrays::element(ty).is_some() => array_of_text(text, ty),
        Some(ty) if *ty == Type::NUMERIC => fitted(value, Some(&DataType::Float64)),
        Some(ty) => fitted(value, arrow_type(ty).as_ref()),
        None => Ok(value),
    }
}

fn array_of_text(text: &str, ty: &Type) -> Result<ScalarValue, String> {
    let element = arrays::element(ty);
    let to = element.as_ref().and_then(arrow_type);
    let to = to.ok_or_else(|| format!("{} is not taken", ty.name()))?;
    let value = |text: &Option<String>| match text {
        Some(text) => fitted(of_text(text, element.as_ref())?, Some(&to)),
        None => ScalarValue::try_from(&to).map_err(|error| error.to_string()),
    };
    let values: Result<Vec<_>, _> = arrays::elements(text)?.iter().map(value).collect();
    Ok(arrays::list(&values?, &to))
}

fn array_of_binary(bytes: &[u8]) -> Result<ScalarValue, String> {
    let (oid, elements) = arrays::binary_elements(bytes)?;
    let element = Type::from_oid(oid).ok_or_else(|| format!("no type has the number {oid}"))?;
    let to = arrow_type(&element).ok_or_else(|| format!("{} is not taken", element.name()))?;
    let value = |bytes: &Option<&[u8]>| match bytes {
        Some(bytes) => fitted(of_binary(bytes, &element)?, Some(&to)),
        None => ScalarValue::try_from(&to).map_err(|error| error.to_string()),
    };
    let values: Result<Vec<_>, _> = elements.iter().map(value).collect();
    Ok(arrays::list(&values?, &to))
}

fn of_binary(bytes: &[u8], ty: &Type) -> Result<ScalarValue, String> {
    fn fixed<const N: usize>(bytes: &[u8], ty: &Type) -> Result<[u8; N], String> {
        bytes
            .try_into()
            .map_err(|_| format!("{} bytes are no {}", bytes.len(), ty.name()))
    }
    Ok(match *ty {
        Type::BOOL => ScalarValue::Boolean(Some(fixed::<1>(bytes, ty)? != [0])),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes, ty)?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes, ty)?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes, ty)?))),
        Type::OID => ScalarValue::Int64(Some(u32::from_be_bytes(fixed(bytes, ty)?).into())),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes, ty)?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes, ty)?))),
        Type::DATE => {
            let days = i32::from_be_bytes(fixed(bytes, ty)?);
            ScalarValue::Date32(Some(days.saturating_add(EPOCH_DAYS)))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(fixed(bytes, ty)?).saturating_add(EPOCH_MICROS);
            let zone = (*ty == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
            ScalarValue::Utf8(Some(text.to_owned()))
        }
        ref array if arrays::element(array).is_some() => array_of_binary(bytes)?,
        _ => return Err(format!("{} is not taken in binary", ty.name())),
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn both_formats_give_the_same_value() {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let wanted =
            ScalarValue::TimestampNanosecond(Some(946_684_801_000_000_000), Some("UTC".into()));
        let text = &b"2000-01-01 00:00:01+00"[..];
        let binary = 1_000_000_i64.to_be_bytes();
        for (bytes, is_binary) in [(text, false), (&binary[..], true)] {
            let given = Some(&Type::TIMESTAMPTZ);
            let value = scalar(0, Some(bytes), is_binary, given, Some(&time)).unwrap();
            assert_eq!(value, wanted);
        }
        let float = scalar(0, Some(b"7"), false, None, Some(&DataType::Float64)).unwrap();
        assert_eq!(float, ScalarValue::Float64(Some(7.0)));
        assert_eq!(
            scalar(0, None, false, None, Some(&DataType::Int8)).unwrap(),
            ScalarValue::Int8(None)
        );
        assert!(scalar(0, Some(&[1, 2, 3]), true, Some(&Type::INT4), None).is_err());
        assert!(scalar(0, Some(b"x"), false, None, Some(&DataType::Int8)).is_err());
    }
}
