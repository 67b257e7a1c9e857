//! Bytes of `plugins/<instance>/state.snap`: the state of one instance at a checkpoint.
//!
//! ```text
//! MKTSSNP1, u32 version = 1
//! u16 id length, id, u32 state version, u64 epoch, u64 cursor, u64 covered lsn; u32 crc of all before
//! block: u32 length, u32 crc of the entries, entries; 1 MiB, or one entry that is larger
//!   entry: u8 kind, u16 key length, key, u32 value length, value; ascending by kind and key
//! MKTSEND1, u64 entries
//! ```
//! Little-endian, CRC-32 as in the log. Kinds and values are those of the changes 1 (bytes), 3
//! (counter), 4 (timer) and 7 (dirty range) of a plugin section. The file is published whole, so one
//! that does not read back exactly is damage: state that is half there is worse than none.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use disk::Disk;

use super::{Table, directory, is_state_key};
use crate::section::Change;
use crate::timers::Timer;

/// Name of the file in the directory of its instance.
pub(crate) const FILE: &str = "state.snap";

const MAGIC: &[u8; 8] = b"MKTSSNP1";
const END: &[u8; 8] = b"MKTSEND1";
const VERSION: u32 = 1;
const BLOCK_BYTES: usize = 1 << 20;
/// No block is longer; the first bytes of the end mark, read as a length, are.
const BLOCK_BYTES_MAX: usize = 4 << 20;

const BYTES: u8 = 1;
const COUNTER: u8 = 3;
const TIMER: u8 = 4;
const RANGE: u8 = 7;

/// Whose state it is, and of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: String,
    pub(crate) state_version: u32,
    pub(crate) epoch: u64,
    pub(crate) cursor: u64,
    /// The last plugin commit in it.
    pub(crate) covered: u64,
}

/// Publishes the file.
pub(crate) fn write(disk: &dyn Disk, header: &Header, contents: &[Change]) -> std::io::Result<()> {
    let dir = directory(&header.id);
    disk.create_dir_all(&dir)?;
    disk::publish(disk, &format!("{dir}/{FILE}"), |file| {
        let mut offset = 0;
        emit(header, contents, &mut |bytes| {
            file.write_at(offset, bytes)?;
            offset += bytes.len() as u64;
            Ok(())
        })
    })
}

/// The bytes of the file, piece by piece.
pub(crate) fn emit(
    header: &Header,
    contents: &[Change],
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    out(&encode_header(header))?;
    let mut block = Vec::new();
    for entry in contents {
        let before = block.len();
        encode_entry(entry, &mut block);
        if block.len() > BLOCK_BYTES && before > 0 {
            let last = block.split_off(before);
            emit_block(&block, out)?;
            block = last;
        }
    }
    if !block.is_empty() {
        emit_block(&block, out)?;
    }
    let mut end = BytesMut::new();
    end.put_slice(END);
    end.put_u64_le(contents.len() as u64);
    out(&end)
}

fn emit_block(
    block: &[u8],
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut start = BytesMut::new();
    start.put_u32_le(u32::try_from(block.len()).expect("a block has 4 MiB at most"));
    start.put_u32_le(crc32fast::hash(block));
    out(&start)?;
    out(block)
}

fn encode_header(header: &Header) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u16_le(u16::try_from(header.id.len()).expect("instance ids are checked"));
    out.put_slice(header.id.as_bytes());
    out.put_u32_le(header.state_version);
    out.put_u64_le(header.epoch);
    out.put_u64_le(header.cursor);
    out.put_u64_le(header.covered);
    let crc = crc32fast::hash(&out);
    out.put_u32_le(crc);
    out
}

fn encode_entry(entry: &Change, out: &mut Vec<u8>) {
    let mut value = BytesMut::new();
    let (kind, key, value): (u8, &Bytes, &[u8]) = match entry {
        Change::Put { key, value } => (BYTES, key, value),
        Change::Counter { key, value: count } => {
            value.put_i64_le(*count);
            (COUNTER, key, &value)
        }
        Change::Timer { key, timer } => {
            timer.encode(&mut value);
            (TIMER, key, &value)
        }
        Change::Dirty { key, from, to } => {
            value.put_i64_le(*from);
            value.put_i64_le(*to);
            (RANGE, key, &value)
        }
        _ => unreachable!("a table's contents are values, timers and ranges"),
    };
    out.put_u8(kind);
    out.put_u16_le(u16::try_from(key.len()).expect("keys are checked when used"));
    out.put_slice(key);
    out.put_u32_le(u32::try_from(value.len()).expect("values are checked when set"));
    out.put_slice(value);
}

/// Reads the file. The error says what is wrong, and at which byte.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, Table), String> {
    let mut input = bytes;
    let at = |rest: &[u8]| bytes.len() - rest.len();
    let header = decode_header(bytes, &mut input)?;
    let mut contents: Vec<Change> = Vec::new();
    while !input.starts_with(END) {
        let start = at(input);
        let ends = || format!("the block at byte {start} ends too early");
        let length = input.try_get_u32_le().map_err(|_| ends())?;
        let crc = input.try_get_u32_le().map_err(|_| ends())?;
        let length = usize::try_from(length).expect("usize has 32 bits or more");
        if length == 0 || length > BLOCK_BYTES_MAX {
            return Err(format!("the block at byte {start} has {length} bytes"));
        }
        let (mut block, rest) = input.split_at_checked(length).ok_or_else(ends)?;
        if crc32fast::hash(block) != crc {
            return Err(format!("the block at byte {start} has a wrong checksum"));
        }
        while !block.is_empty() {
            let entry = decode_entry(&mut block)
                .filter(|entry| {
                    contents
                        .last()
                        .is_none_or(|last| order(last) < order(entry))
                })
                .ok_or_else(|| format!("the block at byte {start} has an entry that is none"))?;
            contents.push(entry);
        }
        input = rest;
    }
    input = &input[END.len()..];
    let entries = input
        .try_get_u64_le()
        .map_err(|_| "the end mark is cut".to_owned())?;
    if entries != contents.len() as u64 || !input.is_empty() {
        return Err(format!("the end mark at byte {} does not fit", at(input)));
    }
    let mut table = Table::default();
    table.restore(&contents, header.covered);
    Ok((header, table))
}

fn decode_header(bytes: &[u8], input: &mut &[u8]) -> Result<Header, String> {
    let ends = || "the header ends too early".to_owned();
    if input.len() < MAGIC.len() + 6 {
        return Err(ends());
    }
    if !input.starts_with(MAGIC) {
        return Err("it does not begin with MKTSSNP1".into());
    }
    input.advance(MAGIC.len());
    let version = input.get_u32_le();
    if version != VERSION {
        return Err(format!("version {version}, this build reads {VERSION}"));
    }
    let id_bytes = usize::from(input.get_u16_le());
    if input.len() < id_bytes + 32 {
        return Err(ends());
    }
    let id = input.copy_to_bytes(id_bytes);
    let (state_version, epoch) = (input.get_u32_le(), input.get_u64_le());
    let (cursor, covered) = (input.get_u64_le(), input.get_u64_le());
    let body = bytes.len() - input.len();
    if input.get_u32_le() != crc32fast::hash(&bytes[..body]) {
        return Err("the header has a wrong checksum".into());
    }
    Ok(Header {
        id: String::from_utf8(id.to_vec()).map_err(|_| "the id is no text".to_owned())?,
        state_version,
        epoch,
        cursor,
        covered,
    })
}

fn decode_entry(input: &mut &[u8]) -> Option<Change> {
    let kind = input.try_get_u8().ok()?;
    let key_bytes = usize::from(input.try_get_u16_le().ok()?);
    let (key, rest) = input.split_at_checked(key_bytes)?;
    *input = rest;
    let value_bytes = usize::try_from(input.try_get_u32_le().ok()?).ok()?;
    let (mut value, rest) = input.split_at_checked(value_bytes)?;
    *input = rest;
    let is_legal = kind == RANGE || is_state_key(key);
    let key = Bytes::copy_from_slice(key);
    match (kind, value.len()) {
        _ if !is_legal => None,
        (BYTES, _) => Some(Change::Put {
            key,
            value: Bytes::copy_from_slice(value),
        }),
        (COUNTER, 8) => Some(Change::Counter {
            key,
            value: value.get_i64_le(),
        }),
        (TIMER, _) => Some(Change::Timer {
            key,
            timer: Timer::decode(value)?,
        }),
        (RANGE, 16) => Some(Change::Dirty {
            key,
            from: value.get_i64_le(),
            to: value.get_i64_le(),
        }),
        _ => None,
    }
}

fn order(entry: &Change) -> (u8, &Bytes) {
    match entry {
        Change::Put { key, .. } => (BYTES, key),
        Change::Counter { key, .. } => (COUNTER, key),
        Change::Timer { key, .. } => (TIMER, key),
        Change::Dirty { key, .. } => (RANGE, key),
        _ => unreachable!("entries are values, timers and ranges"),
    }
}

#[cfg(test)]
mod tests {
    use disk::sim::SimDisk;
    use plugin_sdk::StateValue;

    use super::*;
    use crate::state::state_key;

    fn key(n: u32) -> Bytes {
        state_key(b"A/1Min/T", &n.to_be_bytes())
    }

    fn header() -> Header {
        Header {
            id: "one".into(),
            state_version: 2,
            epoch: 3,
            cursor: 40,
            covered: 50,
        }
    }

    fn table(values: u32, value_bytes: usize) -> Table {
        let mut changes: Vec<Change> = (0..values)
            .map(|n| Change::Put {
                key: key(n),
                value: vec![n as u8; value_bytes].into(),
            })
            .collect();
        changes.push(Change::Counter {
            key: key(values),
            value: -1,
        });
        changes.push(Change::Timer {
            key: key(1),
            timer: Timer {
                due: 9,
                lane: Bytes::from_static(b"A/1Min/T"),
                payload: Bytes::from_static(b"p"),
            },
        });
        changes.push(Change::Dirty {
            key: Bytes::from_static(b"B/1Min/T"),
            from: 1,
            to: 2,
        });
        let mut table = Table::default();
        table.apply(50, &changes);
        table
    }

    fn file(table: &Table) -> Bytes {
        let disk = SimDisk::new(1);
        write(&disk, &header(), &table.contents()).unwrap();
        disk.read_all("plugins/one/state.snap").unwrap()
    }

    #[test]
    fn the_file_reads_back_in_one_block_and_in_many() {
        for (values, bytes) in [(0, 0), (3, 5), (40, 100 << 10), (3, 1 << 20)] {
            let table = table(values, bytes);
            let (found, back) = decode(&file(&table)).unwrap();
            assert_eq!((found, back.contents()), (header(), table.contents()));
            assert_eq!((back.bytes(), back.covered()), (table.bytes(), 50));
        }
        let (_, empty) = decode(&file(&Table::default())).unwrap();
        assert!(empty.contents().is_empty());
    }

    /// T35: torn at each block, at each byte of a small file, or changed: named, never half loaded.
    #[test]
    fn any_changed_or_missing_byte_is_named_damage() {
        let bytes = file(&table(3, 5));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
        let many = file(&table(40, 100 << 10));
        let mut at = 8 + 4 + 2 + 3 + 28 + 4;
        let mut blocks = 0;
        while !many[at..].starts_with(END) {
            for cut in [at, at + 4, at + 8, at + 9] {
                let error = decode(&many[..cut]).map(|_| ()).unwrap_err();
                assert!(error.contains(&format!("byte {at} ")), "{error}");
            }
            at += 8 + (&many[at..]).get_u32_le() as usize;
            blocks += 1;
        }
        assert_eq!(blocks, 4);
    }

    #[test]
    fn a_key_of_two_kinds_is_one_key() {
        let mut table = Table::default();
        let put = Change::Put {
            key: key(1),
            value: Bytes::new(),
        };
        let counter = Change::Counter {
            key: key(1),
            value: 4,
        };
        table.apply(1, &[put, counter]);
        let (_, back) = decode(&file(&table)).unwrap();
        assert_eq!(back.get(&key(1)), Some(&StateValue::Counter(4)));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(tail: Vec<u8>) {
            let mut bytes = encode_header(&header()).to_vec();
            bytes.extend((tail.len() as u32).to_le_bytes());
            bytes.extend(crc32fast::hash(&tail).to_le_bytes());
            bytes.extend(&tail);
            bytes.extend(END);
            let _ = decode(&bytes);
            let _ = decode(&tail);
        }
    }
}
