//! Bytes in the other files of a store: one file of a small store is replaced, raw and with every
//! checksum put right, and the store is opened and read. Damage has a name; nothing panics.

use std::sync::{Arc, OnceLock};

use disk::{Disk, ManualClock, SimDisk};
use engine::{Engine, Error, Limit, NoHook, Options, Scan};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::oracle::script::Drawer;
use crate::oracle::{Step, life};

/// Bytes that are decoded at most; more makes no new case.
const INPUT_MAX: usize = 64 << 10;

struct Base {
    disk: SimDisk,
    store_id: [u8; 16],
    catalog: String,
}

const SEGMENT: &str = "segments/00000001.seg";

/// A store with one segment that has pages of several codecs.
fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk = SimDisk::new(1);
        let (engine, _) = life::open(&disk).expect("an empty disk opens");
        let mut drawer = Drawer::new(1);
        for bucket in 0..5 {
            // One commit has at most 4 KiB in these stores.
            for _ in 0..8 {
                let part = drawer.part(bucket, 20);
                Step::Write(vec![part]).run(&engine).expect("a sound disk");
            }
        }
        engine.close().expect("a clean stop");
        let manifest = disk.read_all("MANIFEST").expect("it is there");
        let names = disk.list("").expect("a sound disk");
        let mut catalogs = names
            .into_iter()
            .filter(|name| name.starts_with("catalog."));
        Base {
            store_id: manifest[16..32].try_into().expect("sixteen bytes"),
            catalog: catalogs.next().expect("there is a catalog"),
            disk,
        }
    })
}

pub(super) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let base = base();
    let path = match target {
        "manifest" => "MANIFEST",
        "catalog" => &base.catalog,
        _ => SEGMENT,
    };
    vec![base.disk.read_all(path).expect("it is there").to_vec()]
}

fn replace(disk: &SimDisk, path: &str, bytes: Vec<u8>) {
    disk.rot(path, |old| *old = bytes)
        .expect("the file is there");
}

/// Opens and reads everything.
fn read(disk: &SimDisk) {
    let engine = match life::open(disk) {
        Ok((engine, _)) => engine,
        Err(error) => return assert_named(&error),
    };
    let ids: Vec<_> = engine.buckets().iter().map(|bucket| bucket.id).collect();
    let snapshot = engine.snapshot(&ids);
    for index in 0..snapshot.buckets().len() {
        let some = Scan {
            limit: Some(Limit::Last(3)),
            ..Scan::all()
        };
        for scan in [Scan::all(), some] {
            if let Err(error) = snapshot.scan(index, &scan) {
                assert_named(&error);
            }
        }
        if let Err(error) = snapshot.last(index) {
            assert_named(&error);
        }
    }
}

fn assert_named(error: &Error) {
    let text = error.to_string();
    assert!(
        !text.is_empty() && !text.contains('\n'),
        "not one line: {text:?}"
    );
}

pub(super) fn manifest(data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let base = base();
    let disk = base.disk.copy();
    replace(&disk, "MANIFEST", data.to_vec());
    read(&disk);
    let disk = base.disk.copy();
    let mut sealed = data.to_vec();
    engine::fuzz::adopt_manifest(&mut sealed, &base.store_id, None);
    replace(&disk, "MANIFEST", sealed);
    read(&disk);
}

pub(super) fn catalog(data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let base = base();
    for seal in [false, true] {
        let disk = base.disk.copy();
        let mut bytes = data.to_vec();
        if seal {
            engine::fuzz::reseal(&mut bytes);
        }
        replace(&disk, &base.catalog, bytes);
        read(&disk);
    }
}

pub(super) fn segment_open_and_scan(data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let base = base();
    let disk = base.disk.copy();
    replace(&disk, SEGMENT, data.to_vec());
    read(&disk);

    let mut bytes = data.to_vec();
    engine::fuzz::reseal_segment(&mut bytes, &base.store_id);
    let mut manifest = base
        .disk
        .read_all("MANIFEST")
        .expect("it is there")
        .to_vec();
    engine::fuzz::adopt_manifest(&mut manifest, &base.store_id, Some(&bytes));
    let disk = base.disk.copy();
    replace(&disk, "MANIFEST", manifest);
    replace(&disk, SEGMENT, bytes);
    read(&disk);
}

/// Values of any type through the codecs and back: every bit is there. The first byte is the
/// type, the rest are values; text in a high half of it repeats the first two, one a byte.
pub(super) fn page_codecs(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let ty = ColumnType::ALL[usize::from(*first) % ColumnType::ALL.len()];
    let repeated: Vec<u8>;
    let data = match data.split_at_checked(128) {
        Some((texts, rows)) if ty == ColumnType::Str16 && *first >= 128 => {
            let texts = texts.as_chunks::<64>().0;
            let rows = rows.iter().take(2000);
            let rows = rows.flat_map(|row| texts[usize::from(*row) % 2]);
            repeated = rows.collect();
            &repeated[..]
        }
        _ => data,
    };
    let rows = (data.len() / ty.size()).min(20_000);
    if rows == 0 {
        return;
    }
    let values = bytes::Bytes::copy_from_slice(&data[..rows * ty.size()]);
    let values = Column::new(ty, values).expect("whole values");
    let times: Vec<i64> = (0..rows as i64).map(|row| row * 1_000).collect();
    let schema = Schema::new(vec![ColumnDef::new("X", ty)]).expect("one name");
    let batch = ColumnBatch::new(schema, Column::from_values(times), vec![values.clone()]);
    let disk = Arc::new(SimDisk::new(1));
    let clock = Arc::new(ManualClock::new(0));
    let options = Options {
        wal_segment_bytes: 64 << 10,
        frame_bytes_max: 32 << 10,
        merge: false,
        prepare_ahead: false,
        checkpoint_before_serving: true,
        ..Options::default()
    };
    let opened = Engine::open_on(disk, clock, options, Arc::new(NoHook));
    let (engine, _) = opened.expect("an empty disk opens");
    let key = BucketKey::parse("X/1Sec/TICK").expect("a fixed key");
    let rows = engine::Rows {
        key: key.clone(),
        batch: batch.expect("equal lengths"),
        create: Some(RowKind::Tick),
    };
    engine.ingest(vec![rows]).expect("a sound disk");
    let id = engine.bucket(&key).expect("it was made").id;
    let found = engine.snapshot(&[id]).scan(0, &Scan::all());
    let found = found.expect("a sound disk");
    assert!(
        found.columns()[0].bytes() == values.bytes(),
        "bits are lost"
    );
}
