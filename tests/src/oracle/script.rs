//! The life of a small store: buckets of bars and ticks with every type of column, written in
//! order, late, corrected, in one commit and in several; dropped and made again; checkpointed,
//! reopened and restarted in between.

use model::{BucketKey, RowKind};

use super::value::columns;
use super::{Columns, Part, Row, Step, Value};
use crate::rng::Rng;

/// Nanoseconds.
pub const MINUTE: i64 = 60_000_000_000;
/// Shortly before a new year.
pub const START: i64 = 1_577_836_800_000_000_000 - 10 * MINUTE;

/// The buckets of a life and their columns.
const BUCKETS: [(&str, RowKind, &str); 5] = [
    (
        "SPY/1Min/OHLCV",
        RowKind::Bar,
        "Open:f64 High:f64 Low:f64 Close:f64 Volume:i64",
    ),
    (
        "AAPL/1Min/OHLCV",
        RowKind::Bar,
        "Open:f32 High:f32 Low:f32 Close:f32 Volume:u32",
    ),
    (
        "SPY/1Sec/TRADE",
        RowKind::Tick,
        "Price:f64 Size:i32 Flag:u8 Venue:text",
    ),
    (
        "BTC-USD/1Sec/QUOTE",
        RowKind::Tick,
        "Bid:f64 Ask:f64 A:i8 B:i16 C:u16 D:u64",
    ),
    ("SPY/1D/OHLCV", RowKind::Bar, "Open:f64 Close:f64"),
];

/// Draws steps. The same seed draws the same steps.
#[derive(Debug)]
pub struct Drawer {
    rng: Rng,
    minute: i64,
    /// Number of the last row: no two rows are equal, so that none is taken for another.
    row: i64,
}

impl Drawer {
    /// Steps of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            minute: 0,
            row: 0,
        }
    }

    /// Rows for one bucket: bars in order, or late, or ticks of a few seconds.
    pub fn part(&mut self, bucket: usize, rows: usize) -> Part {
        let (name, kind, text) = BUCKETS[bucket];
        let columns = columns(text);
        let late = self.rng.chance(25);
        let rows = (0..rows).map(|_| {
            let time = self.time(kind, late);
            self.row(time, &columns)
        });
        Part {
            key: key(name),
            kind,
            rows: rows.collect(),
            columns,
        }
    }

    fn time(&mut self, kind: RowKind, late: bool) -> i64 {
        match kind {
            RowKind::Tick => START + self.rng.below(20_000_000_000) as i64,
            RowKind::Bar if late => START + self.rng.below(30) as i64 * MINUTE + 7,
            RowKind::Bar => {
                self.minute += 1;
                START + self.minute * MINUTE
            }
        }
    }

    fn row(&mut self, time: i64, columns: &Columns) -> Row {
        self.row += 1;
        let values = columns.iter().enumerate().map(|(at, (_, ty))| {
            let number = self.row * 8 + at as i64;
            match ty {
                model::ColumnType::F64 | model::ColumnType::F32 => {
                    Value::Float((100.0 + number as f64 / 4.0).to_bits())
                }
                model::ColumnType::Str16 => Value::Text(format!("V{number}")),
                // Within the smallest type, of either sign.
                _ => Value::Int(i128::from(number % 128)),
            }
        });
        Row {
            time,
            values: values.collect(),
        }
    }

    /// A write to one bucket, or in one commit to several.
    pub fn write(&mut self) -> Vec<Part> {
        let first = self.rng.below(5) as usize;
        let several = if self.rng.chance(25) { 3 } else { 1 };
        let buckets = (0..several).map(|i| (first + i) % 5);
        let buckets: Vec<usize> = buckets.collect();
        let parts = buckets.into_iter().map(|bucket| {
            let rows = 1 + self.rng.below(6) as usize;
            self.part(bucket, rows)
        });
        parts.collect()
    }

    /// Any step. `burst` allows those whose disk calls depend on threads.
    pub fn step(&mut self, burst: bool) -> Step {
        match self.rng.below(24) {
            0..=2 => Step::Checkpoint,
            3 => Step::Reopen,
            4 => Step::Restart,
            5 => Step::Drop(vec![key(BUCKETS[self.rng.below(5) as usize].0)]),
            6 if burst => Step::Burst((0..4).map(|_| self.write()).collect()),
            _ => Step::Write(self.write()),
        }
    }
}

fn key(name: &str) -> BucketKey {
    BucketKey::parse(name).expect("a fixed key")
}

fn create(bucket: usize) -> Step {
    let (name, kind, text) = BUCKETS[bucket];
    Step::Create(key(name), kind, columns(text))
}

/// The life that every sweep goes through.
pub fn life() -> Vec<Step> {
    let mut drawer = Drawer::new(1);
    let mut steps = vec![create(0), create(2)];
    let writes = |steps: &mut Vec<Step>, drawer: &mut Drawer, count: usize| {
        for _ in 0..count {
            steps.push(Step::Write(drawer.write()));
        }
    };
    writes(&mut steps, &mut drawer, 8);
    steps.push(Step::Checkpoint);
    writes(&mut steps, &mut drawer, 8);
    steps.push(Step::Reopen);
    writes(&mut steps, &mut drawer, 4);
    steps.push(Step::Drop(vec![key(BUCKETS[0].0), key(BUCKETS[2].0)]));
    steps.push(create(2));
    writes(&mut steps, &mut drawer, 6);
    steps.push(Step::Checkpoint);
    steps.push(Step::Checkpoint);
    writes(&mut steps, &mut drawer, 8);
    steps.push(Step::Restart);
    writes(&mut steps, &mut drawer, 6);
    steps
}

/// A random life. A step that cannot succeed (dropping what is not there) is left out.
pub fn random(seed: u64, count: usize) -> Vec<Step> {
    let mut drawer = Drawer::new(seed);
    let mut state = super::State::default();
    let mut steps = Vec::new();
    while steps.len() < count {
        let step = drawer.step(false);
        if let Step::Drop(keys) = &step
            && keys.iter().any(|key| !state.0.contains_key(key))
        {
            continue;
        }
        state.apply(&step);
        steps.push(step);
    }
    steps
}

/// A row of a bucket that no script has.
pub fn probe() -> Part {
    Part {
        key: key("PROBE/1Sec/TICK"),
        kind: RowKind::Tick,
        columns: columns("Price:f64"),
        rows: vec![Row {
            time: START,
            values: vec![Value::Float(1.0f64.to_bits())],
        }],
    }
}
