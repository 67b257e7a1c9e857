//! Entries of plugins change while rows come and the server is killed: every row is counted once.
//!
//! A trigger in C, in a process of its own, counts rows in its state with `delivery: exact`. Its entry
//! changes again and again; at a random moment of that the server is killed. `MKTS_KILL_ROUNDS` makes it
//! longer, `MKTS_SEED` repeats the moments.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http::Client;
use tests::rng::{Rng, seed_from_env};
use tests::server::{Server, workspace};
use tests::wire::{Table, query_one, write};

const KEY: &str = "A/1Min/OHLCV";
/// A hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// The library `tally.so`; `None`, with a loud line, if there is no compiler.
fn tally(dir: &Path) -> Option<PathBuf> {
    let file = dir.join("tally.so");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-shared", "-fPIC", "-I"])
        .arg(workspace().join("plugins/abi/include"))
        .arg("-o")
        .arg(&file)
        .arg(workspace().join("plugins/samples/c/tally.c"))
        .output();
    match built {
        Ok(built) => {
            let errors = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "{errors}");
            Some(file)
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler \"cc\": {error}");
            None
        }
    }
}

fn get(client: &mut Client, path: &str) -> Value {
    let answer = client.send("GET", path, None, b"").expect("it answers");
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn reload(client: &mut Client) -> Option<(u16, Value)> {
    let answer = client.send("POST", "/admin/v1/reload", None, b"").ok()?;
    Some((answer.status, serde_json::from_str(&answer.text()).ok()?))
}

/// Rows counted, once all have fired.
fn counted(client: &mut Client) -> i64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let tally = get(client, "/admin/v1/plugins/tally");
        if tally["state"] == "running" && tally["lag_bytes"] == 0 {
            let value = get(client, "/admin/v1/plugins/tally/state/rows");
            return value["value"]["counter"]
                .as_i64()
                .unwrap_or_else(|| panic!("{value}"));
        }
        assert!(Instant::now() < end, "{tally:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The entry, as its `round`th change left it.
fn entry(round: u64) -> String {
    format!(
        "triggers:\n  - {{module: tally, name: tally, on: \"{KEY}\", delivery: exact, \
         timeout: {}s}}\n",
        5 + round
    )
}

#[test]
fn a_kill_while_entries_change_counts_each_row_once() {
    let dir = tempfile::tempdir().expect("a temp directory");
    if tally(dir.path()).is_none() {
        return;
    }
    let rounds: u64 = match std::env::var("MKTS_KILL_ROUNDS") {
        Ok(text) => text.parse().expect("MKTS_KILL_ROUNDS is a number"),
        Err(_) => 4,
    };
    let seed = seed_from_env();
    println!("MKTS_SEED={seed} MKTS_KILL_ROUNDS={rounds}");
    let mut rng = Rng::new(seed);
    let plugin_dir = format!("plugin_dir: {}\n", dir.path().display());
    let mut server = Server::start(&[], &format!("{plugin_dir}{}", entry(0)));
    let file = server.outside().with_file_name("mkts.yml");
    let config = std::fs::read_to_string(&file).expect("the configuration");
    let (config, _) = config.split_once("triggers:").expect("the entry");
    let (next, changes) = (AtomicI64::new(1), AtomicI64::new(0));
    for round in 0..rounds {
        let is_over = AtomicBool::new(false);
        let addr = server.addr();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::new(addr);
                // A row that was not acknowledged may be there: it is not sent again.
                while !is_over.load(SeqCst) {
                    let epoch = next.fetch_add(1, SeqCst) * 60;
                    let row = Table::default().i8("Epoch", &[epoch]).f4("Open", &[1.0]);
                    if write(&mut client, &[(KEY, &row)], false).is_err() {
                        break;
                    }
                }
            });
            scope.spawn(|| {
                let mut client = Client::new(addr);
                for change in 1.. {
                    let text = format!("{config}{}", entry(round * 1000 + change));
                    std::fs::write(&file, text).expect("the configuration");
                    let Some((status, answer)) = reload(&mut client) else {
                        break;
                    };
                    assert_eq!(status, 200, "{answer}");
                    assert_eq!(answer["changes"][0]["outcome"], "applied", "{answer}");
                    changes.fetch_add(1, SeqCst);
                }
            });
            // One change at least, then the end at any moment of another.
            let before = changes.load(SeqCst);
            let end = Instant::now() + PATIENCE;
            while changes.load(SeqCst) == before {
                assert!(Instant::now() < end, "no change is applied");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(rng.below(60)));
            server.kill();
            is_over.store(true, SeqCst);
        });
        server.restart();
        let mut client = server.client();
        let rows = query_one(&mut client, KEY).expect("rows are there").rows;
        assert_eq!(counted(&mut client), rows as i64, "round {round}");
    }
    println!("{} changes", changes.load(SeqCst));

    // What cannot run keeps what runs, and what is gone ends.
    let mut client = server.client();
    let bad = format!("{config}{}  - {{module: nowhere}}\n", entry(1));
    std::fs::write(&file, bad).expect("the configuration");
    let (status, answer) = reload(&mut client).expect("it answers");
    assert_eq!(status, 400, "{answer}");
    let told = answer["error"].as_str().unwrap_or_default();
    assert!(
        told.contains("nowhere") && told.contains("mkts.yml:"),
        "{told}"
    );
    counted(&mut client);
    std::fs::write(&file, config).expect("the configuration");
    let (_, answer) = reload(&mut client).expect("it answers");
    assert_eq!(answer["changes"][0]["key"], "triggers[tally]", "{answer}");
    let left = get(&mut client, "/admin/v1/plugins");
    assert_eq!(left["instances"], Value::Array(Vec::new()), "{left}");
    assert_eq!(left["orphans"][0]["id"], "tally", "{left}");
    assert!(server.terminate().success());
}
