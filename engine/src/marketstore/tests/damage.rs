//! Damage of every kind: the good part is read, the bad part is named, nothing is guessed.

use std::fs;

use super::maker::{BID_ASK, DAY, MINUTE, floats, tick};
use super::*;
use crate::marketstore::header::HEADER_BYTES;

#[test]
fn a_year_file_cut_anywhere_gives_its_whole_slots() {
    let maker = Maker::new();
    let file = maker.year("A/1D/X", 2020, DAY, false, BID_ASK);
    for index in 1..=365 {
        file.bar(index, &floats(&[index as f32, 0.0]));
    }
    let whole = fs::read(&file.path).unwrap();
    let borders = [
        0,
        1,
        7,
        8,
        264,
        300,
        312,
        33_080,
        36_000,
        HEADER_BYTES as usize - 1,
    ];
    for len in borders {
        file.truncate(len as u64);
        let read = read(&maker, &utc(), "A/1D/X");
        assert!(read.batches.is_empty());
        assert_eq!(read.fault().offset, Some(len as u64));
    }
    for len in (HEADER_BYTES as usize..whole.len()).step_by(37) {
        fs::write(&file.path, &whole[..len]).unwrap();
        let read = read(&maker, &utc(), "A/1D/X");
        assert_eq!(
            read.times().len(),
            (len - HEADER_BYTES as usize) / 16,
            "cut at {len}"
        );
        assert_eq!(read.fault().offset, Some(len as u64));
    }
}

#[test]
fn no_flipped_bit_of_a_header_gives_rows_of_another_meaning() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/X", 2020, MINUTE, false, BID_ASK);
    file.bar(1, &floats(&[1.0, 2.0]));
    let good = read(&maker, &utc(), "A/1Min/X");
    let header = fs::read(&file.path).unwrap()[..HEADER_BYTES as usize].to_vec();
    // Version, year, timeframe, record type, columns and length contradict something. Names and
    // types may turn into others of the same width, which nothing in the file contradicts.
    let fields = (0..8).chain(264..304);
    for at in fields {
        for bit in 0..8 {
            file.write(at, &[header[at as usize] ^ (1 << bit)]);
            let read = read(&maker, &utc(), "A/1Min/X");
            assert!(read.batches.is_empty(), "byte {at} bit {bit}");
            assert!(read.fault().what.contains("left out"), "{}", read.fault());
            file.write(at, &[header[at as usize]]);
        }
    }
    assert_eq!(read(&maker, &utc(), "A/1Min/X").times(), good.times());
}

#[test]
fn slots_that_contradict_their_place_are_named() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/X", 2020, MINUTE, false, BID_ASK);
    for index in [1, 2, 3, 4] {
        file.bar(index, &floats(&[index as f32, 0.0]));
    }
    file.write(file.slot_at(2), &7_i64.to_le_bytes());
    file.write(file.slot_at(3), &0_i64.to_le_bytes());
    let read = read(&maker, &utc(), "A/1Min/X");
    assert_eq!(read.f32s(0), [1.0, 4.0]);
    let at: Vec<_> = read.faults.iter().map(|fault| fault.offset).collect();
    assert_eq!(at, [Some(file.slot_at(2)), Some(file.slot_at(3))]);
}

#[test]
fn pointers_and_blocks_that_are_broken_are_named() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/T", 2020, MINUTE, true, BID_ASK);
    let rows: Vec<u8> = (0..50).flat_map(|n| tick(n as f32, n * 1000)).collect();
    for index in 1..=7 {
        file.ticks(index, &rows, true);
    }
    let len = file.len() as i64;
    file.pointer(2, len - 1, 12);
    file.pointer(3, -5, 12);
    file.pointer(4, 100, 12);
    file.pointer(5, len - 24, i64::MAX);
    file.pointer(6, len - 24, 0);
    // Half of the area of the last interval.
    file.pointer(7, len - 13, 13);
    let read = read(&maker, &utc(), "A/1Min/T");
    assert_eq!(read.times().len(), 50);
    let at: Vec<_> = read.faults.iter().map(|fault| fault.offset).collect();
    let slots = (2..=6).map(|index| Some(file.slot_at(index)));
    assert_eq!(at, slots.chain([Some(len as u64 - 13)]).collect::<Vec<_>>());
    let texts: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("outside the data"), "{texts:?}");
}

#[test]
fn broken_blocks_flip_by_flip_never_give_rows_that_were_not_there() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/T", 2020, MINUTE, true, BID_ASK);
    let rows: Vec<u8> = (0..9).flat_map(|n| tick(n as f32, n * 1000)).collect();
    let before = file.len();
    file.ticks(1, &rows, true);
    let area = fs::read(&file.path).unwrap()[before as usize..].to_vec();
    let mut refused = 0;
    for at in 0..area.len() {
        let mut bad = area.clone();
        bad[at] ^= 0x80;
        file.write(before, &bad);
        let read = read(&maker, &utc(), "A/1Min/T");
        refused += usize::from(!read.faults.is_empty());
        // A flip inside a literal is a value like any other: MarketStore has no checksum.
        assert!(
            read.times().len() == 9 || !read.faults.is_empty(),
            "byte {at}"
        );
    }
    assert!(refused > 0);
}

#[test]
fn years_of_other_columns_are_left_out() {
    let maker = Maker::new();
    maker
        .year("A/1Min/X", 2019, MINUTE, false, &[("Bid", 0)])
        .bar(1, &floats(&[1.0]));
    maker.year("A/1Min/X", 2020, MINUTE, true, BID_ASK);
    maker
        .year("A/1Min/X", 2021, MINUTE, false, BID_ASK)
        .bar(1, &floats(&[2.0, 3.0]));
    let read = read(&maker, &utc(), "A/1Min/X");
    assert_eq!(read.f32s(0), [2.0]);
    let files: Vec<_> = read
        .faults
        .iter()
        .map(|fault| fault.file.as_str())
        .collect();
    assert_eq!(files, ["A/1Min/X/2019.bin", "A/1Min/X/2020.bin"]);
}

#[test]
fn names_and_directories_that_do_not_belong_are_named() {
    let maker = Maker::new();
    let good = maker.year("A/1Min/X", 2020, MINUTE, false, BID_ASK);
    good.bar(1, &floats(&[1.0, 2.0]));
    let root = maker.root();
    fs::copy(&good.path, root.join("A/1Min/X/abc.bin")).unwrap();
    fs::copy(&good.path, root.join("A/1Min/X/02019.bin")).unwrap();
    fs::copy(&good.path, root.join("A/1Min/X/2018.bin")).unwrap();
    fs::copy(&good.path, root.join("A/2020.bin")).unwrap();
    fs::create_dir_all(root.join("B/1Min/X")).unwrap();
    fs::write(root.join("A/1Min/X/notes.txt"), "x").unwrap();
    fs::create_dir(root.join("EMPTY")).unwrap();
    maker.year("C/1Foo/X", 2020, MINUTE, false, BID_ASK);
    maker.year("D/5Min/X", 2020, MINUTE, false, BID_ASK);
    let tree = Tree::open(root, utc()).unwrap();
    let files = |faults: &[Fault]| faults.iter().map(|f| f.file.clone()).collect::<Vec<_>>();
    let faults = ["A/1Min/X/02019.bin", "A/1Min/X/abc.bin", "A/2020.bin", "B"];
    assert_eq!(files(tree.faults()), faults);
    assert_eq!(files(tree.notes()), ["A/1Min/X/notes.txt", "EMPTY"]);
    let mut all = Vec::new();
    for bucket in tree.buckets() {
        let mut reader = tree.read(bucket);
        assert_eq!(
            reader.by_ref().map(|batch| batch.rows()).sum::<usize>(),
            usize::from(bucket.key.symbol() == "A")
        );
        all.extend(files(reader.faults()));
    }
    assert_eq!(all, ["A/1Min/X/2018.bin", "C/1Foo/X", "D/5Min/X/2020.bin"]);
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Tree::open(dir.path(), utc())
            .unwrap_err()
            .to_string()
            .contains("category_name")
    );
    assert!(Tree::open(&dir.path().join("none"), utc()).is_err());
}

#[test]
fn a_sparse_year_of_seconds_reads_only_its_rows() {
    let maker = Maker::new();
    let file = maker.year("A/1Sec/X", 2020, MINUTE / 60, false, BID_ASK);
    for index in [1, 15_000_000, 31_622_400] {
        file.bar(index, &floats(&[index as f32, 0.0]));
    }
    let tree = Tree::open(maker.root(), utc()).unwrap();
    // 506 MB by its length.
    assert!(file.len() > 480 << 20);
    assert!(
        tree.buckets()[0].bytes < 1 << 20,
        "{}",
        tree.buckets()[0].bytes
    );
    assert_eq!(
        read(&maker, &utc(), "A/1Sec/X").f32s(0),
        [1.0, 15_000_000.0, 31_622_400.0]
    );
}
