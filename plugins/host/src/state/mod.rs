//! What an instance keeps: values, counters, timers, dirty ranges, dead letters.
//!
//! ```text
//!            a fire          its window        the instance
//!   reads <- Overlay (own) <- Overlay (window) <- Table = state.snap + replayed plugin commits
//! ```
//! Changes of a fire are its own until it returns `Ok` (I19), then the window's until the window's
//! plugin commit is visible (I16); then, and nowhere else, the book applies them to the table. A
//! checkpoint writes new dead letters, then `state.snap`, then `_instances`: each of those files may
//! be newer than the next one, and says up to which commit it is; replay passes over what it has.

mod dlq;
mod letter;
mod manage;
mod migrate;
mod overlay;
mod replay;
mod snapshot;
mod table;
mod view;

pub(crate) use dlq::{
    DIR as DLQ, Letters, Store as LetterFiles, decode as decode_letters, encode as encode_letters,
};
pub use letter::LetterId;
pub(crate) use letter::sample as sample_letter;
pub(crate) use letter::{EventOf, Letter, ROWS_BYTES_MAX as LETTER_ROWS_BYTES_MAX};
pub use manage::DeadLetter;
pub(crate) use manage::{Order, Orders};
pub(crate) use overlay::Overlay;
pub(crate) use replay::gone_bucket;
pub(crate) use snapshot::{
    FILE as SNAPSHOT, Header, decode as decode_snapshot, emit as emit_snapshot,
    write as write_snapshot,
};
pub(crate) use table::Table;
pub(crate) use view::{StateView, stale};

use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::RwLock;
use std::sync::Arc;

/// Longest key a plugin may use, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 512;
/// Longest value.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of state of an instance: keys, values and [`ENTRY_BYTES`] for each.
pub(crate) const STATE_BYTES_MAX: usize = 256 << 20;
/// What an entry costs in memory besides its key and value.
pub(crate) const ENTRY_BYTES: usize = 64;

/// Ends the namespace of a state key.
const NAMESPACE_END: u8 = 0;

/// Keys that begin so are the host's: plugins read them at most.
pub(crate) const HOST_PREFIX: &[u8] = b"__";

/// Counter with the version of the state.
pub(crate) const VERSION_KEY: &[u8] = b"__state_version";

/// The table of an instance. Only the book changes that of an instance whose place is stored.
pub(crate) type SharedTable = Arc<RwLock<Table>>;

/// The state key of a key in a namespace: empty, or a bucket key.
pub(crate) fn state_key(namespace: &[u8], key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(namespace.len() + 1 + key.len());
    out.put_slice(namespace);
    out.put_u8(NAMESPACE_END);
    out.put_slice(key);
    out.freeze()
}

/// Namespace and key of a state key.
pub(crate) fn split_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = key.iter().position(|byte| *byte == NAMESPACE_END)?;
    Some((&key[..end], &key[end + 1..]))
}

/// Whether these bytes are a state key.
pub(crate) fn is_state_key(key: &[u8]) -> bool {
    split_key(key).is_some_and(|(namespace, key)| {
        std::str::from_utf8(namespace).is_ok() && (1..=KEY_BYTES_MAX).contains(&key.len())
    })
}

/// Directory of an instance below the root. The id has no `/`; one that begins like a file of the
/// host or like a dot file gets that character as a number.
pub(crate) fn directory(id: &str) -> String {
    let first = id.chars().next().filter(|c| matches!(c, '_' | '.' | '%'));
    match first {
        Some(c) => format!("plugins/%{:02X}{}", c as u32, &id[1..]),
        None => format!("plugins/{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_key_splits_at_its_first_zero() {
        let key = state_key(b"A/1Min/T", b"a\0b");
        assert_eq!(split_key(&key), Some((&b"A/1Min/T"[..], &b"a\0b"[..])));
        assert_eq!(
            split_key(&state_key(b"", b"\0")),
            Some((&b""[..], &b"\0"[..]))
        );
        assert!(is_state_key(&key) && !is_state_key(b"no end") && !is_state_key(b"A\0"));
        assert!(!is_state_key(&state_key(b"", &[1; KEY_BYTES_MAX + 1])));
        assert!(!is_state_key(b"\xff\0a"));
    }

    #[test]
    fn directories_differ_and_hide_no_file_of_the_host() {
        let ids = [
            "a",
            "_a",
            ".a",
            "%a",
            "%5Fa",
            "..",
            "_instances",
            "\u{e9}t\u{e9}",
        ];
        let mut names: Vec<String> = ids.iter().map(|id| directory(id)).collect();
        assert_eq!(names[1], "plugins/%5Fa");
        assert_eq!(names[5], "plugins/%2E.");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ids.len());
        assert!(!names.contains(&"plugins/_instances".to_owned()));
    }
}
