//! Logs that were not replayed.

use super::maker::{BID_ASK, LogMaker, MINUTE, SECOND, Write, Year, floats, tick};
use super::*;

const TICKS: &str = "A/1Min/T/2020.bin";
const BARS: &str = "A/1Min/B/2020.bin";

fn files(maker: &Maker) -> (Year, Year) {
    let ticks = maker.year("A/1Min/T", 2020, MINUTE, true, BID_ASK);
    (ticks, maker.year("A/1Min/B", 2020, MINUTE, false, BID_ASK))
}

fn ticks(file: &Year, index: i64, rows: &[Vec<u8>]) -> Write<'static> {
    let slot_at = file.slot_at(index);
    Write {
        path: TICKS,
        ticks: true,
        slot_at,
        index,
        row_bytes: 12,
        rows: rows.concat(),
    }
}

fn bar(file: &Year, index: i64, values: &[f32]) -> Write<'static> {
    let (slot_at, rows) = (file.slot_at(index), floats(values));
    Write {
        path: BARS,
        ticks: false,
        slot_at,
        index,
        row_bytes: 0,
        rows,
    }
}

#[test]
fn rows_that_only_the_log_has_are_read_in_both_versions() {
    for version in [3, 4] {
        let maker = Maker::new();
        let (t, b) = files(&maker);
        b.bar(2, &floats(&[9.0, 9.0]));
        b.bar(5, &floats(&[5.0, 5.0]));
        let mut log = LogMaker::new(version, 1);
        log.group(10, &[bar(&b, 2, &[1.0, 2.0]), bar(&b, 3, &[3.0, 4.0])]);
        log.group(
            11,
            &[
                ticks(&t, 4, &[tick(1.0, 5), tick(2.0, 6)]),
                bar(&b, 3, &[5.0, 6.0]),
            ],
        );
        maker.log("WALFile.1.walfile", &log.bytes);
        let bars = read(&maker, &utc(), "A/1Min/B");
        assert_eq!(bars.faults, []);
        assert_eq!(bars.f32s(0), [1.0, 5.0, 5.0]);
        assert_eq!(bars.repaired.from_log, 2);
        let ticks = read(&maker, &utc(), "A/1Min/T");
        assert_eq!(ticks.f32s(0), [1.0, 2.0]);
        assert_eq!(ticks.repaired.from_log, 2);
    }
}

#[test]
fn ticks_that_the_file_has_already_are_not_doubled() {
    let maker = Maker::new();
    let (t, _) = files(&maker);
    // Before the log: one tick twice. From the log: that tick once more, and another.
    let same = tick(1.0, 50);
    t.ticks(
        7,
        &[same.clone(), same.clone(), same.clone(), tick(2.0, 60)].concat(),
        true,
    );
    let mut log = LogMaker::new(4, 1);
    log.group(1, &[ticks(&t, 7, std::slice::from_ref(&same))]);
    log.group(2, &[ticks(&t, 7, &[tick(2.0, 60)])]);
    // This one did not reach the file: it wants more of the tick than there are left.
    log.group(
        3,
        &[ticks(&t, 7, &[same.clone(), same.clone(), same.clone()])],
    );
    maker.log("WALFile.1.walfile", &log.bytes);
    let read = read(&maker, &utc(), "A/1Min/T");
    assert_eq!(read.faults, []);
    assert_eq!(read.f32s(0), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    assert_eq!((read.repaired.not_doubled, read.repaired.from_log), (2, 3));
}

#[test]
fn a_checkpoint_and_a_replayed_log_end_the_matter() {
    for (state, checkpoint, rows) in [(1, 0, 2), (1, 1, 1), (1, 2, 0), (2, 0, 0), (3, 1, 1)] {
        let maker = Maker::new();
        let (t, _) = files(&maker);
        let mut log = LogMaker::new(4, state);
        log.group(1, &[ticks(&t, 7, &[tick(1.0, 1)])]);
        log.group(2, &[ticks(&t, 7, &[tick(2.0, 2)])]);
        if checkpoint > 0 {
            log.checkpoint(checkpoint);
        }
        maker.log("WALFile.1.walfile", &log.bytes);
        let read = read(&maker, &utc(), "A/1Min/T");
        assert_eq!(read.faults, []);
        assert_eq!(
            read.times().len(),
            rows,
            "state {state}, checkpoint {checkpoint}"
        );
    }
}

#[test]
fn a_log_cut_anywhere_gives_its_whole_groups() {
    let maker = Maker::new();
    let (t, _) = files(&maker);
    let mut log = LogMaker::new(4, 1);
    let mut ends = Vec::new();
    for id in 1..=3 {
        log.group(id, &[ticks(&t, 7, &[tick(id as f32, id as u32)])]);
        ends.push(log.bytes.len() - 11);
    }
    for len in 0..=log.bytes.len() {
        maker.log("WALFile.1.walfile", &log.bytes[..len]);
        let read = read(&maker, &utc(), "A/1Min/T");
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(read.times().len(), whole, "cut at {len}");
        assert!(read.faults.len() <= 1, "{:?}", read.faults);
    }
}

#[test]
fn no_flipped_bit_of_a_log_invents_or_doubles_a_row() {
    let maker = Maker::new();
    let (t, b) = files(&maker);
    let mut log = LogMaker::new(3, 1);
    log.group(1, &[ticks(&t, 7, &[tick(1.0, 1)])]);
    let damaged = log.group(2, &[ticks(&t, 7, &[tick(2.0, 2)]), bar(&b, 1, &[1.0, 2.0])]);
    let damaged = damaged..log.bytes.len() - 11;
    log.group(3, &[ticks(&t, 7, &[tick(3.0, 3)])]);
    for at in 3..log.bytes.len() {
        for bit in [1, 0x80] {
            let mut bad = log.bytes.clone();
            bad[at] ^= bit;
            maker.log("WALFile.1.walfile", &bad);
            let read = read(&maker, &utc(), "A/1Min/T");
            let values = read.f32s(0);
            let known = values.iter().all(|value| [1.0, 2.0, 3.0].contains(value));
            let once = values.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(known && once, "byte {at}: {values:?}");
            if damaged.contains(&at) {
                assert_eq!(values, [1.0, 3.0], "byte {at}: {:?}", read.faults);
                assert!(!read.faults.is_empty(), "byte {at}");
            }
        }
    }
}

#[test]
fn a_bar_is_not_set_back_behind_a_damaged_group() {
    let maker = Maker::new();
    let (_, b) = files(&maker);
    b.bar(1, &floats(&[2.0, 2.0]));
    let mut log = LogMaker::new(4, 1);
    log.group(1, &[bar(&b, 1, &[1.0, 1.0]), bar(&b, 9, &[9.0, 9.0])]);
    let at = log.group(2, &[bar(&b, 1, &[2.0, 2.0])]);
    log.bytes[at + 40] ^= 1;
    log.group(3, &[bar(&b, 5, &[5.0, 5.0])]);
    maker.log("WALFile.1.walfile", &log.bytes);
    let read = read(&maker, &utc(), "A/1Min/B");
    assert_eq!(read.f32s(0), [2.0, 5.0, 9.0]);
    assert_eq!(read.faults.len(), 2, "{:?}", read.faults);
}

#[test]
fn what_fits_no_file_is_named_and_left_out() {
    let maker = Maker::new();
    let (t, b) = files(&maker);
    let mut log = LogMaker::new(4, 1);
    let mut other = ticks(&t, 7, &[tick(1.0, 1)]);
    other.path = "GONE/1Min/T/2020.bin";
    let mut wrong_kind = ticks(&t, 8, &[tick(1.0, 1)]);
    wrong_kind.ticks = false;
    let mut wrong_place = ticks(&t, 8, &[tick(1.0, 1)]);
    wrong_place.slot_at += 24;
    let mut wrong_width = bar(&b, 8, &[1.0, 2.0]);
    wrong_width.rows.push(0);
    let far = bar(&b, 527_041, &[1.0, 2.0]);
    let zero = bar(&b, 0, &[1.0, 2.0]);
    log.group(1, &[other, wrong_kind, wrong_place, wrong_width, far, zero]);
    maker.log("WALFile.1.walfile", &log.bytes);
    maker.log("WALFile.2.walfile", b"something else entirely");
    maker.log("WALFile.3.walfile", b"short");
    maker.log("WALFile.0.walfile.tmp", &log.bytes);
    let tree = Tree::open(maker.root(), utc()).unwrap();
    let texts: Vec<String> = tree.faults().iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    for part in [
        "GONE/1Min/T/2020.bin",
        "WALFile.2.walfile at byte 0",
        "WALFile.0.walfile.tmp",
    ] {
        assert!(
            texts.iter().any(|text| text.contains(part)),
            "{part}: {texts:?}"
        );
    }
    for (bucket, count) in [("A/1Min/T", 5), ("A/1Min/B", 6)] {
        let read = read(&maker, &utc(), bucket);
        assert!(read.batches.is_empty());
        assert_eq!(read.faults.len(), count, "{:?}", read.faults);
    }
    let _ = SECOND;
}
