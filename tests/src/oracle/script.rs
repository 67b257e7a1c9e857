//! The life of a small store: buckets of bars and ticks with every type of column, written in
//! order, late, corrected, in one commit and in several; dropped and made again; checkpointed,
//! reopened and restarted in between.

use model::{BucketKey, RowKind};

use super::value::columns;
use super::{Change, Columns, Part, Row, Step, Value};
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
    /// By bucket, as changed since.
    columns: Vec<Columns>,
    /// Changes of columns so far, for names that differ.
    changes: u64,
    /// Number of the last row: no two rows are equal, so that none is taken for another.
    row: i64,
}

impl Drawer {
    /// Steps of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            minute: 0,
            columns: BUCKETS.map(|(_, _, text)| columns(text)).to_vec(),
            changes: 0,
            row: 0,
        }
    }

    /// Lets a number from outside take part in what is drawn next.
    pub fn stir(&mut self, number: u64) {
        self.rng = self.rng.fork(number + 1);
    }

    /// Rows for one bucket: bars in order, or late, or ticks of a few seconds.
    pub fn part(&mut self, bucket: usize, rows: usize) -> Part {
        let (name, kind, _) = BUCKETS[bucket];
        let columns = self.columns[bucket].clone();
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

    /// Any step that succeeds on this state, without bursts.
    pub fn step_on(&mut self, state: &super::State) -> Step {
        loop {
            let columns = self.columns.clone();
            let step = self.step(false);
            let there = |key: &BucketKey| state.0.contains_key(key);
            let succeeds = match &step {
                Step::Drop(keys) => keys.iter().all(there),
                Step::Delete(ranges) => ranges.iter().all(|(key, ..)| there(key)),
                Step::Alter(key, _) => there(key),
                _ => true,
            };
            if succeeds {
                return step;
            }
            self.columns = columns;
        }
    }

    /// Buckets go; if they are made again it is with their first columns.
    pub fn drop_buckets(&mut self, buckets: &[usize]) -> Step {
        for bucket in buckets {
            self.columns[*bucket] = columns(BUCKETS[*bucket].2);
        }
        Step::Drop(
            buckets
                .iter()
                .map(|bucket| key(BUCKETS[*bucket].0))
                .collect(),
        )
    }

    /// A range of a bucket or two.
    pub fn delete(&mut self, buckets: &[usize]) -> Step {
        let ranges = buckets.iter().map(|bucket| {
            let (name, kind, _) = BUCKETS[*bucket];
            let from = self.time(kind, true);
            let length = 1 + self.rng.below(8) as i64;
            let length = if kind == RowKind::Bar {
                length * MINUTE
            } else {
                length << 30
            };
            (key(name), from, from + length)
        });
        Step::Delete(ranges.collect())
    }

    /// One change of the columns, of each kind in turn.
    pub fn alter(&mut self, bucket: usize) -> Step {
        self.changes += 1;
        let number = self.changes;
        let columns = &self.columns[bucket];
        let last = columns.last().expect("a bucket has columns").0.clone();
        let narrow = columns
            .iter()
            .find_map(|(name, ty)| Some((name.clone(), wider(*ty)?)));
        let change = match (number % 4, narrow) {
            (1, _) => Change::Add(format!("New{number}"), model::ColumnType::I16),
            (2, Some((name, ty))) => Change::Widen(name, ty),
            (3, _) if columns.len() > 2 => Change::Drop(columns[1].0.clone()),
            (0, _) => Change::Rename(last, format!("Old{number}")),
            _ => Change::Add(format!("New{number}"), model::ColumnType::F32),
        };
        let mut table = super::Table {
            kind: RowKind::Tick,
            columns: columns.clone(),
            rows: Vec::new(),
        };
        table.alter(&change);
        self.columns[bucket] = table.columns;
        Step::Alter(key(BUCKETS[bucket].0), vec![change])
    }

    /// Any step. `burst` allows those whose disk calls depend on threads.
    pub fn step(&mut self, burst: bool) -> Step {
        let bucket = self.rng.below(5) as usize;
        match self.rng.below(32) {
            0..=2 => Step::Checkpoint,
            3 => Step::Reopen,
            4 => Step::Restart,
            5 => self.drop_buckets(&[bucket]),
            6 if burst => Step::Burst((0..4).map(|_| self.write()).collect()),
            7 | 8 => self.delete(&[bucket]),
            9 => self.delete(&[bucket, (bucket + 1) % 5]),
            10 | 11 => self.alter(bucket),
            12 | 13 => Step::Ingest(self.write()),
            14 => Step::Merge,
            15 => Step::Compact,
            16 => Step::Retain("*/1Sec/*".to_owned(), 5),
            _ => Step::Write(self.write()),
        }
    }
}

/// The next wider type, if there is one.
fn wider(ty: model::ColumnType) -> Option<model::ColumnType> {
    use model::ColumnType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    match ty {
        I8 => Some(I16),
        I16 => Some(F32),
        I32 => Some(I64),
        U8 => Some(I16),
        U16 => Some(U32),
        U32 => Some(U64),
        F32 => Some(F64),
        _ => None,
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
    let drawer = &mut drawer;
    let mut steps = vec![create(0), create(2)];
    let writes = |steps: &mut Vec<Step>, drawer: &mut Drawer, count: usize| {
        for _ in 0..count {
            steps.push(Step::Write(drawer.write()));
        }
    };
    writes(&mut steps, drawer, 8);
    steps.push(Step::Checkpoint);
    writes(&mut steps, drawer, 6);
    steps.push(drawer.delete(&[0, 2]));
    steps.push(Step::Reopen);
    writes(&mut steps, drawer, 4);
    steps.extend([drawer.alter(1), drawer.alter(3), drawer.alter(3)]);
    writes(&mut steps, drawer, 4);
    steps.push(Step::Ingest(vec![drawer.part(1, 8), drawer.part(3, 8)]));
    writes(&mut steps, drawer, 3);
    steps.push(drawer.drop_buckets(&[0, 2]));
    steps.push(create(2));
    writes(&mut steps, drawer, 4);
    steps.push(Step::Checkpoint);
    steps.push(drawer.alter(1));
    steps.push(drawer.delete(&[1, 3]));
    steps.push(Step::Merge);
    steps.push(Step::Checkpoint);
    writes(&mut steps, drawer, 6);
    steps.push(Step::Retain("*/1Sec/*".to_owned(), 8));
    steps.push(Step::Compact);
    steps.push(Step::Restart);
    writes(&mut steps, drawer, 5);
    steps
}

/// A random life. A step that cannot succeed (dropping what is not there) is left out.
pub fn random(seed: u64, count: usize) -> Vec<Step> {
    let mut drawer = Drawer::new(seed);
    let mut state = super::State::default();
    let mut steps = Vec::new();
    while steps.len() < count {
        let step = drawer.step_on(&state);
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
