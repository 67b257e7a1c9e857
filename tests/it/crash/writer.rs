//! One client that writes until the server dies.

use super::model::{Model, Request, bars_difference, tick_table};
use std::collections::BTreeSet;
use tests::candles::{self, Bar, Bars};
use tests::http::Client;
use tests::rng::Rng;
use tests::wire::{self, CallError, Table};

/// The bars lie around a turn of the year: 30 December 2019 and the four days after it.
const FIRST_SLOT: i64 = 1_577_664_000;
const SLOTS: u64 = 5 * 24 * 60;
/// Ticks of a request lie close together, so that times repeat.
const FIRST_TICK: i64 = 1_577_836_790;

/// A writer, its model, and the request whose fate is not known.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) id: u64,
    pub(crate) model: Model,
    pub(crate) in_flight: Option<Request>,
    pub(crate) acknowledged: u64,
    rng: Rng,
    next_slot: u64,
    next_seq: i64,
}

impl Writer {
    pub(crate) fn new(id: u64, rng: Rng) -> Self {
        let model = Model::default();
        Self {
            id,
            model,
            in_flight: None,
            acknowledged: 0,
            rng,
            next_slot: 0,
            next_seq: 0,
        }
    }

    /// All buckets this writer may have written.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .symbols()
            .iter()
            .map(|s| format!("{s}/1Min/OHLCV"))
            .collect();
        keys.push(format!("{}/1Sec/TICK", self.tick_symbol()));
        keys
    }

    /// One symbol for single requests and four that are written together.
    fn symbols(&self) -> Vec<String> {
        let together = (0..4).map(|n| format!("M{}-{n}", self.id));
        std::iter::once(format!("W{}", self.id))
            .chain(together)
            .collect()
    }

    fn tick_symbol(&self) -> String {
        format!("T{}", self.id)
    }

    /// Writes until a request gets no answer.
    pub(crate) fn run(&mut self, client: &mut Client) {
        loop {
            let request = self.draw();
            self.in_flight = Some(request.clone());
            match send(client, &request) {
                Ok(()) => {
                    self.model.apply(&request);
                    self.in_flight = None;
                    self.acknowledged += 1;
                    if self.rng.chance(2) && !self.reads_its_own_rows(client) {
                        return;
                    }
                }
                Err(CallError::Io(_)) => return,
                Err(e) => panic!("writer {}: a good request was refused: {e:?}", self.id),
            }
        }
    }

    /// Whoever got an answer sees the rows at once; `false` if the server died meanwhile.
    fn reads_its_own_rows(&self, client: &mut Client) -> bool {
        let symbol = format!("W{}", self.id);
        match wire::query_one(client, &format!("{symbol}/1Min/OHLCV")) {
            Ok(table) => {
                let wanted = self.model.bars.get(&symbol).cloned().unwrap_or_default();
                let stored = candles::bars(&table);
                assert!(
                    stored == wanted,
                    "writer {} does not see its own rows {}",
                    self.id,
                    bars_difference(&symbol, &wanted, &stored)
                );
                true
            }
            Err(CallError::Io(_)) => false,
            Err(e) => panic!("writer {}: a good query was refused: {e:?}", self.id),
        }
    }

    fn draw(&mut self) -> Request {
        match self.rng.below(10) {
            0..=3 => {
                let bars = self.new_bars();
                Request::Bars(vec![(format!("W{}", self.id), bars)])
            }
            4 => {
                let bars = self.corrections();
                Request::Bars(vec![(format!("W{}", self.id), bars)])
            }
            5..=6 => self.together(),
            _ => self.ticks(),
        }
    }

    /// The next minutes; at the end of the days it begins again, which makes corrections.
    fn new_bars(&mut self) -> Bars {
        let count = 1 + self.rng.below(40);
        let first = self.next_slot;
        self.next_slot = (first + count) % SLOTS;
        (first..first + count)
            .map(|slot| (epoch(slot), self.bar()))
            .collect()
    }

    /// Minutes anywhere before the newest one, in any order.
    fn corrections(&mut self) -> Bars {
        let newest = self.next_slot.max(1);
        let slots: BTreeSet<u64> = (0..1 + self.rng.below(8))
            .map(|_| self.rng.below(newest))
            .collect();
        slots
            .into_iter()
            .map(|slot| (epoch(slot), self.bar()))
            .collect()
    }

    /// The same minutes of several symbols in one request.
    fn together(&mut self) -> Request {
        let count = 1 + self.rng.below(10);
        let first = self.rng.below(SLOTS);
        let id = self.id;
        let bucket = |n: u64| {
            let bars: Bars = (first..first + count)
                .map(|s| (epoch(s), self.bar()))
                .collect();
            (format!("M{id}-{n}"), bars)
        };
        Request::Bars((0..4).map(bucket).collect())
    }

    fn ticks(&mut self) -> Request {
        let count = 1 + self.rng.below(20);
        let symbol = self.tick_symbol();
        let ticks = (0..count).map(|_| {
            self.next_seq += 1;
            let nanos = [0, 1, 999_999_999, self.rng.below(1_000_000_000) as i32];
            let time = FIRST_TICK + self.rng.below(20) as i64;
            let price = self.rng.below(100_000) as f32 / 64.0;
            (
                time,
                nanos[self.rng.below(4) as usize],
                self.next_seq,
                price,
            )
        });
        Request::Ticks(symbol, ticks.collect())
    }

    fn bar(&mut self) -> Bar {
        let mut price = || self.rng.below(1 << 20) as f32 / 256.0;
        let (open, close, a, b) = (price(), price(), price(), price());
        let high = open.max(close).max(a).max(b);
        let low = open.min(close).min(a).min(b);
        Bar {
            open,
            high,
            low,
            close,
            volume: self.rng.below(1000) as i32,
        }
    }
}

fn epoch(slot: u64) -> i64 {
    FIRST_SLOT + 60 * (slot % SLOTS) as i64
}

fn send(client: &mut Client, request: &Request) -> Result<(), CallError> {
    match request {
        Request::Bars(buckets) => {
            let tables: Vec<(String, Table)> = buckets
                .iter()
                .map(|(symbol, bars)| (format!("{symbol}/1Min/OHLCV"), candles::table(bars)))
                .collect();
            let tables: Vec<(&str, &Table)> = tables.iter().map(|(k, t)| (k.as_str(), t)).collect();
            wire::write(client, &tables, false)
        }
        Request::Ticks(symbol, ticks) => {
            let key = format!("{symbol}/1Sec/TICK");
            wire::write(client, &[(&key, &tick_table(ticks))], true)
        }
    }
}
