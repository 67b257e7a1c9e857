//! The mark of a good close, and files that were never begun: what an open need not read.

use std::sync::atomic::AtomicBool;

use disk::SimDisk;
use disk::sim::Keep;

use super::*;

/// Small frames in one segment, each a group of its own; then `end` stops the log.
fn log_of(count: u64, end: impl FnOnce(Wal<u64>)) -> (SimDisk, Lsn) {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, ..) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in 0..count {
        wal.append(payload_of(EQUAL_TOKENS + token), token).unwrap();
        wal.flush().unwrap();
    }
    let last = wal.durable_lsn();
    end(wal);
    (disk.restart(), last)
}

/// Many windows of a reader fit into a segment.
fn roomy() -> Options {
    Options {
        segment_bytes: 64 << 10,
        ..small_options()
    }
}

/// Reads of an open, with the end found and the frames.
fn reads_of(disk: &SimDisk, from: Lsn) -> (u64, Lsn, usize) {
    let before = disk.read_count();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (_, found, frames) = replay(&shared, &roomy(), from).unwrap();
    assert_eq!(found.quarantined, []);
    (disk.read_count() - before, found.end, frames.len())
}

#[test]
fn only_what_was_not_closed_well_is_searched() {
    let (closed, end) = log_of(3, |wal| wal.close().unwrap());
    let (reads, found, _) = reads_of(&closed, end);
    assert_eq!(found, end);
    assert!(reads < 20, "{reads}");
    // The mark was wiped, for frames could have come behind it.
    let killed = closed.restart();
    let (reads, found, _) = reads_of(&killed, end);
    assert_eq!(found, end);
    assert!(reads > 200, "{reads}");
}

#[test]
fn a_file_that_was_never_begun_is_not_read_and_gets_another_name() {
    let (disk, end) = log_of(3, drop);
    // As the helper thread leaves it.
    let next = Lsn(64 << 10);
    let go_on = AtomicBool::new(false);
    let ahead = segment::prepare(&disk, &STORE, next, &roomy(), &go_on, || None);
    drop(ahead.unwrap());
    let once = reads_of(&disk.copy(), Lsn::ZERO);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, found, frames) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
    assert_eq!((found.end, frames.len()), (end, 3));
    let later = segment::path_of(Lsn(128 << 10));
    assert!(!disk.exists(&segment::path_of(next)).unwrap() && disk.exists(&later).unwrap());
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in 0..600 {
        wal.append(payload_of(EQUAL_TOKENS + token), token).unwrap();
    }
    wal.flush().unwrap();
    assert!(wal.durable_lsn() > Lsn(128 << 10), "it went on there");
    drop(wal);
    let (_, _, frames) = reads_of(&disk.restart(), Lsn::ZERO);
    assert_eq!(frames, 603);
    // A segment of this size is some 256 reads.
    assert!(once.0 < 300, "{}", once.0);
}

/// Without the mark this is the one case that no log can tell from a torn end.
#[test]
fn damage_in_front_of_the_mark_is_known_as_damage_ever_after() {
    let (good, end) = log_of(3, |wal| wal.close().unwrap());
    let last = end.0 - 152;
    for offset in last..end.0 {
        let disk = good.copy();
        disk.rot(&segment::path_of(Lsn::ZERO), |bytes| {
            bytes[offset as usize] ^= 1;
        })
        .unwrap();
        let disk = disk.restart();
        for _ in 0..2 {
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let (_, found, frames) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
            assert_eq!((found.end, frames.len()), (end, 2), "{offset}");
            assert_eq!(found.quarantined.len(), 1);
        }
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, ..) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
        let wal = log.start(Box::new(Outcomes::default())).unwrap();
        wal.append(payload_of(EQUAL_TOKENS + 9), 9).unwrap();
        wal.flush().unwrap();
        drop(wal);
        let shared: Arc<dyn Disk> = Arc::new(disk.restart());
        let (_, found, frames) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
        assert_eq!((found.quarantined.len(), frames.len()), (1, 3), "{offset}");
    }
}

/// The log of `disk` holds these frames and nothing else, goes on, and still does after a power
/// cut: neither the mark nor what it hid comes back.
fn goes_on(disk: &SimDisk, end: Lsn, count: u64, context: &str) {
    let (seen, _) = inspect::look(disk, Lsn::ZERO);
    assert_eq!((seen.end, seen.damage.len()), (end, 0), "{context}");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, found, frames) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
    assert_eq!(found.quarantined, [], "{context}");
    assert_eq!((found.end, frames.len() as u64), (end, count), "{context}");
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in count..count + 2 {
        wal.append(payload_of(EQUAL_TOKENS + token), token).unwrap();
        wal.flush().unwrap();
    }
    let last = wal.durable_lsn();
    drop(wal);
    for disk in [disk.reopen_with(&[]), disk.restart()] {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (_, found, frames) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
        assert_eq!(found.quarantined, [], "{context}: opened again");
        assert_eq!((found.end, frames.len() as u64), (last, count + 2));
    }
}

/// What of the unsynced changes may survive: nothing, all, and each write up to each of its cuts.
fn fates(disk: &SimDisk) -> Vec<Vec<(usize, Keep)>> {
    let unsynced = disk.unsynced();
    let mut fates = vec![
        Vec::new(),
        (0..unsynced.len()).map(|i| (i, Keep::Whole)).collect(),
    ];
    for (index, change) in unsynced.iter().enumerate() {
        for cut in change.cuts() {
            fates.push(vec![(index, Keep::Bytes(0..cut))]);
            fates.push(vec![(index, Keep::Bytes(cut..change.len))]);
        }
    }
    fates
}

#[test]
fn a_crash_at_every_call_of_a_close_and_of_the_open_behind_it_changes_nothing() {
    // The mark of the second one lies across the border of a sector.
    for count in [1, 13] {
        let mut looked = 0;
        let recording = SimDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(recording.clone());
        let (log, ..) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
        let wal = log.start(Box::new(Outcomes::default())).unwrap();
        for token in 0..count {
            wal.append(payload_of(EQUAL_TOKENS + token), token).unwrap();
        }
        wal.flush().unwrap();
        let end = wal.durable_lsn();
        recording.record();
        wal.close().unwrap();
        assert!(inspect::look(&recording, end).0.closed);
        let closing = recording.recorded();
        recording.record();
        reads_of(&recording, Lsn::ZERO);
        let opened = recording.recorded();
        for (call, disk) in closing.iter().chain(&opened).enumerate() {
            goes_on(
                &disk.copy().restart(),
                end,
                count,
                &format!("death at {call}"),
            );
            for fate in fates(disk) {
                let context = format!("{count} frames, call {call}, {fate:?}");
                goes_on(&disk.reopen_with(&fate), end, count, &context);
                looked += 1;
            }
        }
        assert!(looked >= 12, "only {looked} outcomes");
    }
}

/// A torn mark is the torn end of a group: however much of it is there, in a file of zeros or in
/// one with an earlier life.
#[test]
fn a_mark_torn_anywhere_ends_the_log_at_the_same_place() {
    let (good, end) = log_of(3, |wal| wal.close().unwrap());
    let mark = end.0 as usize..end.0 as usize + frame::FRAME_HEADER_BYTES as usize;
    for stale in [0, 0xa5] {
        for cut in 0..=mark.len() {
            for keep_head in [true, false] {
                let disk = good.copy();
                disk.rot(&segment::path_of(Lsn::ZERO), |bytes| {
                    let lost = match keep_head {
                        true => mark.start + cut..mark.end,
                        false => mark.start..mark.start + cut,
                    };
                    bytes[lost].fill(stale);
                    bytes[mark.end..].fill(stale);
                })
                .unwrap();
                goes_on(&disk.restart(), end, 3, &format!("{cut} of {stale}"));
            }
        }
    }
}

/// Files below `wal/` after an open that wrote `count` frames, in a log whose next segment is
/// not there yet.
fn files_after(count: u64) -> Vec<String> {
    let (disk, _) = log_of(3, |wal| wal.close().unwrap());
    let options = Options {
        prepare_ahead: true,
        ..roomy()
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _, frames) = replay(&shared, &options, Lsn::ZERO).unwrap();
    assert_eq!(frames.len(), 3);
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in 0..count {
        wal.append(payload_of(EQUAL_TOKENS + token), token).unwrap();
    }
    wal.flush().unwrap();
    // Some hundred frames fill the first segment, so that the helper was waited for.
    wal.close().unwrap();
    disk.list("wal").unwrap()
}

#[test]
fn a_log_that_is_only_read_makes_no_segment_ahead() {
    assert_eq!(files_after(0).len(), 1);
    assert!(files_after(600).len() >= 2);
}

#[test]
fn a_segment_that_nobody_needs_any_more_is_given_up() {
    let disk = SimDisk::new(1);
    disk.create_dir_all("wal").unwrap();
    let first = Lsn(64 << 10);
    let stop = AtomicBool::new(true);
    let given_up = segment::prepare(&disk, &STORE, first, &roomy(), &stop, || None);
    assert!(matches!(given_up, Err(WalError::Closed)));
    assert_eq!(disk.list("wal").unwrap(), [""; 0], "and leaves nothing");
    let go_on = AtomicBool::new(false);
    drop(segment::prepare(&disk, &STORE, first, &roomy(), &go_on, || None).unwrap());
    assert_eq!(disk.len(&segment::path_of(first)).unwrap(), 64 << 10);
}

#[test]
fn frames_longer_than_a_window_are_read_once() {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, ..) = replay(&shared, &roomy(), Lsn::ZERO).unwrap();
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in LONG_TOKENS..LONG_TOKENS + 40 {
        wal.append(payload_of(token), token).unwrap();
    }
    wal.close().unwrap();
    let (reads, _, frames) = reads_of(&disk.restart(), Lsn::ZERO);
    assert_eq!(frames, 40);
    assert!(reads < 40 + 12, "{reads} reads of 40 frames");
}
