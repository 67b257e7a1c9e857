//! Rows as a test writes them down, and as it reads them.

use std::fmt::Write as _;
use std::path::Path;

use model::{
    BatchError, BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Scalar, Schema,
    Value,
};

const SECOND: i64 = 1_000_000_000;

/// Rows as a test writes them down.
///
/// ```
/// use plugin_test::Table;
/// let bars = Table::seconds([1401956100, 1401956160])
///     .column("Close", [644.8, 645.5])
///     .column("Volume", [90_i64, 10]);
/// assert_eq!(bars.batch().rows(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    times: Vec<i64>,
    columns: Vec<(ColumnDef, Column)>,
    kind: RowKind,
}

impl Table {
    /// Rows at these times, in seconds since 1970.
    pub fn seconds(times: impl IntoIterator<Item = i64>) -> Self {
        Self::nanos(times.into_iter().map(|time| time * SECOND))
    }

    /// Rows at these times, in nanoseconds since 1970.
    pub fn nanos(times: impl IntoIterator<Item = i64>) -> Self {
        Self {
            times: times.into_iter().collect(),
            columns: Vec::new(),
            kind: RowKind::Bar,
        }
    }

    /// With another column; the type of the numbers is that of the column: `1_i64`, `1.0_f32`.
    #[must_use]
    pub fn column<T: Value>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        let def = ColumnDef::new(name, T::TYPE);
        self.columns.push((def, Column::from_values(values)));
        self
    }

    /// For a bucket that keeps every row, instead of one per time.
    #[must_use]
    pub fn ticks(mut self) -> Self {
        self.kind = RowKind::Tick;
        self
    }

    /// Bars or ticks.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// The rows as the store has them.
    ///
    /// # Panics
    /// If a column has another number of rows than there are times, or a name that cannot be.
    #[track_caller]
    pub fn batch(&self) -> ColumnBatch {
        match self.try_batch() {
            Ok(batch) => batch,
            Err(error) => panic!("this is no table: {error}"),
        }
    }

    pub(crate) fn try_batch(&self) -> Result<ColumnBatch, String> {
        let (defs, columns) = self.columns.iter().cloned().unzip();
        let schema = Schema::new(defs).map_err(|error| error.to_string())?;
        let times = Column::from_values(self.times.clone());
        ColumnBatch::new(schema, times, columns).map_err(|error: BatchError| error.to_string())
    }
}

/// Rows of one bucket, one commit.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The bucket.
    pub key: BucketKey,
    /// Its kind.
    pub kind: RowKind,
    /// The rows.
    pub rows: ColumnBatch,
}

impl Feed {
    /// Rows of a bucket.
    ///
    /// # Panics
    /// If the key is none, or the table is none.
    #[track_caller]
    pub fn new(key: &str, rows: &Table) -> Self {
        Self {
            key: parse_key(key).unwrap_or_else(|why| panic!("{why}")),
            kind: rows.kind,
            rows: rows.batch(),
        }
    }
}

pub(crate) fn parse_key(key: &str) -> Result<BucketKey, String> {
    BucketKey::parse(key).map_err(|error| format!("bucket \"{key}\": {error}"))
}

/// One line for each row: `1401956100 Close=644.8 Volume=90`.
pub fn lines(rows: &ColumnBatch) -> Vec<String> {
    (0..rows.rows()).map(|row| line(rows, row)).collect()
}

fn line(rows: &ColumnBatch, row: usize) -> String {
    let time = rows.times()[row];
    let (seconds, nanos) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
    let mut out = seconds.to_string();
    if nanos != 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, ".{nanos:09}");
    }
    for (def, column) in rows.schema().columns().iter().zip(rows.columns()) {
        let _ = write!(out, " {}={}", def.name, text(&column.scalar(row)));
    }
    out
}

fn text(scalar: &Scalar) -> String {
    match scalar {
        Scalar::F32(value) => value.to_string(),
        Scalar::F64(value) => value.to_string(),
        Scalar::I8(value) => value.to_string(),
        Scalar::I16(value) => value.to_string(),
        Scalar::I32(value) => value.to_string(),
        Scalar::I64(value) => value.to_string(),
        Scalar::U8(value) => value.to_string(),
        Scalar::U16(value) => value.to_string(),
        Scalar::U32(value) => value.to_string(),
        Scalar::U64(value) => value.to_string(),
        Scalar::Str16(points) => {
            let chars = points.iter().take_while(|point| **point != 0);
            chars.filter_map(|point| char::from_u32(*point)).collect()
        }
    }
}

/// Bars of Apple and SPY as they were traded, in commits of 15 rows and then row by row.
pub fn sample() -> Vec<Feed> {
    let files = [
        (
            "AAPL/1Min/OHLCV",
            include_str!("../data/AAPL_1Min_OHLCV.csv"),
        ),
        ("SPY/1Min/OHLCV", include_str!("../data/SPY_1Min_OHLCV.csv")),
    ];
    let parsed = files.map(|(key, text)| {
        let key = BucketKey::parse(key).expect("a key");
        let rows = read_csv(text.as_bytes()).expect("the bundled bars are a table");
        (key, rows)
    });
    let mut feeds = Vec::new();
    for part in [0..15, 15..30, 30..31, 31..32, 32..47] {
        for (key, rows) in &parsed {
            feeds.push(Feed {
                key: key.clone(),
                kind: RowKind::Bar,
                rows: rows.slice(part.clone()),
            });
        }
    }
    feeds
}

/// Rows of a CSV file with a column `Epoch` (seconds) and columns of numbers; `SYM_TF_AG.csv`, or
/// the same with `.gz`, names the bucket. Whole numbers become i64, others f64; `Nanoseconds` beside
/// `Epoch` makes ticks of them.
pub(crate) fn read_file(path: &Path) -> Result<Feed, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.trim_end_matches(".gz").trim_end_matches(".csv");
    let key = stem.replacen('_', "/", 2);
    let key = BucketKey::parse(&key).map_err(|_| {
        format!(
            "{}: the name of a CSV file names its bucket: AAPL_1Min_OHLCV.csv",
            path.display()
        )
    })?;
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = match name.ends_with(".gz") {
        true => read_csv(flate2::read::GzDecoder::new(&bytes[..])),
        false => read_csv(&bytes[..]),
    };
    let rows = read.map_err(|why| format!("{}: {why}", path.display()))?;
    let is_tick = rows.times().iter().any(|time| time % SECOND != 0);
    let kind = if is_tick { RowKind::Tick } else { RowKind::Bar };
    Ok(Feed { key, kind, rows })
}

fn read_csv(input: impl std::io::Read) -> Result<ColumnBatch, String> {
    let mut reader = csv::Reader::from_reader(input);
    let heads = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut fields = vec![Vec::new(); heads.len()];
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        for (column, field) in fields.iter_mut().zip(&record) {
            let number: f64 = field
                .trim()
                .parse()
                .map_err(|_| format!("line {}: \"{field}\" is no number", at + 2))?;
            column.push((field.trim().to_owned(), number));
        }
    }
    let mut times = None;
    let mut nanos = None;
    let (mut defs, mut columns) = (Vec::new(), Vec::new());
    for (head, column) in heads.iter().zip(&fields) {
        let whole: Option<Vec<i64>> = column.iter().map(|(text, _)| text.parse().ok()).collect();
        match (head, whole) {
            ("Epoch", Some(whole)) => times = Some(whole),
            ("Nanoseconds", Some(whole)) => nanos = Some(whole),
            ("Epoch" | "Nanoseconds", None) => return Err(format!("{head} has parts of a second")),
            (_, Some(whole)) => {
                defs.push(ColumnDef::new(head, ColumnType::I64));
                columns.push(Column::from_values(whole));
            }
            (_, None) => {
                defs.push(ColumnDef::new(head, ColumnType::F64));
                let numbers: Vec<f64> = column.iter().map(|(_, number)| *number).collect();
                columns.push(Column::from_values(numbers));
            }
        }
    }
    let mut times = times.ok_or("there is no column Epoch")?;
    for (at, time) in times.iter_mut().enumerate() {
        let nanos = nanos.as_ref().map_or(0, |nanos| nanos[at]);
        *time = time.saturating_mul(SECOND).saturating_add(nanos);
    }
    let schema = Schema::new(defs).map_err(|error| error.to_string())?;
    ColumnBatch::new(schema, Column::from_values(times), columns).map_err(|error| error.to_string())
}
