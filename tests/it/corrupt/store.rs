//! Small stores with a file of every kind, and the judgement of what is left of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use engine::{Engine, Error, NoHook, Options, Recovery, Scan};
use model::{BucketKey, ColumnBatch, RowKind};
use tests::oracle::script::{MINUTE, START};
use tests::oracle::value::{columns, rows_of};
use tests::oracle::{Part, Row, Step, Value};
use tests::rng::Rng;

/// Enough rows that every codec pays.
const ROWS: usize = 96;

/// What a bucket answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(BTreeMap<BucketKey, ColumnBatch>);

impl Kept {
    fn read(engine: &Engine, damaged: &mut Vec<Error>) -> Self {
        let buckets = engine.buckets();
        let ids: Vec<_> = buckets.iter().map(|bucket| bucket.id).collect();
        let snapshot = engine.snapshot(&ids);
        let mut kept = Self::default();
        for (index, bucket) in snapshot.buckets().iter().enumerate() {
            match snapshot.scan(index, &Scan::all()) {
                Ok(batch) => drop(kept.0.insert(bucket.key.clone(), batch)),
                Err(error) => damaged.push(error),
            }
        }
        kept
    }

    /// The first bucket that answers otherwise. Buckets that gave an error are not here.
    pub(super) fn difference(&self, other: &Kept) -> Option<String> {
        let bytes = |batch: &ColumnBatch| {
            let columns = batch.columns().iter().map(|column| column.bytes().clone());
            columns.collect::<Vec<_>>()
        };
        for (key, batch) in &self.0 {
            let Some(there) = other.0.get(key) else {
                return Some(format!("{key} is new"));
            };
            if batch.times() != there.times() || bytes(batch) != bytes(there) {
                return Some(format!(
                    "{key}: {} rows, not {}",
                    batch.rows(),
                    there.rows()
                ));
            }
        }
        None
    }
}

/// A commit that is only in the log.
struct Logged {
    /// Where its frames lie.
    range: Range<u64>,
    /// What the store answers once it is there.
    after: Kept,
}

pub(super) struct Store {
    /// Not running.
    pub(super) disk: SimDisk,
    /// What it answers.
    pub(super) kept: Kept,
    /// What it answers without the commits below.
    base: Kept,
    logged: Vec<Logged>,
    /// Every row that was ever written.
    written: BTreeSet<(BucketKey, Row)>,
    /// Files as they once were.
    earlier: Vec<(String, Vec<u8>)>,
}

fn open(disk: &SimDisk) -> Result<(Engine, Recovery), Error> {
    let options = Options {
        wal_segment_bytes: 40 << 10,
        frame_bytes_max: 32 << 10,
        merge: false,
        prepare_ahead: false,
        checkpoint_before_serving: true,
        ..Options::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    Engine::open_on(disk, clock, options, Arc::new(NoHook))
}

/// Bars on a grid: prices in cents, volumes; and one column that no codec packs.
fn bars(rows: usize, offset: i64, rng: &mut Rng) -> Part {
    let row = |at: usize| {
        let cents = 10_000 + rng.below(400) as i64;
        let noise = f64::from_bits(rng.next() >> 2);
        Row {
            time: START + (offset + at as i64) * MINUTE,
            values: vec![
                Value::Float((cents as f64 / 100.0).to_bits()),
                Value::Int(i128::from(rng.below(1000))),
                Value::Float(noise.to_bits()),
            ],
        }
    };
    Part {
        key: BucketKey::parse("SPY/1Min/OHLCV").expect("a fixed key"),
        kind: RowKind::Bar,
        columns: columns("Close:f64 Volume:i64 Noise:f64"),
        rows: (0..rows).map(row).collect(),
    }
}

/// Enough bars of one session that their times are a grid.
fn session() -> Part {
    let row = |at: i64| Row {
        time: START + at * MINUTE,
        values: vec![Value::Int(i128::from(at % 5))],
    };
    Part {
        key: BucketKey::parse("GRID/1Min/OHLCV").expect("a fixed key"),
        kind: RowKind::Bar,
        columns: columns("Flag:u8"),
        rows: (0..200).map(row).collect(),
    }
}

/// Ticks at uneven times: a running number, flags, text, and sizes of two kinds far apart, which
/// only an entropy coder makes small.
fn ticks(rows: usize, rng: &mut Rng) -> Part {
    let mut time = START;
    let mut number = 1_000_000_000_000i64;
    let row = |_| {
        time += rng.below(4_000_000_000) as i64;
        number += rng.below(50) as i64;
        Row {
            time,
            values: vec![
                Value::Int(i128::from(number)),
                Value::Int(i128::from(rng.below(3))),
                Value::Text(["NYSE", "ARCA", "\u{65e5}\u{672c}"][rng.below(3) as usize].to_owned()),
                Value::Int(100_000 * i128::from(rng.below(2))),
            ],
        }
    };
    Part {
        key: BucketKey::parse("SPY/1Sec/TRADE").expect("a fixed key"),
        kind: RowKind::Tick,
        columns: columns("Id:i64 Flag:u8 Venue:text Size:i64"),
        rows: (0..rows).map(row).collect(),
    }
}

impl Store {
    /// Everything in segments: two of them, the later one correcting rows of the earlier.
    pub(super) fn closed() -> Self {
        let mut store = Self::build();
        let (engine, _) = open(&store.disk).expect("a sound store opens");
        store.kept = read_sound(&engine);
        store.base = store.kept.clone();
        engine.close().expect("a clean stop");
        store
    }

    /// The same, and commits in the log that no checkpoint has saved.
    pub(super) fn with_log() -> Self {
        let mut store = Self::build();
        let (engine, _) = open(&store.disk).expect("a sound store opens");
        store.base = read_sound(&engine);
        let mut rng = Rng::new(9);
        for number in 0..12 {
            let part = match number % 3 {
                0 => bars(2, 40 + number, &mut rng),
                1 => ticks(3, &mut rng),
                _ => Part {
                    // Its definition is a frame of its own.
                    key: BucketKey::parse(&format!("N{number}/1Sec/TRADE")).expect("a key"),
                    ..ticks(2, &mut rng)
                },
            };
            store.note(&part);
            let from = engine.marks().durable.0;
            Step::Write(vec![part]).run(&engine).expect("a sound disk");
            let range = from..engine.marks().durable.0;
            let after = read_sound(&engine);
            store.logged.push(Logged { range, after });
        }
        store.kept = read_sound(&engine);
        drop(engine);
        store
    }

    fn build() -> Self {
        let disk = SimDisk::new(3);
        let mut store = Self {
            disk,
            kept: Kept::default(),
            base: Kept::default(),
            logged: Vec::new(),
            written: BTreeSet::new(),
            earlier: Vec::new(),
        };
        let (engine, _) = open(&store.disk).expect("an empty disk opens");
        let mut rng = Rng::new(5);
        for round in 0..2 {
            let parts = vec![
                bars(ROWS, 30 * round, &mut rng),
                ticks(ROWS, &mut rng),
                session(),
            ];
            parts.iter().for_each(|part| store.note(part));
            Step::Write(parts).run(&engine).expect("a sound disk");
            engine.checkpoint().expect("a sound disk");
            store.remember();
        }
        engine.close().expect("a clean stop");
        store
    }

    fn note(&mut self, part: &Part) {
        let rows = part.rows.iter().map(|row| (part.key.clone(), row.clone()));
        self.written.extend(rows);
    }

    /// Files as they are now, for blocks that come back from the past.
    fn remember(&mut self) {
        for path in self.files() {
            let bytes = self.disk.read_all(&path).expect("the file is there");
            self.earlier.push((path, bytes.to_vec()));
        }
    }

    /// Every file that has a meaning.
    pub(super) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for dir in ["", "segments", "wal"] {
            for name in self.disk.list(dir).expect("the directory is there") {
                let path = if dir.is_empty() {
                    name
                } else {
                    format!("{dir}/{name}")
                };
                if self.disk.len(&path).is_ok_and(|len| len > 0) {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Where the commits lie that are only in the log, which has one file.
    pub(super) fn logged_range(&self) -> Range<usize> {
        let first = self.logged.first().map_or(0, |first| first.range.start);
        let last = self.logged.last().map_or(0, |last| last.range.end);
        first as usize..last as usize
    }

    pub(super) fn log_file(&self) -> String {
        let files = self.files();
        let mut logs = files.into_iter().filter(|path| path.starts_with("wal/"));
        let log = logs.next().expect("there is a log");
        assert!(logs.next().is_none(), "one WAL segment is enough");
        log
    }

    /// Older contents that may come back: of this file, and of others of its kind.
    pub(super) fn older(&self, path: &str) -> Vec<(String, Vec<u8>)> {
        let kind = |path: &str| path[..path.find(['/', '.']).unwrap_or(path.len())].to_owned();
        let same = self
            .earlier
            .iter()
            .filter(|(other, _)| kind(other) == kind(path));
        same.cloned().collect()
    }

    /// The packed pages are what this is about: all of the codecs must be there.
    pub(super) fn assert_every_codec(&self) {
        let mut found = BTreeSet::new();
        for path in self
            .files()
            .iter()
            .filter(|path| path.starts_with("segments/"))
        {
            let bytes = self.disk.read_all(path).expect("the file is there");
            found.extend(engine::fuzz::codecs_of_segment(&bytes));
        }
        assert!(found.len() >= 6, "only the codecs {found:?}");
    }

    /// Whether a damaged copy keeps the promise; true if the damage was noticed.
    pub(super) fn judge(
        &self,
        disk: &SimDisk,
        path: &str,
        before: &[u8],
        after: &[u8],
        context: &str,
    ) -> bool {
        let (engine, recovery) = match open(disk) {
            Ok(opened) => opened,
            Err(error) => {
                let text = error.to_string();
                let kinds = ["MANIFEST", "catalog.", "segments/", "wal/"];
                let named = kinds.iter().any(|kind| text.contains(kind));
                assert!(named, "{context}: the error names no file: {text}");
                return true;
            }
        };
        let mut damaged = Vec::new();
        let found = Kept::read(&engine, &mut damaged);
        for error in &damaged {
            let named = matches!(error, Error::Corrupt { file, .. } if file == path);
            assert!(named, "{context}: {error}");
        }
        if !recovery.quarantined.is_empty() {
            assert!(
                path.starts_with("wal/"),
                "{context}: {:?}",
                recovery.quarantined
            );
            self.assert_nothing_invented(&found, context);
            return true;
        }
        if let Some(difference) = found.difference(&self.kept) {
            let lost = self.end_lost(&found, path, before, after);
            assert!(
                lost,
                "{context}: another answer without a word: {difference}"
            );
            return true;
        }
        let missing = self.kept.0.len() - found.0.len() - damaged.len();
        if missing > 0 {
            let lost = self.end_lost(&found, path, before, after);
            assert!(lost, "{context}: {missing} buckets vanished without a word");
        }
        !damaged.is_empty() || missing > 0
    }

    fn assert_nothing_invented(&self, found: &Kept, context: &str) {
        for (key, batch) in &found.0 {
            for row in rows_of(batch) {
                let row = (key.clone(), row);
                assert!(self.written.contains(&row), "{context}: invented {row:?}");
            }
        }
    }

    /// Whether this is the state after some of the commits, and of the others no frame behind the
    /// first is intact: nothing in the log says any more that they were promised.
    fn end_lost(&self, found: &Kept, path: &str, before: &[u8], after: &[u8]) -> bool {
        let Some(name) = path.strip_prefix("wal/") else {
            return false;
        };
        let first = u64::from_str_radix(name.trim_end_matches(".wal"), 16).expect("a WAL name");
        let same = |kept: &Kept| kept.0.len() == found.0.len() && found.difference(kept).is_none();
        let intact = |logged: &Logged| {
            let range = (logged.range.start - first) as usize..(logged.range.end - first) as usize;
            before.get(range.clone()) == after.get(range)
        };
        let header_lost = before.get(..64) != after.get(..64);
        (0..self.logged.len()).any(|lost| {
            let state = match lost {
                0 => &self.base,
                _ => &self.logged[lost - 1].after,
            };
            // A definition and its rows are two frames: the empty bucket may be left.
            let near = same(state) || self.only_defined(found, state);
            near && (header_lost || !self.logged[lost + 1..].iter().any(intact))
        })
    }

    fn only_defined(&self, found: &Kept, state: &Kept) -> bool {
        let mut without = found.clone();
        without.0.retain(|_, batch| !batch.is_empty());
        without.0.len() == state.0.len() && without.difference(state).is_none()
    }
}

fn read_sound(engine: &Engine) -> Kept {
    let mut damaged = Vec::new();
    let kept = Kept::read(engine, &mut damaged);
    assert!(damaged.is_empty(), "{damaged:?}");
    kept
}
