//! Rows out of a store into files and back into another store: what comes back is equal to the bit.
#![forbid(unsafe_code)]
// Tests prepare their own files beside the store; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{
    ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use engine::{Commit, Engine, NoHook, Options, Origin, Rows, Scan};
use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, RowKind, Schema,
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

const FORMATS: [&str; 3] = ["csv", "parquet", "arrow"];

fn mkts(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mkts"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Runs a command that must succeed; returns what it printed.
fn good(args: &[&str]) -> String {
    let output = mkts(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// Runs a command that must fail with code 1 and one line that holds all parts.
fn refused(args: &[&str], parts: &[&str]) {
    let output = mkts(args);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: no \"{part}\" in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

struct Dirs {
    temp: TempDir,
}

impl Dirs {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

fn fill(root: &Path, rows: Vec<(BucketKey, RowKind, ColumnBatch)>) {
    let (engine, _) = Engine::open(root, Options::default(), Arc::new(NoHook)).unwrap();
    for (key, kind, batch) in rows {
        let rows = vec![Rows {
            key,
            batch,
            create: Some(kind),
        }];
        let commit = Commit {
            origin: Origin::CLIENT,
            hops: 0,
            rows,
            section: None,
        };
        engine.write(commit).unwrap().wait_visible().unwrap();
    }
    engine.close().unwrap();
}

/// Everything in a store: key, kind, rows.
fn contents(root: &Path) -> Vec<(String, RowKind, ColumnBatch)> {
    let (engine, _) = Engine::open(root, Options::default(), Arc::new(NoHook)).unwrap();
    let mut all = Vec::new();
    for info in engine.buckets().iter() {
        let batch = engine.snapshot(&[info.id]).scan(0, &Scan::all()).unwrap();
        all.push((info.key.to_string(), info.kind, batch));
    }
    engine.close().unwrap();
    all
}

fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (contents(left), contents(right));
    let keys = |all: &[(String, RowKind, ColumnBatch)]| {
        let keys = all.iter().map(|(key, kind, _)| (key.clone(), *kind));
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys(&left), keys(&right));
    for ((key, _, left), (_, _, right)) in left.iter().zip(&right) {
        assert_eq!(left.schema(), right.schema(), "{key}");
        assert_eq!(left.times(), right.times(), "{key}");
        for (column, def) in left.schema().columns().iter().enumerate() {
            let bytes = |batch: &ColumnBatch| batch.columns()[column].bytes().clone();
            assert!(bytes(left) == bytes(right), "{key}: column {}", def.name);
        }
    }
}

fn str16(text: &str) -> [u32; 16] {
    let mut value = [0; 16];
    for (slot, c) in value.iter_mut().zip(text.chars()) {
        *slot = u32::from(c);
    }
    value
}

/// A column with the values that are hard to write down.
fn hard(ty: ColumnType, rows: usize) -> Column {
    macro_rules! cycle {
        ($($value:expr),*) => {{
            let values = [$($value),*];
            Column::from_values((0..rows).map(|row| values[row % values.len()]).collect())
        }};
    }
    match ty {
        ColumnType::F32 => cycle!(
            0.1_f32,
            -0.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            16777217.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            7.038531e-26,
            1.175_494_4e-38,
            3.0
        ),
        ColumnType::F64 => cycle!(
            0.1_f64,
            -0.0,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            0.1 + 0.2,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
            1.0 / 3.0,
            3.0
        ),
        ColumnType::I8 => cycle!(0_i8, i8::MIN, i8::MAX),
        ColumnType::I16 => cycle!(0_i16, i16::MIN, i16::MAX),
        ColumnType::I32 => cycle!(0_i32, i32::MIN, i32::MAX),
        ColumnType::I64 => cycle!(0_i64, i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1),
        ColumnType::U8 => cycle!(0_u8, u8::MAX),
        ColumnType::U16 => cycle!(0_u16, u16::MAX),
        ColumnType::U32 => cycle!(0_u32, u32::MAX),
        ColumnType::U64 => cycle!(0_u64, u64::MAX, (1 << 53) + 1),
        ColumnType::Str16 => cycle!(
            str16("AAPL"),
            str16(""),
            str16("a,b\"c\""),
            str16("\u{20ac} \u{1f600}"),
            str16("1234567890123456"),
            str16("line\nfeed"),
            str16(" spaces ")
        ),
    }
}

fn hard_batch(times: Vec<i64>) -> ColumnBatch {
    let def = |ty: ColumnType| ColumnDef::new(format!("The {}", ty.name()), ty);
    let schema = Schema::new(ColumnType::ALL.map(def).to_vec()).unwrap();
    let columns = ColumnType::ALL.map(|ty| hard(ty, times.len())).to_vec();
    ColumnBatch::new(schema, Column::from_values(times), columns).unwrap()
}

const NEW_YEAR: i64 = 1_577_836_800 * NANOS_PER_SECOND;

/// Bars and ticks with every type, in buckets with odd names.
fn hard_store(root: &Path) {
    let minutes = (0..200).map(|m| NEW_YEAR + m * 60 * NANOS_PER_SECOND);
    // Several ticks of one nanosecond, and one before 1970.
    let ticks = (0..200).map(|t| NEW_YEAR + t / 3 * 1_234_567_891);
    let ticks = std::iter::once(-1).chain(ticks);
    fill(
        root,
        vec![
            (
                key("AAPL/1Min/OHLCV"),
                RowKind::Bar,
                hard_batch(minutes.clone().collect()),
            ),
            (
                key("BRK.B/1Min/A B%"),
                RowKind::Bar,
                hard_batch(minutes.collect()),
            ),
            (
                key(".hid den/1Sec/TRADE"),
                RowKind::Tick,
                hard_batch(ticks.collect()),
            ),
        ],
    );
}

#[test]
fn every_type_and_kind_comes_back_to_the_bit() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    for format in FORMATS {
        let (out, two) = (dirs.text(format), dirs.text(&format!("{format}-store")));
        let args = [
            "--on", "*/*/*", "--dir", &one, "--out", &out, "--format", format,
        ];
        good(&[&["export", "--typed-header"], &args[..]].concat());
        if format == "csv" {
            let bars: Vec<String> = ["AAPL", "BRK.B"].map(|s| format!("{out}/{s}")).to_vec();
            good(&["import", format, &bars[0], &bars[1], "--dir", &two]);
            let ticks = format!("{out}/%2Ehid%20den");
            good(&["import", format, &ticks, "--ticks", "--dir", &two]);
        } else {
            good(&["import", format, &out, "--dir", &two]);
        }
        assert_same(&dirs.path("one"), &dirs.path(&format!("{format}-store")));
    }
}

#[test]
fn compressions_and_spellings_of_time_come_back() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    let on = "AAPL/1Min/OHLCV";
    for (file, options, import) in [
        ("a.parquet", &["--compression", "none"][..], &[][..]),
        ("b.parquet", &["--compression", "snappy"], &[]),
        ("c.parquet", &["--compression", "zstd"], &[]),
        ("d.feather", &["--compression", "zstd"], &[]),
        ("e.csv.gz", &["--typed-header"], &["--key", on]),
        (
            "f.csv",
            &["--typed-header", "--time", "epoch"],
            &["--key", on],
        ),
        (
            "g.csv",
            &["--typed-header", "--time", "epoch_ns"],
            &["--key", on, "--time-format", "ns"],
        ),
    ] {
        let (out, two) = (dirs.text(file), dirs.text(&format!("{file}.store")));
        let args = ["export", "--on", on, "--dir", &one, "--out", &out];
        good(&[&args[..], options].concat());
        let format = match file.split('.').nth(1).unwrap() {
            "feather" => "arrow",
            other => other,
        };
        good(&[&["import", format, &out, "--dir", &two], import].concat());
        let found = contents(Path::new(&two));
        let wanted = contents(&dirs.path("one"));
        let wanted = wanted.iter().find(|(key, ..)| key == on).unwrap();
        assert_eq!(found.len(), 1, "{file}");
        assert_eq!(found[0].0, on);
        for (left, right) in found[0].2.columns().iter().zip(wanted.2.columns()) {
            assert_eq!(left.bytes(), right.bytes(), "{file}");
        }
        assert_eq!(found[0].2.times(), wanted.2.times(), "{file}");
    }
}

/// Several buckets in one file, with their keys in columns; ranges and columns cut exactly.
#[test]
fn one_file_of_several_buckets_is_taken_apart_again() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    let from = [
        "--from",
        "2020-01-01T00:01:00Z",
        "--to",
        "2020-01-01T00:10:00Z",
    ];
    for (format, file) in [("parquet", "all.parquet"), ("arrow", "all.arrow")] {
        let (out, two) = (dirs.text(file), dirs.text(&format!("{file}.store")));
        let columns = ["--columns", "The INT64,The STRING16"];
        let args = [
            "export", "--on", "*/1Min/*", "--dir", &one, "--out", &out, "--json",
        ];
        let report = good(&[&args[..], &from, &columns].concat());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["rows"], 20);
        good(&["import", format, &out, "--dir", &two]);
        let found = contents(Path::new(&two));
        let keys: Vec<&str> = found.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(keys, ["AAPL/1Min/OHLCV", "BRK.B/1Min/A B%"]);
        for (_, _, batch) in &found {
            assert_eq!(batch.rows(), 10);
            assert_eq!(batch.times()[0], NEW_YEAR + 60 * NANOS_PER_SECOND);
            assert_eq!(batch.schema().len(), 2);
        }
    }
    let out = dirs.text("mixed.csv");
    let args = ["export", "--on", "*/*/*", "--dir", &one, "--out", &out];
    refused(&args, &["different kinds of rows", "into a directory"]);
    assert!(!dirs.path("mixed.csv").exists());
}

fn bundled(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../data")
        .join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn real_bars_and_ticks_come_back() {
    let dirs = Dirs::new();
    let one = dirs.text("one");
    let ticks = ["--ticks", "--key", "IBM/1Sec/TRADE"];
    let args = [
        "import",
        "csv",
        &bundled("IBM_Tick_TRADE.csv.gz"),
        "--dir",
        &one,
    ];
    good(&[&args[..], &ticks].concat());
    for (file, name) in [
        ("AAPL_1Min_OHLCV.csv.gz", "AAPL/1Min/OHLCV"),
        ("SPY_1D_OHLCV.csv.gz", "SPY/1D/OHLCV"),
    ] {
        good(&[
            "import",
            "csv",
            &bundled(file),
            "--key",
            name,
            "--dir",
            &one,
        ]);
    }
    for format in ["parquet", "arrow"] {
        let (out, two) = (dirs.text(format), dirs.text(&format!("{format}-store")));
        good(&[
            "export", "--on", "*/*/*", "--dir", &one, "--out", &out, "--format", format,
        ]);
        let report = good(&["import", format, &out, "--dir", &two, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        for bucket in report["buckets"].as_array().unwrap() {
            assert_eq!(bucket["rows"], bucket["stored"], "{bucket}");
        }
        assert_same(Path::new(&one), Path::new(&two));
    }
}

#[test]
fn files_that_are_there_are_kept() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    let file = dirs.text("out.csv");
    std::fs::write(&file, "mine").unwrap();
    let args = [
        "export",
        "--on",
        "AAPL/1Min/OHLCV",
        "--dir",
        &one,
        "--out",
        &file,
    ];
    refused(&args, &["out.csv exists already", "--force"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    good(&[&args[..], &["--force"]].concat());
    assert!(std::fs::read(&file).unwrap().len() > 1000);
    let tree = dirs.text("tree");
    let args = ["--dir", &one, "--out", &tree, "--format", "parquet"];
    good(&[&["export", "--on", "AAPL/*/*"], &args[..]].concat());
    refused(
        &[&["export", "--on", "*/*/*"], &args[..]].concat(),
        &["OHLCV.parquet exists"],
    );
    assert_eq!(
        std::fs::read_dir(&tree).unwrap().count(),
        1,
        "nothing else was begun"
    );
}

#[test]
fn a_full_disk_and_a_closed_pipe_are_told() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    for format in FORMATS {
        let on = [
            "export",
            "--on",
            "AAPL/1Min/OHLCV",
            "--dir",
            &one,
            "--format",
            format,
        ];
        refused(
            &[&on[..], &["--out", "/dev/full"]].concat(),
            &["/dev/full", "No space left"],
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_mkts"))
            .args(on)
            .args(["--out", "-"])
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = text(&output);
        assert!(
            text.contains("standard output: the reader has closed the pipe"),
            "{text}"
        );
    }
}

#[test]
fn damaged_files_are_refused_and_named() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let one = dirs.text("one");
    for (format, file) in [("parquet", "a.parquet"), ("arrow", "a.arrow")] {
        let whole = dirs.text(file);
        good(&[
            "export",
            "--on",
            "AAPL/1Min/OHLCV",
            "--dir",
            &one,
            "--out",
            &whole,
        ]);
        let bytes = std::fs::read(&whole).unwrap();
        let cut = dirs.text(&format!("cut.{format}"));
        for length in [0, 3, 8, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            let args = ["import", format, &cut, "--dir", &dirs.text("cut-store")];
            refused(&args, &[&format!("cut.{format}"), "is no readable"]);
        }
        let args = [
            "import",
            format,
            &bundled("AAPL_1Min_OHLCV.csv.gz"),
            "--dir",
            &one,
        ];
        refused(&args, &["AAPL_1Min_OHLCV.csv.gz", "is no readable"]);
    }
}

#[test]
fn a_directory_with_strays_is_told_and_one_without_rows_refused() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let (one, out, two) = (dirs.text("one"), dirs.text("out"), dirs.text("two"));
    let args = ["--dir", &one, "--out", &out, "--format", "parquet"];
    good(&[&["export", "--on", "*/1Min/*"], &args[..]].concat());
    std::fs::write(dirs.path("out/notes.txt"), "x").unwrap();
    std::fs::write(dirs.path("out/AAPL/.half.parquet"), "x").unwrap();
    let said = good(&["import", "parquet", &out, "--dir", &two]);
    assert!(
        said.contains("passed over") && said.contains("and 1 more"),
        "{said}"
    );
    assert_eq!(contents(Path::new(&two)).len(), 2);
    refused(
        &["import", "arrow", &out, "--dir", &two],
        &["out: no file below ends in .arrow"],
    );
    // A file without a name of ours and without a key stops everything before anything is written.
    let csv = dirs.text("prices.csv");
    std::fs::write(&csv, "Epoch,Open\n60,1\n").unwrap();
    refused(
        &["import", "csv", &csv, "--dir", &two],
        &["prices.csv", "say --key"],
    );
}

#[test]
fn a_locked_store_says_how_to_ask_the_server() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let root = dirs.path("one");
    let (engine, _) = Engine::open(&root, Options::default(), Arc::new(NoHook)).unwrap();
    let (root, out) = (dirs.text("one"), dirs.text("out.csv"));
    let output = mkts(&["export", "--on", "*/*/*", "--dir", &root, "--out", &out]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("--url"), "{}", text(&output));
    engine.close().unwrap();
}

/// A Parquet file of somebody else.
fn foreign(file: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let output = std::fs::File::create(file).unwrap();
    let mut writer = ArrowWriter::try_new(output, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn minutes(count: i64) -> ArrayRef {
    let times: Vec<i64> = (0..count).map(|m| m * 60_000).collect();
    Arc::new(TimestampMillisecondArray::from(times))
}

#[test]
fn files_of_others_are_checked_column_by_column() {
    let dirs = Dirs::new();
    let (file, store) = (dirs.text("theirs.parquet"), dirs.text("store"));
    let prices: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.5]));
    let volumes: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let import = [
        "import", "parquet", &file, "--key", "A/1Min/B", "--dir", &store,
    ];
    let path = Path::new(&file);

    foreign(path, vec![("Price", prices.clone())]);
    refused(
        &import,
        &["no column looks like the time", "--time-column", "Price"],
    );

    foreign(path, vec![("when", minutes(2)), ("Volume", volumes)]);
    refused(
        &import,
        &[
            "theirs.parquet: column \"Volume\", row 2: is missing",
            "--nulls zero",
        ],
    );
    good(&[&import[..], &["--nulls", "zero"]].concat());

    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![&b"x"[..], b"y"]));
    foreign(
        path,
        vec![
            ("when", minutes(2)),
            ("Price", prices.clone()),
            ("Raw", binary),
        ],
    );
    let args = [
        "import", "parquet", &file, "--key", "A/1Min/C", "--dir", &store,
    ];
    refused(&args, &["column \"Raw\" is Binary", "--columns Raw:-"]);
    good(&[&args[..], &["--columns", "Raw:-,Price:Close"]].concat());

    // The bucket is there now: other names, and values that do not fit, are refused.
    foreign(path, vec![("when", minutes(2)), ("Price", prices)]);
    refused(
        &args,
        &["the bucket has a column \"Close\", the file has Price"],
    );
    let tenths: ArrayRef = Arc::new(Float64Array::from(vec![3.0, 0.1]));
    foreign(path, vec![("when", minutes(2)), ("Volume", tenths)]);
    refused(
        &import,
        &["column \"Volume\", row 2: 0.1 is no INT64; --lossy takes 0"],
    );
    good(&[&import[..], &["--lossy"]].concat());
    refused(
        &[&import[..], &["--ticks"]].concat(),
        &["holds bars, not ticks"],
    );
    refused(
        &["import", "parquet", &file, "--dir", &store],
        &["which bucket?", "--key"],
    );

    let found = contents(Path::new(&store));
    assert_eq!(found.len(), 2);
    let volume = found[0].2.column("Volume").unwrap();
    assert_eq!(volume.values::<i64>(), Some(&[3, 0][..]));
    let close = found[1].2.column("Close").unwrap();
    assert_eq!(close.values::<f64>(), Some(&[1.0, 2.5][..]));
}

/// One row group of more rows than are decoded or written at once.
#[test]
fn a_huge_row_group_is_read_in_parts() {
    let dirs = Dirs::new();
    let rows = 300_000;
    let numbers: ArrayRef = Arc::new(Int64Array::from((0..rows).collect::<Vec<i64>>()));
    let file = dirs.path("huge.parquet");
    foreign(&file, vec![("time", minutes(rows)), ("N", numbers)]);
    let (file, one, two) = (
        dirs.text("huge.parquet"),
        dirs.text("one"),
        dirs.text("two"),
    );
    let report = good(&[
        "import", "parquet", &file, "--key", "A/1Min/B", "--dir", &one, "--json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["buckets"][0]["stored"], rows);
    let out = dirs.text("out.parquet");
    good(&["export", "--on", "A/1Min/B", "--dir", &one, "--out", &out]);
    good(&["import", "parquet", &out, "--dir", &two]);
    assert_same(Path::new(&one), Path::new(&two));
}

/// A server on its own directory, killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dirs: &Dirs, name: &str) -> Self {
        let dir = dirs.path(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(
            dir.join("mkts.yml"),
            "root_directory: data\nlisten_port: 0\n",
        )
        .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mkts"))
            .args(["start", "--ready-file", "ready"])
            .current_dir(&dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let text = loop {
            if let Ok(text) = std::fs::read(dir.join("ready")) {
                break text;
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        };
        let ready: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let url = format!("http://{}", ready["http"].as_str().unwrap());
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Out of a directory, into a server, out of the server, into a directory.
#[test]
fn rows_come_back_through_a_server() {
    let dirs = Dirs::new();
    hard_store(&dirs.path("one"));
    let server = Server::start(&dirs, "server");
    let (one, first, second, two) = (
        dirs.text("one"),
        dirs.text("first"),
        dirs.text("second"),
        dirs.text("two"),
    );
    let all = ["export", "--on", "*/*/*", "--format", "arrow", "--out"];
    good(&[&all[..], &[&first, "--dir", &one]].concat());
    good(&["import", "arrow", &first, "--url", &server.url]);
    good(&[&all[..], &[&second, "--url", &server.url]].concat());
    good(&["import", "arrow", &second, "--dir", &two]);
    assert_same(Path::new(&one), Path::new(&two));
    let args = [
        "export",
        "--on",
        "AAPL/*/*",
        "--url",
        "http://127.0.0.1:1",
        "--out",
        "x.csv",
    ];
    refused(&args, &["the server does not answer"]);
}
