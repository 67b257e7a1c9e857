//! From the words of a query to buckets, times and limits.
//!
//! * A bucket of exactly the timeframe asked for is always preferred. Only if no symbol has one is
//!   the timeframe re-mapped to the first queryable one that divides it, and the limit multiplied.
//! * Symbols that are not there are passed over; it is an error if none is left.
//! * Bars are compared by slot: the start is floored, the slot that holds the end is included.

use std::sync::Arc;

use client::wire::QueryRequest;
use engine::{BucketInfo, Engine, Limit};
use model::{BucketKey, NANOS_PER_SECOND, RowKind, TIME_MAX, TIME_MIN, Zone};

use crate::auth::{Caller, Right};
use crate::rpc::Failure;

/// What a query reads.
#[derive(Debug)]
pub struct Plan {
    /// The buckets by key; a symbol named twice is here twice.
    pub buckets: Vec<Arc<BucketInfo>>,
    /// First time, before it is floored.
    pub from: i64,
    /// Last time.
    pub to: i64,
    /// Most rows of each bucket.
    pub limit: Option<Limit>,
}

impl Plan {
    /// The first time to scan a bucket from.
    pub fn start(&self, bucket: &BucketInfo, zone: &Zone) -> i64 {
        let can_be_floored = self.from > TIME_MIN && self.from <= TIME_MAX;
        match bucket.kind {
            RowKind::Bar if can_be_floored => bucket.timeframe.floor(self.from, zone),
            _ => self.from,
        }
    }

    /// Whether only the newest row of each bucket is wanted, whatever its time.
    pub fn is_last_row(&self) -> bool {
        self.from == i64::MIN && self.to == i64::MAX && matches!(self.limit, Some(Limit::Last(1)))
    }
}

/// Plans one query.
///
/// # Errors
/// A text for the client: words that cannot be understood, or no bucket.
pub fn plan(engine: &Engine, query: &QueryRequest) -> Result<Plan, String> {
    let count = u64::try_from(query.limit_record_count).map_err(|_| {
        format!(
            "limit_record_count is {}, it cannot be negative",
            query.limit_record_count
        )
    })?;
    let destination = Destination::parse(&query.destination, &query.key_category)?;
    let (buckets, factor) = destination.find(engine)?;
    let rows = usize::try_from(count.saturating_mul(factor)).unwrap_or(usize::MAX);
    let limit = match (rows, query.limit_from_start) {
        (0, _) => None,
        (rows, true) => Some(Limit::First(rows)),
        (rows, false) => Some(Limit::Last(rows)),
    };
    Ok(Plan {
        buckets,
        from: nanos(query.epoch_start, query.epoch_start_nanos).unwrap_or(i64::MIN),
        to: nanos(query.epoch_end, query.epoch_end_nanos).unwrap_or(i64::MAX),
        limit,
    })
}

/// Plans a query of a caller who may not read everything: `*` is what he may read, and a bucket that he
/// names must be one of those.
pub(crate) fn plan_for(
    engine: &Engine,
    query: &QueryRequest,
    caller: &Caller,
) -> Result<Plan, Failure> {
    if caller.sees_all() {
        return Ok(plan(engine, query)?);
    }
    let destination = Destination::parse(&query.destination, &query.key_category)?;
    if destination.is_every() {
        let mut plan = plan(engine, query)?;
        plan.buckets.retain(|b| caller.may(Right::Read, &b.key));
        return match plan.buckets.is_empty() {
            true => Err("no files returned from query parse".to_owned().into()),
            false => Ok(plan),
        };
    }
    // Before it is known what is there: a refusal must not say that.
    for symbol in &destination.symbols {
        if let Ok(key) = BucketKey::new(symbol, destination.timeframe, destination.group) {
            caller.require(Right::Read, &key)?;
        }
    }
    let plan = plan(engine, query)?;
    // Those of another timeframe than asked for.
    for bucket in &plan.buckets {
        caller.require(Right::Read, &bucket.key)?;
    }
    Ok(plan)
}

/// Seconds and nanoseconds of a bound; far times saturate, which is before or after all rows.
pub(crate) fn nanos(seconds: Option<i64>, nanos: i64) -> Option<i64> {
    let seconds = seconds?;
    Some(
        seconds
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_add(nanos),
    )
}

/// Most symbols that one query names; `*` is not bounded by it.
const SYMBOLS_MAX: usize = 65_536;

/// `AAPL,MSFT/1Min/OHLCV`, in parts.
struct Destination<'a> {
    symbols: Vec<&'a str>,
    timeframe: &'a str,
    group: &'a str,
}

impl<'a> Destination<'a> {
    fn parse(text: &'a str, categories: &'a str) -> Result<Self, String> {
        let (items, written) = text.split_once(':').unwrap_or((text, ""));
        let categories = if categories.is_empty() {
            written
        } else {
            categories
        };
        let order = match categories {
            "" => [0, 1, 2],
            names => BucketKey::category_order(names).map_err(|e| e.to_string())?,
        };
        let parts: Vec<&str> = items.split('/').collect();
        let symbols: Vec<&str> = match parts[..] {
            [_, _, _] => parts[order[0]]
                .split(',')
                .filter(|s| !s.is_empty())
                .collect(),
            _ => Vec::new(),
        };
        if symbols.len() > SYMBOLS_MAX {
            return Err(format!(
                "{} symbols in one query, the limit is {SYMBOLS_MAX}",
                symbols.len()
            ));
        }
        if symbols.is_empty() || parts.iter().any(|part| part.is_empty()) {
            let shown: String = text.chars().take(80).map(printable).collect();
            return Err(format!(
                "destinations must have a Symbol, Timeframe and AttributeGroup, have: {shown}"
            ));
        }
        Ok(Self {
            symbols,
            timeframe: parts[order[1]],
            group: parts[order[2]],
        })
    }

    /// The buckets, and by how much a limit is multiplied.
    fn find(&self, engine: &Engine) -> Result<(Vec<Arc<BucketInfo>>, u64), String> {
        let buckets = self.of_timeframe(engine, self.timeframe);
        if !buckets.is_empty() {
            return Ok((buckets, 1));
        }
        let (timeframe, factor) = remap(self.timeframe).map_err(|what| {
            let key = format!(
                "{}/{}/{}",
                self.symbols.join(","),
                self.timeframe,
                self.group
            );
            let key: String = key.chars().take(80).map(printable).collect();
            format!(
                "timeframe not found in TimeBucketKey={key}:Symbol/Timeframe/AttributeGroup: {what}"
            )
        })?;
        let buckets = match timeframe == self.timeframe {
            true => Vec::new(),
            false => self.of_timeframe(engine, timeframe),
        };
        if !buckets.is_empty() {
            return Ok((buckets, factor));
        }
        if engine.buckets().is_empty() {
            return Err("category: Symbol not in catalog".into());
        }
        let none = "no files returned from query parse";
        if let Err(error) = BucketKey::new(self.symbols[0], self.timeframe, self.group) {
            return Err(format!("{none}: {error}"));
        }
        match timeframe == self.timeframe {
            true => Err(none.into()),
            false => Err(format!(
                "{none}: there is no bucket of timeframe {}, nor of {timeframe} to read instead",
                self.timeframe
            )),
        }
    }

    fn is_every(&self) -> bool {
        self.symbols[..] == ["*"]
    }

    fn of_timeframe(&self, engine: &Engine, timeframe: &str) -> Vec<Arc<BucketInfo>> {
        if self.is_every() {
            let all = engine.buckets();
            let fits = |b: &&Arc<BucketInfo>| {
                b.key.timeframe() == timeframe && b.key.attribute_group() == self.group
            };
            return all.iter().filter(fits).cloned().collect();
        }
        let bucket = |symbol: &&str| {
            let key = BucketKey::new(symbol, timeframe, self.group).ok()?;
            engine.bucket(&key)
        };
        let mut buckets: Vec<_> = self.symbols.iter().filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.key.cmp(&b.key));
        buckets
    }
}

fn printable(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

/// Timeframes that a query may be re-mapped to, in the order they are tried, in seconds.
const QUERYABLE: [(&str, u64); 11] = [
    ("1D", 86_400),
    ("2H", 7_200),
    ("4H", 14_400),
    ("1H", 3_600),
    ("30Min", 1_800),
    ("15Min", 900),
    ("5Min", 300),
    ("1Min", 60),
    ("30Sec", 30),
    ("10Sec", 10),
    ("1Sec", 1),
];

/// The timeframe that is read where the one asked for does not exist, and how many of its rows
/// make one row of the other.
fn remap(timeframe: &str) -> Result<(&'static str, u64), String> {
    let (count, unit) = first_timeframe(timeframe).ok_or_else(|| {
        let shown: String = timeframe.chars().take(40).map(printable).collect();
        format!("timeframe not found in \"{shown}\"")
    })?;
    if unit == "M" {
        return Ok(("1D", count.saturating_mul(31)));
    }
    let seconds = match unit {
        "Sec" => 1,
        "Min" => 60,
        "H" => 3_600,
        "D" => 86_400,
        "W" => 7 * 86_400,
        _ => 365 * 86_400,
    };
    let length = count.saturating_mul(seconds);
    let fits = QUERYABLE.iter().find(|q| length.is_multiple_of(q.1));
    let (name, step) = fits.expect("every length is a multiple of one second");
    Ok((name, (length / step).max(1)))
}

/// The first `5Min` in a text, wherever it stands.
fn first_timeframe(text: &str) -> Option<(u64, &'static str)> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find(|c: char| c.is_ascii_digit())?..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let after = &rest[digits..];
        let units = ["Sec", "Min", "H", "D", "W", "M", "Y"];
        if let Some(unit) = units.into_iter().find(|unit| after.starts_with(unit)) {
            return Some((rest[..digits].parse().ok()?, unit));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeframes_are_remapped_as_the_reference_does() {
        for (asked, read, factor) in [
            ("1Min", "1Min", 1),
            ("2Min", "1Min", 2),
            ("10Min", "5Min", 2),
            ("20Min", "5Min", 4),
            ("60Min", "1H", 1),
            ("4H", "2H", 2),
            ("3H", "1H", 3),
            ("24H", "1D", 1),
            ("1W", "1D", 7),
            ("1M", "1D", 31),
            ("3M", "1D", 93),
            ("1Y", "1D", 365),
            ("3Sec", "1Sec", 3),
            ("7Min", "1Min", 7),
            ("x5Min", "5Min", 1),
            ("5x1H", "1H", 1),
        ] {
            assert_eq!(remap(asked), Ok((read, factor)), "{asked}");
        }
        for bad in [
            "",
            "Min",
            "xyz",
            "1min",
            "1h",
            "99999999999999999999999Min",
            "5",
        ] {
            assert!(remap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn destinations_have_three_parts_in_any_order() {
        let parse = |text, categories| {
            Destination::parse(text, categories).map(|d| {
                (
                    d.symbols.join("+"),
                    d.timeframe.to_owned(),
                    d.group.to_owned(),
                )
            })
        };
        let want = Ok(("A+B".to_owned(), "1Min".to_owned(), "X".to_owned()));
        assert_eq!(parse("A,B,/1Min/X", ""), want);
        assert_eq!(parse("1Min/A,B/X", "Timeframe/Symbol/AttributeGroup"), want);
        assert_eq!(
            parse("X/A,B/1Min:AttributeGroup/Symbol/Timeframe", ""),
            want
        );
        for bad in [
            "",
            "/",
            "//",
            "A",
            "A/1Min",
            "A/1Min/",
            "/1Min/X",
            ",/1Min/X",
            "A/1Min/X/Y",
        ] {
            assert!(parse(bad, "").is_err(), "{bad}");
        }
        assert!(parse("A/1Min/X", "Symbol").is_err());
    }
}
