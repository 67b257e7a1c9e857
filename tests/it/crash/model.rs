//! What one writer's buckets must hold: sorted maps and lists.

use std::collections::BTreeMap;
use tests::candles::{self, Bars};
use tests::http::Client;
use tests::wire::{Table, query_one};

/// A tick: (Epoch, Nanoseconds), sequence number, price.
pub(crate) type Tick = (i64, i32, i64, f32);

/// One request as the model sees it.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Bars of several symbols, one commit.
    Bars(Vec<(String, Bars)>),
    /// Ticks of one symbol.
    Ticks(String, Vec<Tick>),
}

/// The rows of all buckets of one writer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Model {
    /// 1Min bars by symbol.
    pub(crate) bars: BTreeMap<String, Bars>,
    /// Ticks by symbol, in time order; ticks of one time in the order they were written.
    pub(crate) ticks: BTreeMap<String, Vec<Tick>>,
}

impl Model {
    /// Does what the server does with an acknowledged request.
    pub(crate) fn apply(&mut self, request: &Request) {
        match request {
            Request::Bars(buckets) => {
                for (symbol, bars) in buckets {
                    self.bars.entry(symbol.clone()).or_default().extend(bars);
                }
            }
            Request::Ticks(symbol, ticks) => {
                let all = self.ticks.entry(symbol.clone()).or_default();
                all.extend(ticks);
                // Stable: equal times stay in the order of writing.
                all.sort_by_key(|t| (t.0, t.1));
            }
        }
    }

    /// What the server holds in those buckets.
    pub(crate) fn read(client: &mut Client, keys: &[String]) -> Self {
        let mut model = Self::default();
        for key in keys {
            let symbol = key.split('/').next().expect("a symbol").to_string();
            let table = query_one(client, key).expect("a query");
            if table.rows == 0 {
                continue;
            }
            if key.ends_with("/TICK") {
                model.ticks.insert(symbol, read_ticks(&table));
            } else {
                model.bars.insert(symbol, candles::bars(&table));
            }
        }
        model
    }

    /// The first difference, for a message.
    pub(crate) fn difference(&self, stored: &Self) -> String {
        let none = Bars::new();
        for symbol in self.bars.keys().chain(stored.bars.keys()) {
            let wanted = self.bars.get(symbol).unwrap_or(&none);
            let got = stored.bars.get(symbol).unwrap_or(&none);
            if wanted != got {
                return bars_difference(symbol, wanted, got);
            }
        }
        for symbol in self.ticks.keys().chain(stored.ticks.keys()) {
            let wanted = self.ticks.get(symbol).map_or(&[][..], Vec::as_slice);
            let got = stored.ticks.get(symbol).map_or(&[][..], Vec::as_slice);
            if wanted != got {
                let at = wanted.iter().zip(got).position(|(a, b)| a != b);
                let at = at.unwrap_or(wanted.len().min(got.len()));
                return format!(
                    "({symbol}: {} ticks wanted, {} stored, first difference at {at}: {:?} / {:?})",
                    wanted.len(),
                    got.len(),
                    wanted.get(at),
                    got.get(at)
                );
            }
        }
        "(no difference)".into()
    }
}

/// The first difference of two sets of bars.
pub(crate) fn bars_difference(name: &str, wanted: &Bars, got: &Bars) -> String {
    let epochs = wanted.keys().chain(got.keys());
    let at = epochs.filter(|e| wanted.get(e) != got.get(e)).min();
    let [w, g] = [wanted, got].map(|bars| at.and_then(|at| bars.get(at)));
    format!(
        "({name}: {} wanted, {} stored, at {at:?}: {w:?} / {g:?})",
        wanted.len(),
        got.len()
    )
}

/// The table of ticks.
pub(crate) fn tick_table(ticks: &[Tick]) -> Table {
    Table::default()
        .i8("Epoch", &ticks.iter().map(|t| t.0).collect::<Vec<_>>())
        .i8("Seq", &ticks.iter().map(|t| t.2).collect::<Vec<_>>())
        .f4("Price", &ticks.iter().map(|t| t.3).collect::<Vec<_>>())
        .i4(
            "Nanoseconds",
            &ticks.iter().map(|t| t.1).collect::<Vec<_>>(),
        )
}

fn read_ticks(table: &Table) -> Vec<Tick> {
    let (epochs, nanos) = (table.get_i8("Epoch"), table.get_i4("Nanoseconds"));
    let (seqs, prices) = (table.get_i8("Seq"), table.get_f4("Price"));
    (0..table.rows)
        .map(|i| (epochs[i], nanos[i], seqs[i], prices[i]))
        .collect()
}

#[test]
fn the_model_tells_lost_doubled_and_changed_rows() {
    let bar = candles::Bar {
        open: 1.0,
        high: 2.0,
        low: 0.5,
        close: 1.5,
        volume: 3,
    };
    let mut model = Model::default();
    model.apply(&Request::Bars(vec![(
        "A".into(),
        Bars::from([(60, bar), (120, bar)]),
    )]));
    model.apply(&Request::Ticks(
        "T".into(),
        vec![(1, 5, 0, 1.0), (1, 5, 1, 2.0)],
    ));
    let mut lost = model.clone();
    lost.bars.get_mut("A").expect("A").remove(&60);
    assert_ne!(lost, model);
    let mut changed = model.clone();
    changed
        .bars
        .get_mut("A")
        .expect("A")
        .get_mut(&60)
        .expect("60")
        .volume = 4;
    assert_ne!(changed, model);
    let mut doubled = model.clone();
    doubled.apply(&Request::Ticks("T".into(), vec![(1, 5, 1, 2.0)]));
    assert_ne!(doubled, model);
    let mut swapped = model.clone();
    swapped.ticks.get_mut("T").expect("T").swap(0, 1);
    assert_ne!(swapped, model);
    assert!(model.difference(&swapped).contains("first difference at 0"));
}
