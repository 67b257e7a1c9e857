//! `Map`: a read-only view of a published file. **The only unsafe of this crate.**
//!
//! Condition of the mapping: nobody changes or shortens the file while it is mapped. mkts keeps
//! it by I1 (`publish.rs`: published files are mode 0444 and only ever unlinked) and by the
//! store's lock; anybody else editing the directory is documented as unsupported.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use bytes::Bytes;

/// The bytes of a published file. A clone is cheap; the mapping lives as long as any clone or
/// slice of [`Map::bytes`], also after the file has been unlinked.
#[derive(Clone, Debug)]
pub struct Map {
    bytes: Bytes,
}

impl Map {
    /// Maps the whole file.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        // An empty mapping does not exist in POSIX.
        if file.metadata()?.len() == 0 {
            return Ok(Self::of_bytes(Bytes::new()));
        }
        // SAFETY: the file is published and never changes while it is mapped (see the module
        // documentation); the mapping is read-only and `Bytes` keeps its owner alive.
        let mapping = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self::of_bytes(Bytes::from_owner(mapping)))
    }

    /// A view of bytes on the heap: the simulated disk, and file systems one should not map.
    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// The bytes, sharing the mapping.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
