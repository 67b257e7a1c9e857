//! The gRPC door: recorded calls of MarketStore's own server, its Python client, and bad input.
//!
//! A reply is compared with the recorded one as messages: the version differs, and maps have no
//! order on the wire.
// Helpers of tests fail as tests do; a certificate is written beside the store.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use client_proto::mkts::v1::QueryPart;
use client_proto::mkts::v1::bulk_client::BulkClient;
use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{self, list_symbols_request::Format};
use prost::Message;
use serde_json::Value as Json;
use tests::server::Server;
use tests::wire::CallError;
use tokio::runtime::Runtime;
use tonic::codegen::tokio_stream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
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

fn all_of(destination: &str) -> proto::QueryRequest {
    proto::QueryRequest {
        destination: destination.to_owned(),
        ..proto::QueryRequest::default()
    }
}

async fn parts(
    client: &mut BulkClient<Channel>,
    requests: Vec<proto::QueryRequest>,
) -> Result<Vec<QueryPart>, Status> {
    let stream = client.query_stream(proto::MultiQueryRequest { requests });
    let mut stream = stream.await?.into_inner();
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await? {
        parts.push(part);
    }
    Ok(parts)
}

/// The parts of one request as one data set.
fn joined(parts: &[QueryPart], request: u32) -> proto::NumpyMultiDataset {
    let mut whole: Option<proto::NumpyMultiDataset> = None;
    for part in parts.iter().filter(|part| part.request == request) {
        let part = part.result.clone().unwrap();
        let Some(whole) = &mut whole else {
            whole = Some(part);
            continue;
        };
        let (to, from) = (whole.data.as_mut().unwrap(), part.data.unwrap());
        assert_eq!(to.column_names, from.column_names);
        assert_eq!(to.column_types, from.column_types);
        for (to, from) in to.column_data.iter_mut().zip(from.column_data) {
            *to = [&to[..], &from[..]].concat().into();
        }
        for (key, rows) in part.lengths {
            let start = part.start_index[&key] + to.length;
            whole.start_index.entry(key.clone()).or_insert(start);
            *whole.lengths.entry(key).or_default() += rows;
        }
        to.length += from.length;
    }
    whole.unwrap()
}

/// Joined, the parts are what Query gives; none is large, and all are of one moment.
#[test]
fn a_result_in_parts_is_that_of_one_message() {
    let (server, runtime, mut client) = served("limits: {frame_bytes: 64MiB}\n");
    let address = format!("http://{}", server.grpc());
    let mut bulk = runtime.block_on(BulkClient::connect(address)).unwrap();
    let bars = |rows| {
        vec![
            column("Epoch", "i8", minutes(rows)),
            column("Close", "f8", closes(rows)),
        ]
    };
    let long = 300_000;
    let mut requests = vec![write("L/1Min/X", long, bars(long.into()))];
    for symbol in ["A", "B", "C"] {
        requests.push(write(&format!("{symbol}/1Min/X"), 3, bars(3)));
    }
    let ticks = vec![
        column("Epoch", "i8", vec![0; 8 * 3]),
        column("P", "f4", vec![1; 12]),
    ];
    requests.push(proto::WriteRequest {
        is_variable_length: true,
        ..write("T/1Sec/TRADE", 3, ticks)
    });
    let written = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
    assert_eq!(view(written).unwrap().responses, []);
    let range = proto::QueryRequest {
        epoch_start: 60_000,
        epoch_end: 6_000_000,
        columns: vec!["Close".into()],
        ..all_of("L/1Min/X")
    };
    let last = proto::QueryRequest {
        limit_record_count: 200_000,
        ..all_of("L,A/1Min/X")
    };
    let function = proto::QueryRequest {
        functions: vec!["candlecandler('5Min', Close, Close, Close, Close)".into()],
        ..all_of("L/1Min/X")
    };
    let sql = proto::QueryRequest {
        is_sql_statement: true,
        sql_statement: "SELECT * FROM `L/1Min/X`;".into(),
        ..proto::QueryRequest::default()
    };
    let asked = vec![
        all_of("A,L,B,C/1Min/X"),
        range,
        last,
        all_of("T/1Sec/TRADE"),
        function,
        sql,
    ];
    let got = runtime.block_on(parts(&mut bulk, asked.clone())).unwrap();
    let count = asked.len();
    let requests = asked;
    let whole = runtime.block_on(client.query(proto::MultiQueryRequest { requests }));
    let whole = view(whole).unwrap().responses;
    for (request, whole) in whole.into_iter().enumerate() {
        assert!(
            joined(&got, request as u32) == whole.result.unwrap(),
            "{request}"
        );
    }
    assert!(got.is_sorted_by_key(|part| part.request));
    assert!(got.len() > count + 8, "{}", got.len());
    let largest = got.iter().map(Message::encoded_len).max().unwrap();
    assert!(largest < 4 << 20, "{largest}");

    // What is written while a result is read is not in it.
    runtime.block_on(async {
        let requests = vec![all_of("L,A/1Min/X")];
        let stream = bulk
            .query_stream(proto::MultiQueryRequest { requests })
            .await;
        let mut stream = stream.unwrap().into_inner();
        let mut got = vec![stream.message().await.unwrap().unwrap()];
        let key = |key: &str| proto::KeyRequest { key: key.into() };
        let requests = vec![key("A/1Min/X"), key("L/1Min/X")];
        client
            .destroy(proto::MultiKeyRequest { requests })
            .await
            .unwrap();
        while let Some(part) = stream.message().await.unwrap() {
            got.push(part);
        }
        let rows = joined(&got, 0).data.unwrap().length;
        assert_eq!(rows, long + 3);
    });
}

#[test]
fn a_bad_stream_is_refused_and_the_next_one_works() {
    let limits = "limits: {requests_per_call: 2, results_bytes: 6MiB}\n";
    let (mut server, runtime, mut client) = served(limits);
    let address = format!("http://{}", server.grpc());
    let mut bulk = runtime.block_on(BulkClient::connect(address)).unwrap();
    let bars = |rows| {
        vec![
            column("Epoch", "i8", minutes(rows)),
            column("Close", "f8", closes(rows)),
        ]
    };
    let other = vec![
        column("Epoch", "i8", minutes(1)),
        column("P", "f4", vec![0; 4]),
    ];
    let requests = vec![write("A/1Min/X", 2, bars(2)), write("B/1Min/X", 1, other)];
    let written = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
    assert_eq!(view(written).unwrap().responses, []);
    let good = || all_of("A/1Min/X");
    for (requests, code, wanted) in [
        (
            vec![good(), all_of("NONE/1Min/X")],
            Code::Unknown,
            "no files returned",
        ),
        (vec![all_of("A,B/1Min/X")], Code::Unknown, "same data type"),
        (
            vec![good(); 3],
            Code::InvalidArgument,
            "limits.requests_per_call",
        ),
    ] {
        let refused = runtime.block_on(parts(&mut bulk, requests)).unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(wanted), "{refused:?}");
    }
    // Far more than there is room for at once: parts come and go.
    let rows: i64 = 60_000;
    for part in 0..8_i64 {
        let times = (0..rows).flat_map(|row| ((part * rows + row) * 60).to_le_bytes());
        let columns = vec![
            column("Epoch", "i8", times.collect()),
            column("Close", "f8", closes(rows)),
        ];
        let requests = vec![write("L/1Min/X", rows as i32, columns)];
        let written = runtime.block_on(client.write(proto::MultiWriteRequest { requests }));
        assert_eq!(view(written).unwrap().responses, []);
    }
    let requests = vec![all_of("L/1Min/X")];
    let whole = runtime.block_on(client.query(proto::MultiQueryRequest { requests }));
    let (_, text) = view(whole).unwrap_err();
    assert!(text.contains("limits.results_bytes"), "{text}");
    let long = runtime.block_on(parts(&mut bulk, vec![all_of("L/1Min/X")]));
    let long = joined(&long.unwrap(), 0).data.unwrap();
    assert_eq!(i64::from(long.length), 8 * rows);
    let mut good = runtime.block_on(parts(&mut bulk, vec![good()])).unwrap();
    assert_eq!(good.len(), 1);
    assert_eq!(good.remove(0).result.unwrap().data.unwrap().length, 2);
    assert!(server.alive());
}

/// What a message takes of the budget is given back with its answer.
#[test]
fn a_message_beyond_the_budget_is_refused_by_name() {
    let limits = "limits: {requests_bytes: 1MiB, call_time: 30s}\n";
    let (mut server, runtime, mut client) = served(limits);
    let message = |rows: i64| proto::MultiWriteRequest {
        requests: vec![write(
            "A/1Min/X",
            rows as i32,
            vec![
                column("Epoch", "i8", minutes(rows)),
                column("Close", "f8", closes(rows)),
            ],
        )],
    };
    let (code, text) = view(runtime.block_on(client.write(message(100_000)))).unwrap_err();
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    assert!(text.contains("limits.requests_bytes"), "{text}");
    for _ in 0..3 {
        let written = runtime.block_on(client.write(message(50_000)));
        assert_eq!(view(written).unwrap().responses, []);
    }
    assert!(server.alive());
}

/// A call whose message does not end is answered all the same.
#[test]
fn a_call_that_takes_too_long_is_ended_by_name() {
    let (mut server, runtime, mut client) = served("limits: {call_time: 100ms}\n");
    let status = runtime.block_on(async {
        let address = format!("http://{}", server.grpc());
        let channel = Channel::from_shared(address).unwrap().connect().await;
        let mut calls = tonic::client::Grpc::new(channel.unwrap());
        calls.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<
                proto::MultiWriteRequest,
                proto::MultiServerResponse,
            >::default();
        let path = "/proto.Marketstore/Write".parse().unwrap();
        let request = tonic::Request::new(tokio_stream::pending());
        calls
            .client_streaming(request, path, codec)
            .await
            .unwrap_err()
    });
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(status.message().contains("limits.call_time"), "{status:?}");
    let version = runtime.block_on(client.server_version(proto::ServerVersionRequest {}));
    assert!(version.is_ok());
    assert!(server.alive());
}

/// Everything over TLS: calls, large messages, the stream; and nothing in the clear.
#[test]
fn calls_go_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let tls = format!(
        "tls: {{cert: {}, key: {}}}\n",
        cert.display(),
        key.display()
    );
    let server = Server::start(&[], &format!("{GRPC}{tls}"));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let address = format!("https://{}", server.grpc());
        let known = Certificate::from_pem(made.cert.pem());
        let tls = ClientTlsConfig::new().ca_certificate(known);
        let endpoint = Channel::from_shared(address).unwrap().tls_config(tls);
        let channel = endpoint.unwrap().connect().await.unwrap();
        let mut client = MarketstoreClient::new(channel.clone());
        let rows = 100_000;
        let columns = vec![
            column("Epoch", "i8", minutes(rows)),
            column("Close", "f8", closes(rows)),
        ];
        let requests = vec![write("A/1Min/X", rows as i32, columns)];
        let written = client.write(proto::MultiWriteRequest { requests }).await;
        assert_eq!(view(written).unwrap().responses, []);
        let requests = vec![all_of("A/1Min/X")];
        let whole = client.query(proto::MultiQueryRequest { requests }).await;
        let whole = view(whole).unwrap().responses.remove(0).result.unwrap();
        assert_eq!(whole.data.as_ref().unwrap().column_data[1], closes(rows));
        let mut bulk = BulkClient::new(channel);
        let got = parts(&mut bulk, vec![all_of("A/1Min/X")]).await.unwrap();
        assert!(joined(&got, 0) == whole);
        let clear = format!("http://{}", server.grpc());
        let clear = MarketstoreClient::connect(clear).await;
        let refused = match clear {
            Ok(mut client) => client
                .server_version(proto::ServerVersionRequest {})
                .await
                .is_err(),
            Err(_) => true,
        };
        assert!(refused);
    });
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
