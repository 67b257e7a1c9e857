//! WAL segments: names, the 64-byte header, preparation of new files, reuse of released ones.
//!
//! A prepared segment has its final name and length, but the header of another place: its own is
//! written together with the first frames, so a segment counts only once something was written to
//! it, and one that still has the old header holds nothing that was promised.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::{Disk, File};

use crate::frame::{FRAME_ALIGN, array_at, u32_at, u64_at};
use crate::{Lsn, Options, Result, WalError};

/// Bytes of a segment header; the first frame follows.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;

/// The log's directory.
pub(crate) const WAL_DIR: &str = "wal";

const MAGIC: &[u8; 8] = b"MKTSWAL1";
const VERSION: u32 = 1;

/// No log gets this far (exabytes); sums of positions cannot overflow below it.
const FIRST_MAX: u64 = 1 << 62;

/// In the header of a new file: no segment begins there.
const NOWHERE: Lsn = Lsn(u64::MAX);

const TEMPORARY: &str = "wal/next.tmp";

/// Zeros are written in pieces of this size while a segment is prepared.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// So much of a new segment is synced at a time: a commit's sync never waits for more of it, nor
/// does the end of the process.
const SYNC_BYTES: u64 = 4 << 20;

/// The path of the segment with this first LSN.
pub(crate) fn path_of(first: Lsn) -> String {
    format!("{WAL_DIR}/{:016x}.wal", first.0)
}

/// The first LSN a file name stands for; `None` for names that are not ours.
pub(crate) fn parse_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".wal")?;
    let lower = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 16 || !lower {
        return None;
    }
    let first = u64::from_str_radix(digits, 16).ok()?;
    (first <= FIRST_MAX && first.is_multiple_of(FRAME_ALIGN)).then_some(Lsn(first))
}

/// The header of the segment that begins at `first`. Nothing in `[previous_end, first)` belongs
/// to the log: this is how recovery cuts a torn end for good.
pub(crate) fn encode_header(store_id: &[u8; 16], first: Lsn, previous_end: Lsn) -> [u8; 64] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(store_id);
    bytes[32..40].copy_from_slice(&first.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&previous_end.0.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The header of this place: where the log before it ended.
    Yes(Lsn),
    /// The header of another place: the first write here was never durable.
    No,
    /// No header: torn or damaged; the scan tells which.
    Unknown,
}

/// Reads the header of the file named after `first`. An intact header of another store or a newer
/// version is an error: this log must not be touched.
pub(crate) fn decode_header(store_id: &[u8; 16], first: Lsn, bytes: &[u8]) -> Result<Begun> {
    let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES as usize) else {
        return Ok(Begun::Unknown);
    };
    if &bytes[0..8] != MAGIC || crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
        return Ok(Begun::Unknown);
    }
    let corrupt = |offset, what: String| WalError::Corrupt {
        file: path_of(first),
        offset,
        what,
    };
    let version = u32_at(bytes, 8);
    if version != VERSION {
        let what = format!("format version {version}, this program reads version {VERSION}");
        return Err(corrupt(8, what));
    }
    if &bytes[16..32] != store_id {
        return Err(corrupt(
            16,
            "the segment belongs to another store".to_owned(),
        ));
    }
    let previous_end = Lsn(u64_at(bytes, 40));
    Ok(match u64_at(bytes, 32) == first.0 {
        true if previous_end <= first => Begun::Yes(previous_end),
        true => Begun::Unknown,
        false => Begun::No,
    })
}

/// The store id of a header that holds, wherever it lies; `None` if it does not.
pub(crate) fn id_of_header(bytes: &[u8]) -> Option<[u8; 16]> {
    let bytes = bytes.get(..SEGMENT_HEADER_BYTES as usize)?;
    let holds = &bytes[0..8] == MAGIC && crc32fast::hash(&bytes[..60]) == u32_at(bytes, 60);
    holds.then(|| array_at(bytes, 16))
}

/// Makes the segment file that begins at `first`, durable under its name, from a released one if
/// there is any, and opens it. Only `DiskFull` may be tried again. `Closed` if it was given up
/// because the log is stopping.
pub(crate) fn prepare(
    disk: &dyn Disk,
    store_id: &[u8; 16],
    first: Lsn,
    options: &Options,
    stopping: &AtomicBool,
    released: impl FnOnce() -> Option<Lsn>,
) -> Result<Box<dyn File>> {
    let path = path_of(first);
    let segment_bytes = options.segment_bytes;
    if disk.exists(&path)? {
        if disk.len(&path)? == segment_bytes {
            // Left by an earlier process, which may have died before it synced the name.
            disk.sync_dir(WAL_DIR)?;
            return Ok(disk.open_write(&path)?);
        }
        disk.unlink(&path)?;
    }
    match released() {
        Some(old) => disk.rename(&path_of(old), &path)?,
        None => {
            check_space(disk, segment_bytes + options.reserve_bytes)?;
            create(disk, store_id, &path, segment_bytes, stopping)?;
        }
    }
    disk.sync_dir(WAL_DIR)?;
    Ok(disk.open_write(&path)?)
}

fn check_space(disk: &dyn Disk, needed: u64) -> Result<()> {
    match disk.free_space()? {
        Some(free) if free < needed => Err(WalError::DiskFull),
        _ => Ok(()),
    }
}

/// Blocks are allocated and their metadata is durable before the first commit needs them, so a
/// commit's sync writes data only.
fn create(
    disk: &dyn Disk,
    store_id: &[u8; 16],
    path: &str,
    bytes: u64,
    stopping: &AtomicBool,
) -> Result<()> {
    remove_temporary(disk)?;
    let filled = fill(disk, store_id, bytes, stopping);
    let made = filled.and_then(|whole| match whole {
        true => disk.rename(TEMPORARY, path).map(|()| true),
        false => Ok(false),
    });
    let failed = match made {
        Ok(true) => return Ok(()),
        Ok(false) => WalError::Closed,
        Err(error) if disk::is_full(&error) => WalError::DiskFull,
        Err(error) => return Err(error.into()),
    };
    // Give the space back; it may be what the next checkpoint needs.
    let _ = disk.unlink(TEMPORARY);
    Err(failed)
}

/// False if it was given up half-way.
fn fill(
    disk: &dyn Disk,
    store_id: &[u8; 16],
    bytes: u64,
    stopping: &AtomicBool,
) -> io::Result<bool> {
    let file = disk.create(TEMPORARY)?;
    let mut offset = 0;
    while offset < bytes {
        if stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        let count = (bytes - offset).min(ZEROS.len() as u64);
        file.write_at(offset, &ZEROS[..count as usize])?;
        offset += count;
        if offset.is_multiple_of(SYNC_BYTES) && offset < bytes {
            file.sync_data()?;
        }
    }
    file.write_at(0, &encode_header(store_id, NOWHERE, Lsn::ZERO))?;
    file.sync_all()?;
    Ok(true)
}

/// Removes what an interrupted preparation left.
pub(crate) fn remove_temporary(disk: &dyn Disk) -> Result<()> {
    if disk.exists(TEMPORARY)? {
        disk.unlink(TEMPORARY)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [7; 16];

    #[test]
    fn names_round_trip_and_others_are_left_alone() {
        assert_eq!(path_of(Lsn(0x4000040)), "wal/0000000004000040.wal");
        assert_eq!(parse_name("0000000004000040.wal"), Some(Lsn(0x4000040)));
        for name in [
            "next.tmp",
            "4000040.wal",
            "000000000400004G.wal",
            "000000000400004A.wal",
            "fffffffffffffff8.wal",
            "0000000004000041.wal",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_flip_of_any_header_bit_is_noticed() {
        let good = encode_header(&STORE, Lsn(4096), Lsn(4000));
        assert!(matches!(
            decode_header(&STORE, Lsn(4096), &good),
            Ok(Begun::Yes(Lsn(4000)))
        ));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(decode_header(&STORE, Lsn(4096), &bad), Ok(Begun::Unknown)),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_header_of_another_place_is_unused_and_of_another_store_refused() {
        let good = encode_header(&STORE, Lsn(4096), Lsn(4000));
        assert!(matches!(
            decode_header(&STORE, Lsn(8192), &good),
            Ok(Begun::No)
        ));
        let fresh = encode_header(&STORE, NOWHERE, Lsn::ZERO);
        assert!(matches!(
            decode_header(&STORE, Lsn(0), &fresh),
            Ok(Begun::No)
        ));
        assert!(decode_header(&[8; 16], Lsn(4096), &good).is_err());
        assert!(matches!(
            decode_header(&STORE, Lsn(4096), &good[..63]),
            Ok(Begun::Unknown)
        ));
    }
}
