//! Secrets of configs are nowhere: not in an answer, a log line, a metric, an error or a file that
//! is there to be shown.

use super::{ENTRIES, PIN, Site, TOKEN, all, run};

/// Instances that say their token when they are made, whose module is not there, and that are off.
const LOUD: &str = "
  - module: probe
    name: refusing
    on: '*/1Min/NONE'
    config: {token: s3cret-token-value, refuses_while: refuse}
  - module: nowhere
    name: absent
    config: {key: s3cret-token-value, pin: 73519846, list: [s3cret-token-value]}
  - module: probe
    name: off
    enabled: false
    config: {token: s3cret-token-value}
";

#[test]
fn no_answer_shows_a_secret() {
    let mut site = Site::new(&format!("{ENTRIES}{LOUD}"));
    site.write("A/1Min/OHLCV", 0..10);
    site.write("BAD/1Min/OHLCV", 0..3);
    site.wait("one", "a dead letter", |i| i["dead_letters"] == 1);
    site.settle("one");
    let letter = site.get("plugins/one/dlq")["letters"][0]["id"].clone();
    let letter = letter.as_str().unwrap();
    let mut seen = Vec::new();
    std::fs::write(site.path("refuse"), "").unwrap();
    for verb in ["restart", "enable", "reload", "resume"] {
        let path = format!("plugins/refusing:{verb}");
        seen.push(site.ask("POST", &path, "").1.to_string());
    }
    assert_eq!(site.instance("refusing")["state"], "failed");
    for path in [
        "status".to_owned(),
        "plugins".into(),
        "plugins/one".into(),
        "plugins/refusing".into(),
        "plugins/absent".into(),
        "plugins/off".into(),
        "plugins/one/logs?lines=1000".into(),
        "plugins/refusing/logs".into(),
        "plugins/one/state".into(),
        "plugins/one/state/token".into(),
        "plugins/one/state/token?raw=true".into(),
        "plugins/one/dlq".into(),
        format!("plugins/one/dlq/{letter}"),
        format!("plugins/{TOKEN}"),
        format!("plugins/one/state/{TOKEN}"),
    ] {
        seen.push(site.ask("GET", &path, "").1.to_string());
    }
    for path in ["/metrics", "/health", "/heartbeat"] {
        seen.push(site.client().get(path).unwrap().1);
    }
    for args in [
        &["plugin", "list"][..],
        &["plugin", "list", "--json"],
        &["plugin", "describe", "one"],
        &["plugin", "describe", "absent"],
        &["plugin", "logs", "one"],
        &["plugin", "state", "scan", "one"],
        &["plugin", "state", "get", "one", "token", "--raw"],
        &["plugin", "dlq", "show", "one", letter],
        &["plugin", "top", "--once", "--interval", "0.05"],
        &["status"],
    ] {
        seen.push(all(&site.mkts(args)));
    }
    seen.push(all(&run(site.dir.path(), &["check-config"])));
    let offline = ["plugin", "list", "--offline", "--json"];
    seen.push(all(&run(site.dir.path(), &offline)));
    site.stop();
    seen.push(std::fs::read_to_string(site.path("log")).unwrap());
    let shown = |text: &str| seen.iter().any(|answer| answer.contains(text));
    // What was looked through had something to hide.
    assert!(shown("BAD/1Min/OHLCV with ***"), "{seen:?}");
    assert!(shown("the token *** is not taken"), "{seen:?}");
    assert!(shown("rows of A/1Min/OHLCV, token ***"), "{seen:?}");
    let base64 = "czNjcmV0LXRva2VuLXZhbHVl";
    for answer in &seen {
        for secret in [TOKEN, &PIN.to_string(), base64] {
            assert!(!answer.contains(secret), "{secret}: {answer}");
        }
    }
}
