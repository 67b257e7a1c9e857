//! `mkts import marketstore` on directories that real servers of version 3 and 4 wrote.
//!
//! Goal: exactly the rows that were written arrive, once, at their times, also where the server
//! itself answers wrongly: ticks one second late, ticks doubled by the replay of its log, the daily
//! row of 1 January lost. And the directory is not touched.
//!
//! Method: the real binary imports; the store is read with the engine and compared with what the
//! server answered, corrected for those three faults.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use engine::{Engine, NoHook, Options, Scan};
use model::{BucketKey, ColumnBatch, Scalar};
use serde_json::Value;
use tests::marketstore::{Answer, NAMES, VERSIONS, answers, unpack};
use tests::server::binary;

const SECOND: i64 = 1_000_000_000;

fn import(source: &Path, store: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["import", "marketstore"])
        .arg(source)
        .arg("--dir")
        .arg(store);
    command.args(more).output().expect("the binary runs")
}

/// The last line of an import with `--json`.
fn done(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn stored(store: &Path) -> BTreeMap<String, ColumnBatch> {
    let (engine, _) =
        Engine::open(store, Options::default(), Arc::new(NoHook)).expect("the store opens");
    let buckets = engine.buckets();
    let rows = buckets.iter().map(|info| {
        let rows = engine
            .snapshot(&[info.id])
            .scan(0, &Scan::all())
            .expect("a scan");
        (info.key.to_string(), rows)
    });
    let rows = rows.collect();
    engine.close().expect("the store closes");
    rows
}

/// Bytes allocated and times of change of everything below a directory.
fn fingerprint(dir: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = std::fs::metadata(&path).expect("metadata");
            let changed = (
                meta.len(),
                meta.mtime_nsec() + meta.mtime(),
                meta.ctime_nsec(),
                meta.blocks(),
            );
            found.insert(path.display().to_string(), changed);
            if meta.is_dir() {
                dirs.push(path);
            }
        }
    }
    found
}

/// Seconds and nanoseconds of a tick as it was, from what the server answered: it rounds the second
/// up, and not the nanoseconds, where less than 5 of these are missing.
fn corrected(epoch: i64, nanos: i64) -> i64 {
    let late = i64::from(nanos >= SECOND - 5);
    (epoch - late) * SECOND + nanos
}

/// The rows of an answer as text, those at its beginning or those at its end.
fn recorded_rows(answer: &Answer, at_end: bool) -> Vec<Vec<String>> {
    let values = |column: &(String, String, Vec<Value>, Vec<Value>)| match at_end {
        true => column.3.clone(),
        false => column.2.clone(),
    };
    let column = |name: &str| answer.columns.iter().find(|c| c.0 == name).map(values);
    let epochs = column("Epoch").expect("Epoch");
    let nanos = column("Nanoseconds");
    let mut rows = Vec::new();
    for (at, epoch) in epochs.iter().enumerate() {
        let epoch = epoch.as_i64().expect("seconds");
        let nanos = nanos
            .as_ref()
            .map_or(0, |nanos| nanos[at].as_i64().expect("nanoseconds"));
        let mut row = vec![corrected(epoch, nanos).to_string()];
        for other in &answer.columns {
            if !["Epoch", "Nanoseconds"].contains(&other.0.as_str()) {
                row.push(value_text(&values(other)[at], &other.1));
            }
        }
        rows.push(row);
    }
    rows
}

fn value_text(value: &Value, ty: &str) -> String {
    match value {
        // Recorded as f64 with all digits of the f32.
        Value::Number(number) if ty == "f4" => {
            (number.as_f64().expect("a float") as f32).to_string()
        }
        Value::Number(number) if ty == "f8" => number.as_f64().expect("a float").to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.replace("Infinity", "inf"),
        other => other.to_string(),
    }
}

fn stored_rows(batch: &ColumnBatch) -> Vec<Vec<String>> {
    let text = |value: Scalar| match value {
        Scalar::F32(v) => v.to_string(),
        Scalar::F64(v) => v.to_string(),
        // MarketStore answers its byte type as unsigned.
        Scalar::I8(v) => v.cast_unsigned().to_string(),
        Scalar::I16(v) => v.to_string(),
        Scalar::I32(v) => v.to_string(),
        Scalar::I64(v) => v.to_string(),
        Scalar::U8(v) => v.to_string(),
        Scalar::U16(v) => v.to_string(),
        Scalar::U32(v) => v.to_string(),
        Scalar::U64(v) => v.to_string(),
        Scalar::Str16(v) => {
            let chars = v.iter().take_while(|c| **c != 0);
            chars
                .map(|c| char::from_u32(*c).expect("a character"))
                .collect()
        }
    };
    let row = |at: usize| {
        let values = batch.columns().iter().map(|column| text(column.scalar(at)));
        [batch.times()[at].to_string()]
            .into_iter()
            .chain(values)
            .collect()
    };
    (0..batch.rows()).map(row).collect()
}

/// The server's answer, without the rows that its faults added.
fn compare(answer: &Answer, batch: &ColumnBatch, context: &str) {
    let mut rows = stored_rows(batch);
    if answer.key == "AAPL/1D/OHLCV" {
        let first_january = (1_577_836_800 * SECOND).to_string();
        rows.retain(|row| row[0] != first_january);
        assert_eq!(
            rows.len() + 1,
            batch.rows(),
            "{context}: the row of 1 January is missing"
        );
    }
    let times = answer.rows / rows.len();
    assert_eq!(
        answer.rows,
        times * rows.len(),
        "{context}: the number of rows"
    );
    assert!(times == 1 || batch.times().len() < answer.rows, "{context}");
    for at_end in [false, true] {
        let mut recorded = recorded_rows(answer, at_end);
        let mut mine: Vec<_> = if at_end {
            rows[rows.len() - rows.len().min(recorded.len())..].to_vec()
        } else {
            rows[..rows.len().min(recorded.len())].to_vec()
        };
        if times > 1 {
            // Equal rows lie side by side in both; those cut in two at the border are left out.
            recorded.dedup();
            recorded.sort();
            recorded.dedup();
            mine.retain(|row| recorded.contains(row));
            mine.sort();
            mine.dedup();
            assert!(!mine.is_empty(), "{context}");
        }
        assert_eq!(mine, recorded, "{context}, at the end: {at_end}");
    }
}

#[test]
fn every_recorded_directory_arrives_as_it_was_written() {
    let mut ticks = Vec::new();
    for version in VERSIONS {
        for name in NAMES {
            let dir = tempfile::tempdir().unwrap();
            let (source, store) = (dir.path().join("old"), dir.path().join("new"));
            unpack(version, name, &source);
            let before = fingerprint(&source);
            let output = import(&source, &store, &["--json"]);
            let done = done(&output);
            assert!(output.status.success(), "{version} {name}: {done}");
            assert_eq!(
                fingerprint(&source),
                before,
                "{version} {name}: the source was touched"
            );
            let stored = stored(&store);
            let answers = answers(version, name);
            assert_eq!(
                stored.len(),
                answers.len(),
                "{version} {name}: {:?}",
                stored.keys()
            );
            for answer in &answers {
                compare(
                    answer,
                    &stored[&answer.key],
                    &format!("{version} {name} {}", answer.key),
                );
            }
            let rows: usize = stored.values().map(ColumnBatch::rows).sum();
            assert_eq!(done["rows"], rows);
            if name.starts_with("ticks_") {
                ticks.push(stored);
            }
            assert_eq!(
                done["repaired"]["first_january"],
                u64::from(name == "fixed_year_end")
            );
        }
    }
    // Both versions were given the same ticks, compressed and not.
    let key = BucketKey::parse("TK/1Min/TICK").unwrap();
    assert_eq!(ticks.len(), 4);
    for other in &ticks[1..] {
        assert_eq!(other.len(), ticks[0].len());
        for (bucket, batch) in other {
            assert_eq!(batch.times(), ticks[0][bucket].times(), "{bucket}");
            assert_eq!(batch.columns(), ticks[0][bucket].columns(), "{bucket}");
        }
    }
    assert_eq!(ticks[0][key.as_str()].rows(), 1802);
}

#[test]
fn damage_is_named_and_ends_with_4() {
    let dir = tempfile::tempdir().unwrap();
    let (source, store) = (dir.path().join("old"), dir.path().join("new"));
    unpack("v4.1.23", "fixed_year_end", &source);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(source.join("MSFT/1Min/OHLCV/2019.bin"));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &[9], 264).unwrap();
    let output = import(&source, &store, &["--json"]);
    assert_eq!(output.status.code(), Some(4));
    let report = done(&output);
    assert_eq!(report["set_aside"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["set_aside"][0]["file"], "MSFT/1Min/OHLCV/2019.bin");
    assert_eq!(report["set_aside"][0]["offset"], 264);
    assert_eq!(report["rows"], 172);
    // The second run finds the same, and so does one for people.
    let again = import(&source, &store, &[]);
    assert_eq!(again.status.code(), Some(4));
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        text.contains("left out: MSFT/1Min/OHLCV/2019.bin at byte 264"),
        "{text}"
    );
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (source, store) = (dir.path().join("old"), dir.path().join("new"));
    unpack("v3.2.18", "dtypes", &source);
    let old = dir.path().join("old.yml");
    std::fs::write(&old, "timezone: Asia/Tokyo\n").unwrap();
    let inside = source.join("new");
    let cases: [(&Path, &Path, &[&str], &str); 6] = [
        (&source, &inside, &[], "lies in the MarketStore directory"),
        (&source, &source, &[], "lies in the MarketStore directory"),
        (dir.path(), &store, &[], "category_name"),
        (
            &source,
            &store,
            &["--timezone", "Mars/Olympus"],
            "Mars/Olympus",
        ),
        (&source, &store, &["--on", "a"], "--on"),
        (
            &source,
            &store,
            &["--timezone", "UTC", "--old-config", old.to_str().unwrap()],
            "Asia/Tokyo",
        ),
    ];
    for (source, store, more, wanted) in cases {
        let output = import(source, store, more);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!store.exists());
    // Part of the buckets, then the rest.
    assert!(
        import(&source, &store, &["--on", "*/1Sec/*"])
            .status
            .success()
    );
    assert_eq!(stored(&store).len(), 1);
    assert!(import(&source, &store, &[]).status.success());
    assert_eq!(stored(&store).len(), 2);
}

#[test]
fn a_start_on_such_a_directory_names_the_import() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("old");
    unpack("v3.2.18", "dtypes", &source);
    let config = dir.path().join("mkts.yml");
    let root = source.display();
    std::fs::write(&config, format!("root_directory: {root}\nlisten_port: 0\n")).unwrap();
    let output = Command::new(binary())
        .arg("start")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains(&format!("mkts import marketstore {root} --dir {root}-mkts")),
        "{text}"
    );
}

/// Killed after each line it prints, and started again, until it ends by itself.
#[test]
fn kill_9_at_every_step_loses_and_doubles_nothing() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let (source, whole, store) = (
        dir.path().join("old"),
        dir.path().join("a"),
        dir.path().join("b"),
    );
    unpack("v3.2.18", "fixed_year_end", &source);
    assert!(import(&source, &whole, &[]).status.success());
    let mut kills = 0;
    for lines in (1..).step_by(3) {
        let mut command = Command::new(binary());
        command
            .args(["import", "marketstore", "--json"])
            .arg(&source)
            .arg("--dir")
            .arg(&store);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = output.by_ref().take(lines).count();
        // Whether it still runs or not.
        let _ = child.kill();
        let status = child.wait().unwrap();
        if seen < lines || status.success() {
            assert!(status.success(), "{status}");
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "{kills} kills");
    let (wanted, found) = (stored(&whole), stored(&store));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    for (key, batch) in wanted {
        assert!(found[&key] == batch, "{key}");
    }
}
