//! Fuzz targets: functions from bytes to nothing that must return. A panic, a hang or memory
//! without bound is the finding; what the bytes mean is not.
//!
//! `cargo test` runs each over the committed corpus and seeded mutations of it (`it::fuzz`);
//! `tests/fuzz` has them as targets of cargo-fuzz, for coverage and for hours.
//!
//! * `wire`: what clients send.
//! * `text`: names, timeframes, patterns, configuration.
//! * `log`: bytes in WAL segments.
//! * `files`: bytes in the other files of a store.
//! * `marketstore`: bytes in the directories of a MarketStore.
//! * those of the plugin host: sections of its commits, state, dead letters.
//! * `plugin`: libraries and packages of plugins.
//! * `ops`: a life of a store, crashes and all, written in bytes.
//! * [`mutate`]: seeded changes of inputs.

mod files;
mod log;
mod marketstore;
pub mod mutate;
mod ops;
mod plugin;
mod text;
mod wire;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; its corpus is the directory of this name.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
    /// Runs of the smoke test for each thousand of the cheapest: some open a store each time.
    pub share: u64,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("msgpack_value", wire::msgpack_value, 1000),
    target("json_rpc", wire::json_rpc, 1000),
    target("write_dataset", wire::write_dataset, 1000),
    target("query_request", wire::query_request, 1000),
    target("numpy_types", wire::numpy_types, 1000),
    target("ws_frames", wire::ws_frames, 1000),
    target("rpc_answer", wire::rpc_answer, 100),
    target("bucket_key_and_pattern", text::bucket_key_and_pattern, 1000),
    target("timeframe", text::timeframe, 1000),
    target("config_yaml", text::config_yaml, 100),
    target("wal_frame", log::wal_frame, 100),
    target("wal_recover", log::wal_recover, 100),
    target("manifest", files::manifest, 50),
    target("catalog", files::catalog, 50),
    target("segment_open_and_scan", files::segment_open_and_scan, 50),
    target("page_codecs", files::page_codecs, 50),
    target("marketstore_year_file", marketstore::year_file, 50),
    target("marketstore_wal", marketstore::wal, 50),
    target("plugin_section", plugin_host::fuzz::plugin_section, 1000),
    target("state_snap", plugin_host::fuzz::state_snap, 1000),
    target("dead_letters", plugin_host::fuzz::dead_letters, 1000),
    target("recording", plugin_host::fuzz::recording, 1000),
    target("plugin_manifest", plugin::manifest, 300),
    target("plugin_package", plugin::package, 100),
    target("ops", ops::ops, 20),
];

const fn target(name: &'static str, run: fn(&[u8]), share: u64) -> Target {
    Target { name, run, share }
}

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Inputs that a target can make itself: files of a store it knows.
pub fn own_seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "manifest" | "catalog" | "segment_open_and_scan" => files::seeds(name),
        "wal_frame" | "wal_recover" => log::seeds(),
        "marketstore_year_file" | "marketstore_wal" => marketstore::seeds(name),
        "plugin_section" | "state_snap" | "dead_letters" | "recording" => {
            plugin_host::fuzz::seeds(name)
        }
        "plugin_manifest" | "plugin_package" => plugin::seeds(name),
        _ => Vec::new(),
    }
}
