//! The typed configuration and its defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{RetentionRule, SyncMode};
use model::Zone;
use plugin_host::nearest;
use serde_json::Value;

use super::keys::{
    AUTH_KEYS, CHECKPOINT_KEYS, DROPPED_KEYS, LIMIT_KEYS, REPLICATION_KEYS, TLS_KEYS, TOP_KEYS,
};
use super::plugins::{self, Plugins};
use super::read::{Place, Report, Section, parse_duration, show};
use super::retention;
use super::sql::{self, Flight, Postgres, Sql};
use crate::http::Live;

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what is odd.
    Warning,
    /// And what is worth knowing.
    Info,
    /// And what a developer wants to see.
    Debug,
}

/// A checked mkts.yml.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the store. Relative paths start at the working directory, as in MarketStore.
    pub root_directory: PathBuf,
    /// Where HTTP listens.
    pub listen_host: String,
    /// Port of HTTP; 0 takes a free one.
    pub listen_port: u16,
    /// gRPC, if it is wanted.
    pub grpc: Option<Grpc>,
    /// A second address for the same service.
    pub utilities_url: Option<String>,
    /// Zone of days and weeks.
    pub timezone: Zone,
    /// What is logged.
    pub log_level: LogLevel,
    /// How long a stop waits for triggers.
    pub stop_grace_period: Duration,
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Bytes in tails that start a checkpoint.
    pub tail_bytes_max: Option<usize>,
    /// Log not yet checkpointed that makes writers wait.
    pub wal_bytes_max: Option<u64>,
    /// Size of a segment of the log.
    pub wal_segment_bytes: Option<u64>,
    /// Newest frames kept in memory for triggers.
    pub follow_bytes: Option<usize>,
    /// How long buckets keep their rows: the first rule that matches.
    pub retention: Vec<RetentionRule>,
    /// Whether segments are merged by themselves.
    pub merge: bool,
    /// Limits on requests.
    pub limits: Limits,
    /// SQL and its limits.
    pub sql: Sql,
    /// Flight SQL, where gRPC is.
    pub flight: Flight,
    /// The PostgreSQL wire, if it is wanted.
    pub postgres: Option<Postgres>,
    /// Web pages that may call the server, beside its own.
    pub allowed_origins: Vec<String>,
    /// Tokens, if callers have to show one.
    pub auth: Option<AuthFile>,
    /// Certificate of every listener, if it has one.
    pub tls: Option<TlsFiles>,
    /// Plugins: where they are, and the entries.
    pub plugins: Plugins,
}

/// Where the tokens are, and what is open without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFile {
    /// The file of `mkts token`.
    pub tokens_file: PathBuf,
    /// Whether `/metrics` is for everybody.
    pub open_metrics: bool,
}

/// PEM files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that signed it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Config {
    /// The same for a server that runs: limits that were built into something stay.
    pub(crate) fn live_after(&self, before: &Limits) -> Live {
        let limits = Limits {
            results_bytes: before.results_bytes,
            requests_bytes: before.requests_bytes,
            connections: before.connections,
            stream_queue_messages: before.stream_queue_messages,
            stream_queue_bytes: before.stream_queue_bytes,
            frame_bytes: before.frame_bytes,
            hops: before.hops,
            ..self.limits.clone()
        };
        Live {
            limits: Arc::new(limits),
            ..self.live()
        }
    }

    /// What a reload may change while the server runs.
    pub fn live(&self) -> Live {
        Live {
            limits: Arc::new(self.limits.clone()),
            allowed_origins: self.allowed_origins.clone(),
            open_metrics: self.auth.as_ref().is_some_and(|auth| auth.open_metrics),
        }
    }
}

/// Where gRPC listens, at the host of HTTP, and how large messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grpc {
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Bytes of a message from a client.
    pub receive_bytes_max: usize,
    /// Bytes of a message to a client.
    pub send_bytes_max: usize,
}

/// Limits on requests and connections; each error of a limit names its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_body: usize,
    /// Requests in one call.
    pub requests_per_call: usize,
    /// Bytes of columns in a result.
    pub result_bytes: u64,
    /// Bytes of columns in all results under way together.
    pub results_bytes: u64,
    /// Bytes of all messages from clients of gRPC that are read or answered together.
    pub requests_bytes: u64,
    /// Rows in a result of a request that sets no `limit_record_count`.
    pub result_rows: u64,
    /// Time for one query.
    pub query_time: Duration,
    /// Time for a call of gRPC, its message included, and for its reader to take a part of a reply.
    pub call_time: Duration,
    /// Open connections.
    pub connections: usize,
    /// Time for a complete request head.
    pub header_time: Duration,
    /// Longest pause inside a body.
    pub body_idle_time: Duration,
    /// Bytes of a WebSocket message from a client.
    pub ws_message_bytes: usize,
    /// Messages waiting for one subscriber.
    pub stream_queue_messages: usize,
    /// Bytes waiting for one subscriber.
    pub stream_queue_bytes: usize,
    /// Patterns of one subscriber.
    pub streams_per_subscriber: usize,
    /// Bytes of one commit in the log.
    pub frame_bytes: usize,
    /// Triggers in a row after which rows are stored but fire nothing.
    pub hops: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 64 << 20,
            requests_per_call: 1024,
            result_bytes: 1 << 30,
            results_bytes: 4 << 30,
            requests_bytes: 1 << 30,
            result_rows: 10_000_000,
            query_time: Duration::from_secs(60),
            call_time: Duration::from_secs(300),
            connections: 4096,
            header_time: Duration::from_secs(10),
            body_idle_time: Duration::from_secs(30),
            ws_message_bytes: 256 << 10,
            stream_queue_messages: 1024,
            stream_queue_bytes: 8 << 20,
            streams_per_subscriber: 4096,
            frame_bytes: 32 << 20,
            hops: 8,
        }
    }
}

/// MarketStore's default of 0 means no wait at all; triggers get a moment all the same.
const GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Reads everything; `None` if a part without which there is no configuration is wrong.
pub(super) fn read(value: &Value, file: &Path, report: &mut Report<'_>) -> Option<Config> {
    let mut top = Section::open(report, Place::default(), value, TOP_KEYS, DROPPED_KEYS);
    let root_directory = root_directory(&mut top);
    let listen_host = listen_host(&mut top);
    let listen_port = listen_port(&mut top);
    let grpc = grpc(&mut top);
    let utilities_url = utilities_url(&mut top, &listen_host, listen_port.unwrap_or(0));
    let timezone = timezone(&mut top);
    let log_level = log_level(&mut top);
    let stop_grace_period = stop_grace_period(&mut top);
    let sync = sync(&mut top);
    let sizes = checkpoint(&mut top);
    let retention = retention::rules(&mut top);
    let merge = retention::merge(&mut top);
    let limits = limits(&mut top);
    let (sql, flight, postgres) = (
        sql::sql(&mut top),
        sql::flight(&mut top),
        sql::postgres(&mut top),
    );
    let allowed_origins = allowed_origins(&mut top);
    let auth = auth(&mut top, file);
    let tls = tls(&mut top, file);
    marketstore_only(&mut top);
    replication(&mut top);
    let plugins = plugins::read(&mut top, file);
    Some(Config {
        root_directory: root_directory?,
        listen_host,
        listen_port: listen_port?,
        grpc,
        utilities_url,
        timezone: timezone?,
        log_level,
        stop_grace_period,
        sync: sync?,
        tail_bytes_max: sizes[0].and_then(|size| usize::try_from(size).ok()),
        wal_bytes_max: sizes[1],
        wal_segment_bytes: sizes[2],
        follow_bytes: sizes[3].and_then(|size| usize::try_from(size).ok()),
        retention,
        merge,
        limits,
        sql,
        flight,
        postgres,
        allowed_origins,
        auth: auth?,
        tls: tls?,
        plugins,
    })
}

fn root_directory(top: &mut Section<'_, '_>) -> Option<PathBuf> {
    if !top.has("root_directory") {
        let place = Place::default();
        let what =
            "root_directory is missing: the directory of the store, like `root_directory: data`";
        top.report.error(&place, what);
        return None;
    }
    let text = top.text("root_directory")?;
    if text.is_empty() {
        top.error("root_directory", "is empty; name a directory");
        return None;
    }
    Some(text.into())
}

fn listen_host(top: &mut Section<'_, '_>) -> String {
    match top.text("listen_host") {
        // MarketStore takes "" for all interfaces; nobody opens a server by leaving a key empty.
        Some(host) if host.is_empty() => {
            top.warn(
                "listen_host",
                "is empty, which is 127.0.0.1 here; write 0.0.0.0 to listen on all interfaces",
            );
            "127.0.0.1".into()
        }
        Some(host) => host,
        None => "127.0.0.1".into(),
    }
}

fn listen_port(top: &mut Section<'_, '_>) -> Option<u16> {
    let empty = matches!(top.get("listen_port"), Some(Value::String(text)) if text.is_empty());
    if top.has("listen_port") && !empty {
        return top.port("listen_port");
    }
    let what = "listen_port is missing: the port of HTTP, like `listen_port: 5993`";
    top.report.error(&Place::default(), what);
    None
}

fn utilities_url(top: &mut Section<'_, '_>, host: &str, port: u16) -> Option<String> {
    let text = top.text("utilities_url").filter(|text| !text.is_empty())?;
    let address = text.trim_start_matches("http://").trim_end_matches('/');
    let Some((name, number)) = address.rsplit_once(':') else {
        top.error("utilities_url", "must be host:port, like localhost:5994");
        return None;
    };
    let Ok(number) = number.parse::<u16>() else {
        top.error("utilities_url", format!("\"{number}\" is not a port"));
        return None;
    };
    if number == port && port != 0 && (name == host || name == "localhost" || name.is_empty()) {
        top.warn(
            "utilities_url",
            "is the main address already, which answers /heartbeat and /metrics as well",
        );
        return None;
    }
    let name = if name.is_empty() { host } else { name };
    Some(format!("{name}:{number}"))
}

fn timezone(top: &mut Section<'_, '_>) -> Option<Zone> {
    let name = match top.has("timezone") {
        true => top.text("timezone")?,
        false => String::new(),
    };
    match Zone::parse(&name) {
        Ok(zone) => Some(zone),
        Err(error) => {
            top.error("timezone", error);
            None
        }
    }
}

fn log_level(top: &mut Section<'_, '_>) -> LogLevel {
    const WORDS: &[(&str, LogLevel)] = &[
        ("fatal", LogLevel::Error),
        ("error", LogLevel::Error),
        ("warning", LogLevel::Warning),
        ("warn", LogLevel::Warning),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    let Some(text) = top.text("log_level") else {
        return LogLevel::Info;
    };
    let lower = text.to_ascii_lowercase();
    if let Some((_, level)) = WORDS.iter().find(|(word, _)| *word == lower) {
        return *level;
    }
    let hint = match nearest(&text, WORDS.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean {near}?"),
        None => "known are fatal, error, warning, info, debug".into(),
    };
    top.warn(
        "log_level",
        format!("\"{text}\" is not known, info is used; {hint}"),
    );
    LogLevel::Info
}

fn stop_grace_period(top: &mut Section<'_, '_>) -> Duration {
    // MarketStore ignores negative values.
    if matches!(top.get("stop_grace_period"), Some(Value::Number(n)) if n.as_i64().is_some_and(|n| n < 0))
    {
        top.warn("stop_grace_period", "is negative, 5 s is used");
        return GRACE_DEFAULT;
    }
    match top.duration("stop_grace_period", Some(Duration::from_secs(1))) {
        Some(period) if !period.is_zero() => period,
        _ => GRACE_DEFAULT,
    }
}

fn sync(top: &mut Section<'_, '_>) -> Option<SyncMode> {
    const HELP: &str = "write `sync: commit` or `sync: interval 500ms`";
    let interval = match top.get("sync") {
        None => return Some(SyncMode::Commit),
        Some(Value::String(text)) => {
            let text = text.trim();
            if text == "commit" {
                return Some(SyncMode::Commit);
            }
            text.strip_prefix("interval")
                .map(|rest| rest.trim_start_matches([':', ' ']))
                .and_then(|rest| parse_duration(rest, None))
        }
        Some(Value::Object(map)) if map.len() == 1 => map
            .get("interval")
            .and_then(Value::as_str)
            .and_then(|text| parse_duration(text, None)),
        Some(_) => None,
    };
    let low = Duration::from_millis(1);
    match interval {
        Some(interval) if interval >= low && interval <= Duration::from_secs(60) => {
            Some(SyncMode::Interval(interval))
        }
        Some(_) => {
            top.error(
                "sync",
                format!("the interval must be from 1ms to 60s; {HELP}"),
            );
            None
        }
        None => {
            let found = top.get("sync").map(show).unwrap_or_default();
            top.error("sync", format!("{found} is not known; {HELP}"));
            None
        }
    }
}

fn checkpoint(top: &mut Section<'_, '_>) -> [Option<u64>; 4] {
    let Some(mut section) = top.section("checkpoint", CHECKPOINT_KEYS) else {
        return [None; 4];
    };
    // Below these the store would do nothing but checkpoints.
    let low = [64 << 10, 1 << 20, 1 << 20, 64 << 10];
    let mut sizes = [None; 4];
    for (index, key) in CHECKPOINT_KEYS.iter().enumerate() {
        sizes[index] = section.size(key);
        if sizes[index].is_some_and(|size| size < low[index]) {
            section.error(key, format!("must be at least {} KiB", low[index] >> 10));
        }
    }
    sizes
}

fn limits(top: &mut Section<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = top.section("limits", LIMIT_KEYS) else {
        return limits;
    };
    let mut bytes = |key: &str, field: &mut usize| {
        if let Some(size) = section.size(key) {
            *field = usize::try_from(size).unwrap_or(usize::MAX);
        }
    };
    bytes("request_body", &mut limits.request_body);
    bytes("ws_message_bytes", &mut limits.ws_message_bytes);
    bytes("stream_queue_bytes", &mut limits.stream_queue_bytes);
    bytes("frame_bytes", &mut limits.frame_bytes);
    let mut count = |key: &str, field: &mut usize, high: i64| {
        if let Some(value) = section.int(key, 1, high) {
            *field = usize::try_from(value).unwrap_or(usize::MAX);
        }
    };
    count("requests_per_call", &mut limits.requests_per_call, 1 << 20);
    count("connections", &mut limits.connections, 1 << 20);
    count(
        "stream_queue_messages",
        &mut limits.stream_queue_messages,
        1 << 20,
    );
    count(
        "streams_per_subscriber",
        &mut limits.streams_per_subscriber,
        1 << 20,
    );
    let mut time = |key: &str, field: &mut Duration| {
        if let Some(value) = section.duration(key, None) {
            *field = value;
        }
    };
    time("query_time", &mut limits.query_time);
    time("call_time", &mut limits.call_time);
    time("header_time", &mut limits.header_time);
    time("body_idle_time", &mut limits.body_idle_time);
    if let Some(size) = section.size("result_bytes") {
        limits.result_bytes = size;
    }
    if let Some(size) = section.size("results_bytes") {
        limits.results_bytes = size;
    }
    if let Some(size) = section.size("requests_bytes") {
        limits.requests_bytes = size;
    }
    if let Some(rows) = section.int("result_rows", 1, i64::MAX) {
        limits.result_rows = rows.unsigned_abs();
    }
    if let Some(hops) = section.int("hops", 1, 255) {
        limits.hops = u8::try_from(hops).unwrap_or(u8::MAX);
    }
    limits
}

fn allowed_origins(top: &mut Section<'_, '_>) -> Vec<String> {
    let origins = top.texts("allowed_origins").unwrap_or_default();
    for (index, origin) in origins.iter().enumerate() {
        if !(origin.starts_with("http://") || origin.starts_with("https://")) {
            let place = top.place.key("allowed_origins").index(index);
            let what = format!("\"{origin}\" is not an origin like https://example.com");
            top.report.error(&place, what);
        }
    }
    origins
}

/// A key that is there and says nothing is an error: starting without the protection that was meant
/// would be worse than not starting.
fn protection<'s, 't>(
    top: &'s mut Section<'_, 't>,
    key: &str,
    known: &[&str],
) -> Option<Section<'s, 't>> {
    if !top.has(key) {
        top.error(key, "is empty; remove the key to start without it");
        return None;
    }
    top.section(key, known)
}

fn auth(top: &mut Section<'_, '_>, file: &Path) -> Option<Option<AuthFile>> {
    if !top.is_written("auth") {
        return Some(None);
    }
    let mut section = protection(top, "auth", AUTH_KEYS)?;
    let tokens_file = path(&mut section, "tokens_file", file)?;
    let open_metrics = section.flag("open_metrics").unwrap_or(false);
    Some(Some(AuthFile {
        tokens_file,
        open_metrics,
    }))
}

fn tls(top: &mut Section<'_, '_>, file: &Path) -> Option<Option<TlsFiles>> {
    if !top.is_written("tls") {
        return Some(None);
    }
    let mut section = protection(top, "tls", TLS_KEYS)?;
    let cert = path(&mut section, "cert", file);
    let key = path(&mut section, "key", file);
    Some(Some(TlsFiles {
        cert: cert?,
        key: key?,
    }))
}

/// A file that must be named, relative to the folder of mkts.yml.
fn path(section: &mut Section<'_, '_>, key: &str, file: &Path) -> Option<PathBuf> {
    let text = match section.has(key) {
        true => section.text(key)?,
        false => String::new(),
    };
    if text.is_empty() {
        section.error(key, "is missing: name a file");
        return None;
    }
    Some(file.parent().unwrap_or(Path::new("")).join(text))
}

/// MarketStore's limit, in MiB, and ours.
const GRPC_MIB: i64 = 1024;

/// gRPC is off without its port, as in MarketStore. Sizes are in MiB.
fn grpc(top: &mut Section<'_, '_>) -> Option<Grpc> {
    let port = top.port("grpc_listen_port");
    let mut bytes = |key| {
        let mib = top.int(key, 1, 4095).unwrap_or(GRPC_MIB);
        usize::try_from(mib).unwrap_or(1) << 20
    };
    let receive_bytes_max = bytes("grpc_max_recv_msg_size");
    let send_bytes_max = bytes("grpc_max_send_msg_size");
    Some(Grpc {
        port: port?,
        receive_bytes_max,
        send_bytes_max,
    })
}

/// Keys that steer parts of MarketStore which mkts does not have.
fn marketstore_only(top: &mut Section<'_, '_>) {
    if top
        .int("wal_rotate_interval", 0, i64::MAX)
        .is_some_and(|n| n != 5 && n != 0)
    {
        top.warn(
            "wal_rotate_interval",
            "has no effect: the log is freed by checkpoints, see `checkpoint`",
        );
    }
    if top.flag("disable_variable_compression") == Some(true) {
        top.warn(
            "disable_variable_compression",
            "has no effect: ticks are stored as columns, not as snappy blocks",
        );
    }
    let always_on = [
        ("init_catalog", "the catalog is always on"),
        ("init_wal_cache", "the log is always on, writes work"),
        (
            "background_sync",
            "a committer always runs; `sync` sets when a write is acknowledged",
        ),
    ];
    for (key, why) in always_on {
        if top.flag(key) == Some(false) {
            top.warn(key, format!("has no effect: {why}"));
        }
    }
    if top.flag("wal_bypass") == Some(true) {
        top.warn(
            "wal_bypass",
            "has no effect: every write goes through the log; `sync: interval 500ms` trades \
             durability for speed",
        );
    }
}

fn replication(top: &mut Section<'_, '_>) {
    let Some(mut section) = top.section("replication", REPLICATION_KEYS) else {
        return;
    };
    let master = section.flag("enabled") == Some(true);
    let replica = section
        .text("master_host")
        .is_some_and(|host| !host.is_empty());
    section.flag("tls_enabled");
    section.port("listen_port");
    for key in ["cert_file", "key_file"] {
        section.text(key);
    }
    // A bare number is nanoseconds in MarketStore.
    section.duration("retry_interval", Some(Duration::from_nanos(1)));
    section.int("retry_backoff_coeff", 0, i64::MAX);
    let place = section.place.clone();
    if master || replica {
        let what = if replica {
            "replication is not available in this version: this server stands alone, takes writes \
             and receives nothing from master_host"
        } else {
            "replication is not available in this version: replicas get nothing from this server"
        };
        section.report.warn(&place, what);
    }
}
