//! A check reports every damaged byte; a repair keeps what can be read, names the rest, and leaves a
//! store that opens.

use disk::{Disk, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, open, scan, try_open, write};
use crate::check::{CheckReport, Level, check, repair};
use crate::{Error, LogReport, Scan, log_frames};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

fn checked(disk: &SimDisk) -> CheckReport {
    let calls = disk.call_count();
    let mut last = (0, 0);
    let report = check(disk, &mut |progress| {
        assert!(progress.done >= last.0 && progress.done <= progress.total);
        last = (progress.done, progress.total);
    });
    assert_eq!(disk.call_count(), calls, "a check changed the disk");
    report.unwrap()
}

fn damage(report: &CheckReport) -> Vec<String> {
    let damage = report.findings.iter().filter(|f| f.level == Level::Damage);
    damage.map(ToString::to_string).collect()
}

/// Two segments whose bars overlap, and rows in the log; then the process dies.
fn stored() -> SimDisk {
    let disk = SimDisk::new(3);
    let engine = open(&disk);
    let bars: Vec<i64> = (0..9).map(|i| i * MINUTE).collect();
    write(&engine, BARS, RowKind::Bar, batch(&bars, 1)).unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[3, 3, 8], 50)).unwrap();
    engine.checkpoint().unwrap();
    write(&engine, BARS, RowKind::Bar, batch(&bars[5..7], 100)).unwrap();
    engine.checkpoint().unwrap();
    for value in 0..3 {
        write(&engine, TICKS, RowKind::Tick, batch(&[9 + value], 60)).unwrap();
    }
    disk.restart()
}

#[test]
fn a_whole_store_is_clean() {
    let report = checked(&stored());
    assert_eq!(report.findings, [], "{:?}", report.findings);
    assert_eq!((report.segments, report.buckets, report.rows), (2, 2, 14));
    let log = report.log.clone().unwrap();
    assert_eq!((log.replay_frames, log.replay_rows), (3, 3));
    assert!(report.losses.is_empty() && report.plan().is_empty());
    let empty = SimDisk::new(1);
    drop(open(&empty));
    assert!(!checked(&empty.restart()).is_damaged());
}

/// Every byte of every file: damage is found, or the byte is a gap between pages (zero), or the
/// padding of a frame, or behind the end of the log.
#[test]
fn every_flipped_byte_is_reported_or_means_nothing() {
    let disk = stored();
    let (bars, ticks) = answers(&disk);
    let mut files = vec!["MANIFEST".to_owned()];
    files.extend(
        disk.list("")
            .unwrap()
            .into_iter()
            .filter(|name| name.starts_with("catalog.")),
    );
    for dir in ["segments", "wal"] {
        let names = disk.list(dir).unwrap();
        files.extend(names.iter().map(|name| format!("{dir}/{name}")));
    }
    let log_end = checked(&disk).log.unwrap().log.end.0;
    for path in files {
        let before = disk.read_all(&path).unwrap();
        let is_log = path.starts_with("wal/");
        // A file prepared ahead begins behind the end of the log.
        let first = path.strip_prefix("wal/").map(|name| &name[..16]);
        let first = first.map_or(0, |name| u64::from_str_radix(name, 16).unwrap());
        let len = match is_log {
            true => log_end.saturating_sub(first) as usize,
            false => before.len(),
        };
        let mut quiet = 0;
        for at in 0..len.min(before.len()) {
            let damaged = disk.copy();
            let flip = 1 << (at % 8);
            damaged.rot(&path, |bytes| bytes[at] ^= flip).unwrap();
            let report = checked(&damaged);
            if !report.findings.is_empty() {
                let text = &report.findings[0];
                assert!(text.file.contains(&path) || is_log, "{path} {at}: {text}");
                continue;
            }
            quiet += 1;
            assert_eq!(before[at], 0, "{path} byte {at} means something");
            assert_eq!(
                answers(&damaged),
                (bars.clone(), ticks.clone()),
                "{path} byte {at}"
            );
        }
        let padding = match is_log {
            true => 8 * 12,
            false if path.ends_with(".seg") => 64 * 8,
            false => 0,
        };
        assert!(quiet <= padding, "{path}: {quiet} bytes are not covered");
    }
}

type Rows = Vec<(i64, i32)>;

fn answers(disk: &SimDisk) -> (Rows, Rows) {
    let engine = open(&disk.copy());
    (all(&engine, BARS), all(&engine, TICKS))
}

/// Pages of one bucket in the middle rot: only their rows go, and the report knew how many.
#[test]
fn a_repair_keeps_what_can_be_read() {
    let disk = SimDisk::new(5);
    let engine = open(&disk);
    let times: Vec<i64> = (0..10_000).collect();
    write(&engine, TICKS, RowKind::Tick, batch(&times, 0)).unwrap();
    write(&engine, BARS, RowKind::Bar, batch(&[MINUTE, 2 * MINUTE], 7)).unwrap();
    engine.close().unwrap();
    let disk = disk.restart();
    let path = "segments/00000001.seg";
    let len = disk.len(path).unwrap() as usize;
    let (bars, ticks) = answers(&disk);
    let mut rewritten = 0;
    for at in (0..len).step_by(len / 60) {
        let damaged = disk.copy();
        damaged.rot(path, |bytes| bytes[at] ^= 0x10).unwrap();
        let report = checked(&damaged);
        if !report.is_damaged() {
            continue;
        }
        let done = repair(&damaged, &report).unwrap();
        assert_eq!(done.quarantined, ["quarantine/00000001.seg"], "byte {at}");
        let aside = damaged.read_all("quarantine/00000001.seg").unwrap();
        assert_eq!(aside.len(), len);
        assert!(!damaged.exists(path).unwrap());
        let after = checked(&damaged);
        assert_eq!(damage(&after), [""; 0], "byte {at}");
        let (bars_left, ticks_left) = answers(&damaged);
        let left = bars_left.len() + ticks_left.len();
        assert!(bars_left.iter().all(|row| bars.contains(row)));
        assert!(ticks_left.iter().all(|row| ticks[row.0 as usize] == *row));
        if done.and_more {
            assert_eq!((left, done.rows), (0, 0), "byte {at}");
        } else {
            rewritten += 1;
            let lost = (bars.len() + ticks.len() - left) as u64;
            assert_eq!(lost, done.rows, "byte {at}: {:?}", report.losses);
        }
    }
    assert!(rewritten > 30, "{rewritten}");
}

/// The newer of two overlapping segments is repaired and still wins over the older.
#[test]
fn a_repaired_segment_keeps_its_place() {
    let disk = stored();
    let (bars, _) = answers(&disk);
    // The last row of segment 1 is wrong in its copy: only a rewrite puts that right.
    let path = "segments/00000001.seg";
    disk.rot(path, |bytes| bytes[64 + 8] ^= 1).unwrap();
    let report = checked(&disk);
    assert_eq!(report.losses.len(), 1, "{:?}", report.losses);
    assert_eq!(report.losses[0].bucket.as_deref(), Some(BARS));
    assert_eq!(report.losses[0].times, Some((0, 8 * MINUTE)));
    repair(&disk, &report).unwrap();
    assert_eq!(damage(&checked(&disk)), [""; 0]);
    let (left, ticks) = answers(&disk);
    assert_eq!(left, bars[5..7]);
    assert_eq!(ticks.len(), 6);
}

#[test]
fn a_missing_segment_is_named_and_forgotten() {
    let disk = stored();
    disk.unlink("segments/00000002.seg").unwrap();
    let text = try_open(&disk.copy()).unwrap_err().to_string();
    assert!(
        text.contains("segments/00000002.seg") && text.contains("mkts check --repair"),
        "{text}"
    );
    let report = checked(&disk);
    assert!(damage(&report)[0].contains("segments/00000002.seg"));
    assert!(damage(&report)[0].contains("missing"));
    repair(&disk, &report).unwrap();
    assert_eq!(damage(&checked(&disk)), [""; 0]);
    assert_eq!(answers(&disk).1.len(), 6);
}

#[test]
fn a_manifest_is_made_anew() {
    for rot in [true, false] {
        let disk = stored();
        let before = answers(&disk);
        match rot {
            true => disk.rot("MANIFEST", |bytes| bytes[60] ^= 1).unwrap(),
            false => disk.unlink("MANIFEST").unwrap(),
        }
        let error = try_open(&disk.copy()).unwrap_err().to_string();
        assert!(
            error.contains("MANIFEST") && error.contains("mkts check --repair"),
            "{error}"
        );
        let report = checked(&disk);
        assert!(report.plan()[0].contains("MANIFEST"), "{:?}", report.plan());
        assert!(report.losses.is_empty());
        let done = repair(&disk, &report).unwrap();
        assert_eq!(done.rows, 0);
        assert_eq!(disk.exists("quarantine/MANIFEST").unwrap(), rot);
        assert_eq!(damage(&checked(&disk)), [""; 0]);
        assert_eq!(answers(&disk), before);
    }
}

#[test]
fn a_damaged_catalog_is_not_guessed() {
    let disk = stored();
    let names = disk.list("").unwrap();
    let catalog = names
        .iter()
        .find(|name| name.starts_with("catalog."))
        .unwrap();
    disk.rot(catalog, |bytes| bytes[50] ^= 1).unwrap();
    let report = checked(&disk);
    assert!(damage(&report)[0].contains(catalog.as_str()));
    assert!(
        report.beyond_repair[0].contains("backup"),
        "{:?}",
        report.beyond_repair
    );
    let calls = disk.call_count();
    let error = repair(&disk, &report).unwrap_err().to_string();
    assert!(error.contains(catalog.as_str()), "{error}");
    assert_eq!(disk.call_count(), calls);
}

/// Promised frames rot: the check names them, the repair sets them aside, the start goes on.
#[test]
fn a_damaged_log_is_set_aside() {
    let disk = stored();
    let log = checked(&disk).log.unwrap();
    let mut frames = Vec::new();
    log_frames(&disk, &mut |frame| {
        frames.push(frame);
        Ok(())
    })
    .unwrap();
    let hit = &frames[frames.len() - 2];
    assert!(!hit.checkpointed);
    let (path, at) = ("wal/0000000000000000.wal", hit.lsn.0 as usize + 60);
    disk.rot(path, |bytes| bytes[at] ^= 1).unwrap();
    let report = checked(&disk);
    assert_eq!(damage(&report).len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].offset, Some(hit.lsn.0));
    let done = repair(&disk, &report).unwrap();
    assert!(done.and_more && done.quarantined[0].starts_with("quarantine/wal-"));
    assert_eq!(damage(&checked(&disk)), [""; 0]);
    assert_eq!(answers(&disk).1.len(), 5);
    drop(log);
}

#[test]
fn frames_are_named_with_their_buckets_and_rows() {
    let disk = stored();
    let mut frames = Vec::new();
    let calls = disk.call_count();
    let report: LogReport = log_frames(&disk, &mut |frame| {
        frames.push(frame);
        Ok(())
    })
    .unwrap();
    assert_eq!(disk.call_count(), calls, "a look changed the disk");
    let kinds: Vec<&str> = frames.iter().map(|frame| frame.kind).collect();
    let first = ["define", "rows", "define", "rows"];
    assert_eq!(kinds[..4], first, "{kinds:?}");
    assert_eq!(kinds[4..], ["rows"; 4]);
    assert_eq!(report.log.frames, 8);
    let rows = &frames[1].entries[0];
    assert_eq!((rows.key.as_deref(), rows.rows), (Some(BARS), 9));
    assert!(frames[0].checkpointed && !frames[7].checkpointed);
    assert_eq!(frames[0].origin_name, "client");
}

#[test]
fn what_lies_about_is_listed_and_nothing_else_is_a_store() {
    let disk = stored();
    for path in ["segments/00000009.seg", "MANIFEST.tmp", "notes.txt"] {
        drop(disk.create(path).unwrap());
    }
    disk.create_dir_all("quarantine").unwrap();
    drop(disk.create("quarantine/old").unwrap());
    let report = checked(&disk);
    assert!(!report.is_damaged());
    let of = |level| {
        let found = report.findings.iter().filter(move |f| f.level == level);
        found.map(|f| f.file.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        of(Level::Leftover),
        ["segments/00000009.seg", "MANIFEST.tmp"]
    );
    assert_eq!(of(Level::Note), ["quarantine/old", "notes.txt"]);
    let foreign = SimDisk::new(1);
    drop(foreign.create("notes.txt").unwrap());
    assert!(matches!(
        check(&foreign, &mut |_| {}),
        Err(Error::Invalid(_))
    ));
}

/// Power fails anywhere in a repair: the next check finds the damage, or a repaired store, and no
/// row that could be read is gone.
#[test]
fn a_crash_in_a_repair_loses_nothing() {
    let disk = stored();
    disk.rot("segments/00000002.seg", |bytes| bytes[64 + 8] ^= 1)
        .unwrap();
    let report = checked(&disk);
    let whole = disk.copy();
    let done = repair(&whole, &report).unwrap();
    let steps = whole.call_count() - disk.call_count();
    assert!(steps > 10 && done.rows == 2, "{done:?}");
    for step in 0..steps {
        let crashing = disk.copy();
        crashing.crash_after(step);
        assert!(repair(&crashing, &report).is_err());
        let after = crashing.reopen();
        let again = checked(&after);
        if again.is_damaged() {
            repair(&after, &again).unwrap();
        }
        let aside = after.list("quarantine").unwrap();
        assert!(
            aside.iter().any(|name| name.starts_with("00000002.seg")),
            "{aside:?}"
        );
        let engine = open(&after);
        assert_eq!(
            scan(&engine, BARS, &Scan::all()).unwrap().rows(),
            9,
            "step {step}"
        );
    }
}

/// A merge, whose inputs a crash left behind: a new MANIFEST names the merged segment alone, and no
/// tick is doubled.
#[test]
fn a_new_manifest_does_not_name_what_was_merged() {
    let disk = stored();
    let before = answers(&disk);
    let inputs: Vec<_> = disk.list("segments").unwrap();
    let kept: Vec<_> = inputs
        .iter()
        .map(|name| disk.read_all(&format!("segments/{name}")).unwrap())
        .collect();
    let engine = open(&disk);
    assert!(engine.compact().unwrap() > 0);
    engine.close().unwrap();
    let disk = disk.restart();
    for (name, bytes) in inputs.iter().zip(kept) {
        let path = format!("segments/{name}");
        assert!(!disk.exists(&path).unwrap(), "{path} was merged");
        let file = disk.create(&path).unwrap();
        file.write_at(0, &bytes).unwrap();
    }
    disk.unlink("MANIFEST").unwrap();
    let report = checked(&disk);
    repair(&disk, &report).unwrap();
    assert_eq!(damage(&checked(&disk)), [""; 0]);
    assert_eq!(answers(&disk), before);
    assert_eq!(disk.list("quarantine").unwrap(), inputs);
}

/// Deleted rows and older schemas are no damage, before and after a merge.
#[test]
fn deletes_and_older_schemas_are_no_damage() {
    use crate::{DeleteRange, SchemaChange};
    use model::{ColumnDef, ColumnType};
    let disk = SimDisk::new(8);
    let engine = open(&disk);
    let bars: Vec<i64> = (0..50).map(|i| i * MINUTE).collect();
    write(&engine, BARS, RowKind::Bar, batch(&bars, 1)).unwrap();
    engine.checkpoint().unwrap();
    let key = super::key(BARS);
    let range = DeleteRange {
        key: key.clone(),
        from: 5 * MINUTE,
        to: 9 * MINUTE,
    };
    engine.delete(&[range]).unwrap();
    let add = SchemaChange::Add(ColumnDef::new("Note", ColumnType::F32));
    engine.alter(&key, &[add]).unwrap();
    engine.checkpoint().unwrap();
    let report = checked(&disk.restart());
    assert_eq!(report.findings, [], "{:?}", report.findings);
    // The damaged first page of a chunk of the older schema takes its rows, and no others.
    let disk = disk.restart();
    let damaged = disk.copy();
    damaged
        .rot("segments/00000001.seg", |bytes| bytes[70] ^= 1)
        .unwrap();
    let report = checked(&damaged);
    assert_eq!(report.losses[0].rows, Some(50), "{:?}", report.losses);
    repair(&damaged, &report).unwrap();
    assert_eq!(damage(&checked(&damaged)), [""; 0]);
    let engine = open(&disk);
    assert_eq!(all(&engine, BARS).len(), 45);
    engine.compact().unwrap();
    drop(engine);
    assert!(!checked(&disk.restart()).is_damaged());
}

/// What the plugin host keeps is verified as far as its form is known, and only set aside.
#[test]
fn damaged_places_of_triggers_are_set_aside() {
    let disk = stored();
    disk.create_dir_all("plugins").unwrap();
    let sealed = crate::fields::seal(b"MKTSINS1\x01\0\0\0\0\0\0\0".to_vec());
    let file = disk.create("plugins/_instances").unwrap();
    file.write_at(0, &sealed).unwrap();
    assert!(!checked(&disk).is_damaged());
    disk.rot("plugins/_instances", |bytes| bytes[13] ^= 1)
        .unwrap();
    let report = checked(&disk);
    assert!(damage(&report)[0].contains("plugins/_instances"));
    assert!(report.losses[0].what.contains("triggers"));
    let before = answers(&disk);
    let done = repair(&disk, &report).unwrap();
    assert_eq!(done.quarantined, ["quarantine/_instances"]);
    assert_eq!(damage(&checked(&disk)), [""; 0]);
    assert_eq!(answers(&disk), before);
}

/// The log of another store next to these segments is no damage to be repaired.
#[test]
fn a_log_of_another_store_is_named_and_left_alone() {
    let disk = stored();
    let other = stored();
    let path = "wal/0000000000000000.wal";
    let foreign = other.read_all(path).unwrap();
    let foreign_id = other.read_all("MANIFEST").unwrap()[16..32].to_vec();
    assert_ne!(disk.read_all("MANIFEST").unwrap()[16..32], foreign_id[..]);
    disk.rot(path, |bytes| *bytes = foreign.to_vec()).unwrap();
    let report = checked(&disk);
    assert!(
        damage(&report)[0].contains("another store"),
        "{:?}",
        damage(&report)
    );
    let calls = disk.call_count();
    assert!(repair(&disk, &report).is_err());
    assert_eq!(disk.call_count(), calls);
}
