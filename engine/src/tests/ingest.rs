//! Bulk loads: what wins, what is refused, what a crash leaves.

use disk::SimDisk;
use model::RowKind;

use super::{MINUTE, all, batch, key, open, rows, try_open, write};
use crate::{Engine, Error, Rows};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

fn bars(times: &[i64], value: i32) -> Rows {
    rows(BARS, RowKind::Bar, batch(times, value))
}

fn ticks(times: &[i64], value: i32) -> Rows {
    rows(TICKS, RowKind::Tick, batch(times, value))
}

#[test]
fn a_bulk_load_wins_over_what_was_written_before_and_loses_to_what_comes_after() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    write(
        &engine,
        BARS,
        RowKind::Bar,
        batch(&[0, MINUTE, 2 * MINUTE], 10),
    )
    .unwrap();
    let appended = engine.marks().appended;
    let loaded = engine
        .ingest(vec![bars(&[MINUTE, 2 * MINUTE], 20)])
        .unwrap();
    assert_eq!(loaded.rows, 2);
    assert_eq!(
        engine.marks().appended,
        appended,
        "nothing went through the log"
    );
    write(&engine, BARS, RowKind::Bar, batch(&[2 * MINUTE], 30)).unwrap();
    let expected = [(0, 10), (MINUTE, 20), (2 * MINUTE, 30)];
    assert_eq!(all(&engine, BARS), expected);
    let last = |engine: &Engine| {
        let id = engine.bucket(&key(BARS)).unwrap().id;
        super::pairs(&engine.snapshot(&[id]).last(0).unwrap().unwrap())
    };
    assert_eq!(last(&engine), [(2 * MINUTE, 30)]);
    engine.checkpoint().unwrap();
    assert_eq!(all(&engine, BARS), expected);
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!(all(&engine, BARS), expected);
    assert_eq!(last(&engine), [(2 * MINUTE, 30)]);
}

#[test]
fn rows_are_floored_sorted_and_reduced_over_several_entries() {
    let engine = open(&SimDisk::new(1));
    let loaded = engine.ingest(vec![
        bars(&[3 * MINUTE + 7, MINUTE], 10),
        ticks(&[9, 5, 5], 40),
        bars(&[MINUTE + 1, 0], 20),
        bars(&[], 0),
        ticks(&[5], 50),
    ]);
    assert_eq!(loaded.unwrap().rows, 3 + 4);
    assert_eq!(
        all(&engine, BARS),
        [(0, 21), (MINUTE, 20), (3 * MINUTE, 10)]
    );
    assert_eq!(all(&engine, TICKS), [(5, 41), (5, 42), (5, 50), (9, 40)]);
    assert_eq!(engine.status().segments, 1);
    assert_eq!(engine.ingest(Vec::new()).unwrap().rows, 0);
    assert_eq!(engine.status().segments, 1, "no rows, no segment");
}

#[test]
fn more_rows_than_a_chunk_has_come_back() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let count = (5 << 19) + 1000;
    let times: Vec<i64> = (0..count).map(|i| i / 3).collect();
    engine.ingest(vec![ticks(&times, 0)]).unwrap();
    let check = |engine: &Engine| {
        let found = all(engine, TICKS);
        assert_eq!(found.len() as i64, count);
        let wrong = found
            .iter()
            .enumerate()
            .find(|(i, row)| **row != (*i as i64 / 3, *i as i32));
        assert_eq!(wrong, None);
        let info = engine.bucket(&key(TICKS)).unwrap();
        let chunks = engine.store().views.read()[&info.id].chunks.clone();
        assert_eq!(chunks.len(), 3);
        assert!(chunks.iter().all(|chunk| chunk.rows() <= 1 << 20));
    };
    check(&engine);
    drop(engine);
    check(&open(&disk.reopen()));
}

#[test]
fn a_bulk_load_that_does_not_fit_leaves_nothing() {
    let engine = open(&SimDisk::new(1));
    let missing = Rows {
        create: None,
        ..ticks(&[1], 1)
    };
    let refused = engine.ingest(vec![bars(&[0], 1), missing]);
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    assert!(engine.buckets().is_empty());
    engine.close().unwrap();
    assert!(matches!(
        engine.ingest(vec![bars(&[0], 1)]),
        Err(Error::Closed)
    ));
}

/// The script with all that was seen before and after the load.
fn script(engine: &Engine) -> Result<(), Error> {
    write(engine, BARS, RowKind::Bar, batch(&[0, MINUTE], 10))?;
    engine.ingest(vec![bars(&[MINUTE, 2 * MINUTE], 20), ticks(&[7], 30)])?;
    Ok(())
}

#[test]
fn a_crash_at_any_call_of_a_bulk_load_leaves_all_of_it_or_nothing() {
    let before = vec![(0, 10), (MINUTE, 11)];
    let after = vec![(0, 10), (MINUTE, 20), (2 * MINUTE, 21)];
    let mut outcomes = [0; 2];
    for at in 0.. {
        let disk = SimDisk::new(at);
        disk.crash_after(at);
        let done = try_open(&disk).and_then(|(engine, _)| script(&engine));
        let finished = !disk.crashed();
        let engine = open(&disk.reopen());
        let found = (all(&engine, BARS), all(&engine, TICKS).len());
        let loaded = found == (after.clone(), 1);
        if done.is_ok() {
            assert!(loaded, "call {at}: {found:?}");
        } else {
            let kept = loaded || found == (before.clone(), 0) || found == (Vec::new(), 0);
            assert!(kept, "call {at}: {found:?}");
        }
        outcomes[usize::from(loaded)] += 1;
        if finished {
            break;
        }
    }
    assert!(outcomes[0] > 20 && outcomes[1] > 1, "{outcomes:?}");
}

#[test]
fn a_failed_call_of_a_bulk_load_poisons_or_leaves_nothing() {
    let calls = {
        let disk = SimDisk::new(0);
        script(&open(&disk)).unwrap();
        disk.call_count()
    };
    let mut full = 0;
    for at in 0..calls {
        for kind in [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull] {
            let disk = SimDisk::new(at);
            disk.fail_after(at, kind);
            let Ok((engine, _)) = try_open(&disk) else {
                continue;
            };
            let done = script(&engine);
            if let Err(Error::DiskFull(_)) = done {
                full += 1;
                script(&engine).unwrap();
            }
            let done = !matches!(done, Err(Error::Poisoned(_) | Error::Io(_)));
            drop(engine);
            let engine = open(&disk.reopen());
            let loaded = all(&engine, BARS).len() == 3;
            assert_eq!(loaded, all(&engine, TICKS).len() == 1, "call {at}: {kind}");
            assert!(loaded || !done, "call {at}: {kind}");
            let files = engine.store().disk.list("segments").unwrap();
            assert_eq!(
                files.len(),
                engine.status().segments,
                "call {at}: {files:?}"
            );
        }
    }
    assert!(full > 3, "{full} of {calls}");
}
