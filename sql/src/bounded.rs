//! Functions that make much of little. Their memory is no operator's, so no pool counts it: what they
//! make at once is bounded here, and those that make lists of any length are left out.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::Error;

/// Bytes that a call for one batch may make.
const MADE_BYTES_MAX: u64 = 16 << 20;

/// Lists as long as a number says.
const LEFT_OUT: [&str; 3] = ["range", "array_repeat", "array_resize"];

/// Texts as long as the second argument says, or longer by the third.
const BOUNDED: [(&str, Growth); 5] = [
    ("repeat", Growth::Times),
    ("lpad", Growth::To),
    ("rpad", Growth::To),
    ("replace", Growth::Each),
    ("regexp_replace", Growth::Each),
];

/// How long a result can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument, as often as the second says.
    Times,
    /// As many characters as the second says.
    To,
    /// The third for each character of the first.
    Each,
}

/// Puts the bounds in.
pub(crate) fn bound(state: &mut SessionState) -> Result<()> {
    for name in LEFT_OUT {
        if let Some(function) = state.scalar_functions().get(name).cloned() {
            for alias in function.aliases() {
                state.deregister_udf(alias)?;
            }
            state.deregister_udf(name)?;
        }
    }
    for (name, growth) in BOUNDED {
        if let Some(inner) = state.scalar_functions().get(name).cloned() {
            let bounded = Bounded { inner, growth };
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(bounded)))?;
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let made = made(&call, self.growth)?;
        if made > MADE_BYTES_MAX {
            return Err(Error::limit(format!(
                "{} would make {made} bytes at once, over the limit of {MADE_BYTES_MAX}",
                self.name()
            ))
            .wrap());
        }
        self.inner.invoke_with_args(call)
    }
}

/// Bytes that a call makes at most.
fn made(call: &ScalarFunctionArgs, growth: Growth) -> Result<u64> {
    // A call of constants makes one value.
    let scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
    let rows = match call.args.iter().all(scalar) {
        true => 1,
        false => call.number_rows,
    };
    let of = |at: usize, wanted: Wanted| match call.args.get(at) {
        Some(value) => wanted.read(value, rows),
        None => Ok(vec![1; rows]),
    };
    let (a, b) = match growth {
        Growth::Times => (of(0, Wanted::Length)?, of(1, Wanted::Number)?),
        // A character has at most four bytes.
        Growth::To => (vec![4; rows], of(1, Wanted::Number)?),
        Growth::Each => (of(0, Wanted::Length)?, of(2, Wanted::Length)?),
    };
    let products = a.iter().zip(&b).map(|(a, b)| a.saturating_mul(*b));
    Ok(products.fold(0, u64::saturating_add))
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Length,
    Number,
}

impl Wanted {
    fn read(self, value: &ColumnarValue, rows: usize) -> Result<Vec<u64>> {
        let array = value.to_array(rows)?;
        Ok(match self {
            Self::Number => {
                let numbers = cast(&array, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>().iter();
                numbers
                    .map(|n| n.unwrap_or(0).max(0).unsigned_abs())
                    .collect()
            }
            Self::Length => {
                let texts = cast(&array, &DataType::LargeUtf8)?;
                let texts = texts.as_string::<i64>();
                (0..texts.len())
                    .map(|row| (texts.value_length(row).max(1)) as u64)
                    .collect()
            }
        })
    }
}
