//! What two patterns have in common. Exact answers would need automata; these err on one side, and
//! say on which.

use super::{KeyPattern, Part, Token};

/// Elements of a bucket key.
const ELEMENTS: usize = 3;

/// What one element of a key may be.
#[derive(Debug, Clone, Copy)]
enum Element<'a> {
    /// An element that `**` stands for.
    Any,
    Of(&'a [Vec<Token>]),
}

/// A token with its repetition apart: a run is one character and then any number of them.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    One(&'a Token),
    Star,
}

impl KeyPattern {
    /// Whether surely every key that `other` matches fits this one, too. `false` where that is so
    /// only because several alternatives add up to it.
    pub fn covers(&self, other: &Self) -> bool {
        let own = shapes(&self.parts);
        shapes(&other.parts).iter().all(|theirs| {
            own.iter()
                .any(|ours| ours.iter().zip(theirs).all(|(a, b)| a.covers(*b)))
        })
    }

    /// Whether some key may match both. `false` means: surely none.
    pub fn meets(&self, other: &Self) -> bool {
        let theirs = shapes(&other.parts);
        shapes(&self.parts).iter().any(|ours| {
            theirs
                .iter()
                .any(|theirs| ours.iter().zip(theirs).all(|(a, b)| a.meets(*b)))
        })
    }
}

/// The sequences of three elements that parts stand for.
fn shapes(parts: &[Part]) -> Vec<Vec<Element<'_>>> {
    let mut parts: Vec<&Part> = parts.iter().collect();
    // Neighbouring `**` mean the same as one, and would be as many shapes as there are ways.
    parts.dedup_by(|a, b| matches!((a, b), (Part::Any, Part::Any)));
    let mut found = Vec::new();
    place(&parts, &mut Vec::new(), &mut found);
    found
}

fn place<'a>(parts: &[&'a Part], begun: &mut Vec<Element<'a>>, found: &mut Vec<Vec<Element<'a>>>) {
    let Some((part, rest)) = parts.split_first() else {
        if begun.len() == ELEMENTS {
            found.push(begun.clone());
        }
        return;
    };
    let length = begun.len();
    match part {
        Part::One(alternatives) if length < ELEMENTS => {
            begun.push(Element::Of(alternatives));
            place(rest, begun, found);
        }
        Part::One(_) => {}
        Part::Any => {
            for _ in length..=ELEMENTS {
                place(rest, begun, found);
                begun.push(Element::Any);
            }
        }
    }
    begun.truncate(length);
}

impl Element<'_> {
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Of(own), Self::Any) => own.iter().any(|tokens| tokens[..] == [Token::Run]),
            (Self::Of(own), Self::Of(others)) => others
                .iter()
                .all(|theirs| own.iter().any(|ours| covers(&items(ours), &items(theirs)))),
        }
    }

    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Of(own), Self::Of(others)) => own.iter().any(|ours| {
                others
                    .iter()
                    .any(|theirs| meet(&items(ours), &items(theirs)))
            }),
        }
    }
}

fn items(tokens: &[Token]) -> Vec<Item<'_>> {
    let items = tokens.iter().flat_map(|token| match token {
        Token::Run => [Some(Item::One(&Token::AnyChar)), Some(Item::Star)],
        token => [Some(Item::One(token)), None],
    });
    items.flatten().collect()
}

/// Answers a question on two sequences from their ends on: `step` sees the answers for longer
/// prefixes through its third argument.
fn table(
    a: usize,
    b: usize,
    step: impl Fn(usize, usize, &dyn Fn(usize, usize) -> bool) -> bool,
) -> bool {
    let width = b + 1;
    let mut known = vec![false; (a + 1) * width];
    for i in (0..=a).rev() {
        for j in (0..=b).rev() {
            known[i * width + j] = step(i, j, &|i, j| known[i * width + j]);
        }
    }
    known[0]
}

/// Whether `a` fits all that `b` fits.
fn covers(a: &[Item<'_>], b: &[Item<'_>]) -> bool {
    table(a.len(), b.len(), |i, j, known| match (a.get(i), b.get(j)) {
        (None, None) => true,
        (Some(Item::Star), of) => known(i + 1, j) || (of.is_some() && known(i, j + 1)),
        (Some(Item::One(x)), Some(Item::One(y))) => x.includes(y) && known(i + 1, j + 1),
        _ => false,
    })
}

/// Whether something fits both.
fn meet(a: &[Item<'_>], b: &[Item<'_>]) -> bool {
    table(a.len(), b.len(), |i, j, known| {
        let (x, y) = (a.get(i), b.get(j));
        let skips = |star: Option<&Item<'_>>| matches!(star, Some(Item::Star));
        match (x, y) {
            (None, None) => true,
            (Some(Item::One(x)), Some(Item::One(y))) => x.meets(y) && known(i + 1, j + 1),
            _ => {
                (skips(x) && (known(i + 1, j) || (y.is_some() && known(i, j + 1))))
                    || (skips(y) && (known(i, j + 1) || (x.is_some() && known(i + 1, j))))
            }
        }
    })
}

impl Token {
    /// Whether every character of `other` surely is one of ours.
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AnyChar | Self::Run, _) => true,
            (_, Self::Char(c)) => self.fits(*c),
            (
                Self::Set {
                    negated: false,
                    ranges,
                },
                Self::Set {
                    negated: false,
                    ranges: others,
                },
            ) => others.iter().all(|(low, high)| {
                let holds = |range: &(char, char)| range.0 <= *low && *high <= range.1;
                ranges.iter().any(holds)
            }),
            _ => self == other,
        }
    }

    /// Whether a character may be of both.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Char(c), of) | (of, Self::Char(c)) => of.fits(*c),
            (
                Self::Set {
                    negated: false,
                    ranges,
                },
                Self::Set {
                    negated: false,
                    ranges: others,
                },
            ) => others.iter().any(|(low, high)| {
                let shares = |range: &(char, char)| range.0 <= *high && *low <= range.1;
                ranges.iter().any(shares)
            }),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::BucketKey;

    fn pattern(text: &str) -> KeyPattern {
        KeyPattern::parse(text).unwrap()
    }

    #[test]
    fn what_covers_and_what_meets() {
        for (a, b, covers, meets) in [
            ("**", "A/1Min/X", true, true),
            ("*/1Min/*", "{A,B}/1Min/OHLCV", true, true),
            ("A/1Min/X", "*/1Min/X", false, true),
            ("A/1Min/X", "B/1Min/X", false, false),
            ("*/5Min/*", "*/{1Min,5Min}/*", false, true),
            ("*/{1Min,5Min,1H}/*", "*/{1Min,5Min}/*", true, true),
            ("*/1*/*", "*/1Min/*", true, true),
            ("*/1?in/*", "*/1Min/*", true, true),
            ("*/1Min/*", "*/1?in/*", false, true),
            ("*/a*b*/*", "*/axbx*/*", true, true),
            ("*/*b/*", "*/b*/*", false, true),
            ("*/*a/*", "*/*b/*", false, false),
            ("*/[0-9]Min/*", "*/[1-5]Min/*", true, true),
            ("*/[1-5]Min/*", "*/[6-9]Min/*", false, false),
            ("*/[!5]Min/*", "*/5Min/*", false, false),
            ("*/[!5]Min/*", "*/1Min/*", true, true),
            ("A/**", "A/*/X", true, true),
            ("**/X", "A/**", false, true),
            ("**/**/**", "**", true, true),
            ("A/**/B", "**", false, true),
            // A run has one character or more.
            ("*/1*/*", "*/1/*", false, false),
        ] {
            let (a, b) = (pattern(a), pattern(b));
            assert_eq!(a.covers(&b), covers, "{a} covers {b}");
            assert_eq!((a.meets(&b), b.meets(&a)), (meets, meets), "{a} meets {b}");
        }
    }

    /// Against matching itself, for all pairs of some patterns and all of some keys.
    #[test]
    fn no_key_contradicts_an_answer() {
        let elements = [
            "*", "a", "ab", "a*", "*a", "?", "a?", "[ab]", "[!a]", "{a,bb}", "[a-c]b", "*b*",
            "b,ab",
        ];
        let mut patterns = vec![
            pattern("**"),
            pattern("a/**"),
            pattern("**/a"),
            pattern("a/**/b"),
        ];
        for one in elements {
            for two in ["*", "a", "?b"] {
                patterns.push(pattern(&format!("{one}/{two}/a")));
                patterns.push(pattern(&format!("**/{one}/{two}")));
            }
        }
        let words = ["a", "b", "aa", "ab", "ba", "bb", "aba", "abb", "c"];
        let mut keys = Vec::new();
        for one in words {
            for two in words {
                for three in ["a", "b", "bb"] {
                    keys.push(BucketKey::new(one, two, three).unwrap());
                }
            }
        }
        for a in &patterns {
            assert!(a.covers(a), "{a}");
            for b in &patterns {
                let (covers, meets) = (a.covers(b), a.meets(b));
                for key in &keys {
                    let (in_a, in_b) = (a.matches(key), b.matches(key));
                    assert!(!covers || !in_b || in_a, "{a} covers {b}: {key}");
                    assert!(meets || !in_a || !in_b, "{a} meets {b}: {key}");
                }
                assert!(!covers || meets, "{a} covers {b}");
            }
        }
    }
}
