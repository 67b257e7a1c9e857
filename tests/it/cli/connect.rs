//! `mkts connect`, from scripts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::server::{STREAM, Server, binary, workspace};
use tests::wire::{self, Table};

use super::{place, run, run_with, session, url, with_bars};

const BARS: &str = "\\create CLI/1Min/OHLCV:Symbol/Timeframe/AttributeGroup \
Open,High,Low,Close/float32:Volume/int32 fixed\n";

/// What a user's script does, here over a directory and over a server.
fn life_of_a_bucket(args: &[&str], banner: &str) {
    let dir = place();
    std::fs::write(
        dir.path().join("bars.csv"),
        "Epoch,Open,High,Low,Close,Volume\n2020-01-02T09:30:00Z,10,11,9.5,10.25,100\n\
         2020-01-02T09:31:00Z,10.25,12,10,11,200\n2020-01-02T09:35:00Z,11,11,11,11,5\n",
    )
    .expect("a file");
    let script = format!(
        "{BARS}\\getinfo CLI/1Min/OHLCV\n\\load CLI/1Min/OHLCV bars.csv\n\
         \\getinfo CLI/1Min/OHLCV\n\\show CLI/1Min/OHLCV 2020-01-02 between 2020-01-03\n\
         \\timing\n\\show  CLI/1Min/OHLCV 2020-01-02T09:31  2020-01-02T09:31\n\
         \\gaps CLI/1Min/OHLCV\n\\o out.csv\n\\show CLI/1Min/OHLCV 2020-01-02\n\\o\n\
         \\show CLI/1Min/OHLCV 2021-01-01\n\\ls */1Min/*\n\\destroy CLI/1Min/OHLCV\n\\q\n\\show never\n"
    );
    let ran = run_with(dir.path(), args, &script);
    assert!(ran.err.contains(banner), "{}", ran.err);
    assert!(
        ran.err.contains("Type `\\help` to see command options"),
        "{}",
        ran.err
    );
    let out = ran.good();
    for part in [
        "Successfully created a new catalog entry for bucket CLI/1Min/OHLCV\n",
        "Bucket: CLI/1Min/OHLCV\nLatest Year: 0, RecordType: FIXED, TF: 1m0s\n",
        "Data Types: {Epoch:INT64 Open:FLOAT32 High:FLOAT32 Low:FLOAT32 Close:FLOAT32 Volume:INT32}\n",
        "Latest Year: 2020, RecordType: FIXED, TF: 1m0s\n",
        "\
=============================  ==========  ==========  ==========  ==========  ==========
                        Epoch        Open        High         Low       Close      Volume
=============================  ==========  ==========  ==========  ==========  ==========
2020-01-02 09:30:00 +0000 UTC          10          11         9.5       10.25         100
2020-01-02 09:31:00 +0000 UTC       10.25          12          10          11         200
2020-01-02 09:35:00 +0000 UTC          11          11          11          11           5
=============================  ==========  ==========  ==========  ==========  ==========
(3 rows * 6 columns)
",
        "(1 rows * 6 columns)\nElapsed query time: ",
        "CLI/1Min/OHLCV: 3 rows with 1 gap, 3 bars missing\n",
        "No results\n",
        "Successfully removed catalog entry for key: CLI/1Min/OHLCV\n",
    ] {
        assert!(out.contains(part), "{part}\n---\n{out}");
    }
    assert!(
        out.contains("2020-01-02 09:31:00 +0000 UTC  2020-01-02 09:35:00 +0000 UTC           3")
    );
    let csv = std::fs::read_to_string(dir.path().join("out.csv")).expect("\\o wrote it");
    assert_eq!(
        csv,
        "2020-01-02 09:30:00 +0000 UTC,10,11,9.5,10.25,100\n\
         2020-01-02 09:31:00 +0000 UTC,10.25,12,10,11,200\n\
         2020-01-02 09:35:00 +0000 UTC,11,11,11,11,5\n"
    );
}

#[test]
fn a_directory_is_a_session() {
    life_of_a_bucket(
        &["connect", "-d", "store"],
        "Connected to local instance at path: store",
    );
}

#[test]
fn a_server_is_a_session() {
    let server = Server::start(&[], "");
    let url = url(&server);
    life_of_a_bucket(
        &["connect", "--url", &url, "-c"],
        &format!("Connected to remote instance at: http://{url}"),
    );
}

#[test]
fn a_script_goes_on_after_an_error_and_says_so_at_the_end() {
    let dir = place();
    let script = format!("{BARS}\\show CLI/1Min/OHLCV\n\\nonsense\n\\help show\n{BARS}\\ls\n");
    let ran = session(dir.path(), &script);
    let all = ran.failed(1);
    for part in [
        "Not enough arguments, see \"\\help show\"\n",
        "there is no command \\nonsense",
        "trim: removes the data",
        "Failed with error: creation of new catalog entry failed",
        "mkts: 3 lines failed\n",
    ] {
        assert!(all.contains(part), "{part}\n---\n{all}");
    }
    let stopped = run_with(
        dir.path(),
        &["connect", "-d", "store", "--stop-on-error"],
        "\\destroy NO/1Min/X\n\\ls\n",
    );
    let all = stopped.failed(1);
    assert!(all.contains("removal of catalog entry failed"), "{all}");
    assert!(!all.contains("CLI/1Min/OHLCV"), "{all}");
    let nobody = run(dir.path(), &["connect", "--url", "127.0.0.1:1"]).failed(1);
    assert!(nobody.contains("no server answers"), "{nobody}");
}

#[test]
fn trim_takes_rows_of_its_bucket_only() {
    let dir = with_bars();
    let copy = "\\create B/1Min/OHLCV Open/float32 fixed\n\\load B/1Min/OHLCV b.csv\n";
    let rows = "Epoch,Open\n2013-10-10,1\n2013-12-31T23:59:00Z,2\n2014-01-01,3\n";
    std::fs::write(dir.path().join("b.csv"), rows).expect("a file");
    let script = format!(
        "{copy}\\trim B/1Min/OHLCV 2013-10-11\n\\show B/1Min/OHLCV 2013-01-01\n\
         \\gaps SPY/1Min/OHLCV\n\\trim B/1Min/OHLCV 2013-01-01 2013-10-10\n\
         \\show B/1Min/OHLCV 2013-01-01\n"
    );
    let out = session(dir.path(), &script).good();
    for part in [
        "Trimmed 1 row of B/1Min/OHLCV from 2013-10-11T00:00:00Z to 2013-12-31T23:59:59.999999999Z\n",
        "(2 rows * 2 columns)\n",
        "SPY/1Min/OHLCV: 4839 rows with ",
        "(1 rows * 2 columns)\n",
    ] {
        assert!(out.contains(part), "{part}\n---\n{out}");
    }
    let wrong = session(dir.path(), "\\trim B/1Min/OHLCV someday\n").failed(1);
    assert!(wrong.contains("invalid time format"), "{wrong}");
}

#[test]
fn rows_show_as_they_are_written() {
    let server = Server::start(&[STREAM], "");
    let mut child = Command::new(binary())
        .args(["connect", "--url", &url(&server)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mkts starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, b"\\feed\n\\stream A/1Min/* 2\n\\ls\n").expect("sent");
    drop(stdin);
    let mut told = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let listens = told.any(|line| line.is_ok_and(|line| line.starts_with("Listening to")));
    assert!(listens);
    let mut client = server.client();
    for (at, key) in ["A/1Min/OHLCV", "B/1Min/OHLCV", "A/1Min/OHLCV"]
        .iter()
        .enumerate()
    {
        let epoch = 1_583_159_400 + 60 * at as i64;
        let bar = Table::default().i8("Epoch", &[epoch]).f4("Open", &[1.5]);
        wire::write(&mut client, &[(key, &bar)], false).expect("written");
    }
    let output = child.wait_with_output().expect("mkts ends");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "No feeds run. A feed is an entry of bgworkers in the server's mkts.yml\n\
         A/1Min/OHLCV  2020-03-02 14:30:00 +0000 UTC  Open 1.5\n\
         A/1Min/OHLCV  2020-03-02 14:32:00 +0000 UTC  Open 1.5\n\
         A/1Min/OHLCV\nB/1Min/OHLCV\n"
    );
}

/// Keys in, screen out: the line editor, completion, history and Ctrl-C need a terminal.
#[test]
fn a_terminal_has_history_completion_and_ctrl_c() {
    let server = Server::start(&[], "");
    let rows = b"Epoch,Volume\n2024-01-31T09:30:00Z,10\n2024-01-31T09:31:00Z,20\n";
    let mut client = server.client();
    let reply = client.send("POST", "/write/AAPL/1Min/OHLCV", Some("text/csv"), rows);
    assert_eq!(reply.expect("it answers").status, 200);
    let home = tempfile::tempdir().expect("a directory");
    let output = Command::new("python3")
        .arg(workspace().join("tests/python/connect_test.py"))
        .args([binary(), Path::new(&url(&server)), home.path()])
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no python3");
            return;
        }
        output => output.expect("python3 runs"),
    };
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("all parts passed"), "{out}");
}
