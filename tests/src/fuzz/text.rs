//! Names, timeframes, patterns, configuration.

use std::path::Path;

use model::{BucketKey, KeyPattern, Timeframe, Zone};

/// A key or a pattern. A key that parses is its own text; a pattern that parses matches in
/// linear time.
pub(super) fn bucket_key_and_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = BucketKey::parse(text) {
        assert_eq!(BucketKey::parse(key.as_str()), Ok(key.clone()));
        for item in [key.symbol(), key.timeframe(), key.attribute_group()] {
            let bad = item.is_empty() || item == "." || item == ".." || item.len() > 255;
            assert!(
                !bad && !item.contains(['/', '\\', '\0', ':', ',', '*']),
                "{item:?}"
            );
        }
    }
    let _ = BucketKey::category_order(text);
    if let Ok(pattern) = KeyPattern::parse(text) {
        let long = format!("{}/1Min/OHLCV", "A".repeat(255));
        for key in ["SPY/1Min/OHLCV", "BRK.B/1D/TRADE", &long] {
            let _ = pattern.matches(&BucketKey::parse(key).expect("a fixed key"));
        }
    }
}

/// A timeframe; one that parses floors every time downwards, and twice is once.
pub(super) fn timeframe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(timeframe) = Timeframe::parse(text) else {
        return;
    };
    let utc = Zone::utc();
    for time in [
        0,
        1,
        -1,
        1_583_159_400_123_456_789,
        -9_000_000_000_000_000_000,
    ] {
        let floor = timeframe.floor(time, &utc);
        assert!(floor <= time, "{text}: {floor} is after {time}");
        assert_eq!(timeframe.floor(floor, &utc), floor, "{text}: floored twice");
    }
    assert!(timeframe.count() > 0 && timeframe.nanos() > 0);
}

/// A configuration file; problems are lines of text.
pub(super) fn config_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(problems) = server::config::parse(text, Path::new("mkts.yml")) {
        assert!(problems.lines().count() > 0, "refused without a reason");
    }
}
