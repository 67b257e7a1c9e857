//! SQL over snapshots of a store.
#![forbid(unsafe_code)]
