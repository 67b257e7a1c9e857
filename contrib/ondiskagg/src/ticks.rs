//! Bars of trades.
//!
//! A trade carries up to four condition codes, the letters of the tapes. Each code says what the
//! trade may change of a bar; a trade changes what all its codes allow. Unknown codes and 0 allow
//! everything. Two codes are no trades but announcements of the listing market, and count for bars
//! of one day only: the official open (`Q`) and the official close (`M`).

use model::{Column, ColumnBatch, ColumnDef, ColumnType, Schema, Timeframe, Unit, Windows};
use plugin_sdk::PluginError;

use crate::output::{Aggregates, text};

const HIGH_LOW: u8 = 1;
const LAST: u8 = 2;
const VOLUME: u8 = 4;
const ALL: u8 = HIGH_LOW | LAST | VOLUME;
const OFFICIAL_OPEN: u8 = 8;
const OFFICIAL_CLOSE: u8 = 16;

/// What each condition code allows.
const RULES: [u8; 256] = rules();

const fn rules() -> [u8; 256] {
    let mut rules = [ALL; 256];
    set(&mut rules, b"WCTNHIV7", VOLUME);
    set(&mut rules, b"G4PRZ", HIGH_LOW | VOLUME);
    set(&mut rules, b"9", HIGH_LOW | LAST);
    set(&mut rules, b"Q", OFFICIAL_OPEN);
    set(&mut rules, b"M", OFFICIAL_CLOSE);
    rules
}

const fn set(rules: &mut [u8; 256], codes: &[u8], rule: u8) {
    let mut at = 0;
    while at < codes.len() {
        rules[codes[at] as usize] = rule;
        at += 1;
    }
}

/// Makes one bar of the trades of each window: Open, High, Low, Close in doubles, Volume as U64.
///
/// Price and Size may be of any number type, Cond1 to Cond4 may be missing. A window whose trades
/// set no price or no volume gives no bar. Prices that are NaN and sizes below zero do not count.
pub(crate) fn tick_bars_of(
    rows: &ColumnBatch,
    windows: &Windows,
    timeframe: Timeframe,
) -> Result<Aggregates, PluginError> {
    let need = |name: &str| {
        let column = rows.column(name);
        column.ok_or_else(|| PluginError::from(format!("the ticks have no column {name}")))
    };
    let prices = need("Price")?.cast(ColumnType::F64).map_err(text)?;
    let prices: &[f64] = prices.values().expect("cast to F64 above");
    let sizes = sizes(need("Size")?)?;
    let sizes: &[u64] = sizes.values().expect("sizes are U64");
    let flags = flags(rows);
    let is_daily = timeframe.unit() == Unit::Day && timeframe.count() == 1;

    let mut bars = Bars::with_capacity(windows.starts.len());
    let mut first = 0;
    for (start, end) in windows.starts.iter().zip(&windows.ends) {
        let window = first..*end as usize;
        first = window.end;
        let trades = prices[window.clone()].iter().zip(&sizes[window.clone()]);
        let bar = match &flags {
            None => bar(trades.map(|(price, size)| (*price, *size, ALL)), is_daily),
            Some(flags) => {
                let trades = trades.zip(&flags[window]);
                let trades = trades.map(|((price, size), flags)| (*price, *size, *flags));
                bar(trades, is_daily)
            }
        };
        bars.push(*start, &bar);
    }
    bars.finish()
}

/// Makes one bar of the trades of each window; see the crate for the columns. Public for the
/// benchmarks.
///
/// # Errors
/// If Price or Size is missing or is text.
pub fn tick_bars(
    rows: &ColumnBatch,
    windows: &Windows,
    timeframe: Timeframe,
) -> Result<ColumnBatch, PluginError> {
    Ok(tick_bars_of(rows, windows, timeframe)?.rows)
}

/// Sizes as U64, those below zero as 0.
fn sizes(column: &Column) -> Result<Column, PluginError> {
    use ColumnType::{I8, I16, I32, I64};
    if !matches!(column.ty(), I8 | I16 | I32 | I64) {
        return column.cast(ColumnType::U64).map_err(text);
    }
    let wide = column.cast(I64).map_err(text)?;
    let wide: &[i64] = wide.values().expect("cast to I64 above");
    let sizes = wide.iter().map(|size| u64::try_from(*size).unwrap_or(0));
    Ok(Column::from_values::<u64>(sizes.collect()))
}

/// What each trade may change; `None` if there are no conditions and all may change all.
fn flags(rows: &ColumnBatch) -> Option<Vec<u8>> {
    let mut flags: Option<Vec<u8>> = None;
    for name in ["Cond1", "Cond2", "Cond3", "Cond4"] {
        let Some(codes) = rows.column(name).and_then(|c| c.cast(ColumnType::U8).ok()) else {
            continue;
        };
        let codes: &[u8] = codes.values().expect("cast to U8 above");
        let flags = flags.get_or_insert_with(|| vec![ALL; rows.rows()]);
        for (flags, code) in flags.iter_mut().zip(codes) {
            let rule = RULES[usize::from(*code)];
            *flags = (*flags & rule & ALL) | ((*flags | rule) & !ALL);
        }
    }
    flags
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    open: Option<f64>,
    high: f64,
    low: f64,
    close: Option<f64>,
    volume: u64,
    saturated: bool,
}

#[inline]
fn bar(trades: impl Iterator<Item = (f64, u64, u8)>, is_daily: bool) -> Bar {
    let mut bar = Bar {
        open: None,
        high: f64::NEG_INFINITY,
        low: f64::INFINITY,
        close: None,
        volume: 0,
        saturated: false,
    };
    let (mut official_open, mut official_close) = (None, None);
    for (price, size, flags) in trades {
        if flags & !ALL != 0 {
            if flags & OFFICIAL_OPEN != 0 {
                official_open = official_open.or(number(price));
            }
            if flags & OFFICIAL_CLOSE != 0 && official_close.is_none() {
                official_close = number(price).map(|price| (price, size));
            }
        }
        if flags & HIGH_LOW != 0 {
            // Comparisons with NaN are false.
            bar.high = if price > bar.high { price } else { bar.high };
            bar.low = if price < bar.low { price } else { bar.low };
        }
        if flags & LAST != 0 && !price.is_nan() {
            bar.open = bar.open.or(number(price));
            bar.close = Some(price);
        }
        if flags & VOLUME != 0 {
            let (sum, wrapped) = bar.volume.overflowing_add(size);
            bar.volume = if wrapped { u64::MAX } else { sum };
            bar.saturated |= wrapped;
        }
    }
    if is_daily {
        bar.open = official_open.or(bar.open);
        if let Some((price, size)) = official_close {
            bar.close = Some(price);
            bar.volume = size;
            bar.saturated = false;
        }
    }
    bar
}

/// A price that can open a bar: 0 is what feeds send when there is none.
fn number(price: f64) -> Option<f64> {
    (price != 0.0 && !price.is_nan()).then_some(price)
}

struct Bars {
    times: Vec<i64>,
    prices: [Vec<f64>; 4],
    volumes: Vec<u64>,
    saturated: usize,
}

impl Bars {
    fn with_capacity(bars: usize) -> Self {
        Self {
            times: Vec::with_capacity(bars),
            prices: std::array::from_fn(|_| Vec::with_capacity(bars)),
            volumes: Vec::with_capacity(bars),
            saturated: 0,
        }
    }

    fn push(&mut self, start: i64, bar: &Bar) {
        let Some(open) = bar.open else { return };
        if bar.volume == 0 {
            return;
        }
        let close = bar.close.unwrap_or(open);
        // Official prices alone leave high and low open.
        let (high, low) = if bar.high < bar.low {
            (open.max(close), open.min(close))
        } else {
            (bar.high, bar.low)
        };
        self.times.push(start);
        for (column, price) in self.prices.iter_mut().zip([open, high, low, close]) {
            column.push(price);
        }
        self.volumes.push(bar.volume);
        self.saturated += usize::from(bar.saturated);
    }

    fn finish(self) -> Result<Aggregates, PluginError> {
        let prices = ["Open", "High", "Low", "Close"].map(|n| ColumnDef::new(n, ColumnType::F64));
        let mut defs = prices.to_vec();
        defs.push(ColumnDef::new("Volume", ColumnType::U64));
        let schema = Schema::new(defs).map_err(|error| PluginError::from(error.to_string()))?;
        let mut columns: Vec<Column> = self.prices.into_iter().map(Column::from_values).collect();
        columns.push(Column::from_values(self.volumes));
        let times = Column::from_values(self.times);
        let rows = ColumnBatch::new(schema, times, columns).map_err(text)?;
        Ok(Aggregates {
            rows,
            saturated: self.saturated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One window of trades (price, size, condition 1, condition 2): the bar, or nothing.
    fn bar_of(trades: &[(f64, u64, u8, u8)], timeframe: &str) -> Option<(f64, f64, f64, f64, u64)> {
        let defs = [
            ("Price", ColumnType::F64),
            ("Size", ColumnType::U64),
            ("Cond1", ColumnType::U8),
            ("Cond2", ColumnType::U8),
        ];
        let defs = defs.map(|(name, ty)| ColumnDef::new(name, ty)).to_vec();
        let columns = vec![
            Column::from_values(trades.iter().map(|t| t.0).collect::<Vec<f64>>()),
            Column::from_values(trades.iter().map(|t| t.1).collect::<Vec<u64>>()),
            Column::from_values(trades.iter().map(|t| t.2).collect::<Vec<u8>>()),
            Column::from_values(trades.iter().map(|t| t.3).collect::<Vec<u8>>()),
        ];
        let times = Column::from_values(vec![0_i64; trades.len()]);
        let rows = ColumnBatch::new(Schema::new(defs).unwrap(), times, columns).unwrap();
        let windows = Windows {
            starts: vec![0],
            ends: vec![trades.len() as u32],
        };
        let bars = tick_bars(&rows, &windows, Timeframe::parse(timeframe).unwrap()).unwrap();
        if bars.is_empty() {
            return None;
        }
        let price = |name| bars.column(name).unwrap().values::<f64>().unwrap()[0];
        let volume = bars.column("Volume").unwrap().values::<u64>().unwrap()[0];
        Some((
            price("Open"),
            price("High"),
            price("Low"),
            price("Close"),
            volume,
        ))
    }

    #[test]
    fn every_code_does_what_the_table_says() {
        // The first trade is regular, the second has the code.
        let with = |code: u8| bar_of(&[(10.0, 1, b'@', 0), (12.0, 5, code, 0)], "1Min").unwrap();
        for code in *b"@AEB6XDFKO15LSY\0z8U" {
            assert_eq!(with(code), (10.0, 12.0, 10.0, 12.0, 6), "{}", code as char);
        }
        for code in *b"WCTNHIV7" {
            assert_eq!(with(code), (10.0, 10.0, 10.0, 10.0, 6), "{}", code as char);
        }
        for code in *b"G4PRZ" {
            assert_eq!(with(code), (10.0, 12.0, 10.0, 10.0, 6), "{}", code as char);
        }
        assert_eq!(with(b'9'), (10.0, 12.0, 10.0, 12.0, 1));
        for code in *b"MQ" {
            assert_eq!(with(code), (10.0, 10.0, 10.0, 10.0, 1), "{}", code as char);
        }
    }

    #[test]
    fn a_trade_changes_what_all_its_codes_allow() {
        let trades = [
            (10.0, 1, b'@', b'F'),
            (12.0, 5, b'9', b'P'),
            (9.0, 7, b'F', b'I'),
        ];
        assert_eq!(bar_of(&trades, "1Min"), Some((10.0, 12.0, 10.0, 10.0, 8)));
    }

    #[test]
    fn official_prices_count_for_days() {
        let trades = [
            (9.0, 3, b'@', 0),
            (10.0, 100, b'Q', 0),
            (12.0, 5, b'@', 0),
            (11.0, 4000, b'M', 0),
            (13.0, 9, b'@', 0),
        ];
        assert_eq!(bar_of(&trades, "1D"), Some((10.0, 13.0, 9.0, 11.0, 4000)));
        assert_eq!(bar_of(&trades, "1H"), Some((9.0, 13.0, 9.0, 13.0, 17)));
        let only = [(10.0, 100, b'Q', 0), (11.0, 4000, b'M', 0)];
        assert_eq!(bar_of(&only, "1D"), Some((10.0, 11.0, 10.0, 11.0, 4000)));
        assert_eq!(bar_of(&only, "1W"), None);
    }

    #[test]
    fn no_price_or_no_volume_is_no_bar() {
        assert_eq!(bar_of(&[(10.0, 0, 0, 0)], "1Min"), None);
        assert_eq!(bar_of(&[(10.0, 5, b'I', 0)], "1Min"), None);
        assert_eq!(bar_of(&[(f64::NAN, 5, 0, 0)], "1Min"), None);
        let below = [(-37.63, 2, 0, 0), (f64::NAN, 3, 0, 0), (-40.0, 1, 0, 0)];
        assert_eq!(
            bar_of(&below, "1Min"),
            Some((-37.63, -37.63, -40.0, -40.0, 6))
        );
        let large = [(1.0, u64::MAX, 0, 0), (1.0, 2, 0, 0)];
        assert_eq!(bar_of(&large, "1Min").unwrap().4, u64::MAX);
    }
}
