//! Doors for tests that feed the decoders bytes of their own; no part of the API.
//!
//! Random bytes die at the first checksum: each input is also tried with the checksums put right.
//! What is decoded must be written again to the same meaning.

use bytes::Bytes;

use crate::section::{Change, Section};
use crate::state::{
    Header, Letter, LetterId, decode_letters, decode_snapshot, emit_snapshot, encode_letters,
    sample_letter, state_key,
};
use crate::timers::Timer;

/// The section of a plugin commit.
pub fn plugin_section(bytes: &[u8]) {
    if let Ok(section) = Section::decode(bytes) {
        assert_eq!(section.encode(), bytes, "a section has one form");
    }
}

/// A `state.snap`.
pub fn state_snap(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal_snapshot(&mut sealed);
    for bytes in [bytes, &sealed] {
        let Ok((header, table)) = decode_snapshot(bytes) else {
            continue;
        };
        let again = decode_snapshot(&snapshot(&header, &table.contents()));
        let (_, again) = again.expect("what was written reads back");
        assert_eq!(again.contents(), table.contents());
    }
}

/// A file of dead letters.
pub fn dead_letters(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal_blocks(&mut sealed, 8);
    for bytes in [bytes, &sealed] {
        if let Ok(letters) = decode_letters(bytes) {
            assert_eq!(encode_letters(&letters), bytes, "a file has one form");
        }
        // A letter alone, without its file.
        let _ = Letter::decode(bytes);
    }
}

/// A recording.
pub fn recording(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal_blocks(&mut sealed, 8);
    for bytes in [bytes, &sealed] {
        let Ok(events) = crate::record::read(bytes) else {
            continue;
        };
        let mut writer = crate::record::Writer::new();
        let mut written = Vec::new();
        // A key with a timeframe that is none is in no store.
        for event in events {
            if event.add_to(&mut writer) {
                written.push(event);
            }
        }
        let again = crate::record::read(writer.bytes());
        assert_eq!(again.expect("what was written reads back"), written);
    }
}

/// Every kind of event, twice.
fn sample_recording() -> Vec<u8> {
    use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

    use crate::record::{Recorded, RecordedEvent, Writer};

    let key = || BucketKey::parse("A/1Min/T").expect("a key");
    let schema = Schema::new(vec![ColumnDef::new("V", ColumnType::I64)]).expect("a schema");
    let times = Column::from_values(vec![60_i64, 120]);
    let rows = ColumnBatch::new(schema, times.clone(), vec![times]).expect("a batch");
    let events = [
        RecordedEvent::Write {
            key: key(),
            kind: RowKind::Tick,
            rows,
        },
        RecordedEvent::Gap {
            key: key(),
            from: -1,
            to: 1,
        },
        RecordedEvent::Timer {
            key: b"t".to_vec(),
            due: 3,
            payload: b"pay".to_vec(),
        },
        RecordedEvent::Deleted(key()),
    ];
    let mut writer = Writer::new();
    for event in events.iter().chain(&events).cloned() {
        let recorded = Recorded {
            first_lsn: 1,
            last_lsn: 2,
            now: 3,
            event,
        };
        assert!(recorded.add_to(&mut writer), "its key has a timeframe");
    }
    writer.finish()
}

/// Inputs that decode, for the target of this name.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let letters: Vec<(LetterId, Bytes)> = (0..3)
        .map(|index| (LetterId { lsn: 9, index }, sample_letter().encode()))
        .collect();
    match target {
        "plugin_section" => {
            let mut changes = contents();
            changes.extend([
                Change::Delete {
                    key: state_key(b"", b"d"),
                },
                Change::Cancel {
                    key: state_key(b"", b"t"),
                },
                Change::Letter(letters[0].1.clone()),
                Change::LetterGone(letters[0].0),
                Change::Done {
                    key: Bytes::from_static(b"B/1Min/T"),
                },
            ]);
            let section = Section {
                epoch: 1,
                previous: 2,
                cursor: 3,
                changes,
            };
            vec![section.encode().to_vec()]
        }
        "state_snap" => {
            let header = Header {
                id: "one".into(),
                state_version: 1,
                epoch: 2,
                cursor: 3,
                covered: 4,
            };
            vec![snapshot(&header, &contents()), snapshot(&header, &[])]
        }
        "recording" => vec![sample_recording()],
        "dead_letters" => vec![encode_letters(&letters).to_vec()],
        _ => Vec::new(),
    }
}

fn contents() -> Vec<Change> {
    vec![
        Change::Put {
            key: state_key(b"A/1Min/T", b"k"),
            value: Bytes::from_static(b"value"),
        },
        Change::Counter {
            key: state_key(b"", b"n"),
            value: -5,
        },
        Change::Timer {
            key: state_key(b"", b"t"),
            timer: Timer {
                due: 7,
                lane: Bytes::from_static(b"A/1Min/T"),
                payload: Bytes::from_static(b"pay"),
            },
        },
        Change::Dirty {
            key: Bytes::from_static(b"B/1Min/T"),
            from: 1,
            to: 2,
        },
    ]
}

fn snapshot(header: &Header, contents: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    let written = emit_snapshot(header, contents, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    written.expect("memory takes everything");
    out
}

fn seal_snapshot(bytes: &mut [u8]) {
    let Some(id) = bytes.get(12..14) else {
        return;
    };
    let end = 14 + usize::from(u16::from_le_bytes([id[0], id[1]])) + 28;
    if bytes.len() < end + 4 {
        return;
    }
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    seal_blocks(bytes, end + 4);
}

/// Puts right the checksums of `u32 length, u32 crc, bytes`, one after the other.
fn seal_blocks(bytes: &mut [u8], mut at: usize) {
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).expect("usize has 32 bits or more");
        let start = at + 8;
        let Some(block) = start
            .checked_add(length)
            .and_then(|end| bytes.get(start..end))
        else {
            return;
        };
        let crc = crc32fast::hash(block);
        bytes[at + 4..start].copy_from_slice(&crc.to_le_bytes());
        at = start + length;
    }
}
