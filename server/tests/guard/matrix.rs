//! Each method x each caller, at the doors of MarketStore.

use std::fs;
use std::process::Command;

use client::{Alter, Client, Query, Subscription};
use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{self, list_symbols_request::Format};
use model::{ColumnDef, ColumnType, RowKind};
use serde_json::Value;
use tonic::Code;

use crate::support::*;

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

/// What an operator asks: all of `/admin/v1` and `mkts reload`, with the same ends.
#[test]
fn auth_matrix_of_operators() {
    let site = Site::guarded("");
    for (caller, [_, _, admin]) in CALLERS {
        for (method, path) in [
            ("GET", "/admin/v1/profile/memory"),
            ("GET", "/admin/v1/profile/threads?seconds=0"),
            ("GET", "/admin/v1/profile/cpu?seconds=0"),
            ("GET", "/admin/v1/plugins"),
            ("POST", "/admin/v1/reload"),
            ("POST", "/admin/v1/plugins/none:pause"),
            ("GET", "/admin/v1/none"),
        ] {
            let (status, text) = site.send(caller, method, path, "", "");
            let what = format!("{caller} {path}: {status} {text}");
            match admin {
                // What is asked may make no sense: that is looked at behind the check.
                Done => assert!(![401, 403].contains(&status), "{what}"),
                Unknown => assert!(status == 401 && text.contains("token"), "{what}"),
                Denied => {
                    assert_eq!(status, 403, "{what}");
                    assert!(text.contains("has no right to admin the server"), "{what}");
                }
            }
            // From elsewhere, as a proxy says: whatever the token is.
            let (status, text) =
                site.send(caller, method, path, "X-Forwarded-For: 10.0.0.1\r\n", "");
            assert_eq!(status, 403, "{what}");
            assert!(text.contains("on this machine only"), "{text}");
        }
        let done = site.mkts(caller, &["reload"]);
        let told = String::from_utf8(done.stderr).unwrap();
        let wanted = match admin {
            Done => "",
            Unknown => "token",
            Denied => "has no right to admin the server",
        };
        assert_eq!(done.status.code(), Some(i32::from(admin != Done)), "{told}");
        assert!(told.contains(wanted), "{caller}: {told}");
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
