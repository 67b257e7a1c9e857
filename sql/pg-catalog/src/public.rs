//! The functions that the store adds to SQL, as `\df` lists them.

/// Name, result, arguments, and whether it is an aggregate.
pub(crate) const FUNCTIONS: [(&str, &str, &str, bool); 12] = [
    ("adjust", "setof record", "'split', 'dividend'", false),
    (
        "adjust_factor",
        "double precision",
        "symbol text, time timestamp with time zone, ...",
        false,
    ),
    (
        "candlecandler",
        "setof record",
        "length text, open, high, low, close, ...",
        false,
    ),
    (
        "first",
        "any",
        "value any, time timestamp with time zone",
        true,
    ),
    ("gap", "setof record", "length text", false),
    ("high", "any", "value any", true),
    (
        "last",
        "any",
        "value any, time timestamp with time zone",
        true,
    ),
    ("low", "any", "value any", true),
    ("ohlcv", "setof record", "length text, ...", false),
    (
        "tickcandler",
        "setof record",
        "length text, price, ...",
        false,
    ),
    (
        "time_bucket",
        "timestamp with time zone",
        "length text, time timestamp with time zone, ...",
        false,
    ),
    ("vwap", "double precision", "price, volume", true),
];
