//! What is refused, how, and what is done about it.

use serde_json::{Value, json};

use super::{ENTRIES, Site, all, run};

/// What every refusal has: a status, and one line that says what is wrong.
fn refused(site: &Site, method: &str, path: &str, body: &str, status: u16, part: &str) {
    let (given, answer) = site.ask(method, path, body);
    assert_eq!(given, status, "{method} {path}: {answer}");
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains(part), "{method} {path}: {text}");
    assert_eq!(text.lines().count(), 1, "{method} {path}: {text}");
    assert_eq!(answer["exit_code"], 1, "{method} {path}: {answer}");
}

#[test]
fn bad_calls_are_refused_and_change_nothing() {
    let site = Site::new(ENTRIES);
    site.write("A/1Min/OHLCV", 0..10);
    let before = site.settle("one");
    let one = |rest: &str| format!("plugins/one{rest}");
    for (method, path, body, status, part) in [
        (
            "GET",
            "plugins/two".into(),
            "",
            404,
            "there is no instance \"two\"",
        ),
        ("GET", "plugins/onne".into(), "", 404, "did you mean one?"),
        ("GET", "plugins/%ff".into(), "", 400, "not UTF-8"),
        (
            "GET",
            "plugins/%zz".into(),
            "",
            400,
            "two hexadecimal digits",
        ),
        (
            "GET",
            "plugins/one?x=1".into(),
            "",
            400,
            "x: this call has no parameters",
        ),
        (
            "POST",
            "plugins/two:pause".into(),
            "",
            404,
            "there is no instance \"two\"",
        ),
        (
            "POST",
            one(":frob"),
            "",
            404,
            "no verb \"frob\": known are enable, disable",
        ),
        (
            "POST",
            one("/dlq:frob"),
            "",
            404,
            "no verb \"frob\": known are replay, drop",
        ),
        (
            "GET",
            one("/frob"),
            "",
            404,
            "no such call: known are status,",
        ),
        (
            "GET",
            one(":pause"),
            "",
            405,
            "is called with POST, not GET",
        ),
        ("POST", one(""), "", 405, "is called with GET, not POST"),
        (
            "POST",
            one("/cursor"),
            "",
            405,
            "is called with GET or PUT, not POST",
        ),
        (
            "POST",
            one(":pause"),
            "{\"a\": 1}",
            400,
            "unknown field `a`",
        ),
        (
            "POST",
            one(":pause"),
            "[",
            400,
            "the body is not understood",
        ),
        (
            "POST",
            one(":resume?now=1"),
            "",
            400,
            "now: this call has no parameters",
        ),
        ("PUT", one("/cursor"), "{\"cursor\": \"5\"}", 409, "paused"),
        (
            "PUT",
            one("/cursor"),
            "{\"cursor\": \"x\"}",
            400,
            "\"x\" is no position in the log",
        ),
        (
            "PUT",
            one("/cursor"),
            "{\"cursor\": \"+5\"}",
            400,
            "\"+5\" is no position",
        ),
        (
            "PUT",
            one("/cursor"),
            "{\"cursor\": 5}",
            400,
            "the body is not understood",
        ),
        ("PUT", one("/cursor"), "", 400, "missing field `cursor`"),
        (
            "GET",
            one("/logs?lines=x"),
            "",
            400,
            "lines: \"x\" is no whole number",
        ),
        (
            "GET",
            one("/logs?line=1"),
            "",
            400,
            "line: no such parameter",
        ),
        (
            "GET",
            one("/state?limit=-1"),
            "",
            400,
            "limit: \"-1\" is no whole number",
        ),
        (
            "GET",
            one("/state?prefix=%f"),
            "",
            400,
            "two hexadecimal digits",
        ),
        ("GET", one("/state/none"), "", 404, "no state key \"none\""),
        (
            "GET",
            one("/state/rows?namespace=x"),
            "",
            404,
            "in namespace \"x\"",
        ),
        (
            "GET",
            one("/state/rows?raw=1"),
            "",
            400,
            "raw: \"1\" is not true or false",
        ),
        (
            "PUT",
            one("/state/rows"),
            "{\"value\": {\"counter\": 1}}",
            409,
            "pause it",
        ),
        (
            "PUT",
            one("/state/rows"),
            "{\"value\": {\"hex\": \"1\"}}",
            400,
            "\"hex\" is no form",
        ),
        ("PUT", one("/state/rows"), "", 400, "missing field `value`"),
        ("GET", one("/dlq/x"), "", 400, "\"x\" names no dead letter"),
        ("GET", one("/dlq/1a.0"), "", 404, "has no dead letter 1a.0"),
        (
            "POST",
            one("/dlq/1a.0:drop"),
            "",
            404,
            "has no dead letter 1a.0",
        ),
        (
            "POST",
            one("/dlq/1a.0:replay"),
            "",
            404,
            "has no dead letter 1a.0",
        ),
        (
            "POST",
            "plugins:gc".into(),
            "{\"dry\": true}",
            400,
            "unknown field `dry`",
        ),
        (
            "POST",
            "plugins:frob".into(),
            "",
            404,
            "no verb \"frob\": known are gc",
        ),
    ] {
        refused(&site, method, &path, body, status, part);
    }
    site.write("A/1Min/OHLCV", 10..11);
    let after = site.settle("one");
    assert_eq!(after["state"], "running");
    assert_eq!(
        after["fires"].as_u64(),
        before["fires"].as_u64().map(|fires| fires + 1)
    );
}

#[test]
fn a_wrong_state_is_named_with_what_to_do() {
    let site = Site::new(ENTRIES);
    site.write("A/1Min/OHLCV", 0..10);
    site.settle("one");
    site.get("plugins/one/cursor");
    for verb in ["pause", "pause"] {
        let (status, answer) = site.ask("POST", &format!("plugins/one:{verb}"), "");
        assert_eq!(
            (status, &answer["state"]),
            (200, &json!("paused")),
            "{answer}"
        );
    }
    refused(
        &site,
        "PUT",
        "plugins/one/cursor",
        "{\"cursor\": \"ffffffffff\"}",
        400,
        "instance \"one\": ",
    );
    let put = "{\"value\": {\"text\": \"x\"}}";
    let long = format!("plugins/one/state/{}", "k".repeat(513));
    refused(&site, "PUT", &long, put, 409, "LIMIT");
    site.ask("POST", "plugins/one:disable", "");
    refused(&site, "POST", "plugins/one:pause", "", 409, "is disabled: ");
    refused(&site, "POST", "plugins/one:resume", "", 409, "enable");
    assert_eq!(site.instance("one")["state"], "disabled");
    let (status, answer) = site.ask("POST", "plugins/one:enable", "");
    assert_eq!(
        (status, &answer["state"]),
        (200, &json!("running")),
        "{answer}"
    );
}

#[test]
fn the_command_line_refuses_with_the_servers_words() {
    let site = Site::new(ENTRIES);
    for (args, part) in [
        (&["describe", "two"][..], "there is no instance \"two\""),
        (&["pause", "two"], "there is no instance \"two\""),
        (&["logs", "two"], "there is no instance \"two\""),
        (&["resume", "one", "extra"], "unexpected argument"),
        (
            &["cursor", "set", "one", "x"],
            "\"x\" is no position in the log",
        ),
        (&["cursor", "set", "one", "5"], "paused"),
        (&["state", "get", "one", "none"], "no state key \"none\""),
        (
            &["state", "get", "one", "%", "--base64-key"],
            "\"%\" is no base64",
        ),
        (
            &["state", "put", "one", "k", "--msgpack", "{"],
            "this is no JSON",
        ),
        (&["state", "put", "one", "k"], "required"),
        (
            &["state", "put", "one", "k", "--text", "a", "--counter", "1"],
            "cannot be used with",
        ),
        (&["dlq", "show", "one", "1a.0"], "has no dead letter 1a.0"),
        (&["dlq", "replay", "one"], "required"),
        (&["dlq", "drop", "one", "--all"], "--yes says so"),
        (&["reset", "one"], "--yes says so"),
        (&["gc"], "--yes says so"),
        (&["top", "--interval", "0"], "0.05 to 86400 seconds"),
    ] {
        let output = site.mkts(&[&["plugin"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", all(&output));
        assert!(all(&output).contains(part), "{args:?}: {}", all(&output));
    }
    let nobody = ["plugin", "pause", "one", "--url", "http://127.0.0.1:1"];
    let output = run(site.dir.path(), &nobody);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        all(&output).contains("no server answers"),
        "{}",
        all(&output)
    );
    assert_eq!(site.instance("one")["state"], "running");
}

#[test]
fn a_module_that_the_server_runs_is_not_removed() {
    let entry = "
  - module: plugins/libondiskagg.so
    name: agg
    on: '*/1Min/NONE'
    metrics_port: 0
    config: {destinations: [5Min]}
";
    let site = Site::prepared(entry, |dir| {
        let library = std::env::current_exe().unwrap();
        let library = library.with_file_name("libondiskagg.so");
        std::fs::create_dir(dir.join("plugins")).unwrap();
        std::fs::copy(&library, dir.join("plugins/libondiskagg.so")).unwrap();
    });
    let running = site.instance("agg");
    assert_eq!(
        (&running["state"], &running["host"]),
        (&json!("running"), &json!("process"))
    );
    assert!(running["metrics_port"].as_u64().unwrap() > 0);
    // A configuration that has forgotten the entry meanwhile, of the same server.
    let port = site.addr().rsplit_once(':').unwrap().1;
    let config = format!("root_directory: data\nlisten_port: {port}\nplugin_dir: plugins\n");
    std::fs::write(site.path("other.yml"), config).unwrap();
    let on_it = |args: &[&str]| {
        let output = run(
            site.dir.path(),
            &[&["plugin"], args, &["--config", "other.yml"]].concat(),
        );
        (output.status.success(), all(&output))
    };
    let (ok, listed) = on_it(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert!(ok);
    assert_eq!(
        listed,
        site.get("plugins")["instances"],
        "the server's, not the file's"
    );
    assert_eq!(
        on_it(&["list", "--json", "--offline"]),
        (true, "[]\n".into())
    );
    let (ok, refused) = on_it(&["remove", "ondiskagg"]);
    assert!(
        !ok && refused.contains("is in use: agg of the running server"),
        "{refused}"
    );
    assert!(site.path("plugins/libondiskagg.so").exists());
}
