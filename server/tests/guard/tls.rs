//! TLS, and files of tokens that a server does not take.

use std::fs;
use std::path::Path;
use std::process::Command;

use client::{Client, Error, Subscription, Target, Tls};
use model::RowKind;

use crate::support::*;

/// The same over TLS, where nothing is answered in the clear.
#[test]
fn every_listener_speaks_tls_and_takes_another_certificate_while_it_runs() {
    let make = |dir: &Path| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        write_private(&dir.join("key.pem"), &made.signing_key.serialize_pem());
        fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    };
    let site = Site::new(
        "auth: {tokens_file: tokens}\ntls: {cert: cert.pem, key: key.pem}\n",
        |dir| {
            write_tokens(dir);
            make(dir);
        },
    );
    let target = |ca: &Path| site.target("admin").tls(Some(Tls::with_ca(ca).unwrap()));
    let ca = site.path("cert.pem");
    Client::new(target(&ca))
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    let mut kept = Client::new(target(&ca));
    assert_eq!(kept.symbols().unwrap(), ["A"]);
    Subscription::open(target(&ca), &["*/*/*"]).unwrap();
    let clear = site.client("admin").timeout(Some(PATIENCE)).symbols();
    assert!(matches!(clear, Err(Error::Io(_))), "{clear:?}");
    // gRPC: its own listener, the same certificate.
    let over = Target::new(site.grpc.as_str()).tls(Some(Tls::with_ca(&ca).unwrap()));
    let other_protocol = Client::new(over).symbols();
    let told = format!("{other_protocol:?}");
    assert!(
        other_protocol.is_err() && !told.contains("certificate"),
        "{told}"
    );
    let stranger = tempfile::tempdir().unwrap();
    make(stranger.path());
    let unknown = Client::new(target(&stranger.path().join("cert.pem"))).symbols();
    let told = unknown.unwrap_err().to_string();
    assert!(told.contains("invalid peer certificate"), "{told}");

    fs::copy(&ca, site.path("old.pem")).unwrap();
    make(site.dir.path());
    let url = format!("https://{}", site.http);
    let reload = |ca: &str| {
        let mut command = Command::new(MKTS);
        command.args(["reload", "--url", &url, "--ca", ca, "--token-file", "admin"]);
        command.current_dir(site.dir.path()).output().unwrap()
    };
    let done = reload("old.pem");
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        text.contains("tls: another certificate (applied)"),
        "{text}"
    );
    Client::new(target(&ca)).symbols().unwrap();
    assert!(
        Client::new(target(&site.path("old.pem")))
            .symbols()
            .is_err()
    );
    // Connections live on.
    assert_eq!(kept.symbols().unwrap(), ["A"]);
    // A key that does not fit changes nothing.
    fs::copy(stranger.path().join("key.pem"), site.path("key.pem")).unwrap();
    let done = reload("cert.pem");
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("does not fit"), "{told}");
    Client::new(target(&ca)).symbols().unwrap();
}

/// A file of tokens that is missing, or that everybody may read, keeps the server from starting.
#[test]
fn a_server_with_tokens_of_everybody_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = "root_directory: data\nlisten_port: 0\nauth: {tokens_file: tokens}\n";
    fs::write(dir.path().join("mkts.yml"), config).unwrap();
    let run = |command: &str| {
        let done = Command::new(MKTS)
            .arg(command)
            .current_dir(dir.path())
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, told) = run("check-config");
    assert!(code == Some(1) && told.contains("mkts token new"), "{told}");
    assert_eq!(run("start").0, Some(1));
    fs::write(dir.path().join("tokens"), "").unwrap();
    let (code, told) = run("check-config");
    assert!(code == Some(1) && told.contains("chmod 600"), "{told}");
}
