//! `estimate`, `tool`, `completions`, `man`.

use std::fs;

use serde_json::Value;
use tests::marketstore::{VERSIONS, unpack};

use super::{place, run, with_bars};

#[test]
fn estimates_are_those_of_the_reference() {
    let dir = place();
    let line = |args: &[&str]| {
        let out = run(dir.path(), &[&["estimate"], args].concat()).good();
        out.lines().next().expect("a line").to_owned()
    };
    assert_eq!(
        line(&[]),
        "Estimated space required for 1000 symbols with 10 years of 1Min data: 49GB"
    );
    assert_eq!(
        line(&["--symbols=1", "-y", "1", "--timeframe", "1Sec"]),
        "Estimated space required for 1 symbol with 1 year of 1Sec data: 293MB"
    );
    assert_eq!(
        line(&["-t", "1us", "-s", "4000000000", "-y", "1000000"]),
        "Estimated space required is more than 10,000EB"
    );
    let unknown = run(dir.path(), &["estimate", "-t", "5Min"]).failed(1);
    assert!(unknown.contains("\"5Min\" is not known"), "{unknown}");
    let json = run(dir.path(), &["estimate", "--json"]).good();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["rows"], 1_017_900_000.0);
}

#[test]
fn logs_are_read_and_not_changed() {
    for version in VERSIONS {
        let dir = place();
        let root = dir.path().join("old");
        unpack(version, "wal_unreplayed", &root);
        let logs = fs::read_dir(&root).expect("a directory");
        let mut logs = logs.map(|entry| entry.expect("an entry").path());
        let log = logs.find(|path| path.extension().is_some_and(|e| e == "walfile"));
        let log = log.expect("a log");
        let before = fs::read(&log).expect("a file");
        let name = log.to_str().expect("UTF-8");
        let out = run(dir.path(), &["tool", "wal", "--file", name]).good();
        for part in [
            "Beginning WAL Replay\nDebugging mode enabled - no writes will be performed...\n",
            "Entering replay of TGData\nReplay for TGID: ",
            ", data length is: ",
            &format!("Replay of WAL file {name} finished\nFinished replay of TGData\n"),
        ] {
            assert!(out.contains(part), "{part}\n---\n{out}");
        }
        assert!(out.contains(".bin interval "), "{out}");
        let json = run(dir.path(), &["tool", "waldebugger", "-f", name, "--json"]).good();
        let group: Value =
            serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
        assert!(
            group["writes"][0]["file"]
                .as_str()
                .is_some_and(|f| f.ends_with(".bin"))
        );
        assert_eq!(fs::read(&log).expect("a file"), before);
        // Cut off in the middle of the last group.
        fs::write(&log, &before[..before.len() - 20]).expect("a file");
        run(dir.path(), &["tool", "wal", "-f", name]).failed(4);
    }
}

#[test]
fn our_own_logs_are_read_too() {
    let dir = place();
    let load = |csv: &str| {
        super::run_with(
            dir.path(),
            &["load", "-", "A/1Min/X", "--dir", "store"],
            csv,
        )
        .good()
    };
    load("Epoch,Open\n60,1.5\n120,2.5\n");
    let of = |file: &str| run(dir.path(), &["tool", "wal", "-f", file]);
    let out = of("store").good();
    assert!(out.contains("  A/1Min/X 2 rows\n"), "{out}");
    let wal = fs::read_dir(dir.path().join("store/wal")).expect("a log");
    let file = wal
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("a file");
    let named = of(file.to_str().expect("UTF-8")).good();
    assert!(named.contains("Finished replay of TGData"), "{named}");
    let none = of("store/nothing").failed(1);
    assert!(none.contains("store/nothing"), "{none}");
}

#[test]
fn year_files_have_sums_by_month() {
    let dir = place();
    let root = dir.path().join("old");
    unpack("v4.1.23", "fixed_year_end", &root);
    let check = |args: &[&str]| {
        run(
            dir.path(),
            &[&["tool", "integrity", "-d", "old"], args].concat(),
        )
    };
    let out = check(&[]).good();
    let files: Vec<&str> = out.lines().collect();
    assert!(!files.is_empty());
    for line in &files {
        let parts: Vec<&str> = line.split(',').collect();
        assert_eq!(parts.len(), 14, "{line}");
        assert!(
            parts[1].starts_with("Hdr ") && parts[13].starts_with("Dec "),
            "{line}"
        );
    }
    let file = files[0]
        .split(',')
        .next()
        .expect("a name")
        .trim()
        .to_owned();
    let path = format!("old/{file}.bin");
    // The sums are those of the bytes.
    let bytes = fs::read(dir.path().join(&path)).expect("a file");
    let words = bytes[..37_024].as_chunks::<8>().0.iter();
    let sum = words.fold(0_i64, |sum, word| {
        sum.wrapping_add(i64::from_le_bytes(*word))
    });
    let head = format!("Hdr {:>4}", sum.unsigned_abs() % 10_000);
    assert!(files[0].contains(&head), "{head}\n{}", files[0]);
    let words = bytes[37_024..].chunks(8).map(|word| {
        let mut whole = [0; 8];
        whole[..word.len()].copy_from_slice(word);
        i64::from_le_bytes(whole)
    });
    let all: i64 = words.fold(0, i64::wrapping_add);
    let one = run(dir.path(), &["tool", "ic", "--dir", &path, "--chunks", "1"]).good();
    let whole = format!("Jan {:>4}", all.unsigned_abs() % 10_000);
    assert!(one.contains(&whole), "{whole}\n{one}");
    let some = check(&["--monthStart", "2", "--monthEnd", "3"]).good();
    assert!(
        some.contains(",Feb ") && some.contains(",Mar ") && !some.contains(",Jan "),
        "{some}"
    );
    let none = check(&["--yearEnd", "1900"]).failed(1);
    assert!(none.contains("no year file"), "{none}");
    // A header that contradicts itself is named; nothing is mended.
    let mut bad = bytes;
    bad[264] ^= 1;
    fs::write(dir.path().join(&path), &bad).expect("a file");
    let said = check(&[]).failed(4);
    assert!(said.contains("byte 264"), "{said}");
    let fix = check(&["--fix"]).failed(1);
    assert!(fix.contains("never changes"), "{fix}");
    assert_eq!(fs::read(dir.path().join(&path)).expect("a file"), bad);
}

#[test]
fn our_stores_are_checked_byte_for_byte() {
    let dir = with_bars();
    let check = ["tool", "integrity", "-d", "store"];
    let out = run(dir.path(), &check).good();
    assert!(
        out.contains("4839 rows") && out.contains("no damage"),
        "{out}"
    );
    let segments = fs::read_dir(dir.path().join("store/segments")).expect("segments");
    let segment = segments
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Published files are read-only.
    fs::remove_file(&segment).expect("removed");
    fs::write(&segment, bytes).expect("written");
    run(dir.path(), &check).failed(4);
}

#[test]
fn shells_and_manuals_know_every_command() {
    let dir = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &["completions", shell]).good();
        for word in ["connect", "integrity", "mkts"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
    let page = run(dir.path(), &["man"]).good();
    assert!(page.contains(".TH mkts 1"), "{page}");
    let said = run(dir.path(), &["man", "--dir", "man1"]).good();
    for name in [
        "mkts.1",
        "mkts-connect.1",
        "mkts-tool-wal.1",
        "mkts-plugin-list.1",
    ] {
        assert!(dir.path().join("man1").join(name).is_file(), "{name}");
    }
    let files = fs::read_dir(dir.path().join("man1"))
        .expect("pages")
        .count();
    assert_eq!(said, format!("man1: {files} pages\n"));
}
