//! `adjust_factor(symbol, Epoch [, 'split'] [, 'dividend'])`: by what a price of that time is divided
//! to be one of today. See `model::functions::Factors`.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, TimestampNanosecondType};
use datafusion::common::{ScalarValue, exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use model::functions::{Adjust, Factors};
use parking_lot::Mutex;

use super::Lookup;
use super::time_bucket::time_type;

/// Its name.
pub(super) const ADJUST_FACTOR: &str = "adjust_factor";

/// The function; the factors of a symbol are read when they are first wanted, once a statement.
#[derive(Debug)]
pub(super) struct AdjustFactor {
    signature: Signature,
    lookup: Arc<dyn Lookup>,
    known: Mutex<HashMap<(String, bool, bool), Arc<Factors>>>,
}

// There is one in a session.
impl PartialEq for AdjustFactor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lookup, &other.lookup)
    }
}

impl Eq for AdjustFactor {}

impl Hash for AdjustFactor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl AdjustFactor {
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Stable),
            lookup,
            known: Mutex::default(),
        }
    }

    fn factors(&self, symbol: &str, which: Adjust) -> Result<Arc<Factors>> {
        let key = (symbol.to_owned(), which.splits, which.dividends);
        if let Some(factors) = self.known.lock().get(&key) {
            return Ok(factors.clone());
        }
        let actions = self.lookup.actions(symbol);
        let actions = actions.map_err(|error| exec_datafusion_err!("{error}"))?;
        let factors = match actions {
            None => Factors::none(),
            Some(actions) => {
                let factors = Factors::of(&actions, which);
                factors.map_err(|error| exec_datafusion_err!("{symbol}/1D/ACTIONS: {error}"))?
            }
        };
        let factors = Arc::new(factors);
        self.known.lock().insert(key, factors.clone());
        Ok(factors)
    }
}

impl ScalarUDFImpl for AdjustFactor {
    fn name(&self) -> &str {
        ADJUST_FACTOR
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=4).contains(&types.len()) || !matches!(types[1], DataType::Timestamp(..)) {
            return plan_err!(
                "adjust_factor takes a symbol, a time, and which actions count: \
                 adjust_factor('AAPL', Epoch, 'split', 'dividend')"
            );
        }
        let mut out = vec![DataType::Utf8; types.len()];
        out[1] = time_type();
        Ok(out)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut words = Vec::new();
        for word in &args.args[2..] {
            match word {
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(word))) => words.push(word.clone()),
                _ => return plan_err!("adjust_factor: 'split' and 'dividend' are literals"),
            }
        }
        let which = Adjust::of(&words).or_else(|error| plan_err!("{error}"))?;
        let times = args.args[1].to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampNanosecondType>();
        if let ColumnarValue::Scalar(ScalarValue::Utf8(Some(symbol))) = &args.args[0] {
            let factors = self.factors(symbol, which)?;
            let values = factors.all(times.values());
            let array = Float64Array::new(values.into(), times.nulls().cloned());
            return Ok(ColumnarValue::Array(Arc::new(array)));
        }
        let symbols = args.args[0].to_array(args.number_rows)?;
        let symbols = symbols.as_string::<i32>();
        let mut last: Option<(&str, Arc<Factors>)> = None;
        let mut out = Vec::with_capacity(times.len());
        for (symbol, time) in symbols.iter().zip(times) {
            let (Some(symbol), Some(time)) = (symbol, time) else {
                out.push(None);
                continue;
            };
            let factors = match &last {
                Some((known, factors)) if *known == symbol => factors.clone(),
                _ => self.factors(symbol, which)?,
            };
            out.push(Some(factors.at(time)));
            last = Some((symbol, factors));
        }
        Ok(ColumnarValue::Array(Arc::new(Float64Array::from(out))))
    }
}
