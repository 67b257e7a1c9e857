//! A look at a log sees what recovery would, says so of every byte, and changes none.

use disk::SimDisk;

use super::*;

/// What [`inspect`] finds and the frames it visits; panics if it changes anything.
pub(super) fn look(disk: &SimDisk, checkpoint: Lsn) -> (Inspection, Tokens) {
    let calls = disk.call_count();
    let mut frames = Vec::new();
    let found = inspect::<WalError>(disk, STORE, checkpoint, &mut |frame| {
        frames.push((token_of(&frame), frame.lsn));
        Ok(())
    })
    .unwrap();
    assert_eq!(disk.call_count(), calls, "a look changed the disk");
    (found, frames)
}

/// A log of small frames, each a group of its own.
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

/// Only the padding behind a payload and the room behind a segment end mean nothing.
#[test]
fn every_flipped_byte_of_headers_and_payloads_is_reported() {
    let good = log_of(20);
    let (clean, frames) = look(&good, Lsn::ZERO);
    assert_eq!((clean.frames, frames.len()), (20, 20));
    assert!(clean.torn.is_none() && clean.damage.is_empty(), "{clean:?}");
    let mut meaningful = Vec::new();
    inspect::<WalError>(&good, STORE, Lsn::ZERO, &mut |frame| {
        let payload = frame::FRAME_HEADER_BYTES + frame.payload.len() as u64;
        meaningful.push(frame.lsn.0..frame.lsn.0 + payload);
        Ok(())
    })
    .unwrap();
    let mut flipped = 0;
    for file in clean.files.iter().filter(|f| f.state == FileState::InUse) {
        meaningful.push(file.first.0..file.first.0 + segment::SEGMENT_HEADER_BYTES);
        for offset in 0..file.bytes {
            let disk = good.copy();
            disk.rot(&file.path, |bytes| bytes[offset as usize] ^= 0x40)
                .unwrap();
            let (found, _) = look(&disk, Lsn::ZERO);
            let at = file.first.0 + offset;
            if meaningful.iter().any(|range| range.contains(&at)) {
                flipped += 1;
                let told = found.torn.is_some() || !found.damage.is_empty();
                assert!(told, "{} byte {offset}: {found:?}", file.path);
            }
        }
    }
    assert!(flipped > 2000, "{flipped}");
}

#[test]
fn frames_below_the_checkpoint_are_seen_and_their_damage_too() {
    let disk = log_of(40);
    let (clean, frames) = look(&disk, Lsn::ZERO);
    let (same, again) = look(&disk, clean.end);
    assert_eq!(
        (&again, same.end, same.start),
        (&frames, clean.end, Lsn::ZERO)
    );
    let (_, lsn) = frames[3];
    disk.rot(&segment::path_of(Lsn::ZERO), |bytes| {
        bytes[lsn.0 as usize + 41] ^= 1
    })
    .unwrap();
    // The mark says that all below it was promised, also what no later frame vouches for.
    let (found, _) = look(&disk, clean.end);
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert_eq!((found.damage[0].from, &found.damage[0].copy), (lsn, &None));
}

#[test]
fn a_released_file_with_a_hole_behind_it_is_not_visited() {
    let disk = log_of(60);
    let (clean, frames) = look(&disk, Lsn::ZERO);
    let used: Vec<_> = clean
        .files
        .iter()
        .filter(|f| f.state == FileState::InUse)
        .collect();
    assert!(used.len() >= 3, "the log must span segments");
    disk.unlink(&used[1].path).unwrap();
    let (found, rest) = look(&disk, clean.end);
    assert_eq!(found.files[0].state, FileState::Released);
    assert_eq!(found.start, used[2].first);
    assert!(found.damage.is_empty(), "{found:?}");
    assert!(frames.ends_with(&rest) && rest.len() < frames.len());
}

#[test]
fn a_store_without_a_log_and_foreign_names_are_no_failure() {
    let disk = SimDisk::new(1);
    assert_eq!(look(&disk, Lsn(80)).0.end, Lsn(80));
    disk.create_dir_all("wal").unwrap();
    drop(disk.create("wal/notes.txt").unwrap());
    let (found, frames) = look(&disk, Lsn::ZERO);
    assert_eq!(
        (found.foreign, frames.len()),
        (vec!["notes.txt".to_owned()], 0)
    );
}
