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

/// Wrecks a part of one file as a failing medium or a clumsy person would.
fn wreck(disk: &SimDisk, rng: &mut Rng) {
    let names = disk.list("wal").unwrap();
    let mut pick = || format!("wal/{}", names[rng.below(names.len() as u64) as usize]);
    let (path, other) = (pick(), pick());
    let other = disk.read_all(&other).unwrap();
    let (at, len, what) = (
        rng.below(4096) as usize,
        rng.below(1024) as usize,
        rng.below(6),
    );
    let noise = rng.next_u64() as u8;
    disk.rot(&path, |bytes| {
        let at = at.min(bytes.len());
        let end = (at + len).min(bytes.len());
        match what {
            0 => bytes[at..end].fill(0),
            1 => bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte = byte.wrapping_mul(31) ^ noise),
            2 => bytes.truncate(at),
            3 => *bytes = other.to_vec(),
            4 => bytes.rotate_left(end - at),
            _ => bytes.clear(),
        }
    })
    .unwrap();
    if rng.chance(4) {
        disk.unlink(&path).unwrap();
    }
}

#[test]
fn wrecked_files_never_panic_invent_or_hide_a_hole() {
    let good = log_of(60);
    let shared: Arc<dyn Disk> = Arc::new(good.copy());
    let (_, _, all) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let disk = good.copy();
        for _ in 0..1 + rng.below(3) {
            if !disk.list("wal").unwrap().is_empty() {
                wreck(&disk, &mut rng);
            }
        }
        let (seen, seen_frames) = super::inspect::look(&disk, Lsn::ZERO);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, found, frames) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
        // A look beforehand saw the same.
        let ranges =
            |damage: &[Damage]| -> Vec<_> { damage.iter().map(|gap| (gap.from, gap.to)).collect() };
        assert_eq!(
            (&seen_frames, seen.end),
            (&frames, found.end),
            "seed {seed}"
        );
        assert_eq!(
            ranges(&seen.damage),
            ranges(&found.quarantined),
            "seed {seed}"
        );
        let mut rest = all.iter();
        assert!(
            frames.iter().all(|frame| rest.any(|known| known == frame)),
            "seed {seed}"
        );
        let hole = frames != all[..frames.len()];
        assert!(
            !hole || !found.quarantined.is_empty(),
            "seed {seed}: a hole nobody was told of"
        );

        // The log goes on behind whatever is left.
        let outcomes = Outcomes::default();
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        wal.append(payload_of(1000), 1000).unwrap();
        wal.flush().unwrap();
        wal.close().unwrap();
        let (_, _, again) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
        assert_eq!(again[..frames.len()], frames, "seed {seed}");
        let new: Vec<u64> = again[frames.len()..]
            .iter()
            .map(|(token, _)| *token)
            .collect();
        assert_eq!(new, [1000], "seed {seed}");
    }
}
