//! `candlecandler` and `tickcandler`: rows into candles of a longer timeframe.
//!
//! Candles of the pieces are candles again: the last of a piece waits, as a row, for the first of
//! the next, and both are rolled up together.

use std::slice::from_ref;

use super::call::{FunctionError, Given};
use super::grid::{Grid, Step};
use super::pipeline::{Input, Place, join};
use crate::batch::{Column, ColumnBatch};
use crate::candle::{Aggregation, Windows, roll_up};
use crate::schema::{ColumnDef, ColumnType, Schema};
use crate::zone::Zone;

/// Candles: first, largest, smallest and last value of each window, and sums and means of further
/// columns. Several columns of one price are averaged row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candler {
    /// Length of a candle.
    pub step: Step,
    /// Columns of the opening, highest, lowest and closing price; at least one each.
    pub prices: [Vec<String>; 4],
    /// Columns that are summed, as `<name>_SUM`.
    pub sums: Vec<String>,
    /// Columns of which the mean is taken, as `<name>_AVG`.
    pub means: Vec<String>,
}

/// Names of the prices of a candle.
pub(super) const PRICES: [&str; 4] = ["Open", "High", "Low", "Close"];

impl Candler {
    pub(super) fn of_candles(mut given: Given) -> Result<Self, FunctionError> {
        let prices = [0, 1, 2, 3].map(|parameter| given.take(parameter));
        let (sums, means) = (given.take(4), given.take(5));
        Self::new(&given, prices, sums, means)
    }

    pub(super) fn of_ticks(mut given: Given) -> Result<Self, FunctionError> {
        let price = given.take(0);
        let prices = [price.clone(), price.clone(), price.clone(), price];
        let (sums, means) = (given.take(1), given.take(2));
        Self::new(&given, prices, sums, means)
    }

    fn new(
        given: &Given,
        prices: [Vec<String>; 4],
        sums: Vec<String>,
        means: Vec<String>,
    ) -> Result<Self, FunctionError> {
        let step = Step::parse(given.literal()?);
        let step = step.map_err(|error| FunctionError(format!("{}: {error}", given.name)))?;
        Ok(Self {
            step,
            prices,
            sums,
            means,
        })
    }

    pub(super) fn columns(&self) -> Vec<&str> {
        let lists = self.prices.iter().chain([&self.sums, &self.means]);
        lists.flatten().map(String::as_str).collect()
    }
}

/// One price: the columns that are averaged into it.
#[derive(Debug)]
struct Price {
    places: Vec<Place>,
    ty: ColumnType,
}

impl Price {
    fn new(columns: &[String], input: &Input<'_>) -> Result<Self, FunctionError> {
        let found = columns.iter().map(|name| number(name, input));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let all_f32 = found.iter().all(|(_, ty)| *ty == ColumnType::F32);
        let ty = match &found[..] {
            [(_, ty)] => *ty,
            _ if all_f32 => ColumnType::F32,
            _ => ColumnType::F64,
        };
        let places = found.into_iter().map(|(place, _)| place).collect();
        Ok(Self { places, ty })
    }

    fn of(&self, rows: &ColumnBatch) -> Result<Column, FunctionError> {
        if let [place] = self.places[..] {
            return Ok(place.of(rows));
        }
        let mut sums = vec![0.0; rows.rows()];
        for place in &self.places {
            let column = place
                .of(rows)
                .cast(ColumnType::F64)
                .map_err(FunctionError::of)?;
            let values = column.values::<f64>().unwrap_or_default();
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        }
        let count = self.places.len() as f64;
        sums.iter_mut().for_each(|sum| *sum /= count);
        Column::from_values(sums)
            .cast(self.ty)
            .map_err(FunctionError::of)
    }
}

fn number(name: &str, input: &Input<'_>) -> Result<(Place, ColumnType), FunctionError> {
    match input.find(name)? {
        (_, ColumnType::Str16) => Err(FunctionError(format!(
            "a candle of column {name}, which is text"
        ))),
        found => Ok(found),
    }
}

/// A candler at work.
#[derive(Debug)]
pub(super) struct Running {
    grid: Grid,
    prices: [Price; 4],
    /// Summed columns, then those of means.
    totals: Vec<Place>,
    sums: usize,
    /// Prices, sums, sums of means, and the number of rows.
    partial: Schema,
    schema: Schema,
    /// The last candle so far.
    open: Option<ColumnBatch>,
}

impl Running {
    pub(super) fn new(
        call: &Candler,
        input: &Input<'_>,
        zone: &Zone,
    ) -> Result<Self, FunctionError> {
        let [open, high, low, close] = &call.prices;
        let prices = [
            Price::new(open, input)?,
            Price::new(high, input)?,
            Price::new(low, input)?,
            Price::new(close, input)?,
        ];
        let totals = call.sums.iter().chain(&call.means);
        let totals = totals.map(|name| Ok(number(name, input)?.0));
        let mut columns: Vec<ColumnDef> = PRICES
            .iter()
            .zip(&prices)
            .map(|(n, p)| ColumnDef::new(*n, p.ty))
            .collect();
        let total = |name: &String, of| ColumnDef::new(format!("{name}_{of}"), ColumnType::F64);
        columns.extend(call.sums.iter().map(|name| total(name, "SUM")));
        columns.extend(call.means.iter().map(|name| total(name, "AVG")));
        let schema = Schema::new(columns.clone());
        columns.push(ColumnDef::new("rows", ColumnType::I64));
        let wrong =
            |error: crate::SchemaError| FunctionError(format!("columns of a candle: {error}"));
        Ok(Self {
            grid: Grid::new(call.step, zone.clone()),
            totals: totals.collect::<Result<_, FunctionError>>()?,
            sums: call.sums.len(),
            prices,
            partial: Schema::new(columns).map_err(wrong)?,
            schema: schema.map_err(wrong)?,
            open: None,
        })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn push(&mut self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        if rows.is_empty() {
            return Ok(ColumnBatch::empty(self.schema.clone()));
        }
        let mut candles = self.candles(rows)?;
        if let Some(open) = self.open.take() {
            let same = open.times()[0] == candles.times()[0];
            let both = join(&open, &candles)?;
            candles = if same { self.merged(&both)? } else { both };
        }
        let last = candles.rows() - 1;
        self.open = Some(candles.slice(last..last + 1));
        self.certain(&candles.slice(0..last))
    }

    pub(super) fn finish(mut self) -> Result<ColumnBatch, FunctionError> {
        match self.open.take() {
            Some(candle) => self.certain(&candle),
            None => Ok(ColumnBatch::empty(self.schema)),
        }
    }

    /// The candles of rows that are not empty.
    fn candles(&self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        let windows = Windows::on(rows.times(), &self.grid);
        let mut columns = Vec::with_capacity(self.partial.len());
        for (price, how) in self.prices.iter().zip(HOW) {
            columns.push(roll_up(&price.of(rows)?, &windows, how).column);
        }
        for place in &self.totals {
            let column = place
                .of(rows)
                .cast(ColumnType::F64)
                .map_err(FunctionError::of)?;
            columns.push(roll_up(&column, &windows, Aggregation::Sum).column);
        }
        let starts = [0].iter().chain(&windows.ends);
        let counts = windows
            .ends
            .iter()
            .zip(starts)
            .map(|(end, start)| i64::from(end - start));
        columns.push(Column::from_values::<i64>(counts.collect()));
        let times = Column::from_values(windows.starts);
        ColumnBatch::new(self.partial.clone(), times, columns).map_err(FunctionError::of)
    }

    /// Candles of which some are of one window, as one candle a window.
    fn merged(&self, candles: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        let windows = Windows::on(candles.times(), &self.grid);
        let hows = HOW.into_iter().chain(std::iter::repeat(Aggregation::Sum));
        let columns = candles.columns().iter().zip(hows);
        let columns = columns.map(|(column, how)| roll_up(column, &windows, how).column);
        let columns = columns.collect();
        let times = Column::from_values(windows.starts);
        ColumnBatch::new(self.partial.clone(), times, columns).map_err(FunctionError::of)
    }

    /// Candles as they are given out: means instead of sums and counts.
    fn certain(&self, candles: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        let (counts, columns) = candles
            .columns()
            .split_last()
            .map_or((&[][..], &[][..]), |(c, rest)| (from_ref(c), rest));
        let counts = counts
            .first()
            .and_then(Column::values::<i64>)
            .unwrap_or_default();
        let first_mean = PRICES.len() + self.sums;
        let mean = |sums: &Column| {
            let sums = sums.values::<f64>().unwrap_or_default().iter();
            Column::from_values::<f64>(sums.zip(counts).map(|(sum, n)| sum / *n as f64).collect())
        };
        let columns = columns.iter().enumerate();
        let columns = columns.map(|(at, column)| match at < first_mean {
            true => column.clone(),
            false => mean(column),
        });
        let columns = columns.collect();
        ColumnBatch::new(self.schema.clone(), candles.time_column().clone(), columns)
            .map_err(FunctionError::of)
    }
}

const HOW: [Aggregation; 4] = [
    Aggregation::First,
    Aggregation::Max,
    Aggregation::Min,
    Aggregation::Last,
];
