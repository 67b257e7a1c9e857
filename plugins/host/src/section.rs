//! Bytes of the plugin section of a plugin commit.
//!
//! ```text
//! u16 version = 1, u16 flags, u32 changes, u64 epoch, u64 previous plugin commit, u64 cursor
//! change: u8 kind, u8 zero, u16 key length, u32 value length, key, value
//! ```
//! Little-endian. Kinds: 1 put (value: bytes), 4 timer set (value: i64 due, payload), 5 timer cancelled. A reader rejects
//! every other kind: to pass a change over would be to run on wrong state.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const CHANGE_HEADER_BYTES: usize = 8;
const KIND_PUT: u8 = 1;
const KIND_TIMER: u8 = 4;
const KIND_CANCEL: u8 = 5;

/// What a plugin commit says besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) epoch: u64,
    /// LSN of the instance's previous plugin commit, 0 for the first: replay checks the chain.
    pub(crate) previous: u64,
    pub(crate) cursor: u64,
    pub(crate) changes: Vec<Change>,
}

/// One change of an instance's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Put {
        key: Bytes,
        value: Bytes,
    },
    TimerSet {
        key: Bytes,
        due: i64,
        payload: Bytes,
    },
    TimerCancel {
        key: Bytes,
    },
}

impl Change {
    pub(crate) fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::TimerSet { key, .. } | Self::TimerCancel { key } => key,
        }
    }
}

impl Section {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(u32::try_from(self.changes.len()).expect("timers of a window are bounded"));
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.previous);
        out.put_u64_le(self.cursor);
        for change in &self.changes {
            encode_change(change, &mut out);
        }
        out.freeze()
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

fn encode_change(change: &Change, out: &mut BytesMut) {
    let (kind, value_bytes) = match change {
        Change::Put { value, .. } => (KIND_PUT, value.len()),
        Change::TimerSet { payload, .. } => (KIND_TIMER, 8 + payload.len()),
        Change::TimerCancel { .. } => (KIND_CANCEL, 0),
    };
    let key = change.key();
    out.put_u8(kind);
    out.put_u8(0);
    out.put_u16_le(u16::try_from(key.len()).expect("timer keys are checked when set"));
    out.put_u32_le(u32::try_from(value_bytes).expect("timer payloads are checked when set"));
    out.put_slice(key);
    match change {
        Change::Put { value, .. } => out.put_slice(value),
        Change::TimerSet { due, payload, .. } => {
            out.put_i64_le(*due);
            out.put_slice(payload);
        }
        Change::TimerCancel { .. } => {}
    }
}

fn decode_change(input: &mut &[u8]) -> Result<Change, String> {
    if input.len() < CHANGE_HEADER_BYTES {
        return Err("plugin section ends inside a change".into());
    }
    let kind = input.get_u8();
    let zero = input.get_u8();
    let key_bytes = usize::from(input.get_u16_le());
    let value_bytes = usize::try_from(input.get_u32_le()).expect("usize has 32 bits or more");
    if zero != 0 || input.len() < key_bytes || input.len() - key_bytes < value_bytes {
        return Err("plugin section ends inside a change".into());
    }
    let key = input.copy_to_bytes(key_bytes);
    let mut value = input.copy_to_bytes(value_bytes);
    match kind {
        KIND_PUT => Ok(Change::Put { key, value }),
        KIND_TIMER if value_bytes >= 8 => Ok(Change::TimerSet {
            key,
            due: value.get_i64_le(),
            payload: value,
        }),
        KIND_CANCEL if value_bytes == 0 => Ok(Change::TimerCancel { key }),
        _ => Err(format!("plugin section with unknown change of kind {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Section {
        Section {
            epoch: 3,
            previous: 77,
            cursor: 1 << 40,
            changes: vec![
                Change::TimerSet {
                    key: Bytes::from_static(b"k"),
                    due: -5,
                    payload: Bytes::from_static(b"pay"),
                },
                Change::TimerCancel {
                    key: Bytes::from_static(b"other"),
                },
            ],
        }
    }

    #[test]
    fn a_section_has_the_documented_bytes() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(&bytes[8..16], 3_u64.to_le_bytes());
        assert_eq!(&bytes[16..24], 77_u64.to_le_bytes());
        assert_eq!(&bytes[24..32], (1_u64 << 40).to_le_bytes());
        assert_eq!(&bytes[32..41], [4, 0, 1, 0, 11, 0, 0, 0, b'k']);
        assert_eq!(&bytes[41..49], (-5_i64).to_le_bytes());
        assert_eq!(&bytes[49..52], b"pay");
        assert_eq!(&bytes[52..60], [5, 0, 5, 0, 0, 0, 0, 0]);
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
        for (at, value) in [(0, 2), (2, 1), (32, 1), (33, 1)] {
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
