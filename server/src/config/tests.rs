use super::*;
use engine::SyncMode;
use std::time::Duration;

fn run(text: &str) -> Result<(Config, Problems), Problems> {
    parse(text, Path::new("mkts.yml"))
}

fn good(text: &str) -> Config {
    run(&format!("root_directory: data\nlisten_port: 0\n{text}"))
        .unwrap()
        .0
}

/// The warnings of a text that is accepted.
fn warnings(text: &str) -> String {
    run(&format!("root_directory: data\nlisten_port: 0\n{text}"))
        .unwrap()
        .1
        .to_string()
}

/// Every part of MarketStore's shipped file, its examples switched on.
const SHIPPED: &str = "\
root_directory: data                # root directory of the database
# listen_host: \"localhost\"          # listen host for database server (optional)
listen_port: 5993                   # port exposed by the database server for JSON-RPC API
grpc_listen_port: 5995              # port exposed by the database server for GRPC API
log_level: info                     # log level (info|warn|error)
queryable: true                     # allow database to be queried through a client connection
stop_grace_period: 0
wal_rotate_interval: 5
timezone: \"America/New_York\"
utilities_url: \"localhost:5994\"   # enable debugging pprof and heartbeat endpoints
triggers:
  - module: ondiskagg.so
    on: \"*/1Min/OHLCV\"
    config:
      destinations:
        - 5Min
        - 15Min
        - 1H
        - 1D
  - module: stream.so
    on: \"*/*/*\"
    config:
      filter: nasdaq
bgworkers:
  - module: gdaxfeeder.so
    name: GdaxFetcher
    config:
      query_start: \"2017-09-01 00:00\"
";

#[test]
fn the_shipped_file_of_marketstore_loads() {
    let (config, problems) = run(SHIPPED).unwrap();
    assert_eq!(config.listen_port, 5993);
    assert_eq!(config.listen_host, "127.0.0.1");
    assert_eq!(config.timezone.name(), "America/New_York");
    assert_eq!(config.utilities_url.as_deref(), Some("localhost:5994"));
    assert_eq!(config.stop_grace_period, Duration::from_secs(5));
    let entries = &config.plugins.entries;
    let modules: Vec<&str> = entries.iter().map(|entry| entry.module.as_str()).collect();
    assert_eq!(modules, ["ondiskagg.so", "stream.so", "gdaxfeeder.so"]);
    assert_eq!(entries[0].on, ["*/1Min/OHLCV"]);
    assert_eq!(entries[0].config["destinations"][3], "1D");
    assert_eq!(entries[1].place, "mkts.yml:20");
    assert_eq!(entries[2].kind, plugin_host::EntryKind::BgWorker);
    let lines: Vec<usize> = problems.list.iter().map(|p| p.line).collect();
    assert_eq!(lines, [6], "{problems}");
    assert_eq!(config.grpc.map(|grpc| grpc.port), Some(5995));
}

#[test]
fn files_of_older_versions_load_with_warnings() {
    let text = warnings(
        "polling_interval: 60\nqueryable: true\nstart_time: 2016-09-15 13:45\n\
         enable_add: true\nenable_remove: false\nenable_last_known: false\ncluster_mode: x\n",
    );
    assert_eq!(text.lines().count(), 7, "{text}");
    assert!(
        text.contains("mkts.yml:8: warning: enable_last_known: has no effect"),
        "{text}"
    );
}

/// Text of a whole file, line of the first problem, part of its message.
const BAD: &[(&str, usize, &str)] = &[
    ("", 0, "is empty"),
    ("- a\n- b\n", 1, "must hold keys and values"),
    ("listen_port: 1\n", 0, "root_directory is missing"),
    (
        "root_directory: [a]\n",
        1,
        "root_directory: must be text, found a list",
    ),
    ("root_directory: \"\"\n", 1, "is empty"),
    (
        "root_directory: d\nlisten_prot: 1\n",
        2,
        "did you mean listen_port?",
    ),
    (
        "root_directory: d\nthe_answer_is: 1\n",
        2,
        "unknown key; known here: root_directory",
    ),
    (
        "root_directory: d\nlisten_port: many\n",
        2,
        "from 0 to 65535, found \"many\"",
    ),
    ("root_directory: d\nlisten_port: 70000\n", 2, "found 70000"),
    (
        "root_directory: d\n\n\nlisten_port: 1\nlisten_port: 2\n",
        5,
        "listen_port stands here for the second time",
    ),
    (
        "root_directory: d\ntimezone: Mars/Olympus\n",
        2,
        "unknown time zone \"Mars/Olympus\"",
    ),
    (
        "root_directory: d\nwal_bypass: yes\n",
        2,
        "\"yes\" is not a bool",
    ),
    (
        "root_directory: d\ninit_catalog: 2\n",
        2,
        "\"2\" is not a bool",
    ),
    (
        "root_directory: d\nstop_grace_period: soon\n",
        2,
        "must be a time like",
    ),
    (
        "root_directory: d\nsync: maybe\n",
        2,
        "write `sync: commit`",
    ),
    (
        "root_directory: d\nsync: {interval: 2h}\n",
        2,
        "from 1ms to 60s",
    ),
    (
        "root_directory: d\nutilities_url: localhost\n",
        2,
        "must be host:port",
    ),
    (
        "root_directory: d\nallowed_origins:\n - https://a.b\n - evil\n",
        4,
        "\"evil\" is not an",
    ),
    (
        "root_directory: d\nlimits: {request_body: 1MiB,\n  conections: 3}\n",
        3,
        "connections?",
    ),
    (
        "root_directory: d\nlimits:\n  request_body: big\n",
        3,
        "limits.request_body: must be a size",
    ),
    (
        "root_directory: d\ncheckpoint:\n  tail: 1KiB\n",
        3,
        "must be at least 64 KiB",
    ),
    (
        "root_directory: d\nauth:\n  token_file: x\n",
        3,
        "did you mean tokens_file?",
    ),
    (
        "root_directory: d\nauth:\nlisten_port: 1\n",
        2,
        "auth: is empty",
    ),
    (
        "root_directory: d\ntls: {cert: a.pem}\n",
        2,
        "tls.key: is missing",
    ),
    (
        "root_directory: d\nreplication:\n  master: x\n",
        3,
        "did you mean master_host?",
    ),
    (
        "root_directory: d\ntriggers: ondiskagg.so\n",
        2,
        "must be a list",
    ),
    (
        "root_directory: d\ntriggers:\n  - on: \"*/*/*\"\n",
        3,
        "triggers[0]: has no module",
    ),
    (
        "root_directory: d\ntriggers:\n  - module: a\n    on: \"*/*/*\"\n  - module: b\n    onn: \"*\"\n",
        6,
        "triggers[1].onn: unknown key; did you mean on?",
    ),
    (
        "root_directory: d\ntriggers:\n  - module: a.so\n    on: */1Min/OHLCV\n",
        4,
        "must be quoted, else YAML takes it for an alias: on: \"*/1Min/OHLCV\"",
    ),
    (
        "root_directory: d\ntriggers:\n - {module: a, delivery: twice}\n",
        3,
        "\"twice\" is not one of volatile, durable, exact",
    ),
    (
        "root_directory: d\ntriggers:\n - module: a\n   config:\n     key: x\n     token: \"${env:MKTS_NO_SUCH}\"\n",
        6,
        "triggers[0].config.token: environment variable MKTS_NO_SUCH is not set",
    ),
    (
        "root_directory: d\ntriggers:\n - module: a\n   config: [1]\n",
        4,
        "must be keys and values",
    ),
    (
        "root_directory: d\nbgworkers:\n - module: own\n   on: \"*/*/*\"\n",
        4,
        "belongs to triggers",
    ),
    ("root_directory: d\n", 0, "listen_port is missing"),
    (
        "root_directory: d\nlisten_port: \"\"\n",
        0,
        "listen_port is missing",
    ),
    ("root_directory: d\n\tlisten_port: 1\n", 2, "tab"),
    (
        "root_directory: \"d\n",
        0,
        "failed to parse configuration file",
    ),
    (
        "root_directory: !secret d\n",
        0,
        "the YAML tag !secret is not known",
    ),
];

/// Keys of a trigger, one under the other, and part of the message for the last one.
const BAD_ENTRIES: &[(&str, &str)] = &[
    (
        "host: wasm",
        "\"wasm\" is not one of builtin, native, process",
    ),
    ("hots: native", "did you mean host?"),
    (
        "start: noon",
        "\"noon\" is not known; write latest, earliest or",
    ),
    ("start: {time: yesterday}", "\"yesterday\" is not known"),
    ("start: {tome: 2020-01-01}", "keys and values is not known"),
    ("parallelism: 0", "from 1 to 1024, found 0"),
    ("metrics_port: 65536", "from 0 to 65535, found 65536"),
    ("on_overflow: explode", "not one of coalesce, disable"),
    ("schedule: every 5", "every 5: write a time"),
    ("schedule: \"61 * * * *\"", "minute \"61\""),
    ("timezone: UTC", "is that of schedule, which is not there"),
    (
        "schedule: every 5m\n   timezone: Mars/Olympus",
        "unknown time zone",
    ),
    ("timeout: 0s", "must be longer than 0"),
    ("wal_hold: much", "a size like 4GiB, a time like 24h, or"),
    ("wal_hold: {byte: 1GiB}", "did you mean bytes?"),
    ("limits: {memory: 0}", "limits.memory: must be a size"),
    (
        "limits: {nofile: 1}",
        "limits.nofile: must be a whole number from 16",
    ),
    ("limits: {memori: 1MiB}", "did you mean memory?"),
    ("env: [A]", "must be names and values"),
    (
        "env: {MKTS_PLUGIN_COOKIE: x}",
        "env.MKTS_PLUGIN_COOKIE: is set by the server",
    ),
    (
        "env: {A: \"${env:MKTS_NO_SUCH}\"}",
        "env.A: environment variable MKTS_NO_SUCH is not set",
    ),
    (
        "env: {A: \"${file:no/such}\"}",
        "env.A: file no/such cannot be read",
    ),
    ("env: {A: [1]}", "env.A: must be text"),
    ("restart: always", "belongs to bgworkers and sources"),
    ("params: x", "belongs to bgworkers and sources"),
    ("state_scope: key", "unknown key"),
];

#[test]
fn bad_entries_name_line_and_remedy() {
    for (keys, part) in BAD_ENTRIES {
        let text =
            format!("root_directory: d\nlisten_port: 1\ntriggers:\n - module: a\n   {keys}\n");
        let problems = run(&text).expect_err(keys);
        let found = problems.list.iter().find(|p| p.message.contains(part));
        let found = found.unwrap_or_else(|| panic!("{keys:?} gave {problems}"));
        assert_eq!(found.severity, Severity::Error, "{keys:?}");
        assert_eq!(found.line, 4 + keys.lines().count(), "{keys:?}");
    }
}

/// A worker has no place in the log, so the keys about it are refused.
#[test]
fn keys_of_triggers_are_refused_for_workers() {
    for key in [
        "match: glob",
        "delivery: exact",
        "parallelism: 2",
        "on_error: skip",
        "schedule: every 5m",
        "wal_hold: 1GiB",
    ] {
        for list in ["bgworkers", "sources"] {
            let text =
                format!("root_directory: d\nlisten_port: 1\n{list}:\n - module: a\n   {key}\n");
            let problems = run(&text).expect_err(key).to_string();
            assert!(problems.contains("mkts.yml:5: error: "), "{problems}");
            assert!(problems.contains("belongs to triggers"), "{problems}");
        }
    }
}

#[test]
fn bad_files_name_line_and_remedy() {
    for (text, line, part) in BAD {
        let problems = run(text).expect_err(text);
        let found = problems.list.iter().find(|p| p.message.contains(part));
        let found = found.unwrap_or_else(|| panic!("{text:?} gave {problems}"));
        assert_eq!(found.severity, Severity::Error, "{text:?}");
        if *line > 0 {
            assert_eq!(found.line, *line, "{text:?} gave {problems}");
        }
    }
}

#[test]
fn all_problems_are_reported_in_order_of_lines() {
    let text =
        "root_directory: d\nlisten_prot: 1\nlisten_port: 1\ntimezone: X/Y\nwal_bypass: maybe\n";
    let problems = run(text).unwrap_err();
    let lines: Vec<usize> = problems.list.iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 4, 5]);
    assert!(
        problems
            .to_string()
            .starts_with("mkts.yml:2: error: listen_prot: ")
    );
}

#[test]
fn bools_are_those_of_go() {
    for word in ["1", "t", "T", "TRUE", "true", "True", "\"true\"", "'1'"] {
        assert!(
            warnings(&format!("wal_bypass: {word}\n")).contains("wal_bypass"),
            "{word}"
        );
    }
    for word in ["0", "f", "F", "FALSE", "false", "False", "\"false\""] {
        assert_eq!(warnings(&format!("wal_bypass: {word}\n")), "", "{word}");
    }
}

#[test]
fn ports_are_numbers_or_text() {
    for port in ["5999", "\"5999\""] {
        let text = format!("root_directory: d\nlisten_port: {port}\n");
        assert_eq!(run(&text).unwrap().0.listen_port, 5999);
    }
}

#[test]
fn sync_has_three_spellings() {
    let half = SyncMode::Interval(Duration::from_millis(500));
    assert_eq!(good("").sync, SyncMode::Commit);
    assert_eq!(good("sync: commit\n").sync, SyncMode::Commit);
    assert_eq!(good("sync: interval 500ms\n").sync, half);
    assert_eq!(good("sync: \"interval: 500ms\"\n").sync, half);
    assert_eq!(good("sync: {interval: 500ms}\n").sync, half);
}

#[test]
fn log_levels_follow_marketstore_and_common_sense() {
    assert_eq!(good("log_level: warning\n").log_level, LogLevel::Warning);
    assert_eq!(good("log_level: WARN\n").log_level, LogLevel::Warning);
    assert_eq!(good("log_level: fatal\n").log_level, LogLevel::Error);
    assert_eq!(good("").log_level, LogLevel::Info);
    assert!(warnings("log_level: debgu\n").contains("did you mean debug?"));
}

#[test]
fn replication_is_answered_with_a_warning() {
    let replica = warnings("replication:\n  master_host: \"m:5998\"\n  retry_interval: 10s\n");
    assert!(replica.contains("mkts.yml:3: warning: replication: replication is not available"));
    assert!(replica.contains("stands alone"), "{replica}");
    assert_eq!(warnings("replication:\n  enabled: false\n"), "");
}

#[test]
fn limits_and_sizes_reach_their_fields() {
    let config = good(
        "limits: {request_body: 1MiB, query_time: 2s, hops: 3, connections: 7}\n\
         checkpoint: {tail: 1MiB, wal: 32MiB}\n",
    );
    assert_eq!(config.limits.request_body, 1 << 20);
    assert_eq!(config.limits.query_time, Duration::from_secs(2));
    assert_eq!(config.limits.hops, 3);
    assert_eq!(config.limits.connections, 7);
    assert_eq!(
        config.limits.requests_per_call,
        Limits::default().requests_per_call
    );
    assert_eq!(config.tail_bytes_max, Some(1 << 20));
    assert_eq!(config.wal_bytes_max, Some(32 << 20));
    assert_eq!(config.wal_segment_bytes, None);
}

#[test]
fn a_window_is_that_of_batches_where_feeds_stand() {
    let config = good(
        "bgworkers:\n  - module: a\nsources:\n  - module: b\n    \
         window: {rows: 10, bytes: 1MiB, wait: 5ms}\n",
    );
    let windows: Vec<_> = config.plugins.entries.iter().map(|e| &e.window).collect();
    assert_eq!((windows[0].rows, windows[0].bytes), (1024, 4 << 20));
    assert_eq!(windows[0].wait, Duration::from_millis(50));
    assert_eq!((windows[1].rows, windows[1].bytes), (10, 1 << 20));
    assert_eq!(windows[1].wait, Duration::from_millis(5));
    let text = run("root_directory: d\nsources:\n  - module: b\n    window: {join: key}\n")
        .unwrap_err()
        .to_string();
    assert!(text.contains("belongs to triggers"), "{text}");
}

#[test]
fn entries_know_every_key() {
    let config = good(
        "triggers:\n  - module: stream.so\n    name: live\n    on: [\"A/*/*\", \"B/*/*\"]\n    \
         match: marketstore\n    delivery: durable\n    start: latest\n    \
         window: {rows: 10, bytes: 1MiB, wait: 5ms, join: commit}\n    timeout: 2s\n    \
         max_attempts: 8\n    on_error: skip\n    on_overflow: hold\n    required: true\n    \
         wal_hold: 1GiB\n    enabled: false\n    fire_on_own: true\n",
    );
    let entry = &config.plugins.entries[0];
    assert_eq!(entry.name.as_deref(), Some("live"));
    assert_eq!(entry.on, ["A/*/*", "B/*/*"]);
    assert_eq!(entry.match_mode, plugin_host::Match::MarketStore);
    assert!(entry.required && entry.fire_on_own && entry.enabled == Some(false));
    assert_eq!(entry.delivery, Some(plugin_sdk::Delivery::Durable));
    assert_eq!((entry.window.rows, entry.window.bytes), (10, 1 << 20));
    assert_eq!(entry.window.wait, Duration::from_millis(5));
    assert_eq!(entry.window.join, Some(plugin_host::Join::Commit));
    assert_eq!(entry.max_attempts, Some(8));
    assert_eq!(entry.on_error, Some(plugin_host::OnError::Skip));
    assert_eq!(entry.timeout, Duration::from_secs(2));
    assert_eq!(entry.wal_hold, 1 << 30);
}

#[test]
fn keys_of_files_processes_and_clocks_reach_their_fields() {
    let config = good(
        "plugin_dir: [plugins, /opt/mkts]\n\
         plugins:\n  trust_native: [fast]\n  defaults: {timeout: 9s, wal_hold: {bytes: 1GiB, time: 2h}}\n\
         triggers:\n  - module: alerts@^1.4\n    host: process\n    start: {time: \"2024-01-31\"}\n    \
         parallelism: 4\n    on_overflow: coalesce\n    schedule: \"30 9 * * mon-fri\"\n    \
         timezone: America/New_York\n    env: {A: x, B: 7}\n    \
         limits: {memory: 256MiB, nofile: 64}\n    metrics_port: 9100\n    wal_hold: 48h\n  - module: b\n    \
         start: earliest\n    wal_hold: 2GiB\n\
         bgworkers:\n  - module: c\n    restart: on-failure\n\
         sources:\n  - module: d\n    params: \"BTC-USD,ETH-USD\"\n",
    );
    let plugins = &config.plugins;
    assert_eq!(plugins.dirs, [Path::new("plugins"), Path::new("/opt/mkts")]);
    assert_eq!(plugins.trust_native, ["fast"]);
    let [a, b, c, d] = &plugins.entries[..] else {
        panic!("four entries");
    };
    assert_eq!(a.host, Some(plugin_host::HostMode::Process));
    assert_eq!(a.start, plugin_host::Start::Time(1_706_659_200_000_000_000));
    assert_eq!((a.parallelism, a.timeout), (4, Duration::from_secs(9)));
    assert_eq!(a.metrics_port, Some(9100));
    assert_eq!(a.on_overflow, Some(plugin_host::OnOverflow::Coalesce));
    assert!(matches!(a.schedule, Some(plugin_host::Schedule::Cron(_))));
    assert_eq!(a.zone.name(), "America/New_York");
    assert_eq!(a.env, [("A".into(), "x".into()), ("B".into(), "7".into())]);
    assert_eq!(
        (a.limits.memory, a.limits.nofile),
        (Some(256 << 20), Some(64))
    );
    let hours = |count: u64| Duration::from_secs(count * 3600);
    assert_eq!((a.wal_hold, a.wal_hold_time), (1 << 30, hours(48)));
    assert_eq!(b.start, plugin_host::Start::Earliest);
    assert_eq!((b.wal_hold, b.wal_hold_time), (2 << 30, hours(2)));
    assert_eq!(b.host, None);
    assert_eq!(c.restart, plugin_host::Restart::OnFailure);
    assert_eq!(d.params, "BTC-USD,ETH-USD");
}

/// Configs and variables hold secrets, and a log line may show an entry.
#[test]
fn an_entry_printed_for_developers_shows_no_config() {
    let config = good("triggers:\n - {module: m, env: {A: s3cret}, config: {key: s3cret}}\n");
    let text = format!("{:?}", config.plugins.entries[0]);
    assert!(text.contains("\"m\"") && !text.contains("s3cret"), "{text}");
}

#[test]
fn utilities_on_the_main_port_are_not_bound_twice() {
    let text = "root_directory: d\nlisten_port: 5993\nutilities_url: \"localhost:5993\"\n";
    let (config, problems) = run(text).unwrap();
    assert_eq!(config.utilities_url, None);
    assert!(problems.to_string().contains("already"));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("root_directory: d\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = level - 1;
        let refs = vec![format!("*a{before}"); 9].join(",");
        text.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
    }
    assert!(run(&text).is_err());
}

/// The example that `mkts init` writes names every key and switches the two triggers on.
#[test]
fn the_example_is_complete() {
    let text = crate::cli::EXAMPLE;
    let (config, problems) = parse(text, Path::new("mkts.yml")).unwrap();
    assert_eq!(problems.to_string(), "");
    assert_eq!(config.plugins.entries.len(), 2);
    let all = TOP_KEYS
        .iter()
        .chain(REPLICATION_KEYS)
        .chain(LIMIT_KEYS)
        .chain(ENTRY_KEYS);
    for key in all {
        let named = text.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ', '-']);
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        assert!(named, "{key} is not in the example");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let example = crate::cli::EXAMPLE.as_bytes();
    let shipped = SHIPPED.as_bytes();
    for text in [example, shipped] {
        for at in (0..text.len()).step_by(29) {
            let mut bytes = text.to_vec();
            // Every 29th byte becomes one that means something to YAML, or the text ends there.
            match at % 3 {
                0 => bytes.truncate(at),
                1 => bytes[at] = b"{}[]:&*!|>'\"-\t\n"[at % 15],
                _ => drop(bytes.remove(at)),
            }
            let text = String::from_utf8(bytes).expect("the texts are ASCII");
            // Good or bad, it comes back.
            let _ = run(&text);
        }
    }
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let problems = load(Path::new("/does/not/exist.yml")).unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("/does/not/exist.yml: error: failed to read configuration file"));
    assert!(text.contains("mkts init"));
}

#[test]
fn retention_rules_are_read_in_order_and_bad_ones_named() {
    let text = "root_directory: d\nlisten_port: 1\nmerge: {enabled: false}\nretention:\n  \
                - {on: \"*/1Sec/*\", keep: 30D}\n  - {on: \"*/*/*\", keep: 2Y}\n";
    let (config, _) = run(text).unwrap();
    let keeps: Vec<u64> = config
        .retention
        .iter()
        .map(|r| r.keep.as_secs() / 86_400)
        .collect();
    assert_eq!((keeps, config.merge), (vec![30, 730], false));
    for (rules, line, part) in [
        ("retention: 30D", 3, "must be a list"),
        ("retention:\n  - {on: \"*/1Sec/*\"}", 4, "keep is missing"),
        ("retention:\n  - {keep: 3D}", 4, "on is missing"),
        (
            "retention:\n  - {on: \"*/*/*\", keep: 3M}",
            4,
            "retention[0].keep: must be a time",
        ),
        (
            "retention:\n  - {on: \"[/*/*\", keep: 3D}",
            4,
            "retention[0].on",
        ),
        (
            "retention:\n  - {on: \"*/*/*\", keeps: 3D}",
            4,
            "did you mean keep?",
        ),
        ("merge: {enabled: maybe}", 3, "merge.enabled"),
    ] {
        let text = format!("root_directory: d\nlisten_port: 1\n{rules}\n");
        let problems = run(&text).unwrap_err().to_string();
        let found = problems.lines().find(|problem| problem.contains(part));
        let found = found.unwrap_or_else(|| panic!("no \"{part}\" in {problems}"));
        assert!(found.contains(&format!(":{line}: ")), "{found}");
    }
}
