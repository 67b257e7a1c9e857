//! Bucket keys. A [`BucketKey`] value is the proof that its items passed the check, so that no
//! other place has to ask again.

use std::fmt;
use std::sync::Arc;

/// Longest item (symbol, timeframe or attribute group) in bytes.
pub const ITEM_BYTES_MAX: usize = 255;

/// `symbol/timeframe/attribute group`, the name of a bucket. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey {
    text: Arc<str>,
    symbol_end: u16,
    timeframe_end: u16,
}

/// Why a text is not a bucket key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not exactly three items.
    #[error("bucket key \"{0}\" needs three parts, like AAPL/1Min/OHLCV")]
    Parts(String),
    /// An item is empty.
    #[error("bucket key has an empty {0}")]
    Empty(&'static str),
    /// An item is too long.
    #[error("bucket key {0} is {1} bytes long, the limit is {ITEM_BYTES_MAX}")]
    TooLong(&'static str, usize),
    /// An item holds a character that is not allowed, or is `.` or `..`.
    #[error("bucket key {0} \"{1}\" is not allowed: {2}")]
    Forbidden(&'static str, String, &'static str),
    /// The part after the colon does not name the three categories.
    #[error(
        "bucket key categories \"{0}\" are not known, they must name Symbol, Timeframe and AttributeGroup"
    )]
    Categories(String),
}

impl BucketKey {
    /// Builds a key from its three items.
    ///
    /// # Errors
    /// If an item is empty, too long or holds a forbidden character.
    pub fn new(symbol: &str, timeframe: &str, attribute_group: &str) -> Result<Self, KeyError> {
        let text = || format!("{symbol}/{timeframe}/{attribute_group}").into();
        Self::checked([symbol, timeframe, attribute_group], text)
    }

    /// `text` joins the items; it is asked for once they are known to be allowed.
    fn checked(
        [symbol, timeframe, attribute_group]: [&str; 3],
        text: impl FnOnce() -> Arc<str>,
    ) -> Result<Self, KeyError> {
        check_item("symbol", symbol)?;
        check_item("timeframe", timeframe)?;
        check_item("attribute group", attribute_group)?;
        // Items are at most 255 bytes, so both ends fit 16 bits.
        let symbol_end = symbol.len() as u16;
        let timeframe_end = symbol_end + 1 + timeframe.len() as u16;
        Ok(Self {
            text: text(),
            symbol_end,
            timeframe_end,
        })
    }

    /// Parses `AAPL/1Min/OHLCV`, optionally followed by `:` and the category names in the order of
    /// the items (`AAPL/1Min/OHLCV:Symbol/Timeframe/AttributeGroup`).
    ///
    /// # Errors
    /// If the text has not three items, an item is not allowed, or the categories are unknown.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (items, categories) = match text.split_once(':') {
            Some((items, categories)) => (items, categories),
            None => (text, ""),
        };
        let [a, b, c] = three_parts(items).ok_or_else(|| KeyError::Parts(shorten(text)))?;
        if categories.is_empty() {
            return Self::checked([a, b, c], || items.into());
        }
        let [symbol, timeframe, group] = category_order(categories)?;
        let items = [a, b, c];
        Self::new(items[symbol], items[timeframe], items[group])
    }

    /// The symbol: `AAPL` of `AAPL/1Min/OHLCV`.
    pub fn symbol(&self) -> &str {
        &self.text[..usize::from(self.symbol_end)]
    }

    /// The timeframe as written: `1Min` of `AAPL/1Min/OHLCV`.
    pub fn timeframe(&self) -> &str {
        &self.text[usize::from(self.symbol_end) + 1..usize::from(self.timeframe_end)]
    }

    /// The attribute group: `OHLCV` of `AAPL/1Min/OHLCV`.
    pub fn attribute_group(&self) -> &str {
        &self.text[usize::from(self.timeframe_end) + 1..]
    }

    /// The whole key as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Positions of symbol, timeframe and attribute group among the parts of a key that is written
    /// in the order of `categories`, for example `Timeframe/Symbol/AttributeGroup` gives `[1, 0, 2]`.
    ///
    /// # Errors
    /// If the text does not name each of the three categories once.
    pub fn category_order(categories: &str) -> Result<[usize; 3], KeyError> {
        category_order(categories)
    }
}

impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketKey({})", self.text)
    }
}

impl std::str::FromStr for BucketKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

/// Checks one item of a key; `what` names it in the error.
///
/// # Errors
/// If the item is empty, over [`ITEM_BYTES_MAX`] bytes, `.` or `..`, or holds `/ \ : , *`, a
/// control character or a bidirectional control.
pub fn check_item(what: &'static str, item: &str) -> Result<(), KeyError> {
    if item.is_empty() {
        return Err(KeyError::Empty(what));
    }
    if item.len() > ITEM_BYTES_MAX {
        return Err(KeyError::TooLong(what, item.len()));
    }
    let forbidden = |why| Err(KeyError::Forbidden(what, shorten(item), why));
    if item == "." || item == ".." {
        return forbidden("it names a directory");
    }
    for c in item.chars() {
        match c {
            '/' | '\\' | ':' | ',' | '*' => return forbidden("it holds one of / \\ : , *"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                return forbidden("it holds a bidirectional control character");
            }
            c if c.is_control() => return forbidden("it holds a control character"),
            _ => {}
        }
    }
    Ok(())
}

fn three_parts(items: &str) -> Option<[&str; 3]> {
    let mut parts = items.split('/');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

fn category_order(categories: &str) -> Result<[usize; 3], KeyError> {
    let unknown = || KeyError::Categories(shorten(categories));
    let names = three_parts(categories).ok_or_else(unknown)?;
    let find = |name| names.iter().position(|n| *n == name).ok_or_else(unknown);
    Ok([find("Symbol")?, find("Timeframe")?, find("AttributeGroup")?])
}

/// A hostile text goes into an error message only in part, without control characters.
fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut short: String = text.chars().take(80).map(clean).collect();
    if text.chars().count() > 80 {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back() {
        let key = BucketKey::parse("BRK.B/1Min/OHLCV").unwrap();
        assert_eq!(
            (key.symbol(), key.timeframe(), key.attribute_group()),
            ("BRK.B", "1Min", "OHLCV")
        );
        assert_eq!(key.to_string(), "BRK.B/1Min/OHLCV");
    }

    #[test]
    fn categories_reorder_the_items() {
        let key = BucketKey::parse("1Min/T/A:Timeframe/Symbol/AttributeGroup").unwrap();
        assert_eq!(key.as_str(), "T/1Min/A");
        assert!(BucketKey::parse("1Min/T/A:Timeframe/Symbol/Symbol").is_err());
        assert!(BucketKey::parse("T/1Min/A:Symbol/Timeframe").is_err());
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for bad in [
            "",
            "/",
            "//",
            "A/B",
            "A/B/C/D",
            "../1Min/X",
            "A/../X",
            "A/1Min/..",
            "./1Min/X",
            "A\\B/1Min/X",
            "A\0/1Min/X",
            "A\n/1Min/X",
            "A/1Min/X\u{202e}",
            "*/1Min/X",
            "A,B/1Min/X",
            " /1Min/",
            "A//X",
        ] {
            assert!(BucketKey::parse(bad).is_err(), "{bad:?}");
        }
        let long = "x".repeat(256);
        assert!(BucketKey::parse(&format!("{long}/1Min/X")).is_err());
        for good in [
            "^GSPC/1D/OHLCV",
            "ES=F/1H/T",
            "BTC-USD/1Min/OHLCV",
            "A B/1Min/X",
            "\u{65e5}\u{7d4c}/1D/X",
        ] {
            assert!(BucketKey::parse(good).is_ok(), "{good:?}");
        }
    }
}
