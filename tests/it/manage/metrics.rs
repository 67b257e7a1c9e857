//! `/metrics` and `/health`: everything that is served is documented, and the other way round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::server::workspace;

use super::{ENTRIES, Site};

/// The metrics, once one is there: a statement is counted when its last byte has gone.
fn until_counted(site: &Site, name: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let text = site.client().get("/metrics").unwrap().1;
        if text.contains(name) {
            return text;
        }
        assert!(Instant::now() < end, "{name} is not there: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_table_of_metrics_is_what_a_server_serves() {
    let site = Site::new(ENTRIES);
    site.write("A/1Min/OHLCV", 0..10);
    site.settle("one");
    let key = model::BucketKey::parse("A/1Min/OHLCV").unwrap();
    site.client().get_info(&key).unwrap();
    let answer = site.client().sql("SELECT 1", "text/csv", &mut |_| {});
    std::io::copy(&mut answer.unwrap(), &mut std::io::sink()).unwrap();
    let text = until_counted(&site, "mkts_sql_seconds");
    let of_type = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    };
    let mut served: BTreeMap<String, String> = text.lines().filter_map(of_type).collect();
    // What a plugin counts itself.
    let own = served.remove("mkts_plugin_probe_rows_seen");
    assert_eq!(own.as_deref(), Some("counter"));
    let docs = std::fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?;
        let is_type = ["gauge", "counter", "histogram", "summary"].contains(&kind);
        let name = name.split('{').next()?;
        (is_type && cells.next().is_some()).then(|| (name.to_owned(), kind.to_owned()))
    };
    let mut documented: BTreeMap<String, String> = docs.lines().filter_map(row).collect();
    // Nobody has called gRPC; `grpc::calls_are_counted` looks for it.
    documented.remove("mkts_grpc_seconds").unwrap();
    assert_eq!(served, documented);
    // Of every instance, labelled.
    for name in documented
        .keys()
        .filter(|name| name.starts_with("mkts_plugin_"))
    {
        let start = format!("{name}{{instance=\"one\"");
        let sum = format!("{name}_sum{{instance=\"one\"");
        let is_served = |line: &str| line.starts_with(&start) || line.starts_with(&sum);
        assert!(text.lines().any(is_served), "{name}: {text}");
    }
    let value = |line: &str| {
        let found = text
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line}: {text}")).to_owned()
    };
    assert_eq!(value("mkts_plugin_state{instance=\"one\"}"), "1");
    assert_eq!(
        value("mkts_plugin_fires_total{instance=\"one\",result=\"ok\"}"),
        "1"
    );
    assert_eq!(
        value("mkts_plugin_rows_total{instance=\"one\",dir=\"in\"}"),
        "10"
    );
    assert_eq!(
        value("mkts_plugin_rows_total{instance=\"one\",dir=\"out\"}"),
        "1"
    );
    assert_eq!(
        value("mkts_plugin_fire_seconds_count{instance=\"one\"}"),
        "1"
    );
    // Two and a half: what is no whole number yet is carried.
    let own = "mkts_plugin_probe_rows_seen{instance=\"one\"}";
    assert_eq!(value(own), "2");
    site.write("B/1Min/OHLCV", 0..2);
    site.settle("one");
    let more = site.client().get("/metrics").unwrap().1;
    assert!(more.contains(&format!("{own} 3\n")), "{more}");
    assert!(!more.contains("unnamed"), "{more}");
    let bytes = site.instance("one")["state_bytes"].to_string();
    assert_eq!(value("mkts_plugin_state_bytes{instance=\"one\"}"), bytes);
    assert!(bytes != "0");
}

#[test]
fn health_is_that_of_the_required_instances() {
    let required = "
  - module: other
    name: needed
    on: '*/1Min/NONE'
    required: true
";
    let site = Site::new(&format!("{ENTRIES}{required}"));
    let health = || {
        let (status, text) = site.client().get("/health").unwrap();
        let health: Value = serde_json::from_str(&text).unwrap();
        (status, health["ready"].clone(), health["degraded"].clone())
    };
    let steer = |call: &str| assert_eq!(site.ask("POST", &format!("plugins/{call}"), "").0, 200);
    assert_eq!(health(), (200, json!(true), json!([])));
    steer("one:pause");
    let (status, ready, degraded) = health();
    assert_eq!((status, ready), (200, json!(true)));
    assert_eq!(degraded[0]["instance"], "one");
    assert_eq!(degraded[0]["state"], "paused");
    assert_eq!(degraded[0]["required"], false);
    steer("one:resume");
    site.write("SICK/1Min/OHLCV", 0..1);
    site.wait("one", "degraded health", |i| i["health"] == "degraded");
    let (status, _, degraded) = health();
    assert_eq!((status, &degraded[0]["state"]), (200, &json!("running")));
    assert_eq!(degraded[0]["reason"], "SICK/1Min/OHLCV with ***");
    // A new object has said nothing yet.
    steer("one:restart");
    assert_eq!(health(), (200, json!(true), json!([])));
    steer("needed:pause");
    let (status, ready, degraded) = health();
    assert_eq!((status, ready), (503, json!(false)));
    assert_eq!(degraded[0]["instance"], "needed");
    assert!(degraded[0]["reason"] != "", "{degraded}");
    steer("needed:resume");
    assert_eq!(health(), (200, json!(true), json!([])));
}
