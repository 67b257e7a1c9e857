//! Tokens, TLS and the reload of the configuration, on the real program.
#![forbid(unsafe_code)]
// Tests prepare files beside the store; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Alter, Client, Error, Query, Subscription, Target, Tls};
use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{self, list_symbols_request::Format};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use serde_json::Value;
use server::auth::Token;
use tempfile::TempDir;
use tonic::Code;

const MKTS: &str = env!("CARGO_BIN_EXE_mkts");
/// A hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on its own directory; killed when dropped.
struct Site {
    dir: TempDir,
    child: Child,
    http: String,
    grpc: String,
}

/// Tokens of a test, by the name of their file.
const TOKENS: [(&str, &str); 5] = [
    ("reader", r#""right":"read""#),
    ("writer", r#""right":"write""#),
    ("admin", r#""right":"admin""#),
    ("apples", r#""right":"write","keys":["AAPL/**"]"#),
    ("old", r#""right":"admin","expires":"2001-01-01T00:00:00Z""#),
];

impl Site {
    fn new(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("root_directory: data\nlisten_port: 0\ngrpc_listen_port: 0\n{config}");
        fs::write(dir.path().join("mkts.yml"), config).unwrap();
        prepare(dir.path());
        let ready = dir.path().join("ready");
        let mut child = Command::new(MKTS)
            .args(["start", "--ready-file", "ready"])
            .current_dir(dir.path())
            .env_remove("MKTS_LOG")
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let ready: Value = loop {
            if let Ok(text) = fs::read(&ready) {
                break serde_json::from_slice(&text).unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        };
        let address = |door: &str| ready[door].as_str().unwrap().to_owned();
        Self {
            dir,
            child,
            http: address("http"),
            grpc: address("grpc"),
        }
    }

    /// With [`TOKENS`].
    fn guarded(config: &str) -> Self {
        Self::new(
            &format!("auth: {{tokens_file: tokens}}\n{config}"),
            write_tokens,
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn token(&self, name: &str) -> Option<String> {
        match name {
            "none" => None,
            "wrong" => Some("mkts_wrong".into()),
            name => Some(fs::read_to_string(self.path(name)).unwrap()),
        }
    }

    fn target(&self, token: &str) -> Target {
        Target::new(self.http.as_str()).token(self.token(token))
    }

    fn client(&self, token: &str) -> Client {
        Client::new(self.target(token))
    }

    /// A command about this server, as that caller.
    fn mkts(&self, token: &str, args: &[&str]) -> Output {
        let mut command = Command::new(MKTS);
        command.args(args).current_dir(self.dir.path());
        command.args(["--url", &format!("http://{}", self.http)]);
        match self.token(token) {
            Some(token) => command.env("MKTS_TOKEN", token),
            None => command.env_remove("MKTS_TOKEN"),
        };
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn reload(&self) -> (Option<i32>, String) {
        let done = self.mkts("admin", &["reload"]);
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).unwrap())
    }

    fn configure(&self, from: &str, to: &str) {
        let file = self.path("mkts.yml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    fn wait_for_log(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(self.path("log")).unwrap().contains(what) {
            assert!(Instant::now() < deadline, "{what} is never logged");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_tokens(dir: &Path) {
    let lines = TOKENS.map(|(name, rest)| {
        let token = Token::new().unwrap();
        fs::write(dir.join(name), token.text()).unwrap();
        format!(
            "{{\"name\":\"{name}\",\"hash\":\"{}\",{rest}}}\n",
            token.hash()
        )
    });
    write_private(&dir.join("tokens"), &lines.concat());
}

fn write_private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

fn table(text: &str) -> (BucketKey, ColumnBatch) {
    let schema = Schema::new(vec![ColumnDef::new("Open", ColumnType::F64)]).unwrap();
    let columns = vec![Column::from_values(vec![1.0, 2.0])];
    (
        key(text),
        ColumnBatch::new(
            schema,
            Column::from_values(vec![0_i64, 60_000_000_000]),
            columns,
        )
        .unwrap(),
    )
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// 401, UNAUTHENTICATED.
    Unknown,
    /// The right is missing.
    Denied,
}
use End::{Denied, Done, Unknown};

fn end<T: std::fmt::Debug>(result: Result<T, Error>) -> End {
    match result {
        Ok(_) => Done,
        Err(Error::Status(401, text)) if text.contains("token") => Unknown,
        Err(Error::Rpc(text)) if text.contains("has no right to ") => Denied,
        other => panic!("{other:?}"),
    }
}

fn http_end((status, text): (u16, String)) -> End {
    match status {
        200 => Done,
        401 if text.contains("token") => Unknown,
        403 if text.contains("has no right to admin") => Denied,
        _ => panic!("{status} {text}"),
    }
}

/// Each caller, and what comes of reads, writes and steering.
const CALLERS: [(&str, [End; 3]); 6] = [
    ("none", [Unknown; 3]),
    ("wrong", [Unknown; 3]),
    ("old", [Unknown; 3]),
    ("reader", [Done, Denied, Denied]),
    ("writer", [Done, Done, Denied]),
    ("admin", [Done, Done, Done]),
];

/// Each method x each caller, over the RPC and the other paths of HTTP.
#[test]
fn auth_matrix_of_http() {
    let site = Site::guarded("triggers:\n  - {module: stream, on: \"*/*/*\"}\n");
    let bars = key("A/1Min/X");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    for (caller, [read, write, admin]) in CALLERS {
        let mut client = site.client(caller);
        let schema = table("N/1Min/X").1.schema().clone();
        let made = key(&format!("N{caller}/1Min/X"));
        let alter = Alter {
            add: vec![ColumnDef::new(caller, ColumnType::F32)],
            ..Alter::default()
        };
        assert_eq!(
            end(client.query(&Query::of("A/1Min/X"))),
            read,
            "query {caller}"
        );
        assert_eq!(
            end(client.query(&Query::of("*/1Min/X"))),
            read,
            "query * {caller}"
        );
        assert_eq!(end(client.symbols()), read, "list {caller}");
        assert_eq!(end(client.get_info(&bars)), read, "info {caller}");
        assert_eq!(
            end(client.create(&made, RowKind::Bar, &schema)),
            write,
            "create {caller}"
        );
        let rows = [table("W/1Min/X")];
        assert_eq!(
            end(client.write(&rows, RowKind::Bar)),
            write,
            "write {caller}"
        );
        assert_eq!(
            end(client.alter(&key("W/1Min/X"), &alter)),
            write,
            "alter {caller}"
        );
        assert_eq!(
            end(client.delete(&key("W/1Min/X"), 0, 0, false)),
            write,
            "delete {caller}"
        );
        assert_eq!(end(client.destroy("W")), write, "destroy {caller}");
        let followed = Subscription::open(site.target(caller), &["A/*/*"]);
        assert_eq!(end(followed), read, "ws {caller}");
        assert_eq!(
            http_end(client.get("/metrics").unwrap()),
            read,
            "metrics {caller}"
        );
        assert_eq!(
            http_end(client.get("/admin/v1/status").unwrap()),
            admin,
            "admin {caller}"
        );
        let memory = client.get("/admin/v1/profile/memory").unwrap();
        assert_eq!(http_end(memory), admin, "memory {caller}");
        let threads = client.get("/admin/v1/profile/threads?seconds=0").unwrap();
        assert_eq!(threads.0 == 400, admin == Done, "{threads:?}");
        let merged = client.post("/admin/v1/merge", "{}").unwrap();
        assert_eq!(http_end(merged), admin, "merge {caller}");
        // Open to all: supervisors and balancers have no token.
        assert_eq!(client.get("/heartbeat").unwrap().0, 200);
        let (code, health) = client.get("/health").unwrap();
        assert_eq!(
            health.contains("degraded"),
            code == 200 && read == Done,
            "{caller} {health}"
        );
        assert!(!client.version().unwrap().is_empty());
    }
}

/// The same over gRPC.
#[test]
fn auth_matrix_of_grpc() {
    let site = Site::guarded("");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = format!("http://{}", site.grpc);
    let mut client = runtime
        .block_on(MarketstoreClient::connect(address))
        .unwrap();
    fn shown<T>(message: T, token: Option<&str>) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
    fn end<T>(
        result: Result<tonic::Response<T>, tonic::Status>,
        errors: impl Fn(T) -> Vec<String>,
    ) -> End {
        match result {
            Ok(reply) => {
                let errors = errors(reply.into_inner());
                assert!(
                    errors
                        .iter()
                        .all(|e| e.is_empty() || e.contains("has no right to write"))
                );
                if errors.iter().all(String::is_empty) {
                    Done
                } else {
                    Denied
                }
            }
            Err(status) if status.code() == Code::Unauthenticated => Unknown,
            Err(status) if status.code() == Code::PermissionDenied => Denied,
            Err(status) => panic!("{status:?}"),
        }
    }
    let entries = |reply: proto::MultiServerResponse| -> Vec<String> {
        reply.responses.into_iter().map(|r| r.error).collect()
    };
    runtime.block_on(async {
        for (caller, [read, write, _]) in CALLERS {
            let token = site.token(caller);
            let token = token.as_deref();
            let query = proto::QueryRequest {
                destination: "A/1Min/X".into(),
                ..Default::default()
            };
            let queries = proto::MultiQueryRequest {
                requests: vec![query],
            };
            let done = client.query(shown(queries, token)).await;
            assert_eq!(end(done, |_| Vec::new()), read, "query {caller}");
            let list = proto::ListSymbolsRequest {
                format: Format::Symbol.into(),
            };
            let done = client.list_symbols(shown(list, token)).await;
            assert_eq!(end(done, |_| Vec::new()), read, "list {caller}");
            let create = proto::CreateRequest {
                key: format!("N{caller}/1Min/X"),
                data_shapes: vec![proto::DataShape {
                    name: "Open".into(),
                    r#type: "f8".into(),
                }],
                row_type: "fixed".into(),
            };
            let creates = proto::MultiCreateRequest {
                requests: vec![create],
            };
            let done = client.create(shown(creates, token)).await;
            assert_eq!(end(done, entries), write, "create {caller}");
            let data = proto::NumpyMultiDataset {
                data: Some(proto::NumpyDataset {
                    column_types: vec!["i8".into(), "f8".into()],
                    column_names: vec!["Epoch".into(), "Open".into()],
                    column_data: vec![vec![0; 8].into(), vec![0; 8].into()],
                    length: 1,
                    data_shapes: Vec::new(),
                }),
                start_index: [("W/1Min/X".to_owned(), 0)].into(),
                lengths: [("W/1Min/X".to_owned(), 1)].into(),
            };
            let write_one = proto::WriteRequest {
                data: Some(data),
                is_variable_length: false,
            };
            let writes = proto::MultiWriteRequest {
                requests: vec![write_one],
            };
            let done = client.write(shown(writes, token)).await;
            assert_eq!(end(done, entries), write, "write {caller}");
            let destroy = proto::KeyRequest {
                key: "W/1Min/X".into(),
            };
            let destroys = proto::MultiKeyRequest {
                requests: vec![destroy],
            };
            let done = client.destroy(shown(destroys, token)).await;
            assert_eq!(end(done, entries), write, "destroy {caller}");
            let version = client
                .server_version(shown(proto::ServerVersionRequest {}, token))
                .await;
            assert!(!version.unwrap().into_inner().version.is_empty());
        }
    });
}

/// A token of some keys: `*` is what they are, names beside them are refused whether they are there or
/// not, and nothing of a refused call happens.
#[test]
fn a_token_of_some_keys_sees_and_changes_those_alone() {
    let site = Site::guarded("triggers:\n  - {module: stream, on: \"*/*/*\"}\n");
    let mut admin = site.client("admin");
    let tables = [table("AAPL/1Min/X"), table("MSFT/1Min/X")];
    admin.write(&tables, RowKind::Bar).unwrap();
    let mut apples = site.client("apples");
    assert_eq!(apples.symbols().unwrap(), ["AAPL"]);
    assert_eq!(apples.buckets().unwrap(), ["AAPL/1Min/X"]);
    let all = apples.query(&Query::of("*/1Min/X")).unwrap();
    assert_eq!(
        all.iter().map(|t| t.key.as_str()).collect::<Vec<_>>(),
        ["AAPL/1Min/X"]
    );
    for other in [
        "MSFT/1Min/X",
        "AAPL,MSFT/1Min/X",
        "NONE/1Min/X",
        "MSFT/60Sec/X",
    ] {
        assert_eq!(end(apples.query(&Query::of(other))), Denied, "{other}");
    }
    assert_eq!(end(apples.get_info(&key("MSFT/1Min/X"))), Denied);
    assert_eq!(end(apples.write(&tables, RowKind::Bar)), Denied);
    for other in ["MSFT", "MSFT/1Min", "MSFT/1Min/X", "NONE/1Min/X"] {
        assert_eq!(end(apples.destroy(other)), Denied, "{other}");
    }
    assert_eq!(admin.buckets().unwrap(), ["AAPL/1Min/X", "MSFT/1Min/X"]);
    let refused = Subscription::open(site.target("apples"), &["MSFT/1Min/X"]);
    assert_eq!(end(refused), Denied);
    let mut followed = Subscription::open(site.target("apples"), &["*/*/*"]).unwrap();
    followed.set_timeout(Some(PATIENCE)).unwrap();
    admin.write(&[table("MSFT/1Min/X")], RowKind::Bar).unwrap();
    admin.write(&[table("AAPL/1Min/X")], RowKind::Bar).unwrap();
    assert_eq!(followed.receive().unwrap().key, "AAPL/1Min/X");
}

/// Old clients have a URL and nothing else; what they are told must be readable.
#[test]
fn a_url_can_hold_the_token() {
    let site = Site::guarded("");
    let token = site.token("reader").unwrap();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"DataService.ListSymbols","params":{}}"#;
    let mut open = Client::new(site.http.as_str());
    let (status, text) = open.post(&format!("/rpc?token={token}"), call).unwrap();
    assert_eq!((status, text.contains("\"error\"")), (200, false), "{text}");
    let (status, text) = open.post("/rpc?token=x", call).unwrap();
    assert_eq!(status, 401);
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        error["error"]["message"],
        "the token is not known, or it was revoked"
    );
    let url = format!("http://any:{token}@{}", site.http);
    let listed = Command::new(MKTS)
        .args(["export", "NONE/1Min/X", "--url", &url, "--out", "x.csv"])
        .current_dir(site.dir.path())
        .env_remove("MKTS_TOKEN")
        .output()
        .unwrap();
    let told = String::from_utf8(listed.stderr).unwrap();
    assert!(!told.contains("token"), "{told}");
    let log = fs::read_to_string(site.path("log")).unwrap();
    assert!(
        log.contains("a call was refused") && !log.contains(&token),
        "{log}"
    );
}

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
        (Some(0), "nothing has changed\n5 tokens are known\n".into())
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

    // An instance whose entry is gone is paused, and goes on when it is back.
    site.configure(ENTRY, "[]");
    let (_, text) = site.reload();
    assert!(text.contains("is gone: paused"), "{text}");
    let list = site.mkts("admin", &["plugin", "list"]);
    assert!(String::from_utf8(list.stdout).unwrap().contains("paused"));
    site.configure("triggers: []", &format!("triggers: {ENTRY}"));
    let (_, text) = site.reload();
    assert!(text.contains("is back"), "{text}");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    assert_eq!(followed.receive().unwrap().key, "A/1Min/X");

    // Revoked: by the signal of a supervisor. The reader and his subscription end.
    let tokens = site.path("tokens");
    let text = fs::read_to_string(&tokens).unwrap();
    let left: String = text
        .lines()
        .filter(|l| !l.contains("reader"))
        .map(|l| format!("{l}\n"))
        .collect();
    write_private(&tokens, &left);
    let pid = rustix::process::Pid::from_child(&site.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    site.wait_for_log("4 tokens are known");
    assert_eq!(end(reader.symbols()), Unknown);
    let ended = followed.receive();
    assert!(ended.is_err(), "{ended:?}");
    let refused = site.mkts("writer", &["reload"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("has no right to admin the server"), "{told}");
    assert!(TcpStream::connect(&site.http).is_ok());
}
