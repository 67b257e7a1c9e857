//! Every command against REST.

use serde_json::{Value, json};

use super::{ENTRIES, Site, all};

/// An id that has to be encoded.
const ODD: &str = "a b:c%";
const ODD_PATH: &str = "plugins/a%20b%3Ac%25";

/// Three good buckets, two bad ones, all fired.
fn written() -> Site {
    let site = Site::new(ENTRIES);
    site.write("A/1Min/OHLCV", 0..10);
    site.write("BAD/1Min/OHLCV", 0..3);
    site.write("BADLY/1Min/OHLCV", 0..2);
    site.write("B/1Min/OHLCV", 0..5);
    site.wait("one", "dead letters", |i| i["dead_letters"] == 2);
    site.settle("one");
    site
}

#[test]
fn instances_are_listed_described_and_watched() {
    let site = written();
    let listed = site.json(&["plugin", "list"]);
    assert_eq!(listed, site.get("plugins")["instances"]);
    assert_eq!(listed[0]["id"], "one");
    assert_eq!(listed[1]["id"], ODD);
    let text = site.text(&["plugin", "list"]);
    assert!(
        text.contains("one       running  1.2.3    builtin  probe"),
        "{text}"
    );
    let described = site.json(&["plugin", "describe", "one"]);
    assert_eq!(described, site.instance("one"));
    assert_eq!(described["config"]["shown"], "plain");
    assert_eq!(described["manifest"]["name"], "probe");
    assert_eq!(described["limits"]["max_attempts"], 2);
    assert_eq!(described["limits"]["on_error"], "dead_letter");
    let odd = site.json(&["plugin", "describe", ODD]);
    assert_eq!(odd, site.get(ODD_PATH));
    assert_eq!(odd["id"], ODD);
    let text = site.text(&["plugin", "describe", "one"]);
    assert!(text.contains("state        running since "), "{text}");
    let top = ["plugin", "top", "--once", "--interval", "0.05"];
    let lines = site.json(&top);
    assert_eq!(lines[0]["id"], "one");
    assert_eq!(lines[0]["state"], "running");
    assert_eq!(lines[0]["dead_letters"], 2);
    assert_eq!(lines[0]["fires_per_second"], 0.0);
    let text = site.text(&top);
    assert!(text.starts_with("INSTANCE  STATE    FIRES/S"), "{text}");
}

#[test]
fn log_lines_of_an_instance_are_shown_and_followed_by_number() {
    let site = written();
    let path = "plugins/one/logs?lines=1000";
    let lines = site.get(path)["lines"].as_array().unwrap().clone();
    let texts: Vec<&str> = lines.iter().map(|l| l["text"].as_str().unwrap()).collect();
    assert!(
        texts
            .iter()
            .any(|t| t.starts_with("10 rows of A/1Min/OHLCV")),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|t| t.contains("BADLY/1Min/OHLCV")),
        "{texts:?}"
    );
    let shown = site.text(&["plugin", "logs", "one", "--lines", "1000", "--json"]);
    let shown: Vec<Value> = shown
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(shown, lines);
    let text = site.text(&["plugin", "logs", "one", "-l", "2"]);
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.lines().all(|line| line.contains("Z INFO ")
            || line.contains("Z ERROR ")
            || line.contains("Z WARN ")),
        "{text}"
    );
    // What --follow asks for.
    let seq = lines[lines.len() - 3]["seq"].as_u64().unwrap();
    let more = site.get(&format!("plugins/one/logs?after={seq}"));
    assert_eq!(more["lines"], json!(lines[lines.len() - 2..]));
    assert_eq!(more["last"], lines[lines.len() - 1]["seq"]);
    let none = site.get(&format!("plugins/one/logs?after={}", more["last"]));
    assert_eq!((&none["lines"], &none["last"]), (&json!([]), &more["last"]));
}

#[test]
fn state_is_read_and_changed_while_the_instance_rests() {
    let site = written();
    let entries = site.json(&["plugin", "state", "scan", "one"]);
    assert_eq!(entries, site.get("plugins/one/state"));
    let entry = |key: Value| {
        let all = entries["entries"].as_array().unwrap().iter();
        let mut found = all.filter(|entry| entry["key"] == key);
        found.next().unwrap_or_else(|| panic!("{key}: {entries}"))["value"].clone()
    };
    assert_eq!(entry(json!("rows")), json!({"counter": 15}));
    assert_eq!(entry(json!("packed")), json!({"msgpack": {"sum": 15}}));
    assert_eq!(entry(json!("last")), json!({"text": "B/1Min/OHLCV"}));
    assert_eq!(entry(json!({"base64": "/y86"})), json!({"base64": "//4="}));
    let some = site.json(&["plugin", "state", "scan", "one", "p", "--limit", "1"]);
    assert_eq!(
        some["entries"],
        json!([{"key": "packed", "value": {"msgpack": {"sum": 15}}}])
    );
    assert_eq!(site.get("plugins/one/state?limit=1")["more"], true);
    let text = site.text(&["plugin", "state", "scan", "one"]);
    assert!(text.contains("packed       {\"sum\":15}\n"), "{text}");
    let names = site.text(&["plugin", "state", "scan", "one", "--namespaces"]);
    assert_eq!(names, "\n", "one namespace without a name");
    let get = ["plugin", "state", "get", "one"];
    assert_eq!(
        site.json(&[&get[..], &["rows"]].concat())["value"],
        json!({"counter": 15})
    );
    assert_eq!(site.text(&[&get[..], &["rows"]].concat()), "15\n");
    assert_eq!(
        site.text(&[&get[..], &["last", "--raw"]].concat()),
        "B/1Min/OHLCV"
    );
    let odd = site.json(&[&get[..], &["/y86", "--base64-key"]].concat());
    assert_eq!(odd, site.get("plugins/one/state/%FF/:"));
    assert_eq!(odd["value"], json!({"base64": "//4="}));
    let put = ["plugin", "state", "put", "one"];
    let refused = site.mkts(&[&put[..], &["rows", "--counter", "5"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(all(&refused).contains("pause it"), "{}", all(&refused));
    site.text(&["plugin", "pause", "one"]);
    for (args, path, expected) in [
        (
            &["rows", "--counter", "-5"][..],
            "rows",
            json!({"counter": -5}),
        ),
        (
            &["t", "--text", "a"],
            "t",
            json!({"text": "a", "msgpack": 97}),
        ),
        (
            &["m", "--msgpack", "{\"x\":[1]}"],
            "m",
            json!({"msgpack": {"x": [1]}}),
        ),
        (
            &["/w==", "--base64-key", "--base64", "gA=="],
            "%ff",
            json!({"msgpack": {}}),
        ),
    ] {
        site.text(&[&put[..], args].concat());
        assert_eq!(
            site.get(&format!("plugins/one/state/{path}"))["value"],
            expected
        );
    }
    site.text(&[&put[..], &["t", "--delete"]].concat());
    assert_eq!(site.ask("GET", "plugins/one/state/t", "").0, 404);
    // The instance goes on with what an operator has put there.
    site.text(&["plugin", "resume", "one"]);
    site.write("C/1Min/OHLCV", 0..1);
    site.settle("one");
    assert_eq!(
        site.get("plugins/one/state/rows")["value"],
        json!({"counter": -4})
    );
}

#[test]
fn dead_letters_are_shown_fired_again_and_dropped() {
    let site = written();
    let letters = site.json(&["plugin", "dlq", "list", "one"]);
    assert_eq!(letters, site.get("plugins/one/dlq"));
    assert_eq!(letters["count"], 2);
    let first = letters["letters"][0]["id"].as_str().unwrap();
    let shown = site.json(&["plugin", "dlq", "show", "one", first]);
    assert_eq!(shown, site.get(&format!("plugins/one/dlq/{first}")));
    assert_eq!(shown["key"], "BAD/1Min/OHLCV");
    assert_eq!(shown["attempts"], 2);
    assert_eq!(
        shown["data"]["times_ns"],
        json!([0, 60_000_000_000_i64, 120_000_000_000_i64])
    );
    assert_eq!(shown["data"]["columns"]["Close"]["values"][1], 6e10);
    let text = site.text(&["plugin", "dlq", "show", "one", first]);
    assert!(
        text.contains("1970-01-01T00:01:00Z   60000000000.0\n"),
        "{text}"
    );
    let text = site.text(&["plugin", "dlq", "list", "one", "--limit", "1"]);
    assert!(text.ends_with("... and 1 more\n"), "{text}");
    let refused = site.mkts(&["plugin", "dlq", "drop", "one", first]);
    assert!(all(&refused).contains("--yes says so"), "{}", all(&refused));
    std::fs::remove_file(site.path("fails")).unwrap();
    let replayed = site.json(&["plugin", "dlq", "replay", "one", first]);
    assert_eq!(replayed, json!({"replayed": 1}));
    let gone = |count: u64| {
        site.wait("one", "fewer dead letters", |_| {
            site.get("plugins/one/dlq")["count"] == count
        })
    };
    gone(1);
    assert_eq!(
        site.get("plugins/one/state/rows")["value"],
        json!({"counter": 18})
    );
    let dropped = site.json(&["plugin", "dlq", "drop", "one", "--all", "--yes"]);
    assert_eq!(dropped, json!({"dropped": 1}));
    gone(0);
    assert_eq!(
        site.get("plugins/one/state/rows")["value"],
        json!({"counter": 18})
    );
}

#[test]
fn an_instance_is_paused_set_back_and_reset() {
    let site = Site::new(ENTRIES);
    let count = || site.get("plugins/one/state/rows")["value"]["counter"].clone();
    let begin = site.json(&["plugin", "cursor", "show", "one"]);
    assert_eq!(begin, site.get("plugins/one/cursor"));
    let begin = begin["cursor"].as_str().unwrap();
    site.write("A/1Min/OHLCV", 0..10);
    site.settle("one");
    assert_eq!(count(), 10);
    let paused = site.json(&["plugin", "pause", "one"]);
    assert_eq!(paused["state"], "paused");
    assert_eq!(paused["cursor"], site.instance("one")["cursor"]);
    site.write("A/1Min/OHLCV", 10..15);
    assert_eq!(count(), 10);
    let set = site.json(&["plugin", "cursor", "set", "one", begin]);
    assert_eq!(set, site.get("plugins/one/cursor"));
    assert_eq!(set["cursor"], begin);
    assert_eq!(site.text(&["plugin", "resume", "one"]), "one: running\n");
    site.settle("one");
    assert_eq!(count(), 25, "the first ten fired again");
    let text = site.text(&["plugin", "cursor", "show", "one"]);
    assert!(text.contains(", 0 B behind\nvisible"), "{text}");
    // The same rows once more, without the log.
    site.json(&["trigger", "backfill", "one"]);
    site.wait("one", "rows of the store", |_| count() == 40);
    let epoch = site.get("plugins/one/cursor")["epoch"].as_u64().unwrap();
    assert_eq!(site.json(&["plugin", "restart", "one"])["state"], "running");
    assert!(site.get("plugins/one/cursor")["epoch"].as_u64().unwrap() > epoch);
    let reloaded = site.json(&["plugin", "reload", "one"]);
    assert_eq!(
        (&reloaded["version"], &reloaded["old_version"]),
        (&json!("1.2.3"), &json!("1.2.3"))
    );
    let text = site.text(&["plugin", "reload", "one"]);
    assert_eq!(text, "one: running, version 1.2.3 (was 1.2.3)\n");
    assert_eq!(
        site.json(&["plugin", "reset", "one", "--yes"])["state"],
        "running"
    );
    assert_eq!(site.get("plugins/one/state")["entries"], json!([]));
}

#[test]
fn what_is_disabled_stays_so_and_what_is_orphaned_is_forgotten() {
    let mut site = written();
    assert_eq!(
        site.json(&["plugin", "disable", "one"])["state"],
        "disabled"
    );
    site.stop();
    site.start();
    assert_eq!(site.instance("one")["state"], "disabled");
    assert_eq!(site.json(&["plugin", "enable", "one"])["state"], "running");
    site.settle("one");
    assert_eq!(
        site.get("plugins/one/state/rows")["value"],
        json!({"counter": 15})
    );
    assert_eq!(
        site.json(&["plugin", "gc", "--dry-run"])["orphans"],
        json!([])
    );
    site.stop();
    std::fs::write(
        site.path("mkts.yml"),
        "root_directory: data\nlisten_port: 0\n",
    )
    .unwrap();
    site.start();
    let listed = site.get("plugins");
    assert_eq!(listed["instances"], json!([]));
    let text = site.text(&["plugin", "list"]);
    assert!(
        text.contains("one is stored, and no entry names it"),
        "{text}"
    );
    let would = site.json(&["plugin", "gc", "--dry-run"]);
    assert_eq!(
        (&would["orphans"], &would["dry_run"]),
        (&listed["orphans"], &json!(true))
    );
    assert_eq!(would["orphans"][0]["id"], "one");
    // What is stored of it can still be read.
    assert_eq!(
        site.get("plugins/one/state/rows")["value"],
        json!({"counter": 15})
    );
    assert_eq!(site.get("plugins/one/dlq")["count"], 2);
    let (status, answer) = site.ask("GET", "plugins/one", "");
    assert_eq!(status, 404);
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("has no entry any more"),
        "{answer}"
    );
    let gone = site.json(&["plugin", "gc", "--yes"]);
    assert_eq!(gone["orphans"], would["orphans"]);
    assert_eq!(site.get("plugins")["orphans"], json!([]));
    assert_eq!(site.ask("GET", "plugins/one/state", "").0, 404);
}

#[test]
fn events_are_recorded_as_they_come() {
    let site = Site::new(ENTRIES);
    let url = format!("http://{}", site.addr());
    let args = [
        "plugin", "record", "one", "--rows", "5", "-o", "events", "--url", &url,
    ];
    let mut recording = std::process::Command::new(super::PROBE)
        .args(args)
        .current_dir(site.dir.path())
        .spawn()
        .unwrap();
    // It begins when the server says so, to nobody but the command.
    let status = loop {
        site.write("A/1Min/OHLCV", 0..2);
        if let Some(status) = recording.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success());
    let bytes = std::fs::read(site.path("events")).unwrap();
    assert!(bytes.starts_with(b"MKTSREC1"));
    let again = site.mkts(&["plugin", "record", "one", "--rows", "5", "-o", "events"]);
    assert!(all(&again).contains("is there already"), "{}", all(&again));
    let none = site.ask("POST", "plugins/one:record", "{\"rows\": 0}");
    assert_eq!(none.0, 400, "{}", none.1);
}
