//! Bytes of a dead letter: an event that was given up, as it was.
//!
//! ```text
//! u64 first lsn, u64 last lsn, i64 given up (ns), u32 attempts, i32 code, u8 event, u8 row kind,
//! u16 key length, key, u32 message length, message, then by event:
//!   1 write     u16 columns, each: u8 type, u8 name length, name; u32 rows, times, columns
//!   2 gap       i64 from, i64 to
//!   3 deleted   -
//!   4 timer     i64 due, u16 key length, state key, payload
//!   5 write, without its rows (above 1 MiB): i64 from, i64 to, u32 rows
//! ```
//! Little-endian.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

/// Rows above this many bytes are not kept, only their range of times.
pub(crate) const ROWS_BYTES_MAX: usize = 1 << 20;
/// Longest message.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

const WRITE: u8 = 1;
const GAP: u8 = 2;
const DELETED: u8 = 3;
const TIMER: u8 = 4;
const LARGE: u8 = 5;

/// Names a dead letter for ever. As text: `1a2b.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// Position of the plugin commit that has it.
    pub lsn: u64,
    /// Its place among the letters of that commit.
    pub index: u32,
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When it was given up (wall clock, ns).
    pub(crate) time: i64,
    pub(crate) attempts: u32,
    /// [`plugin_sdk::Code`].
    pub(crate) code: i32,
    /// Bucket, if there is one.
    pub(crate) key: Option<BucketKey>,
    /// Why the last attempt failed.
    pub(crate) message: String,
    pub(crate) event: EventOf,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EventOf {
    Write(RowKind, ColumnBatch),
    Gap(i64, i64),
    Deleted,
    Timer {
        due: i64,
        /// State key.
        key: Bytes,
        payload: Bytes,
    },
    Large {
        from: i64,
        to: i64,
        rows: u32,
    },
}

impl LetterId {
    /// Bytes of [`LetterId::encode`].
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.lsn);
        out.put_u32_le(self.index);
    }

    pub(crate) fn decode(mut input: &[u8]) -> Option<Self> {
        (input.len() == Self::BYTES).then(|| Self {
            lsn: input.get_u64_le(),
            index: input.get_u32_le(),
        })
    }
}

impl Letter {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.first);
        out.put_u64_le(self.last);
        out.put_i64_le(self.time);
        out.put_u32_le(self.attempts);
        out.put_i32_le(self.code);
        out.put_u8(self.event.number());
        let kind = match &self.event {
            EventOf::Write(kind, _) => kind.code(),
            _ => 0,
        };
        out.put_u8(kind);
        let key = self.key.as_ref().map_or("", |key| key.as_str());
        out.put_u16_le(u16::try_from(key.len()).expect("a bucket key has 767 bytes at most"));
        out.put_slice(key.as_bytes());
        let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        out.put_u32_le(u32::try_from(end).expect("cut to 4 KiB"));
        out.put_slice(&self.message.as_bytes()[..end]);
        self.event.encode(&mut out);
        out.freeze()
    }

    /// The error says what is wrong.
    pub(crate) fn decode(mut input: &[u8]) -> Result<Self, String> {
        read(&mut input)
            .filter(|_| input.is_empty())
            .ok_or_else(|| "dead letter that does not read back".into())
    }
}

fn read(input: &mut &[u8]) -> Option<Letter> {
    let (first, last) = (input.try_get_u64_le().ok()?, input.try_get_u64_le().ok()?);
    let time = input.try_get_i64_le().ok()?;
    let (attempts, code) = (input.try_get_u32_le().ok()?, input.try_get_i32_le().ok()?);
    let (number, kind) = (input.try_get_u8().ok()?, input.try_get_u8().ok()?);
    let key_bytes = usize::from(input.try_get_u16_le().ok()?);
    let key = text(input, key_bytes)?;
    let message_bytes = usize::try_from(input.try_get_u32_le().ok()?).ok()?;
    let message = text(input, message_bytes)?.to_owned();
    let key = match key {
        "" => None,
        key => Some(BucketKey::parse(key).ok()?),
    };
    Some(Letter {
        first,
        last,
        time,
        attempts,
        code,
        key,
        message,
        event: EventOf::decode(number, kind, input)?,
    })
}

fn text<'a>(input: &mut &'a [u8], bytes: usize) -> Option<&'a str> {
    let (text, rest) = input.split_at_checked(bytes)?;
    *input = rest;
    std::str::from_utf8(text).ok()
}

impl EventOf {
    fn number(&self) -> u8 {
        match self {
            Self::Write(..) => WRITE,
            Self::Gap(..) => GAP,
            Self::Deleted => DELETED,
            Self::Timer { .. } => TIMER,
            Self::Large { .. } => LARGE,
        }
    }

    /// The word for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Write(..) | Self::Large { .. } => "write",
            Self::Gap(..) => "gap",
            Self::Deleted => "deleted",
            Self::Timer { .. } => "timer",
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Write(_, rows) => encode_rows(rows, out),
            Self::Gap(from, to) => {
                out.put_i64_le(*from);
                out.put_i64_le(*to);
            }
            Self::Deleted => {}
            Self::Timer { due, key, payload } => {
                out.put_i64_le(*due);
                out.put_u16_le(u16::try_from(key.len()).expect("state keys are checked"));
                out.put_slice(key);
                out.put_slice(payload);
            }
            Self::Large { from, to, rows } => {
                out.put_i64_le(*from);
                out.put_i64_le(*to);
                out.put_u32_le(*rows);
            }
        }
    }

    fn decode(number: u8, kind: u8, input: &mut &[u8]) -> Option<Self> {
        match number {
            WRITE => Some(Self::Write(RowKind::from_code(kind)?, decode_rows(input)?)),
            _ if kind != 0 => None,
            GAP => Some(Self::Gap(
                input.try_get_i64_le().ok()?,
                input.try_get_i64_le().ok()?,
            )),
            DELETED => Some(Self::Deleted),
            TIMER => {
                let due = input.try_get_i64_le().ok()?;
                let key_bytes = usize::from(input.try_get_u16_le().ok()?);
                let (key, payload) = input.split_at_checked(key_bytes)?;
                *input = &[];
                super::is_state_key(key).then(|| Self::Timer {
                    due,
                    key: Bytes::copy_from_slice(key),
                    payload: Bytes::copy_from_slice(payload),
                })
            }
            LARGE => Some(Self::Large {
                from: input.try_get_i64_le().ok()?,
                to: input.try_get_i64_le().ok()?,
                rows: input.try_get_u32_le().ok()?,
            }),
            _ => None,
        }
    }
}

fn encode_rows(rows: &ColumnBatch, out: &mut BytesMut) {
    let columns = rows.schema().columns();
    out.put_u16_le(u16::try_from(columns.len()).expect("a schema has 1024 columns at most"));
    for column in columns {
        out.put_u8(column.ty.code());
        out.put_u8(u8::try_from(column.name.len()).expect("names have 255 bytes at most"));
        out.put_slice(column.name.as_bytes());
    }
    out.put_u32_le(u32::try_from(rows.rows()).expect("1 MiB of rows"));
    out.put_slice(rows.time_column().bytes());
    for column in rows.columns() {
        out.put_slice(column.bytes());
    }
}

fn decode_rows(input: &mut &[u8]) -> Option<ColumnBatch> {
    let mut columns = Vec::new();
    for _ in 0..input.try_get_u16_le().ok()? {
        let ty = ColumnType::from_code(input.try_get_u8().ok()?)?;
        let name_bytes = usize::from(input.try_get_u8().ok()?);
        columns.push(ColumnDef::new(text(input, name_bytes)?, ty));
    }
    let rows = usize::try_from(input.try_get_u32_le().ok()?).ok()?;
    let mut column = |ty: ColumnType| {
        let (bytes, rest) = input.split_at_checked(rows.checked_mul(ty.size())?)?;
        *input = rest;
        Column::new(ty, Bytes::copy_from_slice(bytes)).ok()
    };
    let times = column(ColumnType::I64)?;
    let values: Option<Vec<Column>> = columns.iter().map(|c| column(c.ty)).collect();
    ColumnBatch::new(Schema::new(columns).ok()?, times, values?).ok()
}

/// For tests of what holds letters.
pub(crate) fn sample() -> Letter {
    Letter {
        first: 5,
        last: 6,
        time: 7,
        attempts: 5,
        code: -1,
        key: Some(BucketKey::parse("A/1Min/T").expect("a key")),
        message: "why".into(),
        event: EventOf::Gap(1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<EventOf> {
        let schema = Schema::new(vec![
            ColumnDef::new("P", ColumnType::F32),
            ColumnDef::new("N", ColumnType::I8),
        ])
        .unwrap();
        let columns = vec![
            Column::from_values(vec![1.5_f32, 2.5, 3.5]),
            Column::from_values(vec![1_i8, 2, 3]),
        ];
        let times = Column::from_values(vec![10_i64, 20, 30]);
        vec![
            EventOf::Write(
                RowKind::Tick,
                ColumnBatch::new(schema, times, columns).unwrap(),
            ),
            EventOf::Gap(-1, 1),
            EventOf::Deleted,
            EventOf::Timer {
                due: 9,
                key: Bytes::from_static(b"\0k"),
                payload: Bytes::from_static(b"p"),
            },
            EventOf::Large {
                from: 1,
                to: 2,
                rows: 3,
            },
        ]
    }

    #[test]
    fn letters_read_back_and_no_cut_does() {
        for event in events() {
            for key in [None, sample().key] {
                let letter = Letter {
                    event: event.clone(),
                    key,
                    ..sample()
                };
                let bytes = letter.encode();
                assert_eq!(Letter::decode(&bytes).unwrap(), letter);
                // The payload of a timer has no length of its own.
                let is_timer = matches!(event, EventOf::Timer { .. });
                for cut in 0..bytes.len() - usize::from(is_timer) {
                    assert!(Letter::decode(&bytes[..cut]).is_err(), "{event:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "\u{e9}".repeat(MESSAGE_BYTES_MAX);
        let letter = Letter {
            message,
            ..sample()
        };
        let back = Letter::decode(&letter.encode()).unwrap();
        assert_eq!(back.message.len(), MESSAGE_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(tail: Vec<u8>, event in 0_u8..7, kind in 0_u8..3) {
            let mut bytes = sample().encode()[..32].to_vec();
            bytes.extend([event, kind, 0, 0, 0, 0, 0, 0]);
            bytes.extend(&tail);
            let _ = Letter::decode(&bytes);
            let _ = Letter::decode(&tail);
        }
    }
}
