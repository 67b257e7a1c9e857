//! `first(x, Epoch)` and `last(x, Epoch)`: the value of the earliest and of the latest row of a
//! group. Rows may come in any order; where time or value is NULL a row does not count. Of rows of
//! one time `first` takes the one that came first, `last` the one that came last.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
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
pub(super) struct ByTime {
    signature: Signature,
    last: bool,
}

impl ByTime {
    pub(super) fn first() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            last: false,
        }
    }

    pub(super) fn last() -> Self {
        Self {
            last: true,
            ..Self::first()
        }
    }
}

impl AggregateUDFImpl for ByTime {
    fn name(&self) -> &str {
        if self.last { "last" } else { "first" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let [value, time] = types else {
            return plan_err!("{name} takes a value and a time: {name}(Close, Epoch)");
        };
        let time = match time {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
            time if time.is_integer() => DataType::Int64,
            other => return plan_err!("{name}: the second argument is a time, not {other}"),
        };
        Ok(vec![value.clone(), time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = format_state_name(args.name, "value");
        let time = format_state_name(args.name, "time");
        Ok(vec![
            Arc::new(Field::new(
                value,
                args.return_field.data_type().clone(),
                true,
            )),
            Arc::new(Field::new(time, DataType::Int64, true)),
        ])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One {
            last: self.last,
            value: ScalarValue::try_from(args.return_field.data_type())?,
            time: None,
        }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        let ty = args.return_field.data_type();
        ty.is_integer()
            || matches!(
                ty,
                DataType::Float32
                    | DataType::Float64
                    | DataType::Timestamp(TimeUnit::Nanosecond, _)
            )
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let ty = args.return_field.data_type();
        macro_rules! groups {
            ($($data:pat => $ty:ty),*) => { match ty {
                $($data => Ok(Box::new(Groups::<$ty>::new(self.last, ty.clone()))),)*
                other => internal_err!("{} of {other} has no groups", self.name()),
            } };
        }
        groups!(
            DataType::Float32 => Float32Type, DataType::Float64 => Float64Type,
            DataType::Int8 => Int8Type, DataType::Int16 => Int16Type,
            DataType::Int32 => Int32Type, DataType::Int64 => Int64Type,
            DataType::UInt8 => UInt8Type, DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type, DataType::UInt64 => UInt64Type,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => TimestampNanosecondType
        )
    }
}

/// Whether a row replaces the one so far.
#[inline(always)]
fn replaces(last: bool, time: i64, so_far: i64) -> bool {
    if last { time >= so_far } else { time < so_far }
}

/// Times as numbers, whatever they are.
fn numbers(times: &ArrayRef) -> Result<Int64Array> {
    let times = cast(times, &DataType::Int64)?;
    Ok(times.as_primitive::<Int64Type>().clone())
}

/// All groups, value by value.
struct Groups<T: ArrowPrimitiveType> {
    last: bool,
    ty: DataType,
    values: Vec<T::Native>,
    times: Vec<i64>,
    is_set: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Groups<T> {
    fn new(last: bool, ty: DataType) -> Self {
        Self {
            last,
            ty,
            values: Vec::new(),
            times: Vec::new(),
            is_set: Vec::new(),
        }
    }

    fn grow(&mut self, groups: usize) {
        let before_all = if self.last { i64::MIN } else { i64::MAX };
        self.values.resize(groups, T::Native::default());
        self.times.resize(groups, before_all);
        self.is_set.resize(groups, false);
    }

    fn take(&mut self, emit_to: EmitTo) -> (PrimitiveArray<T>, Int64Array) {
        let values = emit_to.take_needed(&mut self.values);
        let times = emit_to.take_needed(&mut self.times);
        let is_set = emit_to.take_needed(&mut self.is_set);
        let nulls = match is_set.iter().all(|set| *set) {
            true => None,
            false => Some(NullBuffer::from(is_set)),
        };
        let values = PrimitiveArray::<T>::new(values.into(), nulls.clone());
        (
            values.with_data_type(self.ty.clone()),
            Int64Array::new(times.into(), nulls),
        )
    }

    fn add(
        &mut self,
        values: &PrimitiveArray<T>,
        times: &Int64Array,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) {
        let nulls = NullBuffer::union(values.nulls(), times.nulls());
        let (values, times) = (values.values(), times.values());
        let rows = groups.iter().zip(values.iter().zip(times.iter()));
        let last = self.last;
        let (kept, newest, is_set) = (&mut self.values, &mut self.times, &mut self.is_set);
        let mut put = |group: usize, value: T::Native, time: i64| {
            if replaces(last, time, newest[group]) || !is_set[group] {
                (kept[group], newest[group], is_set[group]) = (value, time, true);
            }
        };
        if filter.is_none() && nulls.is_none() {
            rows.for_each(|(group, (value, time))| put(*group, *value, *time));
            return;
        }
        for (row, (group, (value, time))) in rows.enumerate() {
            let passes = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if passes && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                put(*group, *value, *time);
            }
        }
    }
}

impl<T: ArrowPrimitiveType + Send> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let times = numbers(&values[1])?;
        self.add(values[0].as_primitive::<T>(), &times, groups, filter);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(states, groups, None, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.take(emit_to).0))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (values, times) = self.take(emit_to);
        Ok(vec![Arc::new(values), Arc::new(times)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut each = Self::new(self.last, self.ty.clone());
        let groups: Vec<usize> = (0..values[0].len()).collect();
        each.update_batch(values, &groups, filter, groups.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>()
            + self.times.capacity() * size_of::<i64>()
            + self.is_set.capacity()
    }
}

/// One group of any type.
#[derive(Debug)]
struct One {
    last: bool,
    value: ScalarValue,
    time: Option<i64>,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = numbers(&values[1])?;
        let nulls = NullBuffer::union(values[0].logical_nulls().as_ref(), times.nulls());
        let mut best: Option<usize> = None;
        for (row, time) in times.values().iter().enumerate() {
            let counts = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let so_far = best.map(|best| times.value(best)).or(self.time);
            if counts && so_far.is_none_or(|so_far| replaces(self.last, *time, so_far)) {
                best = Some(row);
            }
        }
        if let Some(best) = best {
            self.value = ScalarValue::try_from_array(&values[0], best)?;
            self.time = Some(times.value(best));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.time)])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size() - size_of::<ScalarValue>()
    }
}
