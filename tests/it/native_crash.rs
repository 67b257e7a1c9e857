//! T33: a library inside the server ends it, twice; from then on it runs in a child.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http::Client;
use tests::server::{Server, workspace};
use tests::wire::{Table, query_one, write};

const KEY: &str = "A/1Min/OHLCV";
const BOOM: &str = "BOOM/1Min/OHLCV";

/// How long a change of state may take (a hang, not a performance check).
const SETTLE: Duration = Duration::from_secs(60);

/// A folder with the library; `None`, with a loud line, if there is no compiler.
fn library() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().expect("a temp directory");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared"])
        .args(["-fPIC", "-I"])
        .arg(workspace().join("plugins/abi/include"))
        .arg("-o")
        .arg(dir.path().join("boom.so"))
        .arg(workspace().join("tests/it/native_crash.c"))
        .output();
    match built {
        Ok(built) => {
            let errors = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "{errors}");
            Some(dir)
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler \"cc\": {error}");
            None
        }
    }
}

fn bars(n: i64) -> Table {
    let epochs: Vec<i64> = (0..n).map(|i| 1_583_159_400 + 60 * i).collect();
    let prices: Vec<f32> = (0..n).map(|i| i as f32).collect();
    Table::default().i8("Epoch", &epochs).f4("Open", &prices)
}

fn instance(client: &mut Client) -> Value {
    let answer = client.send("GET", "/admin/v1/plugins/boom", None, b"");
    let text = answer.expect("the server answers").text();
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until the instance is so.
fn until(server: &Server, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + SETTLE;
    loop {
        let instance = instance(&mut server.client());
        if is(&instance) {
            return instance;
        }
        assert!(Instant::now() < end, "{instance:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_library_that_ends_the_server_twice_runs_in_a_child() {
    let Some(folder) = library() else {
        return;
    };
    let entry = "  - {module: boom, name: boom, host: native, max_attempts: 2}\n";
    let extra = format!(
        "plugin_dir: {}\nplugins: {{trust_native: [boom]}}\n",
        folder.path().display()
    );
    let mut server = Server::start(&[entry], &extra);
    let mut client = server.client();
    write(&mut client, &[(KEY, &bars(3))], false).expect("good rows");
    let before = until(&server, |boom| boom["fires"].as_u64() > Some(0));
    assert_eq!(
        (&before["host"], &before["quarantined"]),
        (&"native".into(), &false.into())
    );

    // The answer may come before the end, or not.
    let _ = write(&mut client, &[(BOOM, &bars(1))], false);
    server.wait_end();
    // The event fires again, with the same end.
    server.spawn();
    server.wait_end();

    server.restart();
    let after = until(&server, |boom| boom["dead_letters"] == 1);
    assert_eq!(
        (&after["host"], &after["quarantined"]),
        (&"process".into(), &true.into())
    );
    assert!(
        after["warnings"].to_string().contains("mkts plugin enable"),
        "{after:#}"
    );
    let mut client = server.client();
    assert_eq!(query_one(&mut client, BOOM).expect("it is stored").rows, 1);
    assert_eq!(query_one(&mut client, KEY).expect("it is stored").rows, 3);
    // Good rows fire in the child, and so it stays over a restart.
    let fires = after["fires"].as_u64();
    write(&mut client, &[(KEY, &bars(4))], false).expect("good rows");
    until(&server, |boom| boom["fires"].as_u64() > fires);
    assert!(server.terminate().success());
    server.restart();
    assert_eq!(instance(&mut server.client())["quarantined"], true);
    let enabled = server
        .client()
        .send("POST", "/admin/v1/plugins/boom:enable", None, b"")
        .expect("the server answers");
    assert_eq!(enabled.status, 200, "{}", enabled.text());
    let back = instance(&mut server.client());
    assert_eq!(
        (&back["host"], &back["quarantined"]),
        (&"native".into(), &false.into())
    );
    write(&mut server.client(), &[(KEY, &bars(5))], false).expect("good rows");
    until(&server, |boom| {
        boom["fires"].as_u64() > Some(0) && boom["lag_bytes"] == 0
    });
    assert!(server.terminate().success());
}
