//! On-disk aggregation trigger.
