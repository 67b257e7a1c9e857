//! T27: no child outlives its server, and nothing the child has started either.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use plugin_sdk::{AnyTrigger, CloseReason};
use serde_json::json;

use crate::support::{FakeHost, Owned, info, make, probe, wait_for};

/// Has a child with a child of its own; the pids of both.
fn with_grandchild(host: &mut FakeHost) -> (Box<dyn AnyTrigger>, [i32; 2]) {
    let module = probe();
    let config = json!({"act": "grandchild"});
    let mut trigger = make(&*module, &config, host).unwrap();
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    let grandchild = host.said("pid")[0].parse().unwrap();
    let child = module.standing("probe-1").unwrap().pid;
    (trigger, [child, grandchild])
}

/// A server that says which processes it has, and waits to be killed.
pub(crate) fn server() -> ExitCode {
    let mut host = FakeHost::new();
    let (_trigger, [child, grandchild]) = with_grandchild(&mut host);
    println!("pids {child} {grandchild}");
    loop {
        std::thread::park();
    }
}

/// Not there, or a zombie that nobody reaps.
fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_server_leaves_no_child_and_no_grandchild() {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["child_main", "--exact", "--nocapture", "--test-threads=1"])
        .env("CHILD", "server")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut pids = lines.filter_map(|line| {
        let line = line.ok()?;
        let (_, pids) = line.split_once("pids ")?;
        Some(
            pids.split(' ')
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<i32>>(),
        )
    });
    let pids = pids.next().unwrap();
    assert!(
        pids.len() == 2 && !pids.iter().any(|pid| is_gone(*pid)),
        "{pids:?}"
    );
    server.kill().unwrap();
    wait_for("the end of the child", || is_gone(pids[0]));
    wait_for("the end of the grandchild", || is_gone(pids[1]));
    server.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_stopped_child_leaves_no_grandchild_and_no_directory() {
    let mut host = FakeHost::new();
    let (mut trigger, [child, grandchild]) = with_grandchild(&mut host);
    let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
    let socket = environment
        .split('\0')
        .find_map(|line| line.strip_prefix("MKTS_PLUGIN_SOCKET="));
    let dir = std::path::Path::new(socket.unwrap())
        .parent()
        .unwrap()
        .to_owned();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    trigger.close(CloseReason::Stop);
    wait_for("the end of the grandchild", || is_gone(grandchild));
    assert!(is_gone(child) && !dir.exists());
}
