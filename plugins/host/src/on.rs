//! Which buckets an instance fires on.
//!
//! A bucket number is never given twice, so the answer for a bucket is computed once and kept.

use std::sync::Arc;

use engine::{BucketId, BucketInfo};
use model::{BucketKey, KeyPattern};
use regex::Regex;

use crate::entry::Match;

/// Years tried for the file name in MarketStore's reading.
const YEARS: std::ops::RangeInclusive<u16> = 1960..=2060;

/// Buckets compared for that warning: enough to see a difference, few enough not to delay a start.
const COMPARED_MAX: usize = 5000;

/// Names shown when the two readings differ.
const DIFFERENCES_MAX: usize = 5;

/// The `on:` patterns of an entry.
#[derive(Debug, Clone)]
pub(crate) enum Patterns {
    Glob(Vec<KeyPattern>),
    MarketStore(Vec<Regex>),
}

impl Patterns {
    /// Parses patterns; the error is one line and names the fix.
    pub(crate) fn parse(on: &[String], mode: Match) -> Result<Self, String> {
        match mode {
            Match::Glob if on.is_empty() => Ok(Self::Glob(vec![KeyPattern::any()])),
            Match::Glob => on
                .iter()
                .map(|text| {
                    KeyPattern::parse(text).map_err(|error| {
                        format!("on: {error}; for MarketStore's reading set \"match: marketstore\"")
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self::Glob),
            Match::MarketStore => on
                .iter()
                .map(|text| marketstore_regex(text))
                .collect::<Result<_, _>>()
                .map(Self::MarketStore),
        }
    }

    pub(crate) fn matches(&self, key: &BucketKey) -> bool {
        match self {
            Self::Glob(patterns) => patterns.iter().any(|pattern| pattern.matches(key)),
            // No pattern matches everything, as an empty regular expression does.
            Self::MarketStore(patterns) if patterns.is_empty() => true,
            Self::MarketStore(patterns) => {
                let path = |year| format!("{}/{year}.bin", key.as_str());
                YEARS
                    .map(path)
                    .any(|path| patterns.iter().any(|pattern| pattern.is_match(&path)))
            }
        }
    }

    /// What is odd about the patterns by themselves.
    pub(crate) fn warnings(&self) -> Vec<String> {
        match self {
            Self::Glob(patterns) => patterns
                .iter()
                .filter_map(|p| p.warning().map(|text| format!("on: {text}")))
                .collect(),
            Self::MarketStore(_) => Vec::new(),
        }
    }
}

fn marketstore_regex(text: &str) -> Result<Regex, String> {
    Regex::new(&text.replace('*', "[^/]+")).map_err(|error| {
        // The last line of a syntax error says what is wrong, those above draw it.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or("invalid").trim();
        format!(
            "on: \"{text}\" is no regular expression ({why}); correct it or leave \"match: marketstore\" out"
        )
    })
}

/// Compares both readings of `on` over the buckets there are: up to five keys that only the reading
/// not chosen would fire on, or only the chosen one.
pub(crate) fn difference<'a>(
    on: &[String],
    mode: Match,
    keys: impl Iterator<Item = &'a BucketKey>,
) -> Option<String> {
    let other_mode = match mode {
        Match::Glob => Match::MarketStore,
        Match::MarketStore => Match::Glob,
    };
    // A pattern without a second reading cannot be mistaken for it.
    let chosen = Patterns::parse(on, mode).ok()?;
    let other = Patterns::parse(on, other_mode).ok()?;
    let differing: Vec<&str> = keys
        .take(COMPARED_MAX)
        .filter(|key| chosen.matches(key) != other.matches(key))
        .take(DIFFERENCES_MAX)
        .map(BucketKey::as_str)
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "on: MarketStore would read {on:?} otherwise, for example for {} (set \"match\" to choose)",
            differing.join(", ")
        )
    })
}

/// Patterns with the answers given so far; one per dispatcher thread, so without a lock.
#[derive(Debug)]
pub(crate) struct Matcher {
    patterns: Patterns,
    /// By bucket number, a byte for each ever given: it is looked at for every section of the log by
    /// every instance.
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Unknown,
    No,
    Yes,
}

impl Matcher {
    pub(crate) fn new(patterns: Patterns) -> Self {
        Self {
            patterns,
            answers: Vec::new(),
        }
    }

    pub(crate) fn matches(&mut self, bucket: &BucketInfo) -> bool {
        match self.answer(bucket.id) {
            Answer::Unknown => self.ask(bucket),
            known => known == Answer::Yes,
        }
    }

    /// [`Self::matches`] for a bucket that need not be looked up for it; one that is gone is of no
    /// interest.
    #[inline]
    pub(crate) fn matches_id(
        &mut self,
        id: BucketId,
        info: impl FnOnce() -> Option<Arc<BucketInfo>>,
    ) -> bool {
        match self.answer(id) {
            Answer::Unknown => info().is_some_and(|bucket| self.ask(&bucket)),
            known => known == Answer::Yes,
        }
    }

    #[inline]
    fn answer(&self, id: BucketId) -> Answer {
        let answer = self.answers.get(id.0 as usize);
        answer.copied().unwrap_or(Answer::Unknown)
    }

    fn ask(&mut self, bucket: &BucketInfo) -> bool {
        let matches = self.patterns.matches(&bucket.key);
        let at = bucket.id.0 as usize;
        if at >= self.answers.len() {
            self.answers.resize(at + 1, Answer::Unknown);
        }
        self.answers[at] = if matches { Answer::Yes } else { Answer::No };
        matches
    }

    /// The answer for a bucket that is gone; it is not kept.
    pub(crate) fn forget(&mut self, bucket: &BucketInfo) -> bool {
        let known = self.answers.get_mut(bucket.id.0 as usize);
        match known.map_or(Answer::Unknown, |known| {
            std::mem::replace(known, Answer::Unknown)
        }) {
            Answer::Unknown => self.patterns.matches(&bucket.key),
            known => known == Answer::Yes,
        }
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        let known = self.answers.iter();
        known.filter(|known| **known != Answer::Unknown).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> BucketKey {
        BucketKey::parse(text).unwrap()
    }

    fn fits(on: &[&str], mode: Match, text: &str) -> bool {
        let on: Vec<String> = on.iter().map(|s| (*s).to_owned()).collect();
        Patterns::parse(&on, mode).unwrap().matches(&key(text))
    }

    /// The table of MarketStore's matches: the regular expression is searched anywhere.
    #[test]
    fn both_readings_of_on() {
        for (on, text, glob, marketstore) in [
            ("*/1Min/OHLCV", "AAPL/1Min/OHLCV", true, true),
            ("*/1Min/OHLCV", "AAPL/1Min/OHLCVX", false, true),
            ("AAPL/1Min/OHLCV", "XAAPL/1Min/OHLCV", false, true),
            ("AAP./1Min/OHLCV", "AAPL/1Min/OHLCV", false, true),
            ("*/*/*/2020.bin", "AAPL/1Min/OHLCV", true, true),
            ("*/5Min/*", "AAPL/1Min/OHLCV", false, false),
            ("*/1Min/OHLCV", "AAPL/11Min/OHLCV", false, false),
            ("*/*/*", "A/1Sec/TICK", true, true),
            ("*/1*/OHLCV", "A/1Min/OHLCV", true, true),
            ("*/1*/OHLCV", "A/15Min/OHLCV", true, true),
            ("*/1Min/*", "A/1Min/TICK", true, true),
            ("BRK.B/1Min/OHLCV", "BRK-B/1Min/OHLCV", false, true),
            ("BRK.B/1Min/OHLCV", "BRK.B/1Min/OHLCV", true, true),
            ("*/1Min/OHLCV/2020.bin", "A/1Min/OHLCV", true, true),
        ] {
            assert_eq!(fits(&[on], Match::Glob, text), glob, "{on} {text}");
            let found = fits(&[on], Match::MarketStore, text);
            assert_eq!(found, marketstore, "{on} {text}");
        }
        // What has one reading only.
        assert!(fits(&["1Min"], Match::MarketStore, "A/1Min/X"));
        assert!(Patterns::parse(&["1Min".into()], Match::Glob).is_err());
        assert!(!fits(
            &["*/1Min/OHLCV$"],
            Match::MarketStore,
            "A/1Min/OHLCV"
        ));
        assert!(!fits(&["**/1Min"], Match::MarketStore, "A/1Min/X"));
        assert!(fits(&["**/1Min"], Match::MarketStore, "AB/1Min/X"));
        assert!(fits(&[""], Match::MarketStore, "A/1Min/X"));
        assert!(fits(&["20[0-9]+.bin$"], Match::MarketStore, "A/1D/X"));
        assert!(fits(&[], Match::Glob, "A/1D/X"));
        assert!(fits(&[], Match::MarketStore, "A/1D/X"));
        assert!(fits(&["A/1D/X", "B/**"], Match::Glob, "B/1D/X"));
    }

    #[test]
    fn bad_patterns_name_the_fix() {
        let glob = Patterns::parse(&["*/1Min".into()], Match::Glob).unwrap_err();
        assert!(glob.contains("SYMBOL/TIMEFRAME/GROUP"), "{glob}");
        let regex = Patterns::parse(&["(*".into()], Match::MarketStore).unwrap_err();
        assert!(regex.contains("no regular expression"), "{regex}");
        assert!(!regex.contains('\n'), "{regex}");
    }

    #[test]
    fn at_most_five_differences_are_named() {
        let keys: Vec<BucketKey> = (0..9).map(|n| key(&format!("X{n}/1Min/OHLCVX"))).collect();
        let on = vec!["*/1Min/OHLCV".to_owned()];
        let text = difference(&on, Match::Glob, keys.iter()).unwrap();
        assert!(
            text.contains("X4/1Min/OHLCVX") && !text.contains("X5/"),
            "{text}"
        );
        let same = [key("A/1Min/OHLCV")];
        assert_eq!(difference(&on, Match::Glob, same.iter()), None);
    }
}
