//! Parameters of a statement that come as JSON.

use arrow::datatypes::DataType;
use serde_json::Value;
use sql::ScalarValue;

/// The values of `$1`, `$2`, ..., each of the type that the statement wants.
pub(crate) fn scalars(
    given: &[Value],
    wanted: &[Option<DataType>],
) -> Result<Vec<ScalarValue>, String> {
    if given.len() != wanted.len() {
        return Err(format!(
            "the statement has {} parameters, {} were given",
            wanted.len(),
            given.len()
        ));
    }
    let pairs = given.iter().zip(wanted).enumerate();
    pairs
        .map(|(at, (value, ty))| {
            scalar(value, ty.as_ref()).map_err(|what| format!("parameter ${}: {what}", at + 1))
        })
        .collect()
}

fn scalar(value: &Value, wanted: Option<&DataType>) -> Result<ScalarValue, String> {
    let scalar = match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => ScalarValue::Int64(Some(whole)),
            (_, Some(whole), _) => ScalarValue::UInt64(Some(whole)),
            (_, _, float) => ScalarValue::Float64(float),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err("must be a text, a number, true, false or null".to_owned());
        }
    };
    fitted(scalar, wanted)
}

/// A value as the type that the statement wants, if it says so.
pub(crate) fn fitted(
    scalar: ScalarValue,
    wanted: Option<&DataType>,
) -> Result<ScalarValue, String> {
    match wanted {
        Some(ty) => scalar
            .cast_to(ty)
            .map_err(|_| format!("{scalar} is no {}", super::cells::type_name(ty))),
        None => Ok(scalar),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_what_the_statement_wants() {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let given = [
            json!("1970-01-01T00:00:01Z"),
            json!(2),
            json!(null),
            json!("x"),
        ];
        let wanted = [
            Some(time),
            Some(DataType::Float32),
            Some(DataType::Int8),
            None,
        ];
        assert_eq!(
            scalars(&given, &wanted),
            Ok(vec![
                ScalarValue::TimestampNanosecond(Some(1_000_000_000), Some("UTC".into())),
                ScalarValue::Float32(Some(2.0)),
                ScalarValue::Int8(None),
                ScalarValue::Utf8(Some("x".into())),
            ])
        );
        for (given, wanted, what) in [
            (vec![], vec![None], "has 1 parameters, 0 were given"),
            (
                vec![json!("x")],
                vec![Some(DataType::Int8)],
                "$1: x is no int8",
            ),
            (vec![json!([1])], vec![None], "$1: must be"),
        ] {
            let error = scalars(&given, &wanted).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
