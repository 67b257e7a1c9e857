//! Bars recomputed the slow and obvious way, to compare aggregates with.

use crate::wire::Table;
use std::collections::BTreeMap;

/// One bar of f4 prices and an i4 volume.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// First price.
    pub open: f32,
    /// Highest price.
    pub high: f32,
    /// Lowest price.
    pub low: f32,
    /// Last price.
    pub close: f32,
    /// Sum of volumes.
    pub volume: i32,
}

/// Bars by epoch.
pub type Bars = BTreeMap<i64, Bar>;

/// The bars of a table with the columns Epoch, Open, High, Low, Close, Volume.
pub fn bars(table: &Table) -> Bars {
    if table.columns.is_empty() {
        return Bars::new();
    }
    let epochs = table.get_i8("Epoch");
    assert!(epochs.is_sorted_by(|a, b| a < b), "rows ascend, one a slot");
    let prices = ["Open", "High", "Low", "Close"].map(|name| table.get_f4(name));
    let volumes = table.get_i4("Volume");
    let bar = |i: usize| Bar {
        open: prices[0][i],
        high: prices[1][i],
        low: prices[2][i],
        close: prices[3][i],
        volume: volumes[i],
    };
    epochs
        .iter()
        .enumerate()
        .map(|(i, epoch)| (*epoch, bar(i)))
        .collect()
}

/// The table of bars.
pub fn table(bars: &Bars) -> Table {
    let column = |f: fn(&Bar) -> f32| bars.values().map(f).collect::<Vec<f32>>();
    Table::default()
        .i8("Epoch", &bars.keys().copied().collect::<Vec<_>>())
        .f4("Open", &column(|b| b.open))
        .f4("High", &column(|b| b.high))
        .f4("Low", &column(|b| b.low))
        .f4("Close", &column(|b| b.close))
        .i4(
            "Volume",
            &bars.values().map(|b| b.volume).collect::<Vec<_>>(),
        )
}

/// The bars of `seconds` that base bars make, windows counted from 1970, UTC.
pub fn aggregate(base: &Bars, seconds: i64) -> Bars {
    let mut out = Bars::new();
    for (epoch, bar) in base {
        let window = epoch - epoch.rem_euclid(seconds);
        out.entry(window)
            .and_modify(|sum| {
                sum.high = sum.high.max(bar.high);
                sum.low = sum.low.min(bar.low);
                sum.close = bar.close;
                sum.volume += bar.volume;
            })
            .or_insert(*bar);
    }
    out
}
