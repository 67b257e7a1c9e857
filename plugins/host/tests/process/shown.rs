//! T30, T31: what a child sees of the server, and what the server shows of a child.

use plugin_sdk::{CloseReason, Health};
use serde_json::json;

use crate::support::{FakeHost, Owned, info, make, probe, program, wait_for};

/// What one fire says on a stream.
fn said(program: plugin_host::process::Program, act: &str) -> String {
    let module = plugin_host::process::module(program).unwrap();
    let mut host = FakeHost::new();
    let mut trigger = make(&*module, &json!({"act": act}), &mut host).unwrap();
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    trigger.close(CloseReason::Stop);
    host.said(act).remove(0)
}

#[test]
fn a_child_sees_only_the_environment_it_may_see() {
    let mut program = program("probe");
    program.env.push(("TOKEN".into(), "x".into()));
    program.env.push(("MKTS_PLUGIN_EPOCH".into(), "99".into()));
    let found = said(program, "environment");
    let found: Vec<&str> = found.split(' ').collect();
    let mut expected = vec!["CHILD", "TOKEN"];
    let own = ["SOCKET", "COOKIE", "INSTANCE", "EPOCH", "LOG"];
    let own: Vec<String> = own
        .iter()
        .map(|name| format!("MKTS_PLUGIN_{name}"))
        .collect();
    expected.extend(own.iter().map(String::as_str));
    let handed_on = ["PATH", "HOME", "LANG", "TZ"];
    expected.extend(
        handed_on
            .iter()
            .filter(|name| std::env::var_os(name).is_some()),
    );
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(
        std::env::vars_os().count() > found.len(),
        "there is more to hide"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn limits_and_no_new_privileges_hold_in_the_child() {
    let mut program = program("probe");
    program.limits.memory = Some(3 << 30);
    program.limits.nofile = Some(123);
    let found = said(program, "limits");
    let line = |start: &str| {
        let line = found.lines().find(|line| line.starts_with(start));
        let words = line.unwrap()[start.len()..].split_whitespace();
        words.take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Max open files"), ["123", "123"]);
    let memory = (3_u64 << 30).to_string();
    assert_eq!(line("Max address space"), [memory.clone(), memory]);
    assert_eq!(line("NoNewPrivs:"), ["1"]);
}

#[test]
fn children_that_run_side_by_side_get_ports_of_their_own() {
    let mut program = program("probe");
    program.metrics_port = Some(0);
    let port = |module: &dyn plugin_sdk::Module| {
        let mut host = FakeHost::new();
        let mut trigger = make(module, &json!({"act": "port"}), &mut host).unwrap();
        host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
            .unwrap();
        (trigger, host.said("port").remove(0))
    };
    let modules = [(); 2].map(|()| plugin_host::process::module(program.clone()).unwrap());
    let (mut first, one) = port(&*modules[0]);
    let (mut second, other) = port(&*modules[1]);
    assert_ne!(one, other);
    // A port that is taken is named, with what to do.
    program.metrics_port = Some(one.parse().unwrap());
    let module = plugin_host::process::module(program).unwrap();
    let error = make(&*module, &json!({}), &mut FakeHost::new())
        .err()
        .unwrap();
    let expected = format!("metrics_port {one}: another instance has it; choose another or 0");
    assert_eq!(error.text, expected);
    first.close(CloseReason::Stop);
    second.close(CloseReason::Stop);
}

#[test]
fn metrics_and_health_of_a_child_are_the_servers() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new();
    let recorder = recorder.install_recorder().unwrap();
    let module = probe();
    let mut host = FakeHost::new();
    let mut trigger = make(&*module, &json!({"act": "metric"}), &mut host).unwrap();
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    let standing = || module.standing("probe-1").unwrap();
    wait_for("health", || standing().health == Health::Degraded);
    assert_eq!(standing().health_text, "half of it");
    let text = recorder.render();
    let line = "mkts_plugin_probe_seen{instance=\"probe-1\"} 5";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(!text.contains("unnamed"), "{text}");
    trigger.close(CloseReason::Stop);
}
