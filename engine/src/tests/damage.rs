//! I10: one flipped bit anywhere gives an error or the same answer, never another one.

use disk::{Disk, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, open, scan, try_open, write};
use crate::{Error, Scan};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

fn stored() -> SimDisk {
    let disk = SimDisk::new(3);
    let engine = open(&disk);
    let bars: Vec<i64> = (0..9).map(|i| i * MINUTE).collect();
    write(&engine, BARS, RowKind::Bar, batch(&bars, 1)).unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[3, 3, 8], 50)).unwrap();
    engine.close().unwrap();
    disk
}

fn flip_each_byte(path: &str) {
    let disk = stored();
    let (bars, ticks) = {
        let engine = open(&disk.copy());
        (all(&engine, BARS), all(&engine, TICKS))
    };
    let len = disk.len(path).unwrap() as usize;
    let mut refused = 0;
    for at in 0..len {
        let damaged = disk.copy();
        damaged
            .rot(path, |bytes| bytes[at] ^= 1 << (at % 8))
            .unwrap();
        let Ok((engine, _)) = try_open(&damaged) else {
            refused += 1;
            continue;
        };
        for (name, expected) in [(BARS, &bars), (TICKS, &ticks)] {
            match scan(&engine, name, &Scan::all()) {
                Ok(batch) => assert_eq!(&super::pairs(&batch), expected, "{path} byte {at}"),
                Err(Error::Corrupt { file, what, .. }) => {
                    assert_eq!(file, path);
                    assert!(what.contains(name), "{what}");
                }
                Err(other) => panic!("{path} byte {at}: {other}"),
            }
        }
    }
    assert!(
        refused > 60,
        "{path}: {refused} of {len} bytes were refused"
    );
}

#[test]
fn each_byte_of_a_segment() {
    flip_each_byte("segments/00000001.seg");
}

#[test]
fn each_byte_of_the_manifest() {
    flip_each_byte("MANIFEST");
}

#[test]
fn each_byte_of_the_catalog() {
    let names = stored().list("").unwrap();
    let catalog = names.iter().find(|name| name.starts_with("catalog."));
    flip_each_byte(catalog.unwrap());
}

#[test]
fn a_damaged_page_fails_its_bucket_and_no_other() {
    let disk = stored();
    // The first page begins behind the header and holds the times of the first bucket.
    disk.rot("segments/00000001.seg", |bytes| bytes[64 + 8] ^= 1)
        .unwrap();
    let engine = open(&disk);
    let error = scan(&engine, BARS, &Scan::all()).unwrap_err();
    assert!(
        error.to_string().contains("segments/00000001.seg"),
        "{error}"
    );
    assert!(error.to_string().contains(BARS), "{error}");
    assert_eq!(all(&engine, TICKS), [(3, 50), (3, 51), (8, 52)]);
}

#[test]
fn a_short_or_missing_segment_is_refused_by_name() {
    let disk = stored();
    let path = "segments/00000001.seg";
    disk.rot(path, |bytes| bytes.truncate(200)).unwrap();
    let error = try_open(&disk).unwrap_err().to_string();
    assert!(error.contains(path), "{error}");
    disk.unlink(path).unwrap();
    let error = try_open(&disk).unwrap_err().to_string();
    assert!(error.contains(path), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_version() {
    let disk = stored();
    let catalog = disk.list("").unwrap();
    let catalog = catalog.iter().find(|n| n.starts_with("catalog.")).unwrap();
    for path in ["MANIFEST", catalog, "segments/00000001.seg"] {
        let newer = disk.copy();
        // The major version is the high half of the number behind the magic.
        newer.rot(path, |bytes| bytes[10] = 2).unwrap();
        let error = try_open(&newer).unwrap_err().to_string();
        assert!(error.contains("version 2 is newer than 1"), "{error}");
        assert!(error.contains(path), "{error}");
    }
}

/// Promised bytes of the log rot: the store opens, names the damage until somebody clears it, and
/// has every other commit.
#[test]
fn a_damaged_log_is_set_aside_and_named() {
    let disk = SimDisk::new(4);
    let engine = open(&disk);
    for value in 0..5 {
        write(&engine, TICKS, RowKind::Tick, batch(&[value], value as i32)).unwrap();
    }
    drop(engine);
    let wal = disk.list("wal").unwrap();
    let path = format!("wal/{}", wal[0]);
    // The third row's value, as it lies in its frame.
    let needle = batch(&[2], 2).columns()[0].bytes().clone();
    disk.rot(&path, |bytes| {
        let at = bytes.windows(8).position(|window| *window == needle[..]);
        bytes[at.unwrap()] ^= 1;
    })
    .unwrap();
    for _ in 0..2 {
        let engine = open(&disk);
        assert_eq!(all(&engine, TICKS), [(0, 0), (1, 1), (3, 3), (4, 4)]);
        let named = engine.status().quarantined;
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(named[0].contains("quarantine/"), "{named:?}");
        engine.close().unwrap();
    }
}

/// Somebody removes the log: what the segments hold is served, and new commits are kept.
#[test]
fn a_store_without_its_log_goes_on_from_the_checkpoint() {
    let disk = stored();
    for name in disk.list("wal").unwrap() {
        disk.unlink(&format!("wal/{name}")).unwrap();
    }
    let engine = open(&disk);
    assert_eq!(all(&engine, TICKS).len(), 3);
    write(&engine, TICKS, RowKind::Tick, batch(&[9], 99)).unwrap();
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!(all(&engine, TICKS)[3], (9, 99));
}
