//! Rot: whatever happens to the bytes of a file, the store answers as before, or says what is
//! damaged. It never answers anything else, and never panics (P6, I10).
//!
//! `corrupt_every_bit` flips bits of each kind of file: one of every byte, and with
//! `MKTS_EVERY_BIT=1` all of them. `corrupt_blocks` zeroes, swaps and replaces blocks as disks do,
//! and cuts, empties and removes files.
//!
//! The log alone may lose something without a word: its end. Whether the last bytes were ever
//! promised is only written in what follows them, so where nothing intact follows, damage cannot
//! be told from a write that a crash interrupted.

mod store;

use disk::Disk;

use store::{Kept, Store};

const BLOCK: usize = 4096;

/// Looks at one damaged copy. True if the damage was noticed.
fn look(store: &Store, path: &str, context: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
    let disk = store.disk.copy();
    let before = disk.read_all(path).expect("the file is there");
    disk.rot(path, change).expect("the file is there");
    let after = disk.read_all(path).expect("the file is there");
    if before == after {
        return false;
    }
    store.judge(&disk, path, &before, &after, &format!("{path}: {context}"))
}

fn flip(store: &Store, path: &str) {
    let every = std::env::var("MKTS_EVERY_BIT").is_ok();
    let bytes = store.disk.read_all(path).expect("the file is there").len();
    let (mut noticed, mut flipped) = (0, 0);
    // In the log what is saved elsewhere, and what was never written, is worth a sample.
    let dense = match path.starts_with("wal/") && !every {
        true => store.logged_range(),
        false => 0..bytes,
    };
    let sampled = |byte: &usize| byte.is_multiple_of(61) || dense.contains(byte) || *byte < 64;
    for byte in (0..bytes).filter(sampled) {
        let bits = if every { 0..8 } else { byte % 8..byte % 8 + 1 };
        for bit in bits {
            let context = format!("bit {bit} of byte {byte}");
            noticed += u64::from(look(store, path, &context, |b| b[byte] ^= 1 << bit));
            flipped += 1;
        }
    }
    // All but padding, and in the log what was saved or never written.
    let least = match path.starts_with("wal/") {
        true => store.logged_range().len() as u64 / 2,
        false => flipped / 3,
    };
    assert!(
        noticed > least,
        "{path}: {noticed} of {flipped} were noticed"
    );
}

#[test]
fn corrupt_every_bit() {
    let store = Store::closed();
    store.assert_every_codec();
    for path in store
        .files()
        .iter()
        .filter(|path| !path.starts_with("wal/"))
    {
        flip(&store, path);
    }
}

#[test]
fn corrupt_every_bit_of_the_log() {
    let store = Store::with_log();
    flip(&store, &store.log_file());
    // What a checkpoint has saved may rot in the log: nobody needs it.
    let store = Store::closed();
    let log = store.log_file();
    let bytes = store.disk.read_all(&log).expect("the log is there").len();
    for byte in (0..64).chain((64..bytes).step_by(61)) {
        let noticed = look(&store, &log, &format!("byte {byte}"), |b| b[byte] ^= 1);
        // Frames behind the checkpoint do not exist, so only the header is looked at.
        assert!(!noticed || byte < 64, "{log}: byte {byte}");
    }
}

#[test]
fn corrupt_blocks() {
    for store in [Store::closed(), Store::with_log()] {
        for path in store.files() {
            let bytes = store.disk.read_all(&path).expect("the file is there");
            blocks(&store, &path, &bytes);
            cuts(&store, &path, bytes.len());
            missing(&store, &path);
        }
    }
}

fn blocks(store: &Store, path: &str, bytes: &[u8]) {
    // Small files are one block; smaller pieces than a disk loses make more cases.
    let size = if bytes.len() < 2 * BLOCK { 512 } else { BLOCK };
    let older = store.older(path);
    for start in (0..bytes.len()).step_by(size) {
        let end = (start + size).min(bytes.len());
        look(store, path, &format!("{start}..{end} zeroed"), |b| {
            b[start..end].fill(0)
        });
        look(store, path, &format!("{start}..{end} all ones"), |b| {
            b[start..end].fill(0xff)
        });
        if end + size <= bytes.len() {
            look(
                store,
                path,
                &format!("{start}..{end} swapped with the next"),
                |b| {
                    let (left, right) = b.split_at_mut(end);
                    left[start..].swap_with_slice(&mut right[..size]);
                },
            );
        }
        for (name, older) in &older {
            look(store, path, &format!("{start}..{end} as in {name}"), |b| {
                let end = end.min(older.len());
                let start = start.min(end);
                b[start..end].copy_from_slice(&older[start..end]);
            });
        }
    }
    for (name, older) in &older {
        look(store, path, &format!("all as in {name}"), |b| {
            b.clone_from(older)
        });
    }
}

fn cuts(store: &Store, path: &str, bytes: usize) {
    let step = if std::env::var("MKTS_EVERY_BIT").is_ok() {
        1
    } else {
        61
    };
    let near_end = bytes.saturating_sub(70)..bytes;
    for length in (0..bytes).step_by(step).chain(near_end) {
        look(store, path, &format!("cut to {length} bytes"), |b| {
            b.truncate(length)
        });
    }
    look(store, path, "longer by a block of zeros", |b| {
        b.resize(bytes + BLOCK, 0)
    });
}

fn missing(store: &Store, path: &str) {
    let disk = store.disk.copy();
    let before = disk.read_all(path).expect("the file is there");
    disk.unlink(path).expect("the file is there");
    store.judge(&disk, path, &before, &[], &format!("{path}: removed"));
}

/// What `judge` says of a store must itself be able to fail.
#[test]
fn a_wrong_answer_is_seen() {
    let store = Store::closed();
    let other = Store::with_log();
    let wrong = |kept: &Kept| kept.difference(&other.kept).is_some();
    assert!(wrong(&store.kept));
    assert!(store.kept.difference(&store.kept).is_none());
}
