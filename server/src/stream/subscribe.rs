//! Subscribe messages: `{"streams": [pattern, ...]}`, also as `[[pattern, ...]]`.

use std::collections::HashSet;

use bytes::Bytes;
use client::wire::msgpack::{DecodeError, Reader, Writer};

use super::glob::Glob;

/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 512;

/// Most states of all patterns of a subscriber: what one message may cost to match.
const STATES_MAX: usize = 128 << 10;

/// What a subscriber wants.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// Patterns without special characters, which are nearly all.
    keys: HashSet<String>,
    globs: Vec<Glob>,
}

impl Patterns {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.globs.is_empty()
    }

    /// The patterns that are one key each.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    pub(super) fn matches(&self, key: &str) -> bool {
        self.keys.contains(key) || self.globs.iter().any(|g| g.matches(key))
    }
}

/// What a message asks for.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It names no streams.
    Unchanged,
    /// These and no others.
    Replace(Patterns),
    /// It cannot be followed; nothing changes.
    Refused(String),
}

/// Reads a subscribe message.
pub(super) fn read(message: &Bytes, patterns_max: usize) -> Outcome {
    match streams(message) {
        Err(error) => Outcome::Refused(format!("the message cannot be read: {error}")),
        Ok(streams) if streams.is_empty() => Outcome::Unchanged,
        Ok(streams) if streams.len() > patterns_max => Outcome::Refused(format!(
            "{} streams, the limit is {patterns_max} (limits.streams_per_subscriber)",
            streams.len()
        )),
        Ok(streams) => patterns(&streams).map_or_else(Outcome::Refused, Outcome::Replace),
    }
}

/// The reply to a message that cannot be followed.
pub(super) fn error_frame(why: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.map(1);
    writer.text("error");
    writer.text(why);
    writer.out
}

/// The patterns of a message, unchecked; none if it has no `streams`.
fn streams(message: &Bytes) -> Result<Vec<&str>, DecodeError> {
    // Whole and not nested too deeply, before anything is looked at.
    Reader::new(message).skip()?;
    let mut reader = Reader::new(message);
    if reader.is_array() {
        return match reader.array()? {
            0 => Ok(Vec::new()),
            _ => texts(&mut reader),
        };
    }
    let mut streams = Vec::new();
    for _ in 0..reader.map()? {
        match reader.text()? == "streams" {
            true => streams = texts(&mut reader)?,
            false => reader.skip()?,
        }
    }
    Ok(streams)
}

fn texts<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, DecodeError> {
    if reader.nil() {
        return Ok(Vec::new());
    }
    (0..reader.array()?).map(|_| reader.text()).collect()
}

fn patterns(streams: &[&str]) -> Result<Patterns, String> {
    let mut patterns = Patterns::default();
    let mut states = 0;
    for pattern in streams {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "a stream is {} bytes long, the limit is {PATTERN_BYTES_MAX}",
                pattern.len()
            ));
        }
        if pattern.matches('/').count() != 2 {
            return Err(format!("{pattern} is an invalid stream"));
        }
        if !pattern.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            patterns.keys.insert((*pattern).to_owned());
            continue;
        }
        // As in the reference, a pattern that does not compile is taken and matches nothing.
        if let Some(glob) = Glob::parse(pattern) {
            states += glob.states();
            patterns.globs.push(glob);
        }
    }
    if states > STATES_MAX {
        return Err(format!(
            "the streams are too complex: {states} states, the limit is {STATES_MAX}"
        ));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(streams: &[&str], positional: bool) -> Bytes {
        let mut writer = Writer::default();
        if positional {
            writer.array(1);
        } else {
            writer.map(1);
            writer.text("streams");
        }
        writer.array(streams.len());
        streams.iter().for_each(|s| writer.text(s));
        writer.out.into()
    }

    #[test]
    fn a_message_replaces_all_patterns_or_none() {
        for positional in [false, true] {
            match read(&message(&["A/1Min/X", "B/*/X"], positional), 9) {
                Outcome::Replace(patterns) => {
                    assert!(patterns.matches("A/1Min/X"));
                    assert!(patterns.matches("B/5Min/X"));
                    assert!(!patterns.matches("A/5Min/X"));
                }
                other => panic!("{other:?}"),
            }
            match read(&message(&["A/1Min/X", "AAPL/1Min"], positional), 9) {
                Outcome::Refused(why) => assert_eq!(why, "AAPL/1Min is an invalid stream"),
                other => panic!("{other:?}"),
            }
            assert!(matches!(
                read(&message(&[], positional), 9),
                Outcome::Unchanged
            ));
        }
        assert!(matches!(
            read(&Bytes::from_static(b"\x81\xa3foo\x01"), 9),
            Outcome::Unchanged
        ));
    }

    #[test]
    fn bad_messages_are_refused() {
        for bad in [
            &b"\xc1\xc1"[..],
            b"",
            b"\x81\xa7streams\x05",
            b"\x81\xa7streams\xdd\xff\xff\xff\xff",
            b"\x05",
        ] {
            assert!(
                matches!(read(&Bytes::from_static(bad), 9), Outcome::Refused(_)),
                "{bad:?}"
            );
        }
        assert!(matches!(
            read(&vec![0x91; 10_000].into(), 9),
            Outcome::Refused(_)
        ));
        for bad in [
            "",
            "**",
            "A/1Min",
            "A/1Min/X/Y",
            &format!("{}/1Min/X", "*".repeat(1000)),
        ] {
            assert!(
                matches!(read(&message(&[bad], false), 9), Outcome::Refused(_)),
                "{bad}"
            );
        }
        assert!(matches!(
            read(&message(&["a/b/c"; 10], false), 9),
            Outcome::Refused(_)
        ));
        let heavy = format!("{}/*/*", "a?".repeat(200));
        let heavy: Vec<&str> = vec![&heavy; 4000];
        assert!(matches!(
            read(&message(&heavy, false), 4096),
            Outcome::Refused(_)
        ));
    }

    #[test]
    fn a_pattern_that_does_not_compile_matches_no_key() {
        match read(&message(&["[/1Min/X"], false), 9) {
            Outcome::Replace(patterns) => assert!(!patterns.matches("[/1Min/X")),
            other => panic!("{other:?}"),
        }
    }
}
