//! What `ops/` brings holds: every metric of the dashboard is documented and there, the configurations
//! are ones that the server takes, the unit and the chart are ones that their tools take.
//!
//! `systemd-analyze` and `helm` are asked where they are installed; where not, that is said.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use server::config;
use tests::server::{ONDISKAGG, Server, binary, workspace};
use tests::wire::{Table, query_one, write};

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

/// Names of metrics in a text, without the suffixes of histograms and summaries.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c));
    let ours = words.filter(|w| w.starts_with("mkts_") || w.starts_with("alpaca_marketstore_"));
    let base = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s));
        suffix.unwrap_or(name).to_owned()
    };
    ours.map(base).collect()
}

/// The queries of the dashboard, a line each.
fn queries() -> String {
    let dashboard: Value = serde_json::from_str(&read("ops/grafana/mkts.json")).unwrap();
    let mut queries = String::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "two panels have one id"
        );
        let targets = panel["targets"].as_array();
        for target in targets.into_iter().flatten() {
            queries.push_str(target["expr"].as_str().unwrap());
            queries.push('\n');
        }
    }
    queries
}

#[test]
fn every_metric_of_the_dashboard_is_documented() {
    let documented = metrics(&read("docs/operations.md"));
    let shown = metrics(&queries());
    assert!(shown.len() > 15, "{shown:?}");
    let unknown: Vec<_> = shown.difference(&documented).collect();
    assert!(unknown.is_empty(), "not in docs/operations.md: {unknown:?}");
}

/// Counters of what has not happened yet are not there yet.
const LATER: &[&str] = &[
    "mkts_grpc_seconds",
    "mkts_merges_total",
    "mkts_panics_total",
    "mkts_rejected_total",
    "mkts_retention_rows_total",
    "mkts_stream_closed_total",
    "mkts_stream_conflated_total",
];

#[test]
fn a_server_has_every_metric_of_the_dashboard() {
    let server = Server::start(&[ONDISKAGG], "grpc_listen_port: 0\n");
    let mut client = server.client();
    let bars = Table::default()
        .i8("Epoch", &[60, 120])
        .f4("Open", &[1.0, 2.0]);
    write(&mut client, &[("A/1Min/OHLCV", &bars)], false).unwrap();
    query_one(&mut client, "A/1Min/OHLCV").unwrap();
    let done = client
        .send("POST", "/admin/v1/checkpoint", None, b"")
        .unwrap();
    assert_eq!(done.status, 200, "{}", done.text());
    let text = client.send("GET", "/metrics", None, b"").unwrap().text();
    let there = metrics(&text);
    let shown = metrics(&queries());
    let missing: Vec<_> = shown.difference(&there).collect();
    let missing: Vec<_> = missing
        .iter()
        .filter(|name| !LATER.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in /metrics: {missing:?}");
}

/// A tool with arguments; `None`, with a loud line, if it is not installed.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => {
            let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
            assert!(output.status.success(), "{name}: {out}\n{err}");
            assert!(err.is_empty(), "{name}: {err}");
            Some(out.into_owned())
        }
        Err(error) => {
            eprintln!("SKIPPED: no {name}: {error}");
            None
        }
    }
}

#[test]
fn systemd_takes_the_unit() {
    let unit = read("ops/systemd/mkts.service");
    let installed = "ExecStart=/usr/local/bin/mkts ";
    assert!(unit.contains(installed));
    let ours = format!("ExecStart={} ", binary().display());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mkts.service");
    std::fs::write(&file, unit.replace(installed, &ours)).unwrap();
    tool("systemd-analyze", &["verify", file.to_str().unwrap()]);
}

/// With its defaults, and with everything on.
#[test]
fn helm_takes_the_chart() {
    let chart = workspace().join("ops/helm");
    let chart = chart.to_str().unwrap();
    let all = "tokensSecret=t,tlsSecret=s,serviceMonitor.enabled=true,\
               serviceMonitor.tokenSecret=m,storage.className=fast,image.tag=1";
    if tool("helm", &["lint", "--strict", chart]).is_none() {
        return;
    }
    let plain = tool("helm", &["template", "one", chart]).unwrap();
    assert!(
        !plain.contains("auth:") && !plain.contains("ServiceMonitor"),
        "{plain}"
    );
    let full = tool("helm", &["template", "one", chart, "--set", all]).unwrap();
    for part in [
        "auth: {tokens_file:",
        "tls: {cert:",
        "kind: ServiceMonitor",
        "scheme: HTTPS",
        "storageClassName: fast",
    ] {
        assert!(full.contains(part), "{part}: {full}");
    }
    // What a pod would start with is taken by the server.
    for rendered in [&plain, &full] {
        let (_, config) = rendered.split_once("mkts.yml: |\n").unwrap();
        let lines = config
            .lines()
            .take_while(|l| l.is_empty() || l.starts_with("    "));
        let lines = lines.map(|line| line.strip_prefix("    ").unwrap_or(line));
        let text = lines.collect::<Vec<_>>().join("\n");
        let (_, problems) = config::parse(&text, Path::new("mkts.yml")).unwrap();
        assert!(problems.list.is_empty(), "{problems}");
    }
}

#[test]
fn the_configurations_are_taken() {
    let check = |name: &str, text: &str| {
        let (_, problems) = config::parse(text, Path::new(name)).unwrap();
        assert!(problems.list.is_empty(), "{problems}");
    };
    check("ops/docker/mkts.yml", &read("ops/docker/mkts.yml"));
    // What the chart puts around the part of its values.
    let values = read("ops/helm/values.yaml");
    let (_, config) = values.split_once("config: |\n").unwrap();
    let lines = config
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line));
    let config = lines.collect::<Vec<_>>().join("\n");
    let around = "root_directory: /data/store\nlisten_host: 0.0.0.0\nlisten_port: 5993\n\
                  grpc_listen_port: 5995\nauth: {tokens_file: /etc/mkts-tokens/tokens}\n\
                  tls: {cert: /etc/mkts-tls/tls.crt, key: /etc/mkts-tls/tls.key}\n";
    check("ops/helm/values.yaml", &format!("{around}{config}"));
    for line in around.lines().skip(1) {
        let key = line.split(':').next().unwrap();
        let chart = read("ops/helm/templates/configmap.yaml");
        assert!(chart.contains(&format!("    {key}:")), "{key}");
    }
}
