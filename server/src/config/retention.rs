//! `retention:` and `merge:`: what the store gives up by itself, and when it tidies.

use std::time::Duration;

use engine::RetentionRule;
use model::KeyPattern;
use serde_json::Value;

use super::keys::{MERGE_KEYS, RETENTION_KEYS};
use super::read::{Section, parse_duration, show};

/// Shorter would take rows that were just written.
const KEEP_MIN: Duration = Duration::from_secs(1);

/// Reads the rules in order: the first whose pattern matches a bucket holds for it.
pub(super) fn rules(top: &mut Section<'_, '_>) -> Vec<RetentionRule> {
    let list = match top.get("retention").cloned() {
        None => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            let what = format!(
                "must be a list like [{{on: \"*/1Sec/*\", keep: 30D}}], found {}",
                show(&other)
            );
            top.error("retention", what);
            return Vec::new();
        }
    };
    let place = top.place.key("retention");
    let rules = list.iter().enumerate().filter_map(|(index, value)| {
        let place = place.index(index);
        rule(&mut Section::open(
            top.report,
            place,
            value,
            RETENTION_KEYS,
            &[],
        ))
    });
    rules.collect()
}

fn rule(section: &mut Section<'_, '_>) -> Option<RetentionRule> {
    for key in RETENTION_KEYS {
        if !section.has(key) {
            let place = section.place.clone();
            let what = format!("{key} is missing: a rule is {{on: \"*/1Sec/*\", keep: 30D}}");
            section.report.error(&place, what);
        }
    }
    let (on, keep) = (section.text("on"), section.text("keep"));
    let keep = keep.and_then(|text| {
        let keep = parse_keep(&text);
        if keep.is_none() {
            let what =
                format!("must be a time of at least 1s like 36h, 30D, 8W or 2Y, found \"{text}\"");
            section.error("keep", what);
        }
        keep
    });
    let on = match KeyPattern::parse(&on?) {
        Ok(on) => on,
        Err(error) => {
            section.error("on", error);
            return None;
        }
    };
    if let Some(warning) = on.warning().map(str::to_owned) {
        section.warn("on", warning);
    }
    Some(RetentionRule { on, keep: keep? })
}

/// Days, weeks and years may be written as in timeframes; a year has 365 days.
fn parse_keep(text: &str) -> Option<Duration> {
    let text = text.trim();
    let days = [('D', 1_u32), ('W', 7), ('Y', 365)];
    let keep = match days.iter().find(|(unit, _)| text.ends_with(*unit)) {
        Some((unit, days)) => {
            let number = parse_duration(&text.replace(*unit, "d"), None)?;
            number.checked_mul(*days)?
        }
        None => parse_duration(text, None)?,
    };
    (keep >= KEEP_MIN).then_some(keep)
}

/// `merge: {enabled: true}`
pub(super) fn merge(top: &mut Section<'_, '_>) -> bool {
    let section = top.section("merge", MERGE_KEYS);
    section
        .and_then(|mut section| section.flag("enabled"))
        .unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_have_units() {
        let day = Duration::from_secs(86_400);
        assert_eq!(parse_keep("30D"), Some(day * 30));
        assert_eq!(parse_keep("1.5d"), Some(day * 3 / 2));
        assert_eq!(parse_keep("2W"), Some(day * 14));
        assert_eq!(parse_keep("1Y"), Some(day * 365));
        assert_eq!(parse_keep("36h"), Some(day * 3 / 2));
        for bad in ["", "30", "D", "30M", "0D", "500ms", "-1D", "30DD", "1e300Y"] {
            assert_eq!(parse_keep(bad), None, "{bad}");
        }
    }
}
