//! Bytes of the plugin section of a plugin commit.
//!
//! ```text
//! u16 version = 1, u16 flags = 0, u32 changes, u64 epoch, u64 previous plugin commit, u64 cursor
//! change: u8 kind, u8 zero, u16 key length, u32 value length, key, value
//! ```
//! Little-endian. A reader rejects every other kind: to pass a change over would be to run on wrong
//! state. All but dead letters say what a key has now, not how it came to that: applied twice they
//! do no harm.
//!
//! | kind | | key | value |
//! |---|---|---|---|
//! | 1 | put | state key | bytes |
//! | 2 | delete | state key | - |
//! | 3 | counter | state key | i64: the sum |
//! | 4 | timer | state key | i64 due, u16 length, lane (bucket key it was set in, may be empty), payload |
//! | 5 | cancel | state key | - |
//! | 6 | dead letter | - | the letter ([`crate::state::Letter`]) |
//! | 6 | dead letter gone | u64 plugin commit, u32 place in it | - |
//! | 7 | dirty range | bucket key | i64 from, i64 to |
//! | 8 | range done | bucket key | - |
//! | 9 | reset: no state, timers and ranges any more | - | - |
//!
//! The key of a dirty range may also be a zero byte and a bucket key: that bucket was dropped.
//!
//! A state key is `namespace 0x00 key`: the namespace is the bucket key with `state_scope: key` and
//! empty otherwise. No bucket key has a zero byte, so the first one ends the namespace.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::state::{Letter, LetterId, is_state_key};
use crate::timers::Timer;

const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
/// Bytes of a change besides key and value.
pub(crate) const CHANGE_HEADER_BYTES: usize = 8;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const COUNTER: u8 = 3;
const TIMER: u8 = 4;
const CANCEL: u8 = 5;
const LETTER: u8 = 6;
const DIRTY: u8 = 7;
const DONE: u8 = 8;
const RESET: u8 = 9;

/// What a plugin commit says besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) epoch: u64,
    /// LSN of the instance's previous plugin commit, 0 for the first: replay checks the chain.
    pub(crate) previous: u64,
    pub(crate) cursor: u64,
    pub(crate) changes: Vec<Change>,
}

/// One change of what an instance keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    Counter {
        key: Bytes,
        value: i64,
    },
    Timer {
        key: Bytes,
        timer: Timer,
    },
    Cancel {
        key: Bytes,
    },
    /// Encoded by [`Letter::encode`].
    Letter(Bytes),
    LetterGone(LetterId),
    /// Rows of a bucket are to be read again.
    Dirty {
        key: Bytes,
        from: i64,
        to: i64,
    },
    Done {
        key: Bytes,
    },
    /// State, timers and ranges are gone, and what was wrong with them. Dead letters stay.
    Reset,
}

impl Section {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self.epoch, self.previous, self.cursor, &self.changes)
    }

    /// The error says what is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut input = bytes;
        if input.len() < HEADER_BYTES {
            return Err(format!("plugin section of {} bytes", input.len()));
        }
        let version = input.get_u16_le();
        if version != VERSION {
            return Err(format!("plugin section of version {version}"));
        }
        let flags = input.get_u16_le();
        if flags != 0 {
            return Err(format!("plugin section with unknown flags {flags:#x}"));
        }
        let count = input.get_u32_le();
        let (epoch, previous, cursor) =
            (input.get_u64_le(), input.get_u64_le(), input.get_u64_le());
        // No reservation by `count`: it may be garbage.
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.push(decode_change(&mut input)?);
        }
        if !input.is_empty() {
            return Err(format!(
                "plugin section with {} bytes left over",
                input.len()
            ));
        }
        Ok(Self {
            epoch,
            previous,
            cursor,
            changes,
        })
    }
}

/// The bytes of a section, without making one first.
pub(crate) fn encode(epoch: u64, previous: u64, cursor: u64, changes: &[Change]) -> Bytes {
    let bytes: usize = changes.iter().map(Change::bytes).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + bytes);
    out.put_u16_le(VERSION);
    out.put_u16_le(0);
    out.put_u32_le(u32::try_from(changes.len()).expect("changes of a window are bounded"));
    out.put_u64_le(epoch);
    out.put_u64_le(previous);
    out.put_u64_le(cursor);
    for change in changes {
        change.encode(&mut out);
    }
    out.freeze()
}

impl Change {
    fn kind(&self) -> u8 {
        match self {
            Self::Put { .. } => PUT,
            Self::Delete { .. } => DELETE,
            Self::Counter { .. } => COUNTER,
            Self::Timer { .. } => TIMER,
            Self::Cancel { .. } => CANCEL,
            Self::Letter(_) | Self::LetterGone(_) => LETTER,
            Self::Dirty { .. } => DIRTY,
            Self::Done { .. } => DONE,
            Self::Reset => RESET,
        }
    }

    fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Counter { key, .. }
            | Self::Timer { key, .. }
            | Self::Cancel { key }
            | Self::Dirty { key, .. }
            | Self::Done { key } => key,
            Self::Letter(_) | Self::LetterGone(_) | Self::Reset => &[],
        }
    }

    fn key_bytes(&self) -> usize {
        match self {
            Self::LetterGone(_) => LetterId::BYTES,
            _ => self.key().len(),
        }
    }

    fn value_bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Counter { .. } => 8,
            Self::Timer { timer, .. } => timer.bytes(),
            Self::Letter(letter) => letter.len(),
            Self::Dirty { .. } => 16,
            Self::Delete { .. }
            | Self::Cancel { .. }
            | Self::Done { .. }
            | Self::LetterGone(_)
            | Self::Reset => 0,
        }
    }

    /// Bytes in a section.
    pub(crate) fn bytes(&self) -> usize {
        CHANGE_HEADER_BYTES + self.key_bytes() + self.value_bytes()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind());
        out.put_u8(0);
        out.put_u16_le(u16::try_from(self.key_bytes()).expect("keys are checked when used"));
        out.put_u32_le(u32::try_from(self.value_bytes()).expect("values are checked when set"));
        out.put_slice(self.key());
        match self {
            Self::Put { value, .. } => out.put_slice(value),
            Self::Counter { value, .. } => out.put_i64_le(*value),
            Self::Timer { timer, .. } => timer.encode(out),
            Self::Letter(letter) => out.put_slice(letter),
            Self::LetterGone(id) => id.encode(out),
            Self::Dirty { from, to, .. } => {
                out.put_i64_le(*from);
                out.put_i64_le(*to);
            }
            Self::Delete { .. } | Self::Cancel { .. } | Self::Done { .. } | Self::Reset => {}
        }
    }
}

fn decode_change(input: &mut &[u8]) -> Result<Change, String> {
    let ends = || "plugin section ends inside a change".to_owned();
    if input.len() < CHANGE_HEADER_BYTES {
        return Err(ends());
    }
    let kind = input.get_u8();
    let zero = input.get_u8();
    let key_bytes = usize::from(input.get_u16_le());
    let value_bytes = usize::try_from(input.get_u32_le()).expect("usize has 32 bits or more");
    if zero != 0 || input.len() < key_bytes || input.len() - key_bytes < value_bytes {
        return Err(ends());
    }
    // Copied, so that a small change does not keep its whole frame in memory.
    let key = input.copy_to_bytes(key_bytes);
    let value = input.copy_to_bytes(value_bytes);
    change(kind, key, value)
        .ok_or_else(|| format!("plugin section with unknown change of kind {kind}"))
}

fn change(kind: u8, key: Bytes, value: Bytes) -> Option<Change> {
    match (kind, value.len()) {
        (PUT..=CANCEL, _) if !is_state_key(&key) => None,
        (PUT, _) => Some(Change::Put { key, value }),
        (DELETE, 0) => Some(Change::Delete { key }),
        (COUNTER, 8) => Some(Change::Counter {
            key,
            value: (&*value).get_i64_le(),
        }),
        (TIMER, _) => {
            let timer = Timer::decode(&value)?;
            Some(Change::Timer { key, timer })
        }
        (CANCEL, 0) => Some(Change::Cancel { key }),
        (LETTER, 0) => LetterId::decode(&key).map(Change::LetterGone),
        (LETTER, _) if key.is_empty() => {
            Letter::decode(&value).ok()?;
            Some(Change::Letter(value))
        }
        (DIRTY, 16) => {
            let mut value = &*value;
            let (from, to) = (value.get_i64_le(), value.get_i64_le());
            Some(Change::Dirty { key, from, to })
        }
        (DONE, 0) => Some(Change::Done { key }),
        (RESET, 0) if key.is_empty() => Some(Change::Reset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sample_letter;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn sample() -> Section {
        Section {
            epoch: 3,
            previous: 77,
            cursor: 1 << 40,
            changes: vec![
                Change::Timer {
                    key: key("\0k"),
                    timer: Timer {
                        due: -5,
                        lane: key("A/1Min/T"),
                        payload: key("pay"),
                    },
                },
                Change::Cancel {
                    key: key("\0other"),
                },
                Change::Put {
                    key: key("A/1Min/T\0k"),
                    value: key("v"),
                },
                Change::Delete { key: key("\0d") },
                Change::Counter {
                    key: key("\0n"),
                    value: -2,
                },
                Change::Letter(sample_letter().encode()),
                Change::LetterGone(LetterId { lsn: 9, index: 2 }),
                Change::Dirty {
                    key: key("A/1Min/T"),
                    from: -1,
                    to: 7,
                },
                Change::Done {
                    key: key("A/1Min/T"),
                },
                Change::Reset,
            ],
        }
    }

    #[test]
    fn a_section_has_the_documented_bytes() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], [1, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(&bytes[8..16], 3_u64.to_le_bytes());
        assert_eq!(&bytes[16..24], 77_u64.to_le_bytes());
        assert_eq!(&bytes[24..32], (1_u64 << 40).to_le_bytes());
        assert_eq!(&bytes[32..42], [4, 0, 2, 0, 21, 0, 0, 0, 0, b'k']);
        assert_eq!(&bytes[42..50], (-5_i64).to_le_bytes());
        assert_eq!(&bytes[50..52], [8, 0]);
        assert_eq!(&bytes[52..63], b"A/1Min/Tpay");
        assert_eq!(&bytes[63..71], [5, 0, 6, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[71..77], b"\0other");
        assert_eq!(&bytes[77..85], [1, 0, 10, 0, 1, 0, 0, 0]);
        assert_eq!(&bytes[85..96], b"A/1Min/T\0kv");
        assert_eq!(&bytes[96..106], [2, 0, 2, 0, 0, 0, 0, 0, 0, b'd']);
        assert_eq!(&bytes[106..116], [3, 0, 2, 0, 8, 0, 0, 0, 0, b'n']);
        assert_eq!(&bytes[116..124], (-2_i64).to_le_bytes());
        assert_eq!(bytes[124..128], [6, 0, 0, 0]);
        assert_eq!(&bytes[bytes.len() - 8..], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Section::decode(&bytes).unwrap(), sample());
    }

    #[test]
    fn every_cut_and_every_unknown_kind_is_refused() {
        let bytes = sample().encode();
        for cut in 0..bytes.len() {
            assert!(Section::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Section::decode(&longer).is_err());
        // Version, flags, kinds that are none, the zero, a namespace without an end.
        for (at, value) in [(0, 2), (2, 1), (32, 0), (32, 9), (33, 1), (40, b'x')] {
            let mut changed = bytes.to_vec();
            changed[at] = value;
            assert!(Section::decode(&changed).is_err(), "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let mut with_version = vec![1, 0, 0, 0];
            with_version.extend(&bytes);
            let _ = Section::decode(&bytes);
            let _ = Section::decode(&with_version);
        }
    }
}
