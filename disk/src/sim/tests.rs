use super::*;
use crate::{is_full, publish};

fn write_synced(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path::split(path).0).unwrap();
}

#[test]
fn synced_bytes_and_names_survive_every_power_cut() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        write_synced(&disk, "a", b"old");
        disk.open_write("a")
            .unwrap()
            .write_at(3, b" and new")
            .unwrap();
        let after = disk.reopen();
        let bytes = after.read_all("a").unwrap();
        assert!(bytes.starts_with(b"old"), "seed {seed}");
    }
}

#[test]
fn unsynced_sectors_survive_in_every_combination() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        write_synced(&disk, "a", &[0; 1024]);
        disk.open_write("a")
            .unwrap()
            .write_at(0, &[1; 1024])
            .unwrap();
        let bytes = disk.reopen().read_all("a").unwrap();
        seen.insert((bytes[0], bytes[512]));
        assert!(
            bytes[..512].iter().all(|byte| *byte == bytes[0]),
            "a sector is written whole"
        );
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_name_without_directory_sync_may_be_lost_or_kept() {
    let mut survived = [false; 2];
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        disk.create("a").unwrap().sync_all().unwrap();
        survived[usize::from(disk.reopen().exists("a").unwrap())] = true;
    }
    assert_eq!(survived, [true, true]);
}

#[test]
fn the_death_of_a_process_loses_nothing_but_makes_nothing_durable() {
    let disk = SimDisk::new(1);
    write_synced(&disk, "a", &[0; 4]);
    disk.open_write("a").unwrap().write_at(0, &[1; 4]).unwrap();
    let killed = disk.restart();
    assert_eq!(&killed.read_all("a").unwrap()[..], &[1; 4]);
    let lost = (0..100).any(|_| killed.restart().reopen().read_all("a").unwrap()[0] == 0);
    assert!(lost);
}

#[test]
fn a_failed_sync_drops_bytes_that_a_second_sync_does_not_bring_back() {
    let mut lost = false;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        write_synced(&disk, "a", &[0; 4]);
        let file = disk.open_write("a").unwrap();
        disk.fail_sync_after(0);
        file.write_at(0, &[1; 4]).unwrap();
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the lie");
        assert_eq!(&disk.read_all("a").unwrap()[..], &[1; 4]);
        lost |= disk.reopen().read_all("a").unwrap()[0] == 0;
    }
    assert!(lost);
}

#[test]
fn after_the_crash_every_call_fails_and_the_lock_is_free_again() {
    let disk = SimDisk::new(3);
    let _lock = disk.lock().unwrap();
    assert!(disk.lock().is_err());
    disk.crash_after(1);
    disk.create("a").unwrap();
    assert!(disk.create("b").is_err());
    assert!(disk.crashed());
    assert!(disk.list("").is_err());
    assert!(disk.reopen().lock().is_ok());
}

#[test]
fn a_full_disk_says_so_and_has_room_again_after_an_unlink() {
    let disk = SimDisk::new(4);
    disk.set_capacity(Some(10));
    write_synced(&disk, "a", &[0; 8]);
    let file = disk.create("b").unwrap();
    assert!(is_full(&file.write_at(0, &[0; 4]).unwrap_err()));
    disk.unlink("a").unwrap();
    file.write_at(0, &[0; 4]).unwrap();
}

/// What the successor of a dead process sees is what becomes durable when it syncs: a rename that
/// was interrupted happened for both or for neither.
#[test]
fn an_interrupted_rename_is_the_same_for_the_successor_and_for_the_disk() {
    let mut happened = [false; 2];
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        write_synced(&disk, "a", &[1]);
        write_synced(&disk, "b", &[2]);
        disk.sync_dir("").unwrap();
        disk.crash_after(0);
        disk.rename("b", "a").unwrap_err();
        let successor = disk.restart();
        let seen = successor.read_all("a").unwrap();
        successor.sync_dir("").unwrap();
        assert_eq!(
            successor.reopen().read_all("a").unwrap(),
            seen,
            "seed {seed}"
        );
        happened[usize::from(seen[0] == 2)] = true;
    }
    assert_eq!(happened, [true; 2]);
}

/// I1: whatever call the crash hits, the name means the whole old file or the whole new one.
#[test]
fn publish_is_all_or_nothing_at_every_crash() {
    for seed in 0..40 {
        for at in 0..7 {
            let disk = SimDisk::new(seed);
            publish(&disk, "m", |file| file.write_at(0, &[1; 2000])).unwrap();
            disk.crash_after(at);
            let result = publish(&disk, "m", |file| file.write_at(0, &[2; 3000]));
            let after = disk.reopen();
            let bytes = after.read_all("m").unwrap();
            let old = bytes[..] == [1; 2000];
            let new = bytes[..] == [2; 3000];
            assert!(
                if result.is_ok() { new } else { old || new },
                "seed {seed}, crash at {at}"
            );
            publish(&after, "m", |file| file.write_at(0, &[3; 10])).unwrap();
            assert_eq!(&after.read_all("m").unwrap()[..], &[3; 10]);
            assert!(
                after.open_write("m").is_err(),
                "published files are read-only"
            );
        }
    }
}

#[test]
fn a_chosen_outcome_is_exactly_what_was_chosen() {
    let disk = SimDisk::new(1);
    write_synced(&disk, "a", &[0; 1024]);
    let file = disk.open_write("a").unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    file.write_at(256, &[2; 512]).unwrap();
    disk.rename("a", "b").unwrap();
    let unsynced = disk.unsynced();
    let kinds: Vec<CallKind> = unsynced.iter().map(|u| u.kind).collect();
    assert_eq!(kinds, [CallKind::Write, CallKind::Write, CallKind::Rename]);
    assert_eq!(
        (unsynced[0].cuts(), unsynced[1].cuts()),
        (vec![512], vec![256])
    );

    let nothing = disk.reopen_with(&[]);
    assert_eq!(nothing.read_all("a").unwrap()[..], [0; 1024]);
    let cut = disk.reopen_with(&[(1, Keep::Bytes(256..512)), (2, Keep::Whole)]);
    let bytes = cut.read_all("b").unwrap();
    assert_eq!(
        (bytes[511], bytes[512], bytes[767], bytes[768]),
        (0, 2, 2, 0)
    );
    assert!(!cut.exists("a").unwrap());
    let turned = disk.reopen_with(&[(1, Keep::Whole), (0, Keep::Whole)]);
    assert_eq!(turned.read_all("a").unwrap()[..], [1; 1024]);
    assert!(turned.unsynced().is_empty());
    assert_ne!(nothing.digest(), turned.digest());
    assert_eq!(nothing.digest(), disk.reopen_with(&[]).digest());
}

#[test]
fn recorded_disks_are_those_before_each_call() {
    let disk = SimDisk::new(1);
    disk.record();
    write_synced(&disk, "a", b"x");
    let recorded = disk.recorded();
    assert_eq!(recorded.len(), 5);
    assert!(!recorded[0].exists("a").unwrap());
    assert!(recorded[1].exists("a").unwrap());
    assert_eq!(recorded[2].unsynced().len(), 2);
    assert_eq!(recorded[3].unsynced().len(), 1);
    assert_eq!(recorded[4].unsynced(), []);
    assert!(recorded[4].recorded().is_empty());
}

#[test]
fn a_read_fails_where_it_is_told_and_only_there() {
    let disk = SimDisk::new(1);
    write_synced(&disk, "a", b"x");
    disk.fail_read_after(1, io::ErrorKind::Other);
    assert!(disk.read_all("a").is_ok());
    assert!(disk.open_read("a").is_err());
    assert!(disk.open_read("a").is_ok());
}
