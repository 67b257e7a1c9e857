//! `vwap(price, volume)`: the mean price of what was traded. NULL if nothing was.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Vwap {
    signature: Signature,
}

impl Vwap {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Vwap {
    fn name(&self) -> &str {
        "vwap"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [price, volume] if price.is_numeric() && volume.is_numeric() => {
                Ok(vec![DataType::Float64; 2])
            }
            _ => plan_err!("vwap takes two numbers, a price and a volume: vwap(Close, Volume)"),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name| Field::new(format_state_name(args.name, name), DataType::Float64, true);
        Ok(vec![Arc::new(field("paid")), Arc::new(field("volume"))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One::new()))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        _args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::default()))
    }
}

/// Money paid and volume traded of each group.
#[derive(Debug, Default)]
struct Groups {
    paid: Vec<f64>,
    volume: Vec<f64>,
}

impl Groups {
    fn add(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        paid: impl Fn(f64, f64) -> f64,
    ) {
        let (a, b) = (
            values[0].as_primitive::<Float64Type>(),
            values[1].as_primitive::<Float64Type>(),
        );
        for (row, group) in groups.iter().enumerate() {
            let passes = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if passes && a.is_valid(row) && b.is_valid(row) {
                self.paid[*group] += paid(a.value(row), b.value(row));
                self.volume[*group] += b.value(row);
            }
        }
    }

    fn grow(&mut self, total: usize) {
        self.paid.resize(total, 0.0);
        self.volume.resize(total, 0.0);
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        self.add(values, groups, filter, |price, volume| price * volume);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        self.add(states, groups, None, |paid, _| paid);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let paid = emit_to.take_needed(&mut self.paid);
        let volume = emit_to.take_needed(&mut self.volume);
        let means = paid
            .into_iter()
            .zip(volume)
            .map(|(paid, volume)| mean(paid, volume));
        Ok(Arc::new(means.collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let parts = [&mut self.paid, &mut self.volume];
        let array = |part| Arc::new(Float64Array::from(emit_to.take_needed(part))) as ArrayRef;
        Ok(parts.into_iter().map(array).collect())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::default();
        each.update_batch(values, &groups, filter, groups.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        (self.paid.capacity() + self.volume.capacity()) * size_of::<f64>()
    }
}

/// One group.
#[derive(Debug)]
struct One(Groups);

impl One {
    fn new() -> Self {
        let mut one = Groups::default();
        one.grow(1);
        Self(one)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        self.0.update_batch(values, &groups, None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states[0].len()];
        self.0.merge_batch(states, &groups, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (paid, volume) = (self.0.paid[0], self.0.volume[0]);
        Ok(ScalarValue::Float64(mean(paid, volume)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let parts = [self.0.paid[0], self.0.volume[0]];
        Ok(parts.map(|part| ScalarValue::Float64(Some(part))).to_vec())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

fn mean(paid: f64, volume: f64) -> Option<f64> {
    (volume != 0.0).then_some(paid / volume)
}
