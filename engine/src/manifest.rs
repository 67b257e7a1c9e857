//! I9: the rename of MANIFEST is the only commit point.
//!
//! The small file from which every data file that is alive is reachable. It is written whole,
//! under another name, and renamed: a crash leaves the old one or the new one.

use disk::Disk;
use wal::Lsn;

use crate::Error;
use crate::catalog::check_start;
use crate::fields::{Fields, seal, unseal};
use crate::poison::Poison;

pub(crate) const MANIFEST: &str = "MANIFEST";

const MAGIC: &[u8; 8] = b"MKTSMAN\0";
/// Major version in the high half; a newer major is refused.
const VERSION: u32 = 1 << 16;

/// One data segment that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    /// Names the file; never given twice.
    pub(crate) sequence: u64,
    /// Later wins. Its own sequence number, or after a merge the age of the newest segment merged:
    /// only neighbours are merged, so the ages of all others stay below or above.
    pub(crate) age: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// CRC of its footer, so that another file of the right name and length is noticed.
    pub(crate) footer_crc: u32,
}

/// What is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_id: [u8; 16],
    /// Frames that begin below are in the segments.
    pub(crate) checkpoint: Lsn,
    /// The catalog file is named by this; `None` before the first checkpoint.
    pub(crate) catalog: Option<Lsn>,
    pub(crate) next_sequence: u64,
    /// Oldest first: ages ascend.
    pub(crate) segments: Vec<SegmentEntry>,
}

/// No log reaches further; what comes after may add to it without a thought.
const LSN_MAX: u64 = 1 << 62;

impl Manifest {
    /// Of an empty store.
    pub(crate) fn new(store_id: [u8; 16]) -> Self {
        Self {
            store_id,
            checkpoint: Lsn(0),
            catalog: None,
            next_sequence: 1,
            segments: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut target = MAGIC.to_vec();
        let count = u32::try_from(self.segments.len()).expect("there are far fewer files");
        target.extend_from_slice(&VERSION.to_le_bytes());
        target.extend_from_slice(&count.to_le_bytes());
        target.extend_from_slice(&self.store_id);
        target.extend_from_slice(&self.checkpoint.0.to_le_bytes());
        let catalog = self.catalog.map_or(u64::MAX, |lsn| lsn.0);
        target.extend_from_slice(&catalog.to_le_bytes());
        target.extend_from_slice(&self.next_sequence.to_le_bytes());
        for entry in &self.segments {
            target.extend_from_slice(&entry.sequence.to_le_bytes());
            target.extend_from_slice(&entry.age.to_le_bytes());
            target.extend_from_slice(&entry.bytes.to_le_bytes());
            target.extend_from_slice(&entry.footer_crc.to_le_bytes());
            target.extend_from_slice(&[0; 4]);
        }
        seal(target)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_start(MANIFEST, &mut Fields::new(bytes), MAGIC, VERSION)?;
        let Some(body) = unseal(bytes) else {
            return Err(Error::corrupt(MANIFEST, 0, "fails its checksum"));
        };
        let mut fields = Fields::new(body);
        Self::decode_body(&mut fields)
            .filter(|_| fields.is_empty())
            .ok_or_else(|| Error::corrupt(MANIFEST, fields.position(), "not a manifest entry"))
    }

    fn decode_body(fields: &mut Fields<'_>) -> Option<Self> {
        fields.take(12)?;
        let count = fields.u32()?;
        let mut manifest = Self::new(fields.id()?);
        manifest.checkpoint = Lsn(fields.u64().filter(|lsn| *lsn <= LSN_MAX)?);
        manifest.catalog = Some(fields.u64()?).filter(|lsn| *lsn != u64::MAX).map(Lsn);
        manifest.next_sequence = fields.u64()?;
        for _ in 0..count {
            let entry = SegmentEntry {
                sequence: fields.u64()?,
                age: fields.u64()?,
                bytes: fields.u64()?,
                footer_crc: fields.u32()?,
            };
            fields.take(4)?;
            let last = manifest.segments.last();
            if last.is_some_and(|last| last.age >= entry.age) {
                return None;
            }
            manifest.segments.push(entry);
        }
        Some(manifest)
    }

    /// Makes this the manifest of the store.
    pub(crate) fn publish(&self, disk: &dyn Disk, poison: &Poison) -> Result<(), Error> {
        publish_bytes(disk, poison, MANIFEST, &self.encode())
    }
}

/// Publishes a file with these bytes, see [`publish`].
pub(crate) fn publish_bytes(
    disk: &dyn Disk,
    poison: &Poison,
    path: &str,
    bytes: &[u8],
) -> Result<(), Error> {
    publish(disk, poison, path, |file| Ok(file.write_at(0, bytes)?))
}

/// What ends the filling of a file that is to be published.
#[derive(Debug)]
pub(crate) enum FillError {
    /// Of the file that is written.
    Disk(std::io::Error),
    /// Of something else: the file is given up, and nothing is wrong with the disk.
    Abandoned(Error),
}

impl From<std::io::Error> for FillError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Error> for FillError {
    fn from(error: Error) -> Self {
        Self::Abandoned(error)
    }
}

/// Publishes a file. A full disk while the temporary file is filled is an error that can be tried
/// again; nothing was promised yet. Every other failure poisons: what the disk holds of this file
/// is unknown from then on, and a sync that succeeds later would prove nothing.
pub(crate) fn publish<R>(
    disk: &dyn Disk,
    poison: &Poison,
    path: &str,
    fill: impl FnOnce(&dyn disk::File) -> Result<R, FillError>,
) -> Result<R, Error> {
    poison.check()?;
    let mut filled = false;
    let result = disk::publish(disk, path, |file| {
        let result = fill(file)?;
        filled = true;
        Ok(result)
    });
    result.map_err(|error| {
        let error = match error {
            FillError::Abandoned(error) => return error,
            FillError::Disk(error) => error,
        };
        if !filled && disk::is_full(&error) {
            return Error::DiskFull(format!("writing {path}: {error}"));
        }
        poison.set(format!("publishing {path}: {error}"));
        Error::Poisoned(poison.reason().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounded up to where a frame may begin, such a number was zero: replay began at the start.
    #[test]
    fn a_checkpoint_beyond_any_log_is_damage() {
        let at = |lsn| {
            let mut manifest = Manifest::new([7; 16]);
            manifest.checkpoint = Lsn(lsn);
            Manifest::decode(&manifest.encode())
        };
        assert_eq!(at(LSN_MAX).unwrap().checkpoint, Lsn(LSN_MAX));
        for lsn in [LSN_MAX + 1, u64::MAX] {
            assert!(matches!(at(lsn), Err(Error::Corrupt { .. })), "{lsn:x}");
        }
    }
}
