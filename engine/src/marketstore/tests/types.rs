//! Every element type, zone and calendar.

use model::{ColumnType, RowKind};

use super::maker::{BID_ASK, DAY, MINUTE, SECOND, floats, tick};
use super::*;

/// 2020-01-01T00:00:00Z.
const Y2020: i64 = 1_577_836_800 * SECOND;
const Y2021: i64 = Y2020 + 366 * DAY;

#[test]
fn every_type_comes_back_bit_for_bit() {
    let columns = [
        ("F4", 0, ColumnType::F32, 4),
        ("I4", 1, ColumnType::I32, 4),
        ("F8", 2, ColumnType::F64, 8),
        ("I8", 3, ColumnType::I64, 8),
        ("Byte", 5, ColumnType::I8, 1),
        ("Bool", 6, ColumnType::I8, 1),
        ("I2", 9, ColumnType::I16, 2),
        ("U1", 10, ColumnType::U8, 1),
        ("U2", 11, ColumnType::U16, 2),
        ("U4", 12, ColumnType::U32, 4),
        ("U8", 13, ColumnType::U64, 8),
        ("S16", 14, ColumnType::Str16, 64),
    ];
    let defs: Vec<(&str, u8)> = columns
        .iter()
        .map(|(name, code, ..)| (*name, *code))
        .collect();
    let bytes: usize = columns.iter().map(|column| column.3).sum();
    let row =
        |seed: usize| -> Vec<u8> { (0..bytes).map(|i| (i * 7 + seed * 13 + 1) as u8).collect() };
    let maker = Maker::new();
    let fixed = maker.year("A/1Min/F", 2020, MINUTE, false, &defs);
    let variable = maker.year("A/1Min/V", 2020, MINUTE, true, &defs);
    for index in [1, 2, 500, 527_040] {
        fixed.bar(index, &row(index as usize));
        variable.ticks(
            index,
            &[row(index as usize), vec![0; 4]].concat(),
            index % 2 == 0,
        );
    }
    for bucket in ["A/1Min/F", "A/1Min/V"] {
        let read = read(&maker, &utc(), bucket);
        assert_eq!(read.faults, []);
        let times = [0, 1, 499, 527_039].map(|minute| Y2020 + minute * MINUTE);
        assert_eq!(read.times(), times);
        let batch = &read.batches[0];
        let mut at = 0;
        for (column, (name, _, ty, size)) in columns.iter().enumerate() {
            assert_eq!(batch.schema().columns()[column].name, *name);
            assert_eq!(batch.schema().columns()[column].ty, *ty);
            for (number, index) in [1, 2, 500, 527_040].into_iter().enumerate() {
                let value = &batch.columns()[column].bytes()[number * size..(number + 1) * size];
                assert_eq!(value, &row(index)[at..at + size], "{name} of {index}");
            }
            at += size;
        }
    }
}

#[test]
fn types_that_hold_nothing_leave_the_file_out_by_name() {
    for code in [4, 7, 8, 15, 255] {
        let maker = Maker::new();
        maker.year("A/1Min/F", 2020, MINUTE, false, &[("X", code)]);
        let read = read(&maker, &utc(), "A/1Min/F");
        assert_eq!(read.kind, None);
        assert!(read.batches.is_empty());
        assert_eq!(read.fault().offset, Some(33_080));
        assert!(read.fault().what.contains("\"X\""), "{}", read.fault());
    }
}

#[test]
fn the_daily_row_of_first_january_is_found() {
    for (name, hours) in [("UTC", 0), ("America/New_York", 5), ("Asia/Tokyo", -9)] {
        let maker = Maker::new();
        for year in [2019, 2020] {
            let file = maker.year("A/1D/X", year, DAY, false, BID_ASK);
            // As MarketStore writes it: index 0, in front of the first slot.
            file.bar(0, &floats(&[1.0, 2.0]));
            file.bar(1, &floats(&[3.0, 4.0]));
            file.bar(364, &floats(&[5.0, 6.0]));
            if year == 2020 {
                file.bar(365, &floats(&[7.0, 8.0]));
            }
        }
        let read = read(&maker, &zone(name), "A/1D/X");
        assert_eq!(read.faults, []);
        assert_eq!(read.repaired.first_january, 2);
        let days = [-365, -364, -1, 0, 1, 364, 365];
        assert_eq!(
            read.times(),
            days.map(|day| Y2020 + day * DAY + hours * 3600 * SECOND)
        );
        assert_eq!(read.f32s(0), [1.0, 3.0, 5.0, 1.0, 3.0, 5.0, 7.0]);
    }
}

#[test]
fn daily_ticks_of_first_january_are_found() {
    let maker = Maker::new();
    let file = maker.year("A/1D/T", 2020, DAY, true, BID_ASK);
    // Noon, counted from a base that is one day early: the number wraps.
    let noon = ((49_710.269_629_629_63 * (86_400.0 + 43_200.0)) as i64) as u32;
    file.ticks(0, &tick(1.0, noon), true);
    file.ticks(1, &tick(2.0, noon), true);
    let read = read(&maker, &utc(), "A/1D/T");
    assert_eq!(read.faults, []);
    assert_eq!(
        (read.repaired.first_january, read.kind),
        (1, Some(RowKind::Tick))
    );
    for (found, day) in read.times().into_iter().zip([0, 1]) {
        let wanted = Y2020 + day * DAY + DAY / 2;
        assert!((found - wanted).abs() <= 20_117, "{}", found - wanted);
    }
}

#[test]
fn leap_years_have_their_last_day() {
    let maker = Maker::new();
    for (year, last) in [(2019, 525_600), (2020, 527_040)] {
        let file = maker.year("A/1Min/X", year, MINUTE, false, BID_ASK);
        file.bar(last, &floats(&[year as f32, 0.0]));
        // One more: not of this year.
        file.bar(last + 1, &floats(&[0.0, 0.0]));
    }
    let read = read(&maker, &utc(), "A/1Min/X");
    assert_eq!(read.times(), [Y2020 - MINUTE, Y2021 - MINUTE]);
    assert_eq!(read.faults.len(), 2, "{:?}", read.faults);
    assert!(read.faults[0].what.contains("behind the end of the year"));
}

#[test]
fn a_zone_moves_the_year_and_not_the_length_of_an_interval() {
    let maker = Maker::new();
    let file = maker.year("A/1H/X", 2020, 60 * MINUTE, false, BID_ASK);
    for index in [1, 24 * 200 + 1] {
        file.bar(index, &floats(&[1.0, 2.0]));
    }
    let read = read(&maker, &zone("America/New_York"), "A/1H/X");
    let start = Y2020 + 5 * 60 * MINUTE;
    assert_eq!(read.times(), [start, start + 200 * DAY]);
}

#[test]
fn bars_between_the_windows_are_left_out_unless_they_may_move() {
    let maker = Maker::new();
    let file = maker.year("A/4H/X", 2020, 240 * MINUTE, false, BID_ASK);
    file.bar(1, &floats(&[1.0, 2.0]));
    file.bar(2, &floats(&[3.0, 2.0]));
    let mut options = zone("America/New_York");
    let refused = read(&maker, &options, "A/4H/X");
    assert!(refused.batches.is_empty());
    assert!(
        refused.fault().what.contains("--floor-bars"),
        "{}",
        refused.fault()
    );
    options.floor_bars = true;
    let moved = read(&maker, &options, "A/4H/X");
    assert_eq!(moved.faults, []);
    assert_eq!(
        moved.times(),
        [Y2020 + 4 * 60 * MINUTE, Y2020 + 8 * 60 * MINUTE]
    );
}

#[test]
fn ticks_come_in_order_of_time_and_equal_times_in_that_of_the_file() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/T", 2020, MINUTE, true, BID_ASK);
    let half = u32::MAX / 2;
    // Version 2 appends without sorting.
    let rows = [
        tick(1.0, half),
        tick(2.0, 0),
        tick(3.0, half),
        tick(4.0, 0),
        tick(2.0, 0),
    ];
    file.ticks(9, &rows.concat(), false);
    let read = read(&maker, &utc(), "A/1Min/T");
    assert_eq!(read.faults, []);
    assert_eq!(read.f32s(0), [2.0, 4.0, 2.0, 1.0, 3.0]);
    assert_eq!(read.times()[0], Y2020 + 8 * MINUTE);
    assert_eq!(read.times()[4], Y2020 + 8 * MINUTE + 29_999_999_986);
}

#[test]
fn the_switch_of_compression_may_have_been_flipped() {
    let maker = Maker::new();
    let file = maker.year("A/1Min/T", 2020, MINUTE, true, BID_ASK);
    for index in 1..=40 {
        let rows: Vec<u8> = (0..index as u32)
            .flat_map(|n| tick(n as f32, n * 1000))
            .collect();
        file.ticks(index, &rows, index > 20);
    }
    let auto = read(&maker, &utc(), "A/1Min/T");
    // Areas that can be read both ways are named, as the others do not agree.
    let doubtful = auto
        .faults
        .iter()
        .filter(|f| f.what.contains("--variable-compression"))
        .count();
    assert_eq!(auto.faults.len(), doubtful);
    assert!(auto.times().len() > 700, "{} ticks", auto.times().len());
    let on = ReadOptions {
        compression: Compression::On,
        ..utc()
    };
    let on = read(&maker, &on, "A/1Min/T");
    assert_eq!(on.times().len(), (21..=40).sum::<usize>());
    assert_eq!(on.faults.len(), 20);
}
