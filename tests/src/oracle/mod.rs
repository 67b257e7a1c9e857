//! A store as a boring program would keep it: sorted lists in memory.
//!
//! [`Step`] is one operation on a store; [`State::apply`] is what it means, and [`Step::run`] asks
//! the engine to do it. Everything that compares a store with what it should hold (sweeps of
//! faults, fuzzing, golden files) shares this one meaning.
//!
//! * [`value`]: values, columns and rows, to and from the engine's batches.
//! * [`script`]: the life of a small store, written down or drawn from a seed.

pub mod script;
pub mod value;

use std::collections::BTreeMap;

use engine::{Commit, Engine, Error, Origin, Rows, Scan};
use model::{BucketKey, RowKind};

pub use value::{Columns, Row, Value};

/// Rows for one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The bucket.
    pub key: BucketKey,
    /// What it is made as if it is missing.
    pub kind: RowKind,
    /// Its columns.
    pub columns: Columns,
    /// The rows, in the order given.
    pub rows: Vec<Row>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An empty bucket.
    Create(BucketKey, RowKind, Columns),
    /// One commit.
    Write(Vec<Part>),
    /// Several commits queued before the first is waited for.
    Burst(Vec<Vec<Part>>),
    /// Buckets go, with their rows.
    Drop(Vec<BucketKey>),
    /// Tails into a segment.
    Checkpoint,
    /// The process dies with nothing queued and starts again.
    Reopen,
    /// A clean stop and a start.
    Restart,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Bars or ticks.
    pub kind: RowKind,
    /// Its columns.
    pub columns: Columns,
    /// In the order a scan gives them.
    pub rows: Vec<Row>,
}

/// All buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub BTreeMap<BucketKey, Table>);

impl State {
    /// What the store holds after a step that succeeded.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(key, kind, columns) => self.define(key, *kind, columns),
            Step::Write(parts) => self.write(parts),
            Step::Burst(commits) => commits.iter().for_each(|parts| self.write(parts)),
            Step::Drop(keys) => keys.iter().for_each(|key| {
                self.0.remove(key);
            }),
            Step::Checkpoint | Step::Reopen | Step::Restart => {}
        }
    }

    /// Every state a step may leave that was not acknowledged: before it, after it, and for what
    /// consists of several commits (or definitions before a commit) after each of them.
    pub fn outcomes(&self, step: &Step) -> Vec<State> {
        let mut states = vec![self.clone()];
        let mut next = self.clone();
        let commits: &[Vec<Part>] = match step {
            Step::Write(parts) => std::slice::from_ref(parts),
            Step::Burst(commits) => commits,
            _ => {
                next.apply(step);
                states.push(next);
                return states;
            }
        };
        for parts in commits {
            for part in parts {
                if !next.0.contains_key(&part.key) {
                    next.define(&part.key, part.kind, &part.columns);
                    states.push(next.clone());
                }
            }
            next.write(parts);
            states.push(next.clone());
        }
        states
    }

    fn define(&mut self, key: &BucketKey, kind: RowKind, columns: &Columns) {
        let table = Table {
            kind,
            columns: columns.clone(),
            rows: Vec::new(),
        };
        self.0.entry(key.clone()).or_insert(table);
    }

    fn write(&mut self, parts: &[Part]) {
        for part in parts {
            self.define(&part.key, part.kind, &part.columns);
            let table = self.0.get_mut(&part.key).expect("it was just defined");
            table.insert(&part.key, &part.rows);
        }
    }

    /// What the engine holds now, read in one snapshot.
    pub fn read(engine: &Engine) -> Result<State, Error> {
        let buckets = engine.buckets();
        let ids: Vec<_> = buckets.iter().map(|bucket| bucket.id).collect();
        let snapshot = engine.snapshot(&ids);
        let mut state = State::default();
        for (index, bucket) in snapshot.buckets().iter().enumerate() {
            let batch = snapshot.scan(index, &Scan::all())?;
            let rows = value::rows_of(&batch);
            if let Some(last) = snapshot.last(index)? {
                let last = value::rows_of(&last);
                let newest = rows.last().map(std::slice::from_ref).unwrap_or_default();
                assert_eq!(last, newest, "{}: the last row is not the last", bucket.key);
            }
            let table = Table {
                kind: bucket.kind,
                columns: value::columns_of(batch.schema()),
                rows,
            };
            state.0.insert(bucket.key.clone(), table);
        }
        Ok(state)
    }

    /// What is different, for people.
    pub fn difference(&self, other: &State) -> String {
        for (key, table) in &self.0 {
            let Some(there) = other.0.get(key) else {
                return format!("{key} is missing on the right");
            };
            if table != there {
                let same = table
                    .rows
                    .iter()
                    .zip(&there.rows)
                    .take_while(|(a, b)| a == b);
                let at = same.count();
                return format!(
                    "{key}: {:?} {} rows against {:?} {} rows, row {at}: {:?} against {:?}",
                    table.columns,
                    table.rows.len(),
                    there.columns,
                    there.rows.len(),
                    table.rows.get(at),
                    there.rows.get(at)
                );
            }
        }
        let extra = other.0.keys().find(|key| !self.0.contains_key(*key));
        extra.map_or("nothing".to_owned(), |key| {
            format!("{key} is missing on the left")
        })
    }
}

impl Table {
    fn insert(&mut self, key: &BucketKey, rows: &[Row]) {
        for row in rows {
            let mut row = row.clone();
            if self.kind == RowKind::Tick {
                let at = self.rows.partition_point(|other| other.time <= row.time);
                self.rows.insert(at, row);
                continue;
            }
            row.time = floored(key, row.time);
            match self
                .rows
                .binary_search_by_key(&row.time, |other| other.time)
            {
                Ok(at) => self.rows[at] = row,
                Err(at) => self.rows.insert(at, row),
            }
        }
    }
}

/// The three timeframes that scripts use.
fn floored(key: &BucketKey, time: i64) -> i64 {
    let step = match key.timeframe() {
        "1Sec" => 1_000_000_000,
        "1Min" => script::MINUTE,
        "1D" => 1_440 * script::MINUTE,
        other => panic!("the model does not know the timeframe {other}"),
    };
    time.div_euclid(step) * step
}

impl Step {
    /// Does it. `Reopen` and `Restart` are the caller's: they replace the engine.
    pub fn run(&self, engine: &Engine) -> Result<(), Error> {
        match self {
            Self::Create(key, kind, columns) => {
                let schema = value::schema(columns);
                engine.create_bucket(key, *kind, schema).map(drop)
            }
            Self::Write(parts) => engine.write(commit(parts))?.wait().map(drop),
            Self::Burst(commits) => {
                let tickets: Vec<_> = commits.iter().map(|c| engine.write(commit(c))).collect();
                let waited = tickets.into_iter().map(|ticket| ticket?.wait().map(drop));
                // Every ticket is waited for, so that nothing is under way afterwards.
                let outcomes: Vec<Result<(), Error>> = waited.collect();
                outcomes.into_iter().collect()
            }
            Self::Drop(keys) => engine.drop_buckets(keys),
            Self::Checkpoint => engine.checkpoint(),
            Self::Reopen | Self::Restart => panic!("the engine cannot replace itself"),
        }
    }
}

fn commit(parts: &[Part]) -> Commit {
    let rows = parts.iter().map(|part| Rows {
        key: part.key.clone(),
        batch: value::batch(&part.columns, &part.rows),
        create: Some(part.kind),
    });
    Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: rows.collect(),
        section: None,
    }
}
