//! `query`, `ls`, `write`, `sql`: commands that scripts put together.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::server::{Server, binary};

use super::{data, place, run, run_raw, run_with, url, with_bars};

#[test]
fn rows_come_in_every_format_and_go_back_in() {
    let dir = with_bars();
    let query = ["query", "SPY/1Min/OHLCV", "--dir", "store", "--limit", "3"];
    let with = |format: &str| {
        let args = [&query[..], &["--format", format]].concat();
        let (code, out, err) = run_raw(dir.path(), &args, b"");
        assert_eq!(code, 0, "{err}");
        out
    };
    let text = |format: &str| String::from_utf8(with(format)).expect("it is text");
    let csv = text("csv");
    let last = "2013-10-11T23:59:00Z,170.41,170.41,170.41,170.41,525";
    assert_eq!(csv.lines().next(), Some("Epoch,Open,High,Low,Close,Volume"));
    assert_eq!(csv.lines().last(), Some(last), "{csv}");
    let list: Value = serde_json::from_str(&text("json")).expect("it is JSON");
    assert_eq!(list[2]["Epoch"], "2013-10-11T23:59:00Z");
    assert_eq!(list[2]["Volume"], 525);
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    let lines = text("ndjson");
    let line: Value = serde_json::from_str(lines.lines().last().expect("lines")).expect("JSON");
    assert_eq!(line, list[2]);
    assert!(text("table").ends_with("(3 rows * 6 columns)\n"));
    // Each goes into a bucket of its own, from standard input, and gives the same rows.
    for (at, format) in ["csv", "ndjson", "arrow", "parquet"].iter().enumerate() {
        let key = format!("COPY{at}/1Min/OHLCV");
        let bytes = with(format);
        let args = ["write", &key, "-", "--dir", "store", "--json"];
        let (code, out, err) = run_raw(dir.path(), &args, &bytes);
        assert_eq!(code, 0, "{format}: {err}");
        let said: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((&said["rows"], &said["rejected"]), (&3.into(), &0.into()));
        let columns = ["--columns", "Open,High,Low,Close,Volume", "--format", "csv"];
        let back = [&["query", &key, "--dir", "store"][..], &columns[..]].concat();
        assert_eq!(run(dir.path(), &back).good(), csv, "{format}");
    }
    let file = [&query[..], &["--output", "x.parquet"]].concat();
    run(dir.path(), &file).good();
    let again = run(dir.path(), &file).failed(1);
    assert!(
        again.contains("x.parquet exists already; --force"),
        "{again}"
    );
    run(dir.path(), &[&file[..], &["--force"]].concat()).good();
    assert!(
        std::fs::read(dir.path().join("x.parquet"))
            .expect("it is there")
            .starts_with(b"PAR1")
    );
}

#[test]
fn ranges_limits_and_patterns() {
    let dir = with_bars();
    let csv = |args: &[&str]| {
        let all = [&["query"], args, &["--dir", "store", "--format", "csv"][..]].concat();
        run(dir.path(), &all)
    };
    let minute = [
        "--from",
        "2013-10-11T23:59:00Z",
        "--to",
        "2013-10-12",
        "--columns",
        "Volume",
    ];
    let one = csv(&[&["SPY/1Min/OHLCV"][..], &minute[..]].concat()).good();
    assert_eq!(one, "Epoch,Volume\n2013-10-11T23:59:00Z,525\n");
    let first = [
        "SPY/1Min/OHLCV",
        "--limit",
        "1",
        "--from-start",
        "--columns",
        "Volume",
    ];
    assert_eq!(
        csv(&first).good(),
        "Epoch,Volume\n2013-10-04T08:06:00Z,20000\n"
    );
    assert_eq!(csv(&["SPY/1Min/OHLCV"]).good().lines().count(), 4840);
    run_with(
        dir.path(),
        &["write", "A/1Min/OHLCV", "-", "--dir", "store"],
        "Epoch,Volume\n60,7\n",
    )
    .good();
    let both = csv(&["*/1Min/*", "--limit", "1", "--columns", "Volume"]).failed(1);
    assert!(both.contains("different columns"), "{both}");
    run_with(
        dir.path(),
        &["write", "B/1Min/OHLCV", "-", "--dir", "store"],
        "Epoch,Volume\n120,8\n180,9\n",
    )
    .good();
    assert_eq!(
        csv(&["A,B/1Min/OHLCV", "--limit", "1"]).good(),
        "symbol,timeframe,attribute_group,Epoch,Volume\n\
         A,1Min,OHLCV,1970-01-01T00:01:00Z,7\nB,1Min,OHLCV,1970-01-01T00:03:00Z,9\n"
    );
    let none = csv(&["NO/1Min/X"]).failed(1);
    assert!(none.contains("no bucket matches \"NO/1Min/X\""), "{none}");
    let ls = |args: &[&str]| run(dir.path(), &[&["ls", "-d", "store"], args].concat()).good();
    assert_eq!(ls(&[]), "A/1Min/OHLCV\nB/1Min/OHLCV\nSPY/1Min/OHLCV\n");
    assert_eq!(ls(&["S*/*/*"]), "SPY/1Min/OHLCV\n");
    assert_eq!(ls(&["--symbols"]), "A\nB\nSPY\n");
    let long = ls(&["A/*/*", "--long", "--format", "csv"]);
    assert_eq!(
        long,
        "key,kind,columns,newest\nA/1Min/OHLCV,bar,Volume:i8,1970-01-01T00:01:00Z\n"
    );
    let list: Value = serde_json::from_str(&ls(&["--json"])).expect("JSON");
    assert_eq!(list[0]["key"], "A/1Min/OHLCV");
}

#[test]
fn a_server_and_its_directory_answer_the_same() {
    let mut server = Server::start(&[], "");
    let dir = place();
    let url = url(&server);
    let file = data("IBM_Tick_TRADE.csv.gz");
    let file = file.to_str().expect("UTF-8");
    let write = [
        "write",
        "IBM/1Sec/TRADE",
        file,
        "--ticks",
        "--url",
        &url,
        "--json",
    ];
    let said: Value = serde_json::from_str(&run(dir.path(), &write).good()).expect("JSON");
    assert_eq!(said["rows"], 24_293);
    let query = ["query", "IBM/1Sec/TRADE", "--format", "csv"];
    let asked = run(dir.path(), &[&query[..], &["--url", &url]].concat()).good();
    assert_eq!(asked.lines().count(), 24_294);
    let sql = "SELECT count(*) AS n, max(\"Price\") AS top FROM \"IBM/1Sec/TRADE\"";
    let sql = ["sql", sql, "--format", "csv"];
    let counted = run(dir.path(), &[&sql[..], &["--url", &url]].concat()).good();
    assert!(counted.starts_with("n,top\n24293,"), "{counted}");
    let wrong = ["sql", "SELECT Prise FROM `IBM/1Sec/TRADE`", "--url", &url];
    let wrong = run(dir.path(), &wrong).failed(1);
    assert!(
        wrong.contains("    ^") && wrong.contains("did you mean \"Price\"?"),
        "{wrong}"
    );
    let listed = run(dir.path(), &["ls", "--url", &url]).good();
    assert_eq!(listed, "IBM/1Sec/TRADE\n");
    let candles = [
        "query",
        "IBM/1Sec/TRADE",
        "--functions",
        "tickcandler('1H',Price,Sum::Size)",
        "--format",
        "csv",
    ];
    let of_server = run(dir.path(), &[&candles[..], &["--url", &url]].concat()).good();
    assert!(of_server.starts_with("Epoch,Open,High,Low,Close,Size_SUM\n"));
    server.terminate();
    let root = server.root();
    let root = root.to_str().expect("UTF-8");
    let same = run(dir.path(), &[&sql[..], &["--dir", root]].concat()).good();
    assert_eq!(same, counted);
    let same = run(dir.path(), &[&candles[..], &["--dir", root]].concat()).good();
    assert_eq!(same, of_server);
    let wrong = [
        "query",
        "IBM/1Sec/TRADE",
        "--functions",
        "nothing(Price)",
        "--dir",
        root,
    ];
    let wrong = run(dir.path(), &wrong).failed(1);
    assert!(wrong.contains("nothing"), "{wrong}");
    let read = run(dir.path(), &[&query[..], &["--dir", root]].concat()).good();
    assert!(asked == read, "a server's rows are those of its files");
    let gone = run(dir.path(), &[&query[..], &["--url", &url]].concat()).failed(1);
    assert!(gone.contains("server"), "{gone}");
}

#[test]
fn sql_runs_over_a_directory() {
    let dir = with_bars();
    let sql = |args: &[&str], input: &str| {
        run_with(
            dir.path(),
            &[&["sql", "--dir", "store"], args].concat(),
            input,
        )
    };
    let top = "SELECT \"Epoch\", \"Close\" FROM \"SPY/1Min/OHLCV\" ORDER BY \"Epoch\" DESC LIMIT 1";
    let csv = sql(&[top, "--format", "csv"], "").good();
    assert_eq!(csv, "Epoch,Close\n2013-10-11T23:59:00Z,170.41\n");
    let two = "SELECT count(*) AS n FROM `SPY/1Min/OHLCV`; -- and\nSELECT 'a;b' AS t;\n";
    let both = sql(&["-", "--format", "ndjson"], two).good();
    assert_eq!(both, "{\"n\":4839}\n{\"t\":\"a;b\"}\n");
    let wrong = sql(&["SELECT\n  Opn FROM `SPY/1Min/OHLCV`"], "").failed(1);
    assert!(wrong.contains("Opn") && wrong.contains("    ^"), "{wrong}");
    let nothing = sql(&[" ; "], "").failed(1);
    assert!(nothing.contains("there is no statement"), "{nothing}");
    let script = format!("{top}\nselect max(High)\nfrom `SPY/1Min/OHLCV`;\nSELECT nonsense\n");
    let said = super::session(dir.path(), &script).failed(1);
    for part in [
        "2013-10-11 23:59:00 +0000 UTC      170.41\n",
        "    170.57\n",
        "nonsense",
    ] {
        assert!(said.contains(part), "{part}\n---\n{said}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let dir = with_bars();
    for args in [
        &[
            "query",
            "SPY/1Min/OHLCV",
            "--dir",
            "store",
            "--format",
            "csv",
        ][..],
        &[
            "query",
            "SPY/1Min/OHLCV",
            "--dir",
            "store",
            "--format",
            "parquet",
        ][..],
        &["ls", "--dir", "store"][..],
        &["man"][..],
    ] {
        let mut child = Command::new(binary())
            .args(args)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mkts starts");
        // Gone before the first byte.
        drop(child.stdout.take());
        let mut err = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut err)
            .expect("text");
        let status = child.wait().expect("mkts ends");
        assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn lines_that_are_no_rows_make_code_3() {
    let dir = place();
    let write = ["write", "A/1Min/X", "-", "--dir", "store"];
    let said = run_with(dir.path(), &write, "Epoch,Open\n60,1.5\nx,2\n120,3\n").failed(3);
    assert!(said.contains("-:3: time \"x\""), "{said}");
    assert!(said.contains("A/1Min/X: 2 rows"), "{said}");
    let torn = run_with(dir.path(), &write, "PAR1 is no parquet").failed(1);
    assert!(torn.contains("-: is no readable Parquet file"), "{torn}");
}

#[test]
fn what_is_made_and_checked_is_told_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let json = |ran: &str| -> Value { serde_json::from_str(ran).expect("JSON") };
    let made = json(&run(dir.path(), &["init", "--json"]).good());
    assert_eq!(made["file"], "mkts.yml");
    let again = run(dir.path(), &["init", "--json"]).failed(1);
    assert!(again.contains("exists already"), "{again}");
    let good = json(&run(dir.path(), &["check-config", "--json"]).good());
    assert_eq!(
        (&good["good"], &good["merge"]),
        (&true.into(), &true.into())
    );
    std::fs::write(dir.path().join("bad.yml"), "listen_prot: 5993\n").expect("written");
    let bad = run(
        dir.path(),
        &["check-config", "--config", "bad.yml", "--json"],
    );
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains("did you mean listen_port?"), "{}", bad.err);
    let bad = json(&bad.out);
    assert_eq!(bad["good"], false);
    let problems = bad["problems"].as_array().expect("a list");
    let named = |problem: &Value| {
        let text = problem["message"].as_str().unwrap_or_default();
        problem["line"] == 1 && text.contains("listen_prot")
    };
    assert!(problems.iter().any(named), "{bad}");
    let new = ["plugin", "new", "watcher", "--lang", "python", "--json"];
    let new = json(&run(dir.path(), &new).good());
    assert_eq!(
        (&new["name"], &new["lang"]),
        (&"watcher".into(), &"python".into())
    );
    assert!(
        new["next"]
            .as_array()
            .is_some_and(|steps| !steps.is_empty())
    );
}
