//! The gRPC door: recorded calls of MarketStore's own server, its Python client, and bad input.
//!
//! A reply is compared with the recorded one as messages: the version differs, and maps have no
//! order on the wire.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{self, list_symbols_request::Format};
use prost::Message;
use serde_json::Value as Json;
use tests::server::Server;
use tests::wire::CallError;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::golden::{recorded, unhex};
use crate::pymarketstore::{PACKAGES, drive, environment};

const GRPC: &str = "grpc_listen_port: 0\n";

type Client = MarketstoreClient<Channel>;

/// A server with the door open, and a client of it.
fn served(extra: &str) -> (Server, Runtime, Client) {
    let server = Server::start(&[], &format!("{GRPC}{extra}"));
    let runtime = Runtime::new().unwrap();
    let address = format!("http://{}", server.grpc());
    let client = runtime.block_on(Client::connect(address)).unwrap();
    let large = 1 << 30;
    let client = client
        .max_decoding_message_size(large)
        .max_encoding_message_size(large);
    (server, runtime, client)
}

/// What a method answered: its message without the version, or code and text.
fn view<T: Message + Clear>(
    reply: Result<tonic::Response<T>, Status>,
) -> Result<T, (Code, String)> {
    match reply {
        Ok(reply) => Ok(cleared(reply.into_inner())),
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

/// Takes out what is another server's own.
trait Clear {
    fn clear_version(&mut self);
}

fn cleared<T: Clear>(mut message: T) -> T {
    message.clear_version();
    message
}

impl Clear for proto::MultiQueryResponse {
    fn clear_version(&mut self) {
        assert!(!self.version.is_empty());
        self.version.clear();
    }
}

impl Clear for proto::MultiServerResponse {
    fn clear_version(&mut self) {
        for response in &mut self.responses {
            assert!(!response.version.is_empty());
            response.version.clear();
        }
    }
}

impl Clear for proto::ListSymbolsResponse {
    fn clear_version(&mut self) {
        self.results.sort();
    }
}

impl Clear for proto::ServerVersionResponse {
    fn clear_version(&mut self) {
        assert!(!self.version.is_empty());
        self.version.clear();
    }
}

fn compare<T: Message + Default + Clear + PartialEq + std::fmt::Debug>(
    step: &Json,
    got: Result<tonic::Response<T>, Status>,
) {
    let expected = match step["grpc_status"].as_str().unwrap() {
        "OK" => {
            let bytes = unhex(step["response_hex"].as_str().unwrap());
            Ok(cleared(T::decode(&bytes[..]).unwrap()))
        }
        "UNKNOWN" => Err((
            Code::Unknown,
            step["grpc_details"].as_str().unwrap().to_owned(),
        )),
        other => panic!("status {other}"),
    };
    assert_eq!(
        view(got),
        expected,
        "step {}: {}",
        step["step"],
        step["what"]
    );
}

async fn play(client: &mut Client, step: &Json) {
    let bytes = unhex(step["request_hex"].as_str().unwrap());
    let bytes = &bytes[..];
    let method = step["method"].as_str().unwrap();
    match method.rsplit('/').next().unwrap() {
        "ServerVersion" => {
            let request = proto::ServerVersionRequest::decode(bytes).unwrap();
            compare(step, client.server_version(request).await);
        }
        "ListSymbols" => {
            let request = proto::ListSymbolsRequest::decode(bytes).unwrap();
            compare(step, client.list_symbols(request).await);
        }
        "Write" => {
            let request = proto::MultiWriteRequest::decode(bytes).unwrap();
            compare(step, client.write(request).await);
        }
        "Query" => {
            let request = proto::MultiQueryRequest::decode(bytes).unwrap();
            compare(step, client.query(request).await);
        }
        "Create" => {
            let request = proto::MultiCreateRequest::decode(bytes).unwrap();
            compare(step, client.create(request).await);
        }
        "Destroy" => {
            let request = proto::MultiKeyRequest::decode(bytes).unwrap();
            compare(step, client.destroy(request).await);
        }
        other => panic!("method {other}"),
    }
}

#[test]
fn recorded_calls_are_answered_as_recorded() {
    let scenario = recorded("scenarios/grpc.json");
    let (_server, runtime, mut client) = served("");
    let mut played = 0;
    for step in scenario["steps"].as_array().unwrap() {
        runtime.block_on(play(&mut client, step));
        played += 1;
    }
    assert_eq!(played, 17);
}

#[test]
fn calls_are_counted() {
    let (server, runtime, mut client) = served("");
    let listed = runtime.block_on(client.list_symbols(proto::ListSymbolsRequest::default()));
    listed.unwrap();
    let reply = server.client().send("GET", "/metrics", None, b"");
    let text = reply.unwrap().text();
    let counted = "mkts_grpc_seconds_count{method=\"ListSymbols\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[test]
fn sql_that_is_switched_off_says_so() {
    let (server, runtime, mut client) = served("sql: {enabled: false}\n");
    let wanted = "SQL is switched off (sql.enabled)";
    let statement = proto::QueryRequest {
        is_sql_statement: true,
        sql_statement: "SELECT 1;".into(),
        ..proto::QueryRequest::default()
    };
    let requests = vec![statement];
    let reply = runtime.block_on(client.query(proto::MultiQueryRequest { requests }));
    assert_eq!(view(reply), Err((Code::Unknown, wanted.to_owned())));
    let error = tests::wire::sql(&mut server.client(), "SELECT 1;").unwrap_err();
    assert!(
        matches!(&error, CallError::Rpc(-32000, text) if text == wanted),
        "{error:?}"
    );
}

/// A key of two parts ended MarketStore's server.
#[test]
fn what_ended_the_recorded_server_is_an_error() {
    let scenario = recorded("scenarios/grpc_crash.json");
    let (mut server, runtime, mut client) = served("");
    let steps = scenario["steps"].as_array().unwrap();
    runtime.block_on(play(&mut client, &steps[0]));
    let query = |destination: &str| proto::MultiQueryRequest {
        requests: vec![proto::QueryRequest {
            destination: destination.to_owned(),
            ..proto::QueryRequest::default()
        }],
    };
    let (code, text) = view(runtime.block_on(client.query(query("Z/1Min")))).unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(
        text.contains("Symbol, Timeframe and AttributeGroup"),
        "{text}"
    );
    let reply = view(runtime.block_on(client.query(query("A/1Min/OHLCV")))).unwrap();
    let result = reply.responses[0].result.as_ref().unwrap();
    assert_eq!(result.data.as_ref().unwrap().length, 3);
    assert!(server.alive());
}

fn column(name: &str, code: &str, data: Vec<u8>) -> (String, String, bytes::Bytes) {
    (name.to_owned(), code.to_owned(), data.into())
}

fn write(
    key: &str,
    rows: i32,
    columns: Vec<(String, String, bytes::Bytes)>,
) -> proto::WriteRequest {
    let mut data = proto::NumpyDataset {
        length: rows,
        ..proto::NumpyDataset::default()
    };
    for (name, code, bytes) in columns {
        data.column_names.push(name);
        data.column_types.push(code);
        data.column_data.push(bytes);
    }
    proto::WriteRequest {
        data: Some(proto::NumpyMultiDataset {
            data: Some(data),
            start_index: [(key.to_owned(), 0)].into(),
            lengths: [(key.to_owned(), rows)].into(),
        }),
        is_variable_length: false,
    }
}

fn minutes(rows: i64) -> Vec<u8> {
    (0..rows).flat_map(|row| (row * 60).to_le_bytes()).collect()
}

fn closes(rows: i64) -> Vec<u8> {
    (0..rows)
        .flat_map(|row| (row as f64).to_le_bytes())
        .collect()
}

/// Each is answered with an error that says what, and the next good call works.
#[test]
fn bad_calls_are_refused_and_the_next_one_works() {
    let (mut server, runtime, mut client) = served("limits: {requests_per_call: 10}\n");
    let bars = |rows: i64| {
        vec![
            column("Epoch", "i8", minutes(rows)),
            column("Close", "f8", closes(rows)),
        ]
    };
    let empty = proto::WriteRequest::default();
    let no_data = proto::WriteRequest {
        data: Some(proto::NumpyMultiDataset::default()),
        is_variable_length: false,
    };
    let many = vec![write("A/1Min/X", 1, bars(1)); 11];
    for (requests, wanted) in [
        (vec![empty], "no data"),
        (vec![no_data], "no data.data"),
        (many, "limits.requests_per_call"),
    ] {
        let reply = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
        let (code, text) = view(reply).unwrap_err();
        assert_eq!(code, Code::InvalidArgument, "{text}");
        assert!(text.contains(wanted), "{text}");
    }
    let short = vec![
        column("Epoch", "i8", minutes(2)),
        column("Close", "f8", closes(1)),
    ];
    let no_epoch = vec![column("Close", "f8", closes(1))];
    let odd_type = vec![
        column("Epoch", "i8", minutes(1)),
        column("Close", "f9", closes(1)),
    ];
    for (request, wanted) in [
        (write("A/1Min/X", 2, short), "rows"),
        (write("A/1Min/X", 1, no_epoch), "Epoch"),
        (write("A/1Min/X", 1, odd_type), "f9"),
        (write("A/1Min/X", 7, bars(1)), "not in the 1 rows"),
        (write("../1Min/X", 1, bars(1)), ".."),
        (write("A/1Fort/X", 1, bars(1)), "timeframe"),
    ] {
        let requests = vec![request, write("GOOD/1Min/X", 1, bars(1))];
        let reply = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
        // Only failures are in the reply; the other request of the call is carried out.
        let reply = view(reply).unwrap();
        let [failure] = &reply.responses[..] else {
            panic!("{wanted}: {reply:?}");
        };
        assert!(failure.error.contains(wanted), "{}", failure.error);
    }
    let create = |key: &str, code: &str, row_type: &str| proto::CreateRequest {
        key: key.to_owned(),
        data_shapes: vec![proto::DataShape {
            name: "Close".into(),
            r#type: code.to_owned(),
        }],
        row_type: row_type.to_owned(),
    };
    let requests = vec![
        create("B/1Min/X", "f8", "wide"),
        create("B/1Min/X", "f9", "fixed"),
        create("B/1Fort/X", "f8", "fixed"),
        create("B/1Min/X", "f8", "fixed"),
        create("B/1Min/X", "f8", "fixed"),
    ];
    let reply = runtime.block_on(client.create(proto::MultiCreateRequest { requests }));
    let errors: Vec<String> = view(reply)
        .unwrap()
        .responses
        .into_iter()
        .map(|response| response.error)
        .collect();
    let wanted = [
        "must be one of fixed or variable",
        "f9",
        "timeframe",
        "",
        "exists",
    ];
    assert_eq!(errors.len(), wanted.len());
    for (error, wanted) in errors.iter().zip(wanted) {
        assert!(error.contains(wanted), "{error}");
        assert_eq!(error.is_empty(), wanted.is_empty(), "{error}");
    }
    let list = proto::ListSymbolsRequest {
        format: Format::TimeBucketKey.into(),
    };
    let list = view(runtime.block_on(client.list_symbols(list))).unwrap();
    assert_eq!(list.results, ["B/1Min/X", "GOOD/1Min/X"]);
    assert!(server.alive());
}

/// What goes in through one door comes out of the other, at any size.
#[test]
fn a_large_table_comes_back_as_it_was_sent() {
    let (server, runtime, mut client) = served("limits: {frame_bytes: 64MiB}\n");
    let rows = 1_000_000;
    let columns = vec![
        column("Epoch", "i8", minutes(rows)),
        column("Close", "f8", closes(rows)),
    ];
    let requests = vec![write("L/1Min/X", rows as i32, columns.clone())];
    let reply = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
    assert_eq!(view(reply).unwrap().responses, []);
    let request = proto::MultiQueryRequest {
        requests: vec![proto::QueryRequest {
            destination: "L/1Min/X".into(),
            ..proto::QueryRequest::default()
        }],
    };
    let reply = view(runtime.block_on(client.query(request))).unwrap();
    assert_eq!(reply.timezone, "UTC");
    let result = reply.responses[0].result.clone().unwrap();
    let data = result.data.unwrap();
    let sent: BTreeMap<_, _> = columns.into_iter().map(|(n, _, data)| (n, data)).collect();
    let got: BTreeMap<_, _> = data
        .column_names
        .into_iter()
        .zip(data.column_data)
        .collect();
    assert!(got == sent, "other values");
    let table = tests::wire::query_one(&mut server.client(), "L/1Min/X").unwrap();
    assert_eq!(table.column("Close").unwrap().data[..], sent["Close"][..]);
}

/// `grpc_max_recv_msg_size` names itself.
#[test]
fn a_message_over_the_limit_is_refused() {
    let (mut server, runtime, mut client) = served("grpc_max_recv_msg_size: 1\n");
    let rows = 100_000;
    let columns = vec![
        column("Epoch", "i8", minutes(rows)),
        column("Close", "f8", closes(rows)),
    ];
    let requests = vec![write("L/1Min/X", rows as i32, columns)];
    let reply = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
    let (code, text) = view(reply).unwrap_err();
    assert_eq!(code, Code::OutOfRange, "{text}");
    let version = runtime.block_on(client.server_version(proto::ServerVersionRequest {}));
    assert!(version.is_ok());
    assert!(server.terminate().success());
}

/// The client of MarketStore's own repository, unmodified.
#[test]
fn the_unmodified_python_client_speaks_grpc() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let python = environment("pymarketstore-0.22", PACKAGES);
    let server = Server::start(&[], GRPC);
    drive(&python, "grpc_test.py", server.grpc());
}
