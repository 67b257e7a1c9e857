//! The host's table.

use plugin_abi::{Host, MAJOR, MINOR, Str};

use super::calls;

/// Lives for ever, for every thread.
pub(super) struct Table(pub(super) Host);

// SAFETY: its text and functions are `'static`, and the functions are for every thread.
unsafe impl Sync for Table {}

pub(super) static HOST: Table = Table(Host {
    size: size_of::<Host>() as u32,
    abi_major: MAJOR,
    abi_minor: MINOR,
    zero: 0,
    version: Str::of(env!("CARGO_PKG_VERSION").as_bytes()),
    log: Some(calls::log),
    now_ns: Some(calls::now_ns),
    metric_add: Some(calls::metric_add),
    cancelled: Some(calls::cancelled),
    deadline_ns: Some(calls::deadline_ns),
    write: Some(calls::write),
    state_get: Some(calls::state_get),
    state_put: Some(calls::state_put),
    state_delete: Some(calls::state_delete),
    state_incr: Some(calls::state_incr),
    state_counter: Some(calls::state_counter),
    state_scan: Some(calls::state_scan),
    timer_set: Some(calls::timer_set),
    timer_cancel: Some(calls::timer_cancel),
    query: Some(calls::query),
    publish: Some(calls::publish),
    health_set: Some(calls::health_set),
    commit: Some(calls::commit),
    sleep: Some(calls::sleep),
    last_error: Some(calls::last_error),
    delete_range: Some(calls::delete_range),
});
