//! What an operator types, on the files of a store and on a running server: results, exit codes,
//! bad input.
#![forbid(unsafe_code)]
// Tests prepare and damage files beside the store; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use serde_json::Value;
use tempfile::TempDir;

const MKTS: &str = env!("CARGO_BIN_EXE_mkts");
/// A hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const CONFIG: &str = "root_directory: data\nlisten_port: 0\ncheckpoint: {wal_segment: 1MiB}\n\
                      limits: {frame_bytes: 512KiB}\n";
const BARS: &str = "A/1Min/OHLCV";
const TICKS: &str = "A/1Sec/TICK";

/// A server on its own directory, with 100 bars and 50 ticks; killed when dropped.
struct Site {
    dir: TempDir,
    server: Option<(Child, String)>,
}

impl Site {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mkts.yml"), config).unwrap();
        let mut site = Self { dir, server: None };
        site.start();
        let mut client = Client::new(site.addr());
        let minutes: Vec<i64> = (0..100).map(|n| n * 60_000_000_000).collect();
        client
            .write(&[table(BARS, &minutes)], RowKind::Bar)
            .unwrap();
        let seconds: Vec<i64> = (0..50).map(|n| n * 1_000_000_000).collect();
        client
            .write(&[table(TICKS, &seconds)], RowKind::Tick)
            .unwrap();
        site
    }

    fn start(&mut self) {
        let ready = self.path("ready");
        let _ = fs::remove_file(&ready);
        let mut child = Command::new(MKTS)
            .args(["start", "--ready-file", "ready"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let addr = loop {
            if let Ok(text) = fs::read(&ready) {
                let value: Value = serde_json::from_slice(&text).unwrap();
                break value["http"].as_str().unwrap().to_owned();
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        };
        self.server = Some((child, addr));
    }

    fn addr(&self) -> &str {
        &self.server.as_ref().unwrap().1
    }

    /// Ends the server: as a supervisor does, or as a power cut does.
    fn stop(&mut self, kill: bool) {
        let Some((mut child, _)) = self.server.take() else {
            return;
        };
        let pid = rustix::process::Pid::from_child(&child);
        let signal = match kill {
            true => rustix::process::Signal::KILL,
            false => rustix::process::Signal::TERM,
        };
        let _ = rustix::process::kill_process(pid, signal);
        child.wait().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mkts(&self, args: &[&str]) -> Output {
        Command::new(MKTS)
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// On the server if it runs, else on the directory.
    fn at(&self, args: &[&str]) -> Output {
        let url = self
            .server
            .as_ref()
            .map(|(_, addr)| format!("http://{addr}"));
        let place = match &url {
            Some(url) => ["--url", url],
            None => ["--config", "mkts.yml"],
        };
        self.mkts(&[args, &place].concat())
    }

    /// What a command that must succeed printed, as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.at(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, code: i32, args: &[&str], part: &str) {
        let output = self.at(args);
        expect(&output, code, part);
    }

    fn rows(&self, key: &str) -> u64 {
        let from = ["delete", key, "--from", "1900-01-01", "--dry-run"];
        self.json(&from)["rows"].as_u64().unwrap()
    }

    /// The only data segment.
    fn segment(&self) -> PathBuf {
        let mut names = fs::read_dir(self.path("data/segments")).unwrap();
        names.next().unwrap().unwrap().path()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop(true);
    }
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn expect(output: &Output, code: i32, part: &str) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "no \"{part}\" in: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

fn table(key: &str, times: &[i64]) -> (BucketKey, ColumnBatch) {
    let columns = [("Price", ColumnType::F32), ("Size", ColumnType::I32)];
    let columns = columns.map(|(name, ty)| ColumnDef::new(name, ty));
    let prices: Vec<f32> = (0..times.len()).map(|n| n as f32 / 4.0).collect();
    let sizes: Vec<i32> = (0..times.len() as i32).collect();
    let batch = ColumnBatch::new(
        Schema::new(columns.to_vec()).unwrap(),
        Column::from_values(times.to_vec()),
        vec![Column::from_values(prices), Column::from_values(sizes)],
    );
    (BucketKey::parse(key).unwrap(), batch.unwrap())
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    let mut permissions = fs::metadata(file).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)] // a file of the test's own directory
    permissions.set_readonly(false);
    fs::set_permissions(file, permissions).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn rows_are_deleted_on_a_server_and_on_its_files() {
    let mut site = Site::new(CONFIG);
    for server in [true, false] {
        if !server {
            site.stop(false);
        }
        let first = if server { "600" } else { "1200" };
        let before = site.rows(BARS);
        let args = [
            "delete",
            BARS,
            "--from",
            first,
            "--to",
            "1970-01-01T00:24:00Z",
        ];
        let dry = site.json(&[&args[..], &["--dry-run"]].concat());
        let expected = if server { 15 } else { 0 };
        assert_eq!(
            (&dry["rows"], &dry["deleted"]),
            (&expected.into(), &0.into())
        );
        assert_eq!(site.rows(BARS), before);
        let unasked = [&args[..], &[]].concat();
        site.refused(1, &unasked, "--yes");
        let done = site.json(&[&args[..], &["--yes"]].concat());
        assert_eq!(done["deleted"], expected);
        assert_eq!(site.rows(BARS), 85);
        for (args, part) in [
            (&["delete", BARS][..], "--from"),
            (
                &["delete", BARS, "--from", "yesterday"],
                "--from: time \"yesterday\"",
            ),
            (
                &["delete", BARS, "--from", "9", "--to", "5"],
                "--from is behind --to",
            ),
            (&["delete", "B/1Min/X", "--from", "9", "--yes"], "B/1Min/X"),
            (&["delete", "A/*", "--from", "9"], "A/*"),
        ] {
            site.refused(1, args, part);
        }
    }
}

#[test]
fn columns_are_changed_on_a_server_and_on_its_files() {
    let mut site = Site::new(CONFIG);
    let done = site.json(&["alter", BARS, "--add", "Note:U16", "--widen", "Size:i8"]);
    assert_eq!(done["version"], 2);
    let key = BucketKey::parse(BARS).unwrap();
    let info = Client::new(site.addr()).get_info(&key).unwrap();
    let wanted = [
        ("Price", ColumnType::F32),
        ("Size", ColumnType::I64),
        ("Note", ColumnType::Str16),
    ];
    assert_eq!(
        info.columns,
        wanted.map(|(name, ty)| ColumnDef::new(name, ty))
    );
    site.refused(1, &["alter", BARS, "--widen", "Size:i2"], "Size");
    site.stop(true);
    let done = site.json(&["alter", BARS, "--drop", "Price", "--rename", "Note:Price"]);
    assert_eq!(done["version"], 3);
    site.start();
    let info = Client::new(site.addr()).get_info(&key).unwrap();
    let wanted = [("Size", ColumnType::I64), ("Price", ColumnType::Str16)];
    assert_eq!(
        info.columns,
        wanted.map(|(name, ty)| ColumnDef::new(name, ty))
    );
    assert_eq!(site.rows(BARS), 100);
    for (args, part) in [
        (&["alter", BARS][..], "nothing to change"),
        (
            &["alter", BARS, "--add", "X"],
            "--add: \"X\" is not NAME:TYPE",
        ),
        (&["alter", BARS, "--add", "X:f16"], "\"f16\" is no type"),
        (&["alter", BARS, "--drop", "Nope"], "Nope"),
        (&["alter", "B/1Min/X", "--drop", "Nope"], "B/1Min/X"),
    ] {
        site.refused(1, args, part);
    }
}

#[test]
fn buckets_are_destroyed_by_key_and_by_symbol() {
    let mut site = Site::new(CONFIG);
    let dry = site.json(&["destroy", "A", "--dry-run"]);
    assert_eq!(dry["buckets"], serde_json::json!([BARS, TICKS]));
    site.refused(1, &["destroy", "A"], "--yes");
    site.refused(1, &["destroy", "*", "--yes"], "no bucket *");
    site.json(&["destroy", BARS, "--yes"]);
    site.refused(1, &["destroy", BARS, "--yes"], "no bucket");
    site.stop(false);
    site.json(&["destroy", "A/1Sec", "--yes"]);
    assert_eq!(site.json(&["status"])["buckets"], 0);
}

#[test]
fn a_store_is_compacted() {
    let mut site = Site::new(CONFIG);
    site.json(&["delete", BARS, "--from", "0", "--to", "5000", "--yes"]);
    let done = site.json(&["compact"]);
    assert_eq!(done["segments"], 1, "{done}");
    site.stop(false);
    let done = site.json(&["compact"]);
    assert_eq!(done["segments"], 1, "{done}");
    assert_eq!((site.rows(BARS), site.rows(TICKS)), (16, 50));
}

#[test]
fn a_whole_store_passes_and_a_store_in_use_ends_with_3() {
    let mut site = Site::new(CONFIG);
    for command in ["check", "status"] {
        let output = site.mkts(&[command, "--config", "mkts.yml"]);
        expect(&output, 3, "in use");
    }
    expect(&site.mkts(&["wal", "verify"]), 3, "stop the server first");
    site.stop(true);
    let log = fs::read_dir(site.path("data/wal")).unwrap().count();
    let dump = text(&site.mkts(&["wal", "dump"]));
    assert!(
        dump.contains(" rows ") && dump.contains("A/1Min/OHLCV 100 rows"),
        "{dump}"
    );
    let line = site.mkts(&["wal", "dump", "--json", "--limit", "1"]);
    let line: Value = serde_json::from_slice(&line.stdout).unwrap();
    assert_eq!(
        (&line["kind"], &line["lsn"]),
        (&"define".into(), &"40".into())
    );
    let from = line["end"].as_str().unwrap();
    let rest = site.mkts(&["wal", "dump", "--json", "--from", from]);
    let first = String::from_utf8(rest.stdout).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["lsn"], &first["kind"]),
        (&line["end"], &"rows".into())
    );
    expect(&site.mkts(&["wal", "verify"]), 0, "every frame holds");
    let summary = site.json(&["status"]);
    assert_eq!(summary["replay_rows"], 150, "{summary}");
    let report = site.json(&["check"]);
    assert_eq!(
        (&report["damaged"], &report["log_rows"]),
        (&false.into(), &150.into())
    );
    assert_eq!(fs::read_dir(site.path("data/wal")).unwrap().count(), log);
    assert_eq!(site.rows(TICKS), 50);
    expect(&site.mkts(&["wal", "verify"]), 0, "closed in good order");
    let report = site.json(&["check"]);
    assert_eq!(
        (&report["rows"], &report["log_rows"]),
        (&150.into(), &0.into())
    );
    for (args, part) in [
        (
            &["check", "--dir", "nowhere"][..],
            "nowhere: there is no such directory",
        ),
        (&["check", "--dir", "."], "not a store"),
        (&["check", "--yes"], "--repair"),
        (&["wal", "dump", "--from", "x"], "hexadecimal"),
        (&["wal", "verify", "--config", "none.yml"], "none.yml"),
    ] {
        expect(&site.mkts(args), 1, part);
    }
}

#[test]
fn damage_ends_with_4_until_it_is_repaired() {
    let mut site = Site::new(CONFIG);
    site.stop(false);
    let segment = site.segment();
    flip(&segment, 64 + 8);
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    expect(
        &site.mkts(&["check"]),
        4,
        &format!("damage: segments/{name} at byte 64, bucket {BARS}"),
    );
    let plan = site.mkts(&["check", "--repair"]);
    expect(
        &plan,
        4,
        "100 rows from 1970-01-01T00:00:00Z to 1970-01-01T01:39:00Z",
    );
    expect(&plan, 4, "nothing was changed");
    assert!(segment.exists() && !site.path("data/quarantine").exists());
    let done = site.mkts(&["check", "--repair", "--yes"]);
    expect(&done, 0, "Repaired: 1 step, 100 rows given up");
    assert!(site.path("data/quarantine").join(&name).exists());
    expect(&site.mkts(&["check"]), 0, "no damage");
    assert_eq!((site.rows(BARS), site.rows(TICKS)), (0, 50));

    // A directory that cannot be read keeps the store from opening, and the text says what helps.
    let segment = site.segment();
    let length = fs::metadata(&segment).unwrap().len() as usize;
    flip(&segment, length - 10);
    let start = site.mkts(&["start"]);
    expect(&start, 4, "mkts check --repair");
    site.refused(4, &["compact"], "mkts check --repair");
    expect(
        &site.mkts(&["check", "--repair", "--yes"]),
        0,
        "nobody can count",
    );
    expect(&site.mkts(&["check"]), 0, "no damage");
    flip(&site.path("data/MANIFEST"), 20);
    expect(&site.mkts(&["start"]), 4, "MANIFEST is damaged");
    expect(
        &site.mkts(&["check", "--repair", "--yes"]),
        0,
        "quarantine/MANIFEST",
    );
    site.start();
    assert_eq!(site.rows(TICKS), 0);
}

#[test]
fn status_shows_one_screen() {
    let mut site = Site::new(&format!(
        "{CONFIG}triggers:\n  - module: stream.so\n    on: \"*/*/*\"\n"
    ));
    let screen = text(&site.at(&["status"]));
    for part in [
        "takes writes",
        "everything up to 20",
        "2 buckets",
        "150 rows",
        "trigger",
        "running",
    ] {
        assert!(screen.contains(part), "no \"{part}\" in: {screen}");
    }
    let status = site.json(&["status"]);
    assert_eq!(
        (&status["rows"], &status["poisoned"]),
        (&150.into(), &Value::Null)
    );
    let mut client = Client::new(site.addr());
    let refusals = [
        ("restart", "{}", 404, "known are"),
        ("status", "{}", 405, "GET"),
        ("checkpoint", "[", 400, "not understood"),
        ("checkpoint", "{\"x\":1}", 400, "x"),
        ("merge", "{\"full\":1}", 400, "boolean"),
        ("backup", "{}", 400, "directory"),
        ("backup", "{\"directory\":\"here\"}", 400, "absolute"),
    ];
    for (call, body, code, part) in refusals {
        let (status, text) = client.post(&format!("/admin/v1/{call}"), body).unwrap();
        assert_eq!(status, code, "{call}: {text}");
        assert!(text.contains(part) && text.contains("\"error\""), "{text}");
    }
    let (code, text) = client.post("/admin/v1/checkpoint", "").unwrap();
    assert_eq!(code, 200, "{text}");
    assert_eq!(site.json(&["status"])["tail_bytes"], 0);
    let addr = site.addr().to_owned();
    site.stop(false);
    let gone = site.mkts(&["status", "--url", &addr]);
    expect(&gone, 1, "no server answers");
}

/// The newest bar is at 99 minutes: what is older than half an hour before it goes at the start.
#[test]
fn retention_runs_at_the_start_and_says_what_it_took() {
    let mut site = Site::new(CONFIG);
    site.stop(false);
    let config = format!("{CONFIG}retention:\n  - {{on: \"*/1Min/*\", keep: 30min}}\n");
    fs::write(site.path("mkts.yml"), config).unwrap();
    expect(
        &site.mkts(&["check-config"]),
        0,
        "retention: */1Min/* keeps",
    );
    site.start();
    let deadline = Instant::now() + PATIENCE;
    while site.rows(BARS) == 100 {
        assert!(Instant::now() < deadline, "retention does not run");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((site.rows(BARS), site.rows(TICKS)), (31, 50));
    site.stop(false);
    let log = fs::read_to_string(site.path("log")).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("retention deleted rows"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!((&line["bucket"], &line["rows"]), (&BARS.into(), &69.into()));
    assert_eq!(line["before"], "1970-01-01T01:09:00Z");
}

/// A backup of a running server, and of its files, becomes a store with the same rows.
#[test]
fn a_backup_is_restored() {
    let mut site = Site::new(CONFIG);
    let made = site.json(&["backup", "copies/one"]);
    assert!(made["files"].as_u64().unwrap() >= 2, "{made}");
    let mut client = Client::new(site.addr());
    client
        .write(&[table(BARS, &[9_000_000_000_000])], RowKind::Bar)
        .unwrap();
    site.refused(1, &["backup", "copies/one"], "empty");
    site.stop(false);
    site.json(&["backup", "copies/two"]);
    for (name, bars) in [("one", 100), ("two", 101)] {
        let copy = format!("copies/{name}");
        expect(&site.mkts(&["check", "--dir", &copy]), 0, "no damage");
        let target = format!("restored-{name}");
        let restored = site.mkts(&["restore", &copy, "--dir", &target]);
        expect(&restored, 0, &format!("{} rows", bars + 50));
        let again = site.mkts(&["restore", &copy, "--dir", &target]);
        expect(&again, 1, "not empty");
        // Copies, not links: what happens to one does not reach the other.
        for entry in fs::read_dir(site.path(&target).join("segments")).unwrap() {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(entry.unwrap().metadata().unwrap().nlink(), 1);
        }
        fs::rename(site.path("data"), site.path(&format!("data-{name}"))).unwrap();
        fs::rename(site.path(&target), site.path("data")).unwrap();
        assert_eq!((site.rows(BARS), site.rows(TICKS)), (bars, 50));
    }
    let manifest = site.path("copies/one/MANIFEST");
    flip(&manifest, 20);
    let refused = site.mkts(&["restore", "copies/one", "--dir", "three"]);
    expect(&refused, 4, "the backup is damaged, nothing was copied");
    assert!(!site.path("three").exists());
    expect(
        &site.mkts(&["restore", "nowhere", "--dir", "three"]),
        1,
        "no such directory",
    );
}
