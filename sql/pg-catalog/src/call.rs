//! A function of PostgreSQL as DataFusion calls it: value by value, since catalogs are small.

use std::any::type_name;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, FieldRef};
use sql::ScalarValue;
use sql::datafusion::common::{DataFusionError, Result};
use sql::datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::Known;
use crate::definitions::field;

/// What a function gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

impl From<&str> for Answer {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Option<String>> for Answer {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

impl From<Option<i64>> for Answer {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

/// The arguments of one call.
pub(crate) struct Arguments<'a>(pub(crate) &'a [ScalarValue]);

impl Arguments<'_> {
    /// An argument as text.
    pub(crate) fn text(&self, at: usize) -> Option<String> {
        match self.0.get(at)? {
            ScalarValue::Utf8(text)
            | ScalarValue::LargeUtf8(text)
            | ScalarValue::Utf8View(text) => text.clone(),
            other if other.is_null() => None,
            other => Some(other.to_string()),
        }
    }

    /// An argument as a number.
    pub(crate) fn int(&self, at: usize) -> Option<i64> {
        self.text(at)?.trim().parse().ok()
    }
}

pub(crate) type Run = fn(&Known, &Arguments<'_>) -> Answer;

/// A letter of [`field`], or this: a number of a text, and a name of a number.
pub(crate) const NAME_OR_NUMBER: u8 = b'R';

/// One function.
pub(crate) struct Call {
    name: &'static str,
    letter: u8,
    run: Run,
    known: Arc<Known>,
    signature: Signature,
}

impl Call {
    pub(crate) fn new(name: &'static str, letter: u8, run: Run, known: &Arc<Known>) -> Self {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        Self {
            name,
            letter,
            run,
            known: known.clone(),
            signature: Signature::one_of(any, Volatility::Stable),
        }
    }

    fn result(&self, first: Option<&DataType>) -> FieldRef {
        let letter = match (self.letter, first) {
            (NAME_OR_NUMBER, Some(ty)) if ty.is_numeric() => b't',
            (NAME_OR_NUMBER, _) => b'o',
            (letter, _) => letter,
        };
        Arc::new(field(self.name, letter))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", type_name::<Self>(), self.name)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.known, &other.known)
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.result(types.first()).data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(self.result(args.arg_fields.first().map(|field| field.data_type())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            let value = |arg: &ColumnarValue| match arg {
                ColumnarValue::Scalar(value) => Ok(value.clone()),
                ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
            };
            let values = args.args.iter().map(value).collect::<Result<Vec<_>>>()?;
            answers.push((self.run)(&self.known, &Arguments(&values)));
        }
        let array = array(args.return_field.data_type(), &answers)?;
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
            false => ColumnarValue::Array(array),
        })
    }
}

fn array(ty: &DataType, answers: &[Answer]) -> Result<ArrayRef> {
    let int = |answer: &Answer| match answer {
        Answer::Int(value) => Some(*value),
        _ => None,
    };
    Ok(match ty {
        DataType::Boolean => {
            let is = |answer: &Answer| match answer {
                Answer::Bool(value) => Some(*value),
                _ => None,
            };
            Arc::new(answers.iter().map(is).collect::<BooleanArray>())
        }
        DataType::Int64 => Arc::new(answers.iter().map(int).collect::<Int64Array>()),
        DataType::Int32 => {
            let small = |answer| int(answer).and_then(|value| i32::try_from(value).ok());
            Arc::new(answers.iter().map(small).collect::<Int32Array>())
        }
        DataType::Utf8 => {
            let text = |answer: &Answer| match answer {
                Answer::Text(text) => Some(text.clone()),
                _ => None,
            };
            Arc::new(answers.iter().map(text).collect::<StringArray>())
        }
        DataType::List(_) => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for answer in answers {
                let texts = match answer {
                    Answer::Texts(texts) => Some(texts.iter().map(Some)),
                    _ => None,
                };
                lists.append_option(texts);
            }
            Arc::new(lists.finish())
        }
        other => {
            return Err(DataFusionError::Internal(format!(
                "no function of the catalog gives {other}"
            )));
        }
    })
}
