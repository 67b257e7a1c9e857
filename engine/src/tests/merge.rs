//! Merges: crashes, failing disks, damage, and the space they give back. That scans stay what they
//! were is the property test's (`model_scan.rs`).

use std::io::ErrorKind;

use disk::{Disk, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, key, open, options, rows, try_open, write};
use crate::{DeleteRange, Engine, Error, Options, SchemaChange, merge};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

/// Segments that overlap, one bucket with several pages, a delete, and a tail.
fn fill(engine: &Engine) {
    let many: Vec<i64> = (0..9000).map(|i| i * MINUTE).collect();
    write(engine, BARS, RowKind::Bar, batch(&many, 0)).unwrap();
    engine.checkpoint().unwrap();
    for round in 1..8 {
        let bars = [round * MINUTE, 2 * round * MINUTE, (9000 + round) * MINUTE];
        write(engine, BARS, RowKind::Bar, batch(&bars, round as i32 * 100)).unwrap();
        write(
            engine,
            TICKS,
            RowKind::Tick,
            batch(&[5, 5, round], round as i32),
        )
        .unwrap();
        engine.checkpoint().unwrap();
    }
    let range = DeleteRange {
        key: key(BARS),
        from: 5000 * MINUTE,
        to: 5010 * MINUTE,
    };
    engine.delete(&[range]).unwrap();
    write(engine, TICKS, RowKind::Tick, batch(&[6], 40)).unwrap();
}

fn filled() -> SimDisk {
    let disk = SimDisk::new(7);
    fill(&open(&disk));
    // Opened once more, so that opening it again changes nothing.
    let disk = disk.restart();
    open(&disk).close().unwrap();
    disk.restart()
}

#[test]
fn a_crash_at_any_call_of_a_merge_changes_nothing_that_is_seen() {
    let disk = filled();
    let expected = state(&open(&disk.copy()));
    let mut merged = 0;
    for at in 0.. {
        let disk = disk.copy();
        let engine = open(&disk);
        disk.crash_after(at);
        let done = merge::run_full(engine.store());
        let finished = !disk.crashed();
        drop(engine);
        let disk = disk.reopen();
        let engine = open(&disk);
        assert_eq!(state(&engine), expected, "crash at {at}");
        let segments = engine.status().segments;
        assert!(segments == 9 || segments == 1, "crash at {at}: {segments}");
        merged += usize::from(segments == 1);
        let files = disk.list("segments").unwrap();
        assert_eq!(files.len(), segments, "crash at {at}: {files:?}");
        if finished {
            assert_eq!(done.unwrap(), 1);
            break;
        }
    }
    assert!(merged > 5, "{merged}");
}

#[test]
fn a_failing_call_poisons_or_can_be_tried_again() {
    let disk = filled();
    let expected = state(&open(&disk.copy()));
    let calls = {
        let disk = disk.copy();
        let engine = open(&disk);
        let before = disk.call_count();
        merge::run_full(engine.store()).unwrap();
        disk.call_count() - before
    };
    let (mut poisoned, mut again) = (0, 0);
    for at in 0..calls {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let disk = disk.copy();
            let engine = open(&disk);
            disk.fail_after(at, kind);
            let done = merge::run_full(engine.store());
            assert_eq!(state(&engine), expected, "call {at}: {kind}");
            if engine.status().poisoned.is_some() {
                poisoned += 1;
                assert!(done.is_err());
                assert!(matches!(engine.merge(), Err(Error::Poisoned(_))));
            } else if let Err(error) = done {
                again += 1;
                assert!(matches!(error, Error::DiskFull(_)), "call {at}: {error}");
                assert!(engine.status().merge_error.is_some());
                assert_eq!(disk.list("segments").unwrap().len(), 9);
                assert_eq!(merge::run_full(engine.store()).unwrap(), 1);
                assert_eq!(engine.status().merge_error, None);
                assert_eq!(state(&engine), expected);
            }
            drop(engine);
            assert_eq!(state(&open(&disk.reopen())), expected, "call {at}: {kind}");
        }
    }
    assert!(poisoned > 5 && again > 1, "{poisoned} {again} of {calls}");
}

#[test]
fn a_full_disk_is_noticed_before_a_merge_begins() {
    let disk = filled();
    let engine = open(&disk);
    disk.set_capacity(Some(disk.used_bytes() + (1 << 20)));
    // The log's thread may be making its next file meanwhile.
    let of_segments = |call: &&disk::sim::Call| call.path.starts_with("segments/");
    let calls = || disk.calls().iter().filter(of_segments).count();
    let before = calls();
    let full = merge::run_full(engine.store());
    assert!(matches!(full, Err(Error::DiskFull(_))), "{full:?}");
    assert_eq!(calls(), before);
}

#[test]
fn the_space_of_what_is_dropped_or_deleted_is_given_back() {
    let disk = filled();
    let engine = open(&disk);
    engine.compact().unwrap();
    let full = engine.status().segment_bytes;
    engine.drop_buckets(&[key(BARS)]).unwrap();
    assert_eq!(engine.merge().unwrap(), 1, "most of it is dead");
    let ticks = engine.status().segment_bytes;
    assert!(ticks * 10 < full, "{ticks} of {full}");
    let range = DeleteRange {
        key: key(TICKS),
        from: i64::MIN,
        to: i64::MAX,
    };
    engine.delete(&[range]).unwrap();
    assert_eq!(engine.merge().unwrap(), 0, "there is nothing to write");
    assert_eq!(engine.status().segments, 0);
    assert_eq!(disk.list("segments").unwrap(), Vec::<String>::new());
    assert_eq!(all(&engine, TICKS), []);
    write(&engine, TICKS, RowKind::Tick, batch(&[3], 3)).unwrap();
    drop(engine);
    assert_eq!(all(&open(&disk.reopen()), TICKS), [(3, 3)]);
}

#[test]
fn a_snapshot_reads_on_from_files_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let hook = std::sync::Arc::new(crate::NoHook);
    let (engine, _) = Engine::open(dir.path(), options(), hook).unwrap();
    fill(&engine);
    let expected = state(&engine);
    let ids = [BARS, TICKS].map(|name| engine.bucket(&key(name)).unwrap().id);
    let old = engine.snapshot(&ids);
    assert_eq!(engine.compact().unwrap(), 1);
    assert_eq!(engine.compact().unwrap(), 0, "nothing is left to do");
    for (index, expected) in expected.iter().enumerate() {
        let rows = old.scan(index, &crate::Scan::all()).unwrap();
        assert_eq!(&super::pairs(&rows), expected);
    }
    assert_eq!(state(&engine), expected);
    engine.close().unwrap();
}

/// The merge ends, says so, and neither takes the file again nor hinders those beside it.
#[test]
fn a_damaged_page_ends_the_merge_and_leaves_its_file_alone() {
    let disk = SimDisk::new(3);
    {
        let engine = open(&disk);
        for round in 0..24 {
            let bars: Vec<i64> = (0..3000).map(|i| (round * 3000 + i) * MINUTE).collect();
            write(&engine, BARS, RowKind::Bar, batch(&bars, 0)).unwrap();
            engine.checkpoint().unwrap();
        }
    }
    let disk = disk.restart();
    // A page of whole chunks, which are copied and not decoded.
    disk.rot("segments/00000003.seg", |bytes| bytes[64 + 8] ^= 1)
        .unwrap();
    let engine = open(&disk);
    let error = engine.merge().unwrap_err().to_string();
    assert!(
        error.contains("segments/00000003.seg") && error.contains(BARS),
        "{error}"
    );
    assert_eq!(engine.status().merge_error, Some(error));
    assert_eq!(engine.status().poisoned, None);
    let files = || disk.list("segments").unwrap();
    assert_eq!(files().len(), 24);
    // Those behind it, and then nothing more.
    assert_eq!(engine.merge().unwrap(), 2);
    assert!(
        files().contains(&"00000003.seg".to_owned()),
        "{:?}",
        files()
    );
    let calls = disk.call_count();
    assert_eq!(engine.merge().unwrap(), 0);
    assert_eq!(disk.call_count(), calls);
}

#[test]
fn old_columns_become_the_present_ones() {
    let disk = filled();
    let engine = open(&disk);
    let widen = SchemaChange::Widen {
        column: "Flag".to_owned(),
        ty: model::ColumnType::I32,
    };
    let flags = |engine: &Engine| {
        let batch = super::scan(engine, BARS, &crate::Scan::all()).unwrap();
        batch
            .column("Flag")
            .unwrap()
            .values::<i32>()
            .unwrap()
            .to_vec()
    };
    engine.alter(&key(BARS), &[widen]).unwrap();
    let expected = (state(&engine), flags(&engine));
    assert!(engine.compact().unwrap() > 0);
    assert_eq!((state(&engine), flags(&engine)), expected);
    let info = engine.bucket(&key(BARS)).unwrap();
    let chunks = engine.store().views.read()[&info.id].chunks.clone();
    assert!(
        chunks
            .iter()
            .all(|c| c.schema_version() == info.schema_version)
    );
    assert_eq!(engine.compact().unwrap(), 0, "nothing is old any more");
    // Before any checkpoint has the change: the log brings it back.
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!((state(&engine), flags(&engine)), expected);
}

/// The thread: merges by itself after checkpoints.
#[test]
fn merges_run_by_themselves_beside_writers() {
    let disk = SimDisk::new(1);
    let options = Options {
        merge: true,
        ..options()
    };
    let shared: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
    let clock = std::sync::Arc::new(disk::ManualClock::new(0));
    let hook = std::sync::Arc::new(crate::NoHook);
    let (engine, _) = Engine::open_on(shared, clock, options, hook).unwrap();
    let mut written = 0;
    while engine.status().merges < 5 {
        write(
            &engine,
            TICKS,
            RowKind::Tick,
            batch(&[written], written as i32),
        )
        .unwrap();
        written += 1;
        engine.checkpoint().unwrap();
    }
    engine.close().unwrap();
    let disk = disk.reopen();
    let engine = open(&disk);
    let expected: Vec<_> = (0..written).map(|v| (v, v as i32)).collect();
    assert_eq!(all(&engine, TICKS), expected);
    assert_eq!(
        disk.list("segments").unwrap().len(),
        engine.status().segments
    );
}

/// Small pages of many checkpoints end up in full ones, full ones are taken as they are.
#[test]
fn pages_are_packed_or_copied() {
    let engine = open(&SimDisk::new(1));
    for round in 0..8_i64 {
        let (first, count) = if round < 4 {
            (round * 10, 10)
        } else {
            (round * 4096, 4096)
        };
        let times: Vec<i64> = (first..first + count).map(|i| i * MINUTE).collect();
        engine
            .ingest(vec![rows(BARS, RowKind::Bar, batch(&times, round as i32))])
            .unwrap();
    }
    let expected = state(&engine);
    assert_eq!(engine.compact().unwrap(), 1);
    assert_eq!(state(&engine), expected);
    let info = engine.bucket(&key(BARS)).unwrap();
    let chunk = engine.store().views.read()[&info.id].chunks[0].clone();
    let sizes: Vec<usize> = (0..chunk.pages())
        .map(|page| chunk.page_rows(page..page + 1, &info).unwrap().len())
        .collect();
    assert_eq!(sizes, [40, 4096, 4096, 4096, 4096]);
}

/// Many buckets with several chunks each: opening is by the directory alone.
#[test]
fn a_store_of_many_buckets_opens_without_reading_page_tables() {
    let disk = SimDisk::new(1);
    let name = |index: usize| format!("S{index}/1Min/OHLCV");
    {
        let engine = open(&disk);
        for round in 0..3 {
            let one = |index| {
                rows(
                    &name(index),
                    RowKind::Bar,
                    batch(&[round * MINUTE], index as i32),
                )
            };
            engine.ingest((0..2000).map(one).collect()).unwrap();
        }
    }
    let disk = disk.reopen();
    let (engine, recovery) = try_open(&disk).unwrap();
    assert_eq!((recovery.segments, engine.buckets().len()), (3, 2000));
    let untouched = |engine: &Engine| {
        let segments = engine.store().segments.lock().clone();
        segments
            .iter()
            .map(|segment| segment.untouched())
            .sum::<usize>()
    };
    assert_eq!(untouched(&engine), 6000);
    assert_eq!(all(&engine, &name(77)).len(), 3);
    assert_eq!(untouched(&engine), 5997);
    let id = engine.bucket(&key(&name(5))).unwrap().id;
    assert!(engine.snapshot(&[id]).last(0).unwrap().is_some());
    assert_eq!(untouched(&engine), 5997, "the last row needs none");
}

/// The list of buckets, kept sorted over definitions, changes and drops, is what sorting gives.
#[test]
fn the_list_of_buckets_stays_sorted() {
    let engine = open(&SimDisk::new(1));
    let listed = |engine: &Engine| -> Vec<(String, u32)> {
        let all = engine.buckets();
        let all = all
            .iter()
            .map(|info| (info.key.to_string(), info.schema_version));
        all.collect()
    };
    let held = engine.buckets();
    for name in ["M", "A", "Z", "B", "Y"] {
        let name = format!("{name}/1Min/OHLCV");
        write(&engine, &name, RowKind::Bar, batch(&[0], 1)).unwrap();
        assert!(listed(&engine).is_sorted());
    }
    engine
        .drop_buckets(&[key("M/1Min/OHLCV"), key("Z/1Min/OHLCV")])
        .unwrap();
    let drop = SchemaChange::Drop {
        column: "Flag".to_owned(),
    };
    engine.alter(&key("B/1Min/OHLCV"), &[drop]).unwrap();
    let expected = [("A", 1), ("B", 2), ("Y", 1)];
    let expected = expected.map(|(name, version)| (format!("{name}/1Min/OHLCV"), version));
    assert_eq!(listed(&engine), expected);
    assert!(held.is_empty(), "who holds a list keeps it as it was");
}
