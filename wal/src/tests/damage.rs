//! Rot: every flipped byte is found, reported and set aside, or changes nothing.

use disk::SimDisk;

use super::*;

/// A log of some small frames, each its own group, so that all but the last are promised.
fn log_of(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, ..) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
    let wal = log.start(Box::new(Outcomes::default())).unwrap();
    for token in 0..count {
        wal.append(payload_of(token), token).unwrap();
        wal.flush().unwrap();
    }
    wal.close().unwrap();
    disk.restart()
}

#[test]
fn every_flipped_byte_is_contained_to_its_frame() {
    let good = log_of(30);
    let files = good.list("wal").unwrap();
    assert!(files.len() >= 2, "the log must span segments");
    let shared: Arc<dyn Disk> = Arc::new(good.copy());
    let (_, found, all) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
    let mut damaged = 0;
    for name in &files {
        let path = format!("wal/{name}");
        let first = segment::parse_name(name).unwrap();
        let used = log_of(30)
            .len(&path)
            .unwrap()
            .min(found.end.0.saturating_sub(first.0));
        for offset in 0..used {
            let disk = good.copy();
            disk.rot(&path, |bytes| bytes[offset as usize] ^= 0x40)
                .unwrap();
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let (_, found, frames) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
            let lost: Vec<_> = all.iter().filter(|frame| !frames.contains(frame)).collect();
            assert!(
                frames.iter().all(|frame| all.contains(frame)),
                "{path} {offset}: invented"
            );
            assert!(lost.len() <= 1, "{path} {offset}: one byte took {lost:?}");
            let last = lost.first().is_some_and(|frame| Some(*frame) == all.last());
            assert!(
                lost.is_empty() || last || !found.quarantined.is_empty(),
                "{path} {offset}"
            );
            for damage in &found.quarantined {
                let copy = damage.copy.as_ref().unwrap();
                assert!(disk.exists(copy).unwrap());
                damaged += 1;
            }
            let (_, second, again) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
            assert_eq!((again, second.quarantined), (frames, found.quarantined));
        }
    }
    assert!(damaged > 1000);
}
