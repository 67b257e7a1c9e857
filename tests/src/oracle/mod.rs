//! A store as a boring program would keep it: sorted lists in memory.
//!
//! [`Step`] is one operation on a store; [`State::apply`] is what it means, and [`Step::run`] asks
//! the engine to do it. Everything that compares a store with what it should hold (sweeps of
//! faults, fuzzing, golden files) shares this one meaning.
//!
//! * [`value`]: values, columns and rows, to and from the engine's batches.
//! * [`golden`]: whole stores in files, for versions to come.
//! * [`life`]: a small store on the simulated disk, and the comparison after a fault.
//! * [`script`]: the life of a small store, written down or drawn from a seed.

pub mod golden;
pub mod life;
pub mod script;
pub mod value;

use std::collections::BTreeMap;

use std::time::Duration;

use engine::{Commit, DeleteRange, Engine, Error, Origin, RetentionRule, Rows, Scan, SchemaChange};
use model::{BucketKey, ColumnDef, ColumnType, KeyPattern, RowKind};

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
    /// Rows past the log.
    Ingest(Vec<Part>),
    /// Buckets go, with their rows.
    Drop(Vec<BucketKey>),
    /// Rows of these times go, first and last inclusive.
    Delete(Vec<(BucketKey, i64, i64)>),
    /// The columns change.
    Alter(BucketKey, Vec<Change>),
    /// Rows older than this many seconds go from the buckets that match.
    Retain(String, u64),
    /// Merges that are due.
    Merge,
    /// Everything into few segments.
    Compact,
    /// Tails into a segment.
    Checkpoint,
    /// The process dies with nothing queued and starts again.
    Reopen,
    /// A clean stop and a start.
    Restart,
}

/// A change of the columns of a bucket.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// One more, behind the others.
    Add(String, ColumnType),
    /// Another type.
    Widen(String, ColumnType),
    /// Another name.
    Rename(String, String),
    /// One less.
    Drop(String),
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
    /// The same in every process; for telling states apart, not for keeping.
    pub fn hash(&self) -> u64 {
        use std::hash::Hasher as _;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(format!("{self:?}").as_bytes());
        hasher.finish()
    }

    /// What the store holds after a step that succeeded.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(key, kind, columns) => self.define(key, *kind, columns),
            Step::Write(parts) => self.write(parts),
            Step::Burst(commits) => commits.iter().for_each(|parts| self.write(parts)),
            Step::Drop(keys) => keys.iter().for_each(|key| {
                self.0.remove(key);
            }),
            Step::Ingest(parts) => self.write(parts),
            Step::Delete(ranges) => {
                for (key, from, to) in ranges {
                    if let Some(table) = self.0.get_mut(key) {
                        table.rows.retain(|row| !(*from..=*to).contains(&row.time));
                    }
                }
            }
            Step::Alter(key, changes) => {
                if let Some(table) = self.0.get_mut(key) {
                    changes.iter().for_each(|change| table.alter(change));
                }
            }
            Step::Retain(pattern, seconds) => self.retain(pattern, *seconds),
            Step::Checkpoint | Step::Reopen | Step::Restart | Step::Merge | Step::Compact => {}
        }
    }

    fn retain(&mut self, pattern: &str, seconds: u64) {
        let pattern = KeyPattern::parse(pattern).expect("a fixed pattern");
        let keep = seconds as i64 * 1_000_000_000;
        for (key, table) in &mut self.0 {
            if let Some(newest) = table.rows.last().map(|row| row.time)
                && pattern.matches(key)
            {
                table.rows.retain(|row| row.time >= newest.min(NOW) - keep);
            }
        }
    }

    /// Every state a step may leave that was not acknowledged: before it, after it, and for what
    /// consists of several commits (or definitions before a commit) after each of them.
    pub fn outcomes(&self, step: &Step) -> Vec<State> {
        let mut states = vec![self.clone()];
        let mut next = self.clone();
        let commits: &[Vec<Part>] = match step {
            Step::Write(parts) | Step::Ingest(parts) => std::slice::from_ref(parts),
            Step::Burst(commits) => commits,
            _ => {
                next.apply(step);
                states.push(next);
                return states;
            }
        };
        for parts in commits.iter() {
            if !next.fits(parts) {
                continue;
            }
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

    /// Every state that several commits may leave of which each was refused or not by itself, as
    /// on a full disk.
    pub fn subsets(&self, commits: &[Vec<Part>]) -> Vec<State> {
        let mut states = vec![self.clone()];
        for parts in commits {
            let step = Step::Write(parts.clone());
            let both = states.iter().flat_map(|state| state.outcomes(&step));
            let both: Vec<State> = both.collect();
            states.clear();
            for state in both {
                if !states.contains(&state) {
                    states.push(state);
                }
            }
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

    fn fits(&self, parts: &[Part]) -> bool {
        let fits = |part: &Part| self.0.get(&part.key).is_none_or(|table| table.fits(part));
        parts.iter().all(fits)
    }

    /// One commit: refused as a whole if a part does not have the columns of its bucket.
    fn write(&mut self, parts: &[Part]) {
        if !self.fits(parts) {
            return;
        }
        for part in parts {
            self.define(&part.key, part.kind, &part.columns);
            let table = self.0.get_mut(&part.key).expect("it was just defined");
            table.insert(part);
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

/// The wall time of retention: after every row of a script.
const NOW: i64 = script::START + 365 * 86_400_000_000_000;

impl Table {
    /// A change of a column that is not there (because of a fault before) is refused.
    fn alter(&mut self, change: &Change) {
        let named = |name: &str| self.columns.iter().position(|(column, _)| column == name);
        match change {
            Change::Add(name, ty) if named(name).is_none() => {
                self.columns.push((name.clone(), *ty));
                let fill = Value::fill(*ty);
                self.rows
                    .iter_mut()
                    .for_each(|row| row.values.push(fill.clone()));
            }
            Change::Add(..) => {}
            Change::Widen(name, ty) => {
                if let Some(at) = named(name) {
                    self.columns[at].1 = *ty;
                    self.rows
                        .iter_mut()
                        .for_each(|row| row.values[at] = row.values[at].cast(*ty));
                }
            }
            Change::Rename(from, to) => {
                if let Some(at) = named(from) {
                    self.columns[at].0.clone_from(to);
                }
            }
            Change::Drop(name) => {
                if let Some(at) = named(name) {
                    self.columns.remove(at);
                    self.rows
                        .iter_mut()
                        .for_each(|row| drop(row.values.remove(at)));
                }
            }
        }
    }

    fn fits(&self, part: &Part) -> bool {
        let given = |name: &str| part.columns.iter().any(|(given, _)| given == name);
        let all = self.columns.iter().all(|(name, _)| given(name));
        all && self.columns.len() == part.columns.len()
    }

    /// Columns are matched by name and cast.
    fn insert(&mut self, part: &Part) {
        let place = |name: &str| part.columns.iter().position(|(given, _)| given == name);
        let places = self.columns.iter().map(|(name, _)| place(name));
        let places: Option<Vec<usize>> = places.collect();
        let places = places.expect("the part fits");
        for given in &part.rows {
            let values = places.iter().zip(&self.columns);
            let mut row = Row {
                time: given.time,
                values: values
                    .map(|(at, (_, ty))| given.values[*at].cast(*ty))
                    .collect(),
            };
            if self.kind == RowKind::Tick {
                let at = self.rows.partition_point(|other| other.time <= row.time);
                self.rows.insert(at, row);
                continue;
            }
            row.time = floored(&part.key, row.time);
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
            Self::Ingest(parts) => engine.ingest(commit(parts).rows).map(drop),
            Self::Drop(keys) => engine.drop_buckets(keys),
            Self::Delete(ranges) => {
                let ranges = ranges.iter().map(|(key, from, to)| DeleteRange {
                    key: key.clone(),
                    from: *from,
                    to: *to,
                });
                engine.delete(&ranges.collect::<Vec<_>>()).map(drop)
            }
            Self::Alter(key, changes) => {
                let changes: Vec<SchemaChange> = changes.iter().map(Change::to_engine).collect();
                engine.alter(key, &changes).map(drop)
            }
            Self::Retain(pattern, seconds) => {
                let rule = RetentionRule {
                    on: KeyPattern::parse(pattern).expect("a fixed pattern"),
                    keep: Duration::from_secs(*seconds),
                };
                engine.retain(&[rule], NOW).map(drop)
            }
            Self::Merge => engine.merge().map(drop),
            Self::Compact => engine.compact().map(drop),
            Self::Checkpoint => engine.checkpoint(),
            Self::Reopen | Self::Restart => panic!("the engine cannot replace itself"),
        }
    }
}

impl Change {
    fn to_engine(&self) -> SchemaChange {
        match self.clone() {
            Self::Add(name, ty) => SchemaChange::Add(ColumnDef::new(name, ty)),
            Self::Widen(column, ty) => SchemaChange::Widen { column, ty },
            Self::Rename(from, to) => SchemaChange::Rename { from, to },
            Self::Drop(column) => SchemaChange::Drop { column },
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
