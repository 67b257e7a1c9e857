//! Who may not read a bucket reads it through nothing: no statement, no function, no error text.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{self, MultiQueryRequest};
use server::auth::Token;
use std::os::unix::fs::PermissionsExt;
use tests::http::Client;
use tests::server::Server;
use tests::wire::{CallError, Table, map, query_with, sql, write};
use tonic::Code;

/// A server with three tokens: everything, AAPL's minutes, and reading all of AAPL.
struct Guarded {
    server: Server,
    admin: Token,
    minutes: Token,
    reader: Token,
    _dir: tempfile::TempDir,
}

impl Guarded {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let [admin, minutes, reader] = [(); 3].map(|()| Token::new().unwrap());
        let line = |name: &str, token: &Token, rest: &str| {
            let hash = token.hash();
            format!("{{\"name\":\"{name}\",\"hash\":\"{hash}\",{rest}}}\n")
        };
        let lines = [
            line("admin", &admin, r#""right":"admin""#),
            line(
                "minutes",
                &minutes,
                r#""right":"write","keys":["AAPL/1Min/*"]"#,
            ),
            line("reader", &reader, r#""right":"read","keys":["AAPL/**"]"#),
        ];
        std::fs::write(&file, lines.concat()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let tokens = format!("auth: {{tokens_file: {}}}\n", file.display());
        let server = Server::start(&[], &format!("grpc_listen_port: 0\n{tokens}"));
        let site = Self {
            server,
            admin,
            minutes,
            reader,
            _dir: dir,
        };
        let mut admin = site.client(&site.admin);
        let bars = |open: f32| {
            Table::default()
                .i8("Epoch", &[60, 120])
                .f4("Open", &[open, open + 1.0])
        };
        for (key, open) in [
            ("AAPL/1Min/X", 1.0),
            ("AAPM/1Min/X", 77.0),
            ("MSFT/1Min/X", 77.0),
            ("AAPL/1D/ACTIONS", 77.0),
        ] {
            write(&mut admin, &[(key, &bars(open))], false).unwrap();
        }
        site
    }

    fn client(&self, token: &Token) -> Client {
        self.server.client().with_token(token.text())
    }
}

/// The text of an error, which names nothing that is hidden.
fn refused<T: std::fmt::Debug>(result: Result<T, CallError>, what: &str) -> String {
    match result {
        Err(CallError::Rpc(-32000, text)) => text,
        other => panic!("{what}: {other:?}"),
    }
}

/// Names of buckets are hidden from callers who may not read them; a refusal repeats what was asked.
#[test]
fn sql_gives_nothing_that_the_caller_may_not_read() {
    let site = Guarded::start();
    let mut minutes = site.client(&site.minutes);
    let own = sql(&mut minutes, "SELECT * FROM `AAPL/1Min/X`;").unwrap();
    assert_eq!(own.get_f4("Open"), [1.0, 2.0]);
    // A pattern is of what there is for the caller.
    let all = sql(&mut minutes, "SELECT Open FROM `**`").unwrap();
    assert_eq!(all.get_f4("Open"), [1.0, 2.0]);
    for statement in [
        "SELECT * FROM `MSFT/1Min/X`;",
        // Not there, and refused alike: an answer would say so.
        "SELECT * FROM `MSFT/1Min/Y`;",
        "SELECT max(Open) FROM `MSFT/1Min/X`",
        "SELECT count(*) FROM `MSFT/1Min/X`",
        "SELECT candlecandler('5Min', Open, Open, Open, Open) FROM `MSFT/1Min/X`",
        "SELECT adjust('split') FROM `MSFT/1Min/X`",
        "SELECT a.Open FROM `AAPL/1Min/X` a JOIN `MSFT/1Min/X` m ON a.Epoch = m.Epoch",
        "SELECT Open FROM `AAPL/1Min/X` WHERE Open < (SELECT max(Open) FROM `MSFT/1Min/X`)",
        "WITH m AS (SELECT * FROM `MSFT/1Min/X`) SELECT * FROM m",
        "SELECT Open FROM `AAPL/1Min/X` UNION ALL SELECT Open FROM `MSFT/1Min/X`",
        "EXPLAIN SELECT * FROM `MSFT/1Min/X`",
        "DESCRIBE `MSFT/1Min/X`",
        "INSERT INTO `AAPL/1Min/X` SELECT * FROM `MSFT/1Min/X`",
        "INSERT INTO `MSFT/1Min/X` SELECT * FROM `AAPL/1Min/X`",
        "INSERT INTO `MSFT/1Min/Y` SELECT * FROM `AAPL/1Min/X`",
        "DELETE FROM `MSFT/1Min/X` WHERE Epoch >= '1970-01-01'",
    ] {
        let text = refused(sql(&mut minutes, statement), statement);
        assert!(text.contains("is not allowed"), "{statement}: {text}");
        assert!(!text.contains("77"), "{statement}: {text}");
    }
    // The nearest name there is, AAPM, is hidden.
    let text = refused(sql(&mut minutes, "SELECT * FROM `AAPL/1Min/XX`"), "a hint");
    assert!(text.contains("did you mean \"AAPL/1Min/X\""), "{text}");
    let text = refused(sql(&mut minutes, "SELECT * FROM `AAPM`"), "a hint");
    assert!(!text.contains("AAPM/"), "{text}");
    for statement in [
        "SHOW BUCKETS",
        "SHOW SYMBOLS",
        "SELECT table_name FROM information_schema.tables",
        "SELECT table_name FROM information_schema.columns",
    ] {
        let table = sql(&mut minutes, statement).expect(statement);
        let letters: Vec<u8> = table.columns.iter().flat_map(|c| c.data.clone()).collect();
        // Four bytes a letter.
        let names: String = letters
            .iter()
            .filter(|b| **b != 0)
            .map(|b| char::from(*b))
            .collect();
        assert!(names.contains("AAPL"), "{statement}: {names}");
        for hidden in ["MSFT", "AAPM", "ACTIONS"] {
            assert!(!names.contains(hidden), "{statement}: {names}");
        }
    }
    // Reading all of it is no right to write.
    let mut reader = site.client(&site.reader);
    for statement in [
        "INSERT INTO `AAPL/1Min/X` SELECT * FROM `AAPL/1Min/X`",
        "DELETE FROM `AAPL/1Min/X` WHERE Epoch >= '1970-01-01'",
    ] {
        let text = refused(sql(&mut reader, statement), statement);
        assert!(
            text.contains("writing to AAPL/1Min/X is not allowed"),
            "{text}"
        );
    }
    let mut admin = site.client(&site.admin);
    for key in ["AAPL/1Min/X", "MSFT/1Min/X"] {
        let rows = sql(&mut admin, &format!("SELECT count(*) FROM `{key}`")).unwrap();
        assert_eq!(rows.get_i8("Count"), [2], "{key}: nothing was changed");
    }
}

#[test]
fn functions_read_nothing_that_the_caller_may_not() {
    let site = Guarded::start();
    let mut minutes = site.client(&site.minutes);
    let found = query_with(&mut minutes, "*/1Min/X", &["max(Open)"]).unwrap();
    let keys: Vec<&String> = found.keys().collect();
    assert_eq!(keys, ["AAPL/1Min/X"]);
    for destination in ["MSFT/1Min/X", "AAPL,MSFT/1Min/X", "MSFT/1Min/Y"] {
        let text = refused(
            query_with(&mut minutes, destination, &["max(Open)"]),
            destination,
        );
        assert!(text.contains("has no right to read"), "{text}");
    }
    // Corporate actions lie in a bucket that is not the caller's, and its rows would show.
    let actions = ["adjust('split')"];
    let text = refused(query_with(&mut minutes, "AAPL/1Min/X", &actions), "adjust");
    assert!(text.contains("has no right to read"), "{text}");
    let text = refused(
        sql(&mut minutes, "SELECT adjust('split') FROM `AAPL/1Min/X`"),
        "adjust",
    );
    assert!(text.contains("AAPL/1D/ACTIONS is not allowed"), "{text}");
}

#[test]
fn grpc_refuses_alike() {
    let site = Guarded::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = format!("http://{}", site.server.grpc());
    let client = runtime.block_on(MarketstoreClient::connect(address));
    let mut client = client.unwrap();
    let statement = |text: &str| proto::QueryRequest {
        is_sql_statement: true,
        sql_statement: text.to_owned(),
        ..proto::QueryRequest::default()
    };
    let function = proto::QueryRequest {
        destination: "MSFT/1Min/X".into(),
        functions: vec!["max(Open)".into()],
        ..proto::QueryRequest::default()
    };
    let mut ask = |request| {
        let requests = vec![request];
        let mut request = tonic::Request::new(MultiQueryRequest { requests });
        let shown = format!("Bearer {}", site.minutes.text());
        let shown = shown.parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        runtime.block_on(client.query(request))
    };
    assert!(ask(statement("SELECT * FROM `AAPL/1Min/X`;")).is_ok());
    for request in [statement("SELECT * FROM `MSFT/1Min/X`;"), function] {
        let status = ask(request).unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}

/// Without a token nothing is answered at all.
#[test]
fn a_statement_without_a_token_is_not_run() {
    let site = Guarded::start();
    let mut nobody = site.server.client();
    let reply = nobody.rpc(&tests::wire::request(
        "Query",
        map(vec![(
            "requests",
            rmpv::Value::Array(vec![map(vec![
                ("is_sqlstatement", true.into()),
                ("sql_statement", "SELECT 1".into()),
            ])]),
        )]),
    ));
    assert_eq!(reply.unwrap().status, 401);
}
