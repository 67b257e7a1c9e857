//! The configuration of a server that runs, read again.

use std::net::TcpStream;

use client::Subscription;
use model::RowKind;

use crate::support::*;

/// What can change changes without a restart; what cannot is said again until it is done.
#[test]
fn a_reload_applies_what_it_can_and_names_the_rest() {
    const ENTRY: &str = "[{module: stream, on: \"*/*/*\"}]";
    let site = Site::guarded(&format!(
        "log_level: info\nlimits: {{requests_per_call: 9, hops: 8}}\ntriggers: {ENTRY}\n"
    ));
    let mut followed = Subscription::open(site.target("reader"), &["*/*/*"]).unwrap();
    followed.set_timeout(Some(PATIENCE)).unwrap();
    let mut reader = site.client("reader");
    reader.symbols().unwrap();
    assert_eq!(
        site.reload(),
        (Some(0), "nothing has changed\n6 tokens are known\n".into())
    );

    site.configure("log_level: info", "log_level: debug");
    site.configure(
        "requests_per_call: 9, hops: 8",
        "requests_per_call: 7, hops: 4",
    );
    for _ in 0..2 {
        let (code, text) = site.reload();
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("limits.hops: 8 -> 4 (needs a restart)"),
            "{text}"
        );
    }
    let (_, text) = site.reload();
    assert!(!text.contains("log_level"), "it is applied: {text}");

    // A file that does not hold changes nothing, whatever else is in it.
    site.configure("requests_per_call: 7", "requests_per_call: many");
    site.configure("log_level: debug", "log_level: error");
    let (code, text) = site.reload();
    assert!(
        code == Some(1) && text.contains("limits.requests_per_call: must be"),
        "{text}"
    );
    site.configure("requests_per_call: many", "requests_per_call: 5");
    let dry = site.mkts("admin", &["reload", "--dry-run"]);
    let dry = String::from_utf8(dry.stdout).unwrap();
    assert!(
        dry.contains("log_level: debug -> error (would be applied)"),
        "{dry}"
    );
    site.configure("log_level: error", "log_level: info");

    // An instance whose entry is gone ends, and begins again when it is back.
    let list = || {
        let list = site.mkts("admin", &["plugin", "list"]);
        String::from_utf8(list.stdout).unwrap()
    };
    site.configure(ENTRY, "[]");
    let (code, text) = site.reload();
    assert!(
        code == Some(0) && text.contains("is gone: what is stored"),
        "{text}"
    );
    assert!(!list().contains("running"), "{}", list());
    site.configure("triggers: []", &format!("triggers: {ENTRY}"));
    let (_, text) = site.reload();
    assert!(text.contains("]: is new (applied)"), "{text}");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    assert_eq!(followed.receive().unwrap().key, "A/1Min/X");

    // One that has changed says which keys, never their values; one that cannot run keeps them all.
    let named = "[{module: stream, name: s, on: \"*/*/*\", env: {KEY: secret}}]";
    site.configure(ENTRY, named);
    assert_eq!(site.reload().0, Some(0));
    site.configure("KEY: secret", "KEY: another, B: c");
    let dry = site.mkts("admin", &["reload", "--dry-run"]);
    let dry = String::from_utf8(dry.stdout).unwrap();
    assert!(
        dry.contains("triggers[s]: has changed: env (would be applied)"),
        "{dry}"
    );
    assert!(!dry.contains("secret") && !dry.contains("another"), "{dry}");
    site.configure(
        "{module: stream, name: s",
        "{module: nowhere}, {module: stream, name: s",
    );
    site.configure("requests_per_call: 5", "requests_per_call: 3");
    let (code, text) = site.reload();
    assert!(code == Some(1) && text.contains("nowhere"), "{text}");
    assert!(
        text.contains("nothing was changed") && text.contains("mkts.yml:"),
        "{text}"
    );
    site.configure("{module: nowhere}, ", "");
    let (_, text) = site.reload();
    assert!(
        text.contains("limits.requests_per_call: 5 -> 3 (applied)"),
        "{text}"
    );
    assert!(list().contains("running"), "{}", list());

    // Revoked: by the signal of a supervisor. The reader and his subscription end.
    site.revoke("reader");
    let pid = rustix::process::Pid::from_child(&site.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    site.wait_for_log("5 tokens are known");
    assert_eq!(end(reader.symbols()), Unknown);
    let ended = followed.receive();
    assert!(ended.is_err(), "{ended:?}");
    let refused = site.mkts("writer", &["reload"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("has no right to admin the server"), "{told}");
    assert!(TcpStream::connect(&site.http).is_ok());
}
