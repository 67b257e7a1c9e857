//! The mark of a good close, and files that were never begun: what an open need not read.

use disk::SimDisk;

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
    let ahead = segment::prepare(&disk, &STORE, next, &roomy(), || None);
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
