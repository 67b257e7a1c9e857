//! `high(x)` and `low(x)`: the largest and the smallest value, NaN only if there is nothing else. `max`
//! and `min` of SQL give what the order of the rows makes of a NaN; candles must not.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::{ScalarValue, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

/// Either function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    signature: Signature,
    high: bool,
}

impl Extreme {
    pub(super) fn new(high: bool) -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            high,
        }
    }
}

/// The accumulator of a type, made by `One::new` or `Groups::new`.
macro_rules! of_type {
    ($ty:expr, $what:ident, $high:expr) => {
        match $ty {
            DataType::Float32 => Ok(Box::new($what::<Float32Type>::new($high))),
            DataType::Float64 => Ok(Box::new($what::<Float64Type>::new($high))),
            DataType::Int8 => Ok(Box::new($what::<Int8Type>::new($high))),
            DataType::Int16 => Ok(Box::new($what::<Int16Type>::new($high))),
            DataType::Int32 => Ok(Box::new($what::<Int32Type>::new($high))),
            DataType::Int64 => Ok(Box::new($what::<Int64Type>::new($high))),
            DataType::UInt8 => Ok(Box::new($what::<UInt8Type>::new($high))),
            DataType::UInt16 => Ok(Box::new($what::<UInt16Type>::new($high))),
            DataType::UInt32 => Ok(Box::new($what::<UInt32Type>::new($high))),
            DataType::UInt64 => Ok(Box::new($what::<UInt64Type>::new($high))),
            other => internal_err!("no extremes of {other}"),
        }
    };
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        if self.high { "high" } else { "low" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [ty] if ty.is_integer() || matches!(ty, DataType::Float32 | DataType::Float64) => {
                Ok(types.to_vec())
            }
            _ => plan_err!("{} takes one number: {0}(Close)", self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "value");
        let ty = args.return_field.data_type().clone();
        Ok(vec![Arc::new(Field::new(name, ty, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        of_type!(args.return_field.data_type(), One, self.high)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        of_type!(args.return_field.data_type(), Groups, self.high)
    }
}

/// The value of each group so far.
struct Groups<T: ArrowPrimitiveType> {
    high: bool,
    values: Vec<T::Native>,
    is_set: Vec<bool>,
}

/// Whether a value replaces the one so far; a NaN so far is replaced by anything.
#[inline(always)]
fn replaces<N: PartialOrd + Copy>(high: bool, new: N, so_far: N) -> bool {
    let is_nan = so_far.partial_cmp(&so_far).is_none();
    is_nan || if high { new > so_far } else { new < so_far }
}

impl<T: ArrowPrimitiveType> Groups<T> {
    fn new(high: bool) -> Self {
        Self {
            high,
            values: Vec::new(),
            is_set: Vec::new(),
        }
    }

    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, T::Native::default());
        self.is_set.resize(groups, false);
    }

    fn put(&mut self, group: usize, value: T::Native) {
        if !self.is_set[group] || replaces(self.high, value, self.values[group]) {
            (self.values[group], self.is_set[group]) = (value, true);
        }
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let values = values[0].as_primitive::<T>();
        let rows = groups.iter().zip(values.values());
        if filter.is_none() && values.null_count() == 0 {
            rows.for_each(|(group, value)| self.put(*group, *value));
            return Ok(());
        }
        for (row, (group, value)) in rows.enumerate() {
            let passes = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if passes && values.is_valid(row) {
                self.put(*group, *value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(states, groups, None, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let values = emit_to.take_needed(&mut self.values);
        let is_set = emit_to.take_needed(&mut self.is_set);
        let nulls = match is_set.iter().all(|set| *set) {
            true => None,
            false => Some(NullBuffer::from(is_set)),
        };
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::new(self.high);
        each.update_batch(values, &groups, filter, groups.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.is_set.capacity()
    }
}

/// One group.
struct One<T: ArrowPrimitiveType>(Groups<T>);

impl<T: ArrowPrimitiveType> One<T> {
    fn new(high: bool) -> Self {
        let mut one = Groups::new(high);
        one.grow(1);
        Self(one)
    }
}

impl<T: ArrowPrimitiveType> std::fmt::Debug for One<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("One")
    }
}

impl<T: ArrowPrimitiveType> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        self.0.update_batch(values, &groups, None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.0.is_set[0].then_some(self.0.values[0]);
        let value = PrimitiveArray::<T>::from_iter([value]);
        ScalarValue::try_from_array(&value, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}
