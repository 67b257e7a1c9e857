//! The doors for fuzzing.

use disk::{Disk, SimDisk};
use model::RowKind;

use super::{batch, key, open, write};
use crate::Scan;
use crate::fuzz::{adopt_manifest, reseal_segment};

/// The doors know where the checksums are: resealing what is whole changes nothing, and
/// resealing a flipped page makes it whole.
#[test]
fn resealing_puts_checksums_where_they_are_looked_for() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    write(&engine, "A/1Sec/TICK", RowKind::Tick, batch(&[1, 2, 3], 7)).unwrap();
    engine.close().unwrap();
    let manifest = disk.read_all("MANIFEST").unwrap().to_vec();
    let store_id = manifest[16..32].try_into().unwrap();
    let segment = disk.read_all("segments/00000001.seg").unwrap().to_vec();
    let mut resealed = segment.clone();
    reseal_segment(&mut resealed, &store_id);
    assert!(resealed == segment);
    let mut adopted = manifest.clone();
    adopt_manifest(&mut adopted, &store_id, Some(&segment));
    assert!(adopted == manifest);

    resealed[64] ^= 1;
    reseal_segment(&mut resealed, &store_id);
    adopt_manifest(&mut adopted, &store_id, Some(&resealed));
    disk.rot("segments/00000001.seg", |bytes| *bytes = resealed)
        .unwrap();
    disk.rot("MANIFEST", |bytes| *bytes = adopted).unwrap();
    let engine = open(&disk);
    let id = engine.bucket(&key("A/1Sec/TICK")).unwrap().id;
    let found = engine.snapshot(&[id]).scan(0, &Scan::all());
    // The page is read: garbage is garbage, but it is not called damaged.
    if let Err(error) = found {
        assert!(!error.to_string().contains("checksum"), "{error}");
    }
}
