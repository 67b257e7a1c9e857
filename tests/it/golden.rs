//! Recorded MarketStore v4 traffic, replayed step by step.
//!
//! Every step is either compared with the recording or has a ruling in [`rulings`]; the counts
//! are asserted, so nothing can be skipped in silence. That the comparison can fail is proved by
//! changing every value of every recorded reply.

pub(crate) mod canon;
mod now;
mod prove;
pub(crate) mod replay;
mod rulings;

pub(crate) use canon::unhex;
pub(crate) use replay::recorded;

/// One test a scenario, and the list of them.
macro_rules! scenarios {
    ($($name:ident)*) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { replay::play(stringify!($name)); })*
    };
}

scenarios! {
    fixed_basic fixed_unsorted_dups fixed_misaligned fixed_timeframes
    dtype_all_fixed dtype_string16 dtype_unsupported schema_mismatch
    var_ticks var_no_nanos
    limit_fixed range_fixed range_nanos multi_symbol columns
    admin errors year_boundary slot_zero tz_newyork
    ondiskagg ondiskagg_row_by_row ondiskagg_types
    stream stream_bad
    json_codec restart compression_off wal_bypass pyclient functions sql
}
