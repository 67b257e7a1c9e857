//! Start, stop and configuration of the real binary.

use std::path::Path;
use std::process::{Command, Output};
use tests::server::{ONDISKAGG, STREAM, Server, binary, workspace};
use tests::wire::{Table, list, query, write};

const KEY: &str = "A/1Min/OHLCV";

fn bars(n: i64) -> Table {
    let epochs: Vec<i64> = (0..n).map(|i| 1_583_159_400 + 60 * i).collect();
    let prices: Vec<f32> = (0..n).map(|i| i as f32).collect();
    Table::default().i8("Epoch", &epochs).f4("Open", &prices)
}

fn start_with(config: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temp directory");
    let file = dir.path().join("mkts.yml");
    std::fs::write(&file, config).expect("the configuration");
    // A faulty configuration must not start; if it does, it would serve for ever.
    let mut child = Command::new(binary())
        .args(["start", "--config"])
        .arg(&file)
        .arg("--ready-file")
        .arg(dir.path().join("ready"))
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the server starts");
    loop {
        if child.try_wait().expect("the child can be asked").is_some() {
            return child.wait_with_output().expect("output");
        }
        if dir.path().join("ready").exists() {
            child.kill().expect("the child can be killed");
            child.wait().expect("the child ends");
            panic!("this configuration was accepted:\n{config}");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_faulty_configuration_is_refused_with_file_line_and_what_to_do() {
    let good = "root_directory: data\nlisten_port: 0\n";
    let trigger = |lines: &str| format!("{good}triggers:\n{lines}");
    let cases: Vec<(&str, String, &[&str])> = vec![
        (
            "misspelt key",
            format!("{good}listen_hots: x\n"),
            &["mkts.yml:3", "listen_host"],
        ),
        (
            "no root",
            "listen_port: 0\n".into(),
            &["mkts.yml", "root_directory"],
        ),
        (
            "no port",
            "root_directory: data\n".into(),
            &["mkts.yml", "listen_port"],
        ),
        (
            "bad port",
            "root_directory: data\nlisten_port: 99999\n".into(),
            &["mkts.yml:2", "listen_port"],
        ),
        (
            "bad zone",
            format!("{good}timezone: Mars/Olympus\n"),
            &["mkts.yml:3", "Mars/Olympus"],
        ),
        (
            "bad bool",
            format!("{good}init_catalog: perhaps\n"),
            &["mkts.yml:3", "init_catalog"],
        ),
        (
            "key twice",
            format!("{good}listen_port: 1\n"),
            &["mkts.yml", "listen_port"],
        ),
        ("no YAML", "root_directory: [".into(), &["mkts.yml"]),
        ("empty", String::new(), &["mkts.yml"]),
        (
            "unquoted star",
            trigger("  - module: stream.so\n    on: */1Min/OHLCV\n"),
            &["mkts.yml:5", "quote"],
        ),
        (
            "unknown module that is required",
            trigger("  - module: nosuch.so\n    on: \"*/1Min/OHLCV\"\n    required: true\n"),
            &["mkts.yml", "required instance", "nosuch"],
        ),
        (
            "bad destination of a required trigger",
            trigger(
                "  - module: ondiskagg.so\n    on: \"*/1Min/OHLCV\"\n    required: true\n    \
                 config:\n      destinations: [5Parsec]\n",
            ),
            &["mkts.yml", "5Parsec"],
        ),
        (
            "misspelt trigger key",
            trigger("  - modul: stream.so\n    on: \"*/*/*\"\n"),
            &["mkts.yml:4", "module"],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, config, words) in cases {
        let output = start_with(&config);
        let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
        let text = format!("{out}{err}");
        if output.status.success() || output.status.code().is_none() {
            wrong.push(format!("{name}: ended with {}", output.status));
        }
        for word in words {
            if !text.contains(word) {
                wrong.push(format!("{name}: {word:?} is not in {text:?}"));
            }
        }
        if text.contains("panicked") {
            wrong.push(format!("{name}: panicked: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with one entry keeps that instance from running and nothing else; `check-config`
/// calls it an error.
#[test]
fn an_entry_that_cannot_run_degrades_the_server() {
    let entries = "triggers:
  - {module: nosuch.so, name: missing, on: \"*/1Min/OHLCV\"}
  - {module: stream.so, name: pattern, on: \"*/1Min\"}
  - {module: ondiskagg.so, name: config, on: \"*/1Min/OHLCV\", config: {destinations: [5Parsec]}}
  - {module: ondiskagg.so, name: good, on: \"*/1Min/OHLCV\", config: {destinations: [5Min]}}
";
    let server = Server::start(&[], entries);
    let mut client = server.client();
    write(&mut client, &[(KEY, &bars(3))], false).expect("good rows");
    let answer = client.send("GET", "/admin/v1/status", None, b"");
    let text = answer.expect("the server answers").text();
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let triggers = status["triggers"].as_array().expect("a list");
    let found: Vec<(&str, &str, &str)> = triggers
        .iter()
        .map(|trigger| {
            let text = |key: &str| trigger[key].as_str().expect("text");
            (text("id"), text("state"), text("reason"))
        })
        .collect();
    let expected = [
        ("missing", "missing", "nosuch"),
        ("pattern", "failed", "*/1Min"),
        ("config", "failed", "5Parsec"),
        ("good", "running", ""),
    ];
    for ((id, state, reason), expected) in found.iter().zip(expected) {
        assert_eq!((*id, *state), (expected.0, expected.1), "{found:?}");
        assert!(reason.contains(expected.2), "{found:?}");
    }
    let checked = Command::new(binary())
        .args(["check-config", "--config"])
        .arg(server.outside().with_file_name("mkts.yml"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{text}");
    assert_eq!(text.matches(": error: ").count(), 3, "{text}");
}

#[test]
fn the_example_configuration_is_good() {
    let output = Command::new(binary())
        .args(["check-config", "--config"])
        .arg(workspace().join("mkts.yml"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let server = Server::start(&[], "");
    let mut client = server.client();
    write(&mut client, &[(KEY, &bars(3))], false).expect("good rows");
    let config = format!(
        "root_directory: {}\nlisten_port: 0\n",
        server.root().display()
    );
    let output = start_with(&config);
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    let text = format!("{out}{err}");
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("in use"), "{text}");
    write(&mut client, &[(KEY, &bars(5))], false).expect("good rows");
    assert_eq!(query(&mut client, KEY).expect("a query")[KEY], bars(5));
}

#[test]
fn a_graceful_stop_under_load_keeps_exactly_what_was_acknowledged() {
    let mut server = Server::start(&[ONDISKAGG, STREAM], "");
    let addr = server.addr();
    let (started, wait) = std::sync::mpsc::channel();
    let mut acknowledged = 0;
    let mut refused = false;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = tests::http::Client::new(addr);
            let mut n = 0;
            loop {
                match write(&mut client, &[(KEY, &bars(n + 1))], false) {
                    Ok(()) => n += 1,
                    // Closed, or told that the server stops: either way not acknowledged.
                    Err(e) => return (n, format!("{e:?}")),
                }
                if n == 20 {
                    started.send(()).expect("the test waits");
                }
            }
        });
        wait.recv().expect("20 writes");
        let status = server.terminate();
        assert!(status.success(), "{status}");
        let (n, end) = writer.join().expect("the writer ends");
        (acknowledged, refused) = (n, !end.is_empty());
    });
    assert!(refused && acknowledged >= 20);
    server.restart();
    let stored = query(&mut server.client(), KEY).expect("a query")[KEY].clone();
    // The request under way may have been stored; nothing else.
    assert!(
        stored == bars(acknowledged) || stored == bars(acknowledged + 1),
        "{}",
        stored.rows
    );
}

#[test]
fn recovery_twice_in_a_row_changes_nothing() {
    let mut server = Server::start(&[], "");
    let ticks = Table::default()
        .i8("Epoch", &[1_583_159_400, 1_583_159_400, 1_583_159_401])
        .f4("Bid", &[1.0, 1.0, 2.0])
        .i4("Nanoseconds", &[5, 5, 0]);
    let mut client = server.client();
    write(&mut client, &[(KEY, &bars(10))], false).expect("good rows");
    write(&mut client, &[("T/1Sec/TICK", &ticks)], true).expect("good ticks");
    for _ in 0..3 {
        server.kill();
        server.restart();
        let mut client = server.client();
        assert_eq!(list(&mut client).expect("a list"), [KEY, "T/1Sec/TICK"]);
        assert_eq!(query(&mut client, KEY).expect("a query")[KEY], bars(10));
        assert_eq!(
            query(&mut client, "T/1Sec/TICK").expect("a query")["T/1Sec/TICK"],
            ticks
        );
    }
}

#[test]
fn init_writes_a_configuration_that_starts_and_never_overwrites_one() {
    let dir = tempfile::tempdir().expect("a temp directory");
    let init = |path: &Path| {
        Command::new(binary())
            .arg("init")
            .current_dir(path)
            .output()
            .expect("runs")
    };
    let output = init(dir.path());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = dir.path().join("mkts.yml");
    let text = std::fs::read_to_string(&file).expect("mkts.yml");
    assert!(text.contains("root_directory") && text.contains("ondiskagg"));
    let check = Command::new(binary())
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .expect("runs");
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
    std::fs::write(&file, "# mine\n").expect("writable");
    init(dir.path());
    assert_eq!(
        std::fs::read_to_string(&file).expect("readable"),
        "# mine\n"
    );
}

/// Prometheus refuses a page that names the type of a metric twice.
#[test]
fn metrics_have_one_type_each_and_count_the_triggers() {
    let server = Server::start(&[ONDISKAGG, STREAM], "");
    let mut client = server.client();
    write(&mut client, &[(KEY, &bars(9))], false).expect("bars");
    // Each trigger has fired, whatever came of it.
    let fired = |text: &str| {
        let fires = text
            .lines()
            .filter(|l| l.starts_with("mkts_plugin_fires_total"));
        fires.filter(|line| !line.ends_with(" 0")).count() >= 2
    };
    let begun = std::time::Instant::now();
    let text = loop {
        let text = client
            .send("GET", "/metrics", None, b"")
            .expect("metrics")
            .text();
        if fired(&text) {
            break text;
        }
        assert!(
            begun.elapsed().as_secs() < 20,
            "the triggers have not fired\n{text}"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let mut types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let count = types.len();
    types.sort_unstable();
    types.dedup_by_key(|line| line.split(' ').nth(2));
    assert_eq!(types.len(), count, "a metric has two types\n{text}");
    for name in [
        "mkts_wal_sync_seconds_count",
        "alpaca_marketstore_startup_seconds",
        "mkts_plugin_lag_bytes",
        "mkts_plugin_state",
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(name)),
            "no {name} in\n{text}"
        );
    }
}
