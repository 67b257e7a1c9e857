//! The names of all keys.

/// Keys at the top level that do something.
pub const TOP_KEYS: &[&str] = &[
    "root_directory",
    "listen_host",
    "listen_port",
    "utilities_url",
    "grpc_listen_port",
    "grpc_max_send_msg_size",
    "grpc_max_recv_msg_size",
    "timezone",
    "log_level",
    "stop_grace_period",
    "sync",
    "checkpoint",
    "retention",
    "merge",
    "limits",
    "sql",
    "flight",
    "postgres",
    "allowed_origins",
    "auth",
    "tls",
    "replication",
    "plugin_dir",
    "plugins",
    "triggers",
    "bgworkers",
    "sources",
    "functions",
    "wal_rotate_interval",
    "disable_variable_compression",
    "init_catalog",
    "init_wal_cache",
    "background_sync",
    "wal_bypass",
];

/// Keys of older MarketStore files that MarketStore itself no longer reads.
pub(super) const DROPPED_KEYS: &[(&str, &str)] = &[
    ("queryable", "the server always answers queries"),
    ("enable_add", "writes and creates are always on"),
    ("enable_remove", "destroy is always on"),
    (
        "enable_last_known",
        "the last row of a bucket is always read from memory",
    ),
    ("cluster_mode", "there is one node"),
    ("polling_interval", "feeders have their own config"),
    ("start_time", "feeders have their own config"),
    ("load_tbk", "use `mkts load`"),
];

/// Keys of `replication`.
pub const REPLICATION_KEYS: &[&str] = &[
    "enabled",
    "listen_port",
    "master_host",
    "tls_enabled",
    "cert_file",
    "key_file",
    "retry_interval",
    "retry_backoff_coeff",
];

/// Keys of `auth`.
pub(super) const AUTH_KEYS: &[&str] = &["tokens_file", "open_metrics"];

/// Keys of `tls`.
pub(super) const TLS_KEYS: &[&str] = &["cert", "key"];

/// Keys of `checkpoint`.
pub(super) const CHECKPOINT_KEYS: &[&str] = &["tail", "wal", "wal_segment", "follow"];

/// Keys of a rule of `retention`.
pub(super) const RETENTION_KEYS: &[&str] = &["on", "keep"];

/// Keys of `merge`.
pub(super) const MERGE_KEYS: &[&str] = &["enabled"];

/// Keys of `limits`.
pub const LIMIT_KEYS: &[&str] = &[
    "request_body",
    "requests_per_call",
    "result_bytes",
    "results_bytes",
    "requests_bytes",
    "result_rows",
    "query_time",
    "call_time",
    "connections",
    "header_time",
    "body_idle_time",
    "ws_message_bytes",
    "stream_queue_messages",
    "stream_queue_bytes",
    "streams_per_subscriber",
    "frame_bytes",
    "hops",
];

/// Keys of `sql`.
pub const SQL_KEYS: &[&str] = &[
    "enabled",
    "memory",
    "threads",
    "time",
    "statements",
    "statement_bytes",
];

/// Keys of `flight`.
pub const FLIGHT_KEYS: &[&str] = &["enabled", "prepared"];

/// Keys of `postgres`.
pub const POSTGRES_KEYS: &[&str] = &["listen_port", "connections"];

/// Keys of `plugins`.
pub const PLUGINS_KEYS: &[&str] = &["trust_native", "defaults"];

/// Keys of `plugins.defaults`.
pub(super) const DEFAULTS_KEYS: &[&str] = &["timeout", "wal_hold"];

/// Keys of an entry of `triggers`, `bgworkers`, `sources` and `functions`.
pub const ENTRY_KEYS: &[&str] = &[
    "module",
    "name",
    "on",
    "config",
    "match",
    "host",
    "delivery",
    "start",
    "parallelism",
    "window",
    "timeout",
    "max_attempts",
    "on_error",
    "on_overflow",
    "required",
    "schedule",
    "env",
    "limits",
    "metrics_port",
    "wal_hold",
    "enabled",
    "fire_on_own",
    "timezone",
    "restart",
    "params",
];

/// Keys of an entry's `limits`.
pub(super) const PROCESS_LIMIT_KEYS: &[&str] = &["memory", "nofile"];

/// Keys of an entry's `wal_hold`, written as a map.
pub(super) const WAL_HOLD_KEYS: &[&str] = &["bytes", "time"];

/// Keys of `window`.
pub(super) const WINDOW_KEYS: &[&str] = &["rows", "bytes", "wait", "join"];

#[cfg(test)]
mod tests {
    use plugin_host::nearest;

    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        let near = |text| nearest(text, TOP_KEYS.iter().copied());
        assert_eq!(near("listen_prot"), Some("listen_port"));
        assert_eq!(near("Listen-Port"), Some("listen_port"));
        assert_eq!(near("time_zone"), Some("timezone"));
        assert_eq!(near("trigger"), Some("triggers"));
        assert_eq!(near("colour"), None);
    }
}
