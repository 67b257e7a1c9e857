//! Bytes in the directories of a MarketStore, which the importer reads.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::marketstore::{ReadOptions, Tree};

use crate::marketstore::unpack;

/// Files below a directory with this end, in order.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => dirs.push(path),
                false if path.to_string_lossy().ends_with(end) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Reads every row there is; damage is named, and reading ends.
fn read(dir: &Path) {
    let Ok(tree) = Tree::open(dir, ReadOptions::default()) else {
        return;
    };
    let mut rows = 0;
    for bucket in tree.buckets() {
        for batch in tree.read(bucket) {
            assert!(!batch.is_empty(), "a batch without rows never ends");
            rows += batch.rows();
            assert!(rows < 50_000_000, "more rows than the files can have");
        }
    }
}

/// Patches of year files: the number of a file, then offsets (4 bytes), lengths (1) and bytes.
pub(super) fn year_file(data: &[u8]) {
    let Some((which, mut patches)) = data.split_first() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a scratch directory");
    unpack("v4.1.23", "dtypes", dir.path());
    let years = files(dir.path(), ".bin");
    let year = &years[usize::from(*which) % years.len()];
    let file = OpenOptions::new()
        .write(true)
        .open(year)
        .expect("it was unpacked");
    while let Some((offset, rest)) = patches.split_first_chunk::<4>() {
        let Some((count, rest)) = rest.split_first() else {
            break;
        };
        let count = usize::from(*count).min(rest.len());
        let offset = u64::from(u32::from_le_bytes(*offset) % (1 << 26));
        file.write_all_at(&rest[..count], offset).expect("a write");
        patches = &rest[count..];
    }
    drop(file);
    read(dir.path());
}

/// A whole log in place of that of a server that was killed.
pub(super) fn wal(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    unpack("v4.1.23", "wal_unreplayed", dir.path());
    let log = &files(dir.path(), ".walfile")[0];
    fs::write(log, data).expect("a write");
    read(dir.path());
}

pub(super) fn seeds(name: &str) -> Vec<Vec<u8>> {
    if name == "marketstore_wal" {
        let logs = ["wal_unreplayed", "dtypes"].into_iter().map(|tree| {
            let dir = tempfile::tempdir().expect("a scratch directory");
            unpack("v4.1.23", tree, dir.path());
            fs::read(&files(dir.path(), ".walfile")[0]).expect("it was unpacked")
        });
        return logs.collect();
    }
    // The fields of the header, the element names and types, the first slots of the data.
    let offsets = [
        0u32, 8, 264, 272, 280, 288, 296, 304, 336, 33_104, 37_024, 37_032, 40_000,
    ];
    let seed = |(index, offset): (usize, &u32)| {
        let patch = [&offset.to_le_bytes()[..], &[8], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        [&[index as u8][..], &patch, &patch].concat()
    };
    offsets.iter().enumerate().map(seed).collect()
}
