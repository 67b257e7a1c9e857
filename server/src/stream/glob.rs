//! Patterns of subscribers, in the grammar of the reference: `*` any run without `/`, `**` any run,
//! `?` one character that is not `/`, `[abc]`, `[!a-z]`, `{x,y}` (also nested), `\` escapes.
//!
//! A pattern becomes a small machine whose states are all followed at once: time is bounded by
//! states times characters, whatever the pattern.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    states: Vec<State>,
}

#[derive(Debug, Clone)]
enum State {
    /// One character, then the next state.
    One(Set),
    /// Both states at once.
    Fork(usize, usize),
    /// Another state.
    Jump(usize),
    /// The end of the pattern.
    End,
}

#[derive(Debug, Clone)]
enum Set {
    Char(char),
    /// Any but `/`.
    Part,
    Any,
    /// Ranges, or all but them.
    Ranges(Vec<(char, char)>, bool),
}

impl Set {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Part => c != '/',
            Self::Any => true,
            Self::Ranges(ranges, negated) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Glob {
    /// Compiles a pattern; `None` if a bracket or brace is not closed, or a range is empty.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let mut parser = Parser {
            chars: pattern.chars().collect(),
            at: 0,
            states: Vec::new(),
        };
        parser.sequence(0)?;
        if parser.at < parser.chars.len() {
            return None;
        }
        parser.states.push(State::End);
        Some(Self {
            states: parser.states,
        })
    }

    /// How much work matching is.
    pub(crate) fn states(&self) -> usize {
        self.states.len()
    }

    /// Whether the whole text fits.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut now = Follow::new(self.states.len());
        let mut next = Follow::new(self.states.len());
        now.add(&self.states, 0);
        for c in text.chars() {
            next.clear();
            for state in &now.list {
                if let State::One(set) = &self.states[*state]
                    && set.has(c)
                {
                    next.add(&self.states, state + 1);
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        let is_end = |state: &usize| matches!(self.states[*state], State::End);
        now.list.iter().any(is_end)
    }
}

/// A set of states: forks and jumps are followed when a state is added.
struct Follow {
    list: Vec<usize>,
    has: Vec<bool>,
    stack: Vec<usize>,
}

impl Follow {
    fn new(states: usize) -> Self {
        Self {
            list: Vec::with_capacity(states),
            has: vec![false; states],
            stack: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.has.fill(false);
    }

    fn add(&mut self, states: &[State], state: usize) {
        self.stack.push(state);
        while let Some(state) = self.stack.pop() {
            if std::mem::replace(&mut self.has[state], true) {
                continue;
            }
            match &states[state] {
                State::Fork(a, b) => self.stack.extend([*b, *a]),
                State::Jump(to) => self.stack.push(*to),
                State::One(_) | State::End => self.list.push(state),
            }
        }
    }
}

/// Deepest nesting of braces.
const DEPTH_MAX: usize = 16;

struct Parser {
    chars: Vec<char>,
    at: usize,
    states: Vec<State>,
}

impl Parser {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Up to the end, or to a `,` or `}` of the braces around it.
    fn sequence(&mut self, depth: usize) -> Option<()> {
        while let Some(c) = self.peek() {
            if depth > 0 && (c == ',' || c == '}') {
                return Some(());
            }
            self.at += 1;
            match c {
                '*' => self.run(),
                '?' => self.states.push(State::One(Set::Part)),
                '[' => {
                    let set = self.set()?;
                    self.states.push(State::One(set));
                }
                '{' if depth < DEPTH_MAX => self.alternatives(depth + 1)?,
                '{' | '}' | ']' => return None,
                '\\' => {
                    let escaped = self.next()?;
                    self.states.push(State::One(Set::Char(escaped)));
                }
                c => self.states.push(State::One(Set::Char(c))),
            }
        }
        (depth == 0).then_some(())
    }

    fn run(&mut self) {
        let mut set = Set::Part;
        while self.peek() == Some('*') {
            self.at += 1;
            set = Set::Any;
        }
        // fork(one, after); one; jump(fork)
        let fork = self.states.len();
        self.states.push(State::Fork(fork + 1, fork + 3));
        self.states.push(State::One(set));
        self.states.push(State::Jump(fork));
    }

    fn set(&mut self) -> Option<Set> {
        let negated = self.peek() == Some('!');
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            match self.next()? {
                ']' if ranges.is_empty() => return None,
                ']' => return Some(Set::Ranges(ranges, negated)),
                low => {
                    let low = if low == '\\' { self.next()? } else { low };
                    let is_range = self.peek() == Some('-')
                        && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
                    let high = match is_range {
                        true => {
                            self.at += 1;
                            self.next()?
                        }
                        false => low,
                    };
                    if low > high {
                        return None;
                    }
                    ranges.push((low, high));
                }
            }
        }
    }

    /// fork(first, more); first; jump(after); fork(second, more) ...
    fn alternatives(&mut self, depth: usize) -> Option<()> {
        let mut ends = Vec::new();
        loop {
            let fork = self.states.len();
            self.states.push(State::Jump(fork + 1));
            self.sequence(depth)?;
            ends.push(self.states.len());
            self.states.push(State::Jump(0));
            match self.next()? {
                ',' => self.states[fork] = State::Fork(fork + 1, self.states.len()),
                _ => break,
            }
        }
        let after = self.states.len();
        ends.into_iter()
            .for_each(|end| self.states[end] = State::Jump(after));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_matches_as_in_the_reference() {
        for (pattern, key, fits) in [
            ("AAPL/1Min/OHLCV", "AAPL/1Min/OHLCV", true),
            ("AAPL/1Min/OHLCV", "AAPL/1Min/OHLCVX", false),
            ("*/*/*", "A/1Min/X", true),
            ("*/1Min/*", "A/5Min/X", false),
            ("*/*/*", "A/1Min", false),
            ("A*/*/*", "AAPL/1Min/X", true),
            ("A*/*/*", "A/1Min/X", true),
            ("*A/*/*", "BA/1Min/X", true),
            ("*A*B/*/*", "xAyAzB/1D/X", true),
            ("*A*B/*/*", "xAyAz/1D/X", false),
            ("**/*/X", "A/1Min/X", true),
            ("**/b/c", "a/b/c/b/c", true),
            ("A?/*/*", "AB/1Min/X", true),
            ("A?/*/*", "A/1Min/X", false),
            ("A?1Min/X/*", "A/1Min/X", false),
            ("*/[1-5]Min/*", "A/5Min/X", true),
            ("*/[1-5]Min/*", "A/6Min/X", false),
            ("*/[!1-5]Min/*", "A/6Min/X", true),
            ("[abc]/*/*", "b/1D/X", true),
            ("[a\\]]/*/*", "]/1D/X", true),
            ("[a-]/*/*", "-/1D/X", true),
            ("{S,V}/1Min/OHLCV", "V/1Min/OHLCV", true),
            ("{S,V}/1Min/OHLCV", "W/1Min/OHLCV", false),
            ("{A,B}/[1-5]Min/OHLC?", "A/1Min/OHLCV", true),
            ("{A,B}/[1-5]Min/OHLC?", "C/1Min/OHLCV", false),
            ("{A{1,2},B*}/*/*", "A2/1D/X", true),
            ("{A{1,2},B*}/*/*", "Bxyz/1D/X", true),
            ("{A{1,2},B*}/*/*", "A/1D/X", false),
            ("{,A}B/*/*", "B/1D/X", true),
            ("\\*/*/*", "*/1D/X", true),
            ("\\*/*/*", "A/1D/X", false),
            ("a,b/*/*", "a,b/1D/X", true),
            ("//", "//", true),
            ("\u{65e5}*/*/*", "\u{65e5}\u{7d4c}/1D/X", true),
        ] {
            let glob = Glob::parse(pattern).expect(pattern);
            assert_eq!(glob.matches(key), fits, "{pattern} {key}");
        }
        for bad in [
            "[", "[]/a/b", "[!]/a/b", "{a", "a}", "{a{b}", "a]", "[b-a]", "\\", "{a,b}}",
        ] {
            assert!(Glob::parse(bad).is_none(), "{bad}");
        }
        assert!(Glob::parse(&"{".repeat(500)).is_none());
    }

    #[test]
    fn no_pattern_is_slow() {
        let pattern = format!("{}/*/*", "*a".repeat(200));
        let glob = Glob::parse(&pattern).unwrap();
        assert!(glob.states() <= 4 * pattern.len());
        assert!(!glob.matches(&format!("{}b/1D/X", "a".repeat(700))));
        let braces = Glob::parse(&format!("{}/*/*", "{a,a}".repeat(80))).unwrap();
        assert!(braces.matches(&format!("{}/1D/X", "a".repeat(80))));
    }
}
