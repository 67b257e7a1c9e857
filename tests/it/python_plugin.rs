//! The Python SDK of plugins, as pip installs it.
//!
//! The packages it needs go into a virtual environment that is made once; the SDK itself is installed
//! from the sources on every run, in a folder of its own. Its own tests run against a server made in
//! Python; the trigger `tests/python/plugin_trigger.py` runs in the real one. Where Python cannot be
//! had, `MKTS_SKIP_PYTHON=1` skips this in the open.

use flate2::read::GzDecoder;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tests::server::{Server, workspace};
use tests::wire::{Table, query_one, write};

use crate::pymarketstore::environment;

/// What the SDK and its tests need, and what builds it.
const PACKAGES: &[&str] = &[
    "grpcio==1.76.0",
    "grpcio-tools==1.76.0",
    "protobuf>=6.31.1,<7",
    "numpy",
    "msgpack",
    "pyarrow",
    "pytest",
    "hatchling",
];

/// A Python that has the SDK of this tree.
struct Python {
    program: PathBuf,
    /// Where the SDK is.
    path: PathBuf,
}

impl Python {
    /// `None` if Python is to be left out.
    fn get() -> Option<&'static Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        PYTHON.get_or_init(Self::make).as_ref()
    }

    fn make() -> Option<Self> {
        if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
            println!("skipped: MKTS_SKIP_PYTHON=1");
            return None;
        }
        let program = environment("mkts-plugin-1", PACKAGES);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mkts-plugin-sdk");
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("the SDK of an earlier run is removed");
        }
        let output = Command::new(&program)
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--no-build-isolation"])
            .arg("--target")
            .arg(&path)
            .arg(workspace().join("plugins/python"))
            .output()
            .expect("the environment's python runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pip install: {error}");
        Some(Self { program, path })
    }
}

/// A virtual environment in a folder, with the SDK of this tree and all it needs; nothing is copied.
/// `None` if Python is to be left out.
pub(crate) fn virtual_environment(folder: &Path) -> Option<PathBuf> {
    let python = Python::get()?;
    let made = Command::new(&python.program)
        .args(["-m", "venv", "--without-pip"])
        .arg(folder)
        .status()
        .expect("the environment's python runs");
    assert!(made.success());
    let site = |program: &Path| {
        let code = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let output = Command::new(program).args(["-c", code]).output();
        let output = output.expect("the environment's python runs").stdout;
        String::from_utf8(output).expect("UTF-8").trim().to_owned()
    };
    let own = folder.join("bin/python3");
    let paths = format!("{}\n{}\n", python.path.display(), site(&python.program));
    std::fs::write(Path::new(&site(&own)).join("shared.pth"), paths).expect("a file of a test");
    Some(own)
}

#[test]
fn the_python_sdk_passes_its_own_tests() {
    let Some(python) = Python::get() else {
        return;
    };
    let output = Command::new(&python.program)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .env("PYTHONPATH", &python.path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(workspace().join("plugins/python"))
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(
        !out.contains("skipped"),
        "the environment has all it needs: {out}"
    );
}

/// How long rows of a trigger may take (a hang, not a performance check).
const SETTLE: Duration = Duration::from_secs(60);

/// Epochs and closes of the bundled bars.
fn real_bars() -> Vec<(i64, f32)> {
    let path = workspace().join("data/AAPL_1Min_OHLCV.csv.gz");
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip of text");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let close = fields[4].parse().expect("a price");
        (fields[0].parse().expect("an epoch"), close)
    };
    text.lines().skip(1).map(row).collect()
}

/// A package with the trigger, which names this interpreter.
fn package(python: &Python) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temp directory");
    let folder = dir.path().join("tally@v1.0.0");
    std::fs::create_dir(&folder).expect("the package's folder");
    let source = workspace().join("tests/python/plugin_trigger.py");
    std::fs::copy(&source, folder.join("tally.py")).expect("the trigger is copied");
    let toml = format!(
        "name = \"tally\"\nversion = \"1.0.0\"\ninterpreter = {:?}\n\
         args = [\"-m\", \"mkts.plugin\", \"tally.py:tally\"]\n",
        python.program.display().to_string()
    );
    std::fs::write(folder.join("plugin.toml"), toml).expect("plugin.toml");
    dir
}

/// Waits until every bar is numbered, each once and in order.
fn check(server: &Server, bars: &[(i64, f32)]) {
    let mut client = server.client();
    let until = Instant::now() + SETTLE;
    loop {
        // Until the first fire there is no such bucket.
        let found = query_one(&mut client, "AAPL/1Min/TALLY").unwrap_or_default();
        let numbers = match found.rows {
            0 => Vec::new(),
            _ => found.get_i8("Number"),
        };
        if numbers.len() >= bars.len() {
            let wanted: Vec<i64> = (1..).take(bars.len()).collect();
            let (epochs, closes): (Vec<i64>, Vec<f32>) = bars.iter().copied().unzip();
            assert_eq!(numbers, wanted);
            assert_eq!(found.get_i8("Epoch"), epochs);
            assert_eq!(found.get_f4("Close"), closes);
            return;
        }
        assert!(
            Instant::now() < until,
            "{} of {} bars are numbered after {SETTLE:?}",
            numbers.len(),
            bars.len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bars in several commits, with a kill -9 of the server in between: state, rows and place of the
/// trigger are one, so the numbers have no hole and none comes twice.
#[test]
fn a_trigger_in_python_numbers_real_bars_through_a_crash() {
    let Some(python) = Python::get() else {
        return;
    };
    let modules = package(python);
    let entry = format!(
        "  - module: tally\n    on: \"*/1Min/OHLCV\"\n    env: {{PYTHONPATH: {:?}}}\n",
        python.path.display().to_string()
    );
    let extra = format!("plugin_dir: {}\n", modules.path().display());
    let mut server = Server::start(&[&entry], &extra);
    let bars = real_bars();
    assert!(bars.len() > 500);
    let places = [0, 1, 200, bars.len() / 2, bars.len()];
    for (at, place) in places.windows(2).enumerate() {
        let (epochs, closes): (Vec<i64>, Vec<f32>) =
            bars[place[0]..place[1]].iter().copied().unzip();
        let table = Table::default().i8("Epoch", &epochs).f4("Close", &closes);
        let mut client = server.client();
        write(&mut client, &[("AAPL/1Min/OHLCV", &table)], false).expect("written");
        // Once with everything done, once in the middle of it.
        if at != 2 {
            check(&server, &bars[..place[1]]);
        }
        if (1..3).contains(&at) {
            server.kill();
            server.restart();
        }
    }
    check(&server, &bars);
    assert!(server.terminate().success());
}
