//! What `ops/` brings holds: every metric of the dashboard is documented, and the configurations are
//! ones that the server takes.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use server::config;
use tests::server::workspace;

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

#[test]
fn every_metric_of_the_dashboard_is_documented() {
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
    let documented = metrics(&read("docs/operations.md"));
    let shown = metrics(&queries);
    assert!(shown.len() > 15, "{shown:?}");
    let unknown: Vec<_> = shown.difference(&documented).collect();
    assert!(unknown.is_empty(), "not in docs/operations.md: {unknown:?}");
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
