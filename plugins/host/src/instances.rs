//! Bytes of the file `plugins/_instances`: where each instance stood at the last checkpoint.
//!
//! ```text
//! MKTSINS1, u32 version = 1, u32 count
//! instance: u16 origin, u16 flags, u16 id length, id, u64 epoch, u64 cursor, u64 last plugin commit
//! u32 crc of everything before
//! ```
//! Little-endian, CRC-32 as in the log. A file that does not read back exactly is damage: a guessed
//! cursor would fire twice or never.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use engine::{Error, Origin};

/// Name of the file below the root.
pub(crate) const FILE: &str = "plugins/_instances";
/// Its directory.
pub(crate) const DIR: &str = "plugins";

/// An operator has switched the instance off.
pub(crate) const FLAG_DISABLED: u16 = 1;
/// It crashed the server and runs in a process.
pub(crate) const FLAG_QUARANTINED: u16 = 2;
/// The chain of plugin commits broke and nothing has mended the instance since.
pub(crate) const FLAG_INCOMPLETE: u16 = 4;
/// It fell too far behind with `on_overflow: disable`: it does not run until it is enabled, and then
/// begins like a new instance.
pub(crate) const FLAG_BEHIND: u16 = 16;
/// There is a `state.snap`, without which the instance must not run.
pub(crate) const FLAG_STATE: u16 = 8;

const MAGIC: &[u8; 8] = b"MKTSINS1";
const VERSION: u32 = 1;
const CRC_BYTES: usize = 4;

/// One instance in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) origin: u16,
    /// 1 disabled, 2 quarantined, 4 state incomplete, 8 has a `state.snap`, 16 too far behind; kept as
    /// found.
    pub(crate) flags: u16,
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) cursor: u64,
    pub(crate) last_commit: u64,
}

impl Record {
    /// Of an instance that has committed nothing.
    pub(crate) fn new(origin: Origin, id: &str) -> Self {
        Self {
            origin: origin.0,
            flags: 0,
            id: id.into(),
            epoch: 1,
            cursor: 0,
            last_commit: 0,
        }
    }
}

pub(crate) fn encode(records: &[Record]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(u32::try_from(records.len()).expect("origins are 16 bits"));
    for record in records {
        out.put_u16_le(record.origin);
        out.put_u16_le(record.flags);
        out.put_u16_le(u16::try_from(record.id.len()).expect("instance ids are checked"));
        out.put_slice(record.id.as_bytes());
        out.put_u64_le(record.epoch);
        out.put_u64_le(record.cursor);
        out.put_u64_le(record.last_commit);
    }
    let crc = crc32fast::hash(&out);
    out.put_u32_le(crc);
    out.freeze()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Record>, Error> {
    let damage = |offset: usize, what: String| Error::Corrupt {
        file: FILE.into(),
        offset: offset as u64,
        what: format!(
            "{what}; restore the file from a backup, or remove it to start every trigger anew"
        ),
    };
    let ends = || damage(bytes.len(), "the file ends too early".into());
    if bytes.len() < MAGIC.len() + 8 + CRC_BYTES {
        return Err(ends());
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(damage(0, "it does not begin with MKTSINS1".into()));
    }
    let (body, mut crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    let mut input = &body[MAGIC.len()..];
    let version = input.get_u32_le();
    if version != VERSION {
        return Err(damage(
            8,
            format!("version {version}, this build reads {VERSION}"),
        ));
    }
    if crc.get_u32_le() != crc32fast::hash(body) {
        return Err(damage(body.len(), "the checksum does not match".into()));
    }
    let count = input.get_u32_le();
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(decode_record(&mut input).ok_or_else(ends)?);
    }
    if input.is_empty() {
        return Ok(records);
    }
    Err(damage(body.len() - input.len(), "bytes left over".into()))
}

fn decode_record(input: &mut &[u8]) -> Option<Record> {
    if input.len() < 6 {
        return None;
    }
    let (origin, flags) = (input.get_u16_le(), input.get_u16_le());
    let id_bytes = usize::from(input.get_u16_le());
    if input.len() < id_bytes + 24 {
        return None;
    }
    let id = String::from_utf8(input.copy_to_bytes(id_bytes).to_vec()).ok()?;
    Some(Record {
        origin,
        flags,
        id,
        epoch: input.get_u64_le(),
        cursor: input.get_u64_le(),
        last_commit: input.get_u64_le(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Record> {
        let record = |origin, id: &str| Record {
            origin,
            flags: 0,
            id: id.into(),
            epoch: 2,
            cursor: 1000,
            last_commit: 900,
        };
        vec![record(1, "ondiskagg-01234567"), record(7, "x")]
    }

    #[test]
    fn the_file_reads_back() {
        assert_eq!(decode(&encode(&sample())).unwrap(), sample());
        assert_eq!(decode(&encode(&[])).unwrap(), []);
    }

    #[test]
    fn any_changed_or_missing_byte_is_named_damage() {
        let bytes = encode(&sample());
        for cut in 0..bytes.len() {
            let error = decode(&bytes[..cut]).unwrap_err().to_string();
            assert!(error.contains("plugins/_instances"), "{error}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
    }
}
