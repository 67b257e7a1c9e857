//! SQL: each kind of statement x each caller x each door, and what is beside statements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::Ticket;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandStatementIngest};
use client::Error;
use futures::{TryStreamExt, stream};
use model::RowKind;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::*;

/// What a door said to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The rows, as text of the door's own kind.
    Rows(String),
    /// The right is missing; the reason.
    Denied(String),
    /// It is not known who calls.
    Unknown,
    /// Something else was wrong.
    Wrong(String),
}

impl Said {
    fn end(&self) -> End {
        match self {
            Self::Rows(_) => Done,
            Self::Denied(_) => Denied,
            Self::Unknown => Unknown,
            Self::Wrong(text) => panic!("{text}"),
        }
    }
}

/// The doors that take statements.
pub(crate) const DOORS: [Door; 4] = [Door::Http, Door::Flight, Door::Prepared, Door::Postgres];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Http,
    Flight,
    /// Flight SQL, with a prepared statement.
    Prepared,
    Postgres,
}

impl Door {
    pub(crate) fn ask(self, site: &Site, caller: &str, statement: &str) -> Said {
        match self {
            Self::Http => over_http(site, caller, statement),
            Self::Flight => Flight::open(site, caller).rows(statement),
            Self::Prepared => Flight::open(site, caller).prepared_rows(statement),
            Self::Postgres => match Postgres::open(site, caller) {
                Ok(mut session) => session.ask(statement),
                Err(refused) => refused,
            },
        }
    }
}

fn over_http(site: &Site, caller: &str, statement: &str) -> Said {
    let answer = site.client(caller).sql(statement, "text/csv", &mut |_| ());
    match answer {
        Ok(mut answer) => {
            let mut text = String::new();
            answer.read_to_string(&mut text).unwrap();
            Said::Rows(text)
        }
        Err(Error::Status(401, text)) if text.contains("token") => Said::Unknown,
        Err(Error::Status(403, text)) => Said::Denied(text),
        Err(Error::Status(_, text)) => Said::Wrong(text),
        Err(error) => panic!("{error}"),
    }
}

/// A client of Flight SQL.
pub(crate) struct Flight {
    runtime: tokio::runtime::Runtime,
    client: FlightSqlServiceClient<Channel>,
}

fn said<T>(result: Result<T, FlightError>) -> Result<T, Said> {
    result.map_err(|error| match error {
        FlightError::Tonic(status) => match status.code() {
            Code::Unauthenticated => Said::Unknown,
            Code::PermissionDenied => Said::Denied(status.message().into()),
            _ => Said::Wrong(format!("{status:?}")),
        },
        // The client makes a text of what the handshake was answered.
        FlightError::Arrow(error) if error.to_string().contains("the token is not known") => {
            Said::Unknown
        }
        other => panic!("{other:?}"),
    })
}

impl Flight {
    pub(crate) fn open(site: &Site, caller: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", site.grpc)).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        let mut client = FlightSqlServiceClient::new(channel);
        if let Some(token) = site.token(caller) {
            client.set_token(token);
        }
        Self { runtime, client }
    }

    fn ticket(&mut self, ticket: Ticket) -> Result<String, Said> {
        let rows = self.runtime.block_on(async {
            let rows = self.client.do_get(ticket).await?;
            rows.try_collect::<Vec<RecordBatch>>().await
        });
        let rows = said(rows)?;
        Ok(pretty_format_batches(&rows).unwrap().to_string())
    }

    fn one(&mut self, info: Result<arrow_flight::FlightInfo, FlightError>) -> Said {
        let read = said(info).and_then(|mut info| {
            let ticket = info.endpoint.remove(0).ticket.unwrap();
            self.ticket(ticket)
        });
        match read {
            Ok(rows) => Said::Rows(rows),
            Err(refused) => refused,
        }
    }

    fn rows(&mut self, statement: &str) -> Said {
        self.rows_after(statement, || ())
    }

    /// Asks, and takes the rows when `between` is done.
    fn rows_after(&mut self, statement: &str, between: impl FnOnce()) -> Said {
        let info = self.client.execute(statement.to_owned(), None);
        let info = self.runtime.block_on(info);
        between();
        self.one(info)
    }

    fn prepared_rows(&mut self, statement: &str) -> Said {
        let prepared = self.client.prepare(statement.to_owned(), None);
        let info = match self.runtime.block_on(prepared) {
            Ok(mut prepared) => self.runtime.block_on(prepared.execute()),
            Err(error) => Err(error),
        };
        self.one(info)
    }

    /// The names of tables, as the metadata call lists them.
    pub(crate) fn tables(&mut self) -> Said {
        let info = self.client.get_tables(CommandGetTables::default());
        let info = self.runtime.block_on(info);
        self.one(info)
    }

    fn done<T>(result: Result<T, FlightError>) -> Said {
        match said(result) {
            Ok(_) => Said::Rows(String::new()),
            Err(refused) => refused,
        }
    }

    pub(crate) fn update(&mut self, statement: &str) -> Said {
        let update = self.client.execute_update(statement.to_owned(), None);
        Self::done(self.runtime.block_on(update))
    }

    fn prepared_update(&mut self, statement: &str) -> Said {
        let prepared = self.client.prepare(statement.to_owned(), None);
        let done = match self.runtime.block_on(prepared) {
            Ok(mut prepared) => self.runtime.block_on(prepared.execute_update()),
            Err(error) => Err(error),
        };
        Self::done(done)
    }

    pub(crate) fn ingest(&mut self, table: &str) -> Said {
        let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![0]).with_timezone("UTC"));
        let open: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let rows = RecordBatch::try_from_iter([("Epoch", time), ("Open", open)]).unwrap();
        let command = CommandStatementIngest {
            table: table.to_owned(),
            ..CommandStatementIngest::default()
        };
        let rows = stream::iter([Ok(rows)]);
        let done = self.client.execute_ingest(command, rows);
        Self::done(self.runtime.block_on(done))
    }

    fn handshake_refused(&mut self, password: &str, why: &str) -> End {
        let shaken = self.client.handshake("any", password);
        let error = self.runtime.block_on(shaken).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        Unknown
    }

    fn handshake(&mut self, password: &str) -> Said {
        let shaken = self.client.handshake("any", password);
        Self::done(self.runtime.block_on(shaken))
    }
}

/// A session of the PostgreSQL wire, with nothing between the test and the bytes.
pub(crate) struct Postgres(TcpStream);

impl Postgres {
    /// Logs in, with the token as password.
    pub(crate) fn open(site: &Site, caller: &str) -> Result<Self, Said> {
        let mut stream = TcpStream::connect(site.postgres.as_deref().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello = b"\0\x03\0\0user\0me\0database\0mkts\0\0";
        let length = i32::try_from(hello.len() + 4).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(hello).unwrap();
        let mut session = Self(stream);
        let (kind, body) = session.receive();
        assert_eq!(
            (kind, &body[..]),
            (b'R', &[0, 0, 0, 3][..]),
            "a password is asked for"
        );
        let password = site.token(caller).unwrap_or_default();
        session.send(b'p', format!("{password}\0").as_bytes());
        match session.until_ready() {
            Said::Rows(_) => Ok(session),
            refused => Err(refused),
        }
    }

    pub(crate) fn ask(&mut self, statement: &str) -> Said {
        self.send(b'Q', format!("{statement}\0").as_bytes());
        self.until_ready()
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = i32::try_from(body.len() + 4).unwrap();
        let message = [&[kind][..], &length.to_be_bytes(), body].concat();
        self.0.write_all(&message).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    /// Reads up to `ReadyForQuery`, or an error that ends the connection.
    fn until_ready(&mut self) -> Said {
        let (mut rows, mut refused) = (String::new(), None);
        loop {
            let (kind, body) = self.receive();
            match kind {
                b'D' | b'd' => {
                    rows.push_str(&String::from_utf8_lossy(&body));
                    rows.push('\n');
                }
                b'E' => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    let field = |name: char| text.split('\0').find_map(|f| f.strip_prefix(name));
                    let told = field('M').unwrap_or_default().to_owned();
                    match field('C').unwrap_or_default() {
                        "28P01" | "28000" => return Said::Unknown,
                        "42501" => refused = Some(Said::Denied(told)),
                        _ => refused = Some(Said::Wrong(told)),
                    }
                }
                b'Z' => return refused.unwrap_or(Said::Rows(rows)),
                _ => {}
            }
        }
    }
}

/// Statements, and which of the three ends of a caller they come to.
const STATEMENTS: [(&str, usize); 11] = [
    ("SELECT \"Open\" FROM \"A/1Min/X\"", 0),
    ("SELECT count(*) AS n FROM \"*/1Min/X\"", 0),
    ("SHOW BUCKETS", 0),
    ("SHOW SYMBOLS", 0),
    ("DESCRIBE \"A/1Min/X\"", 0),
    ("SELECT table_name FROM information_schema.tables", 0),
    ("EXPLAIN SELECT * FROM \"A/1Min/X\"", 0),
    ("INSERT INTO \"A/1Min/X\" SELECT * FROM \"A/1Min/X\"", 1),
    (
        "DELETE FROM \"A/1Min/X\" WHERE \"Epoch\" >= '2100-01-01'",
        1,
    ),
    ("SHOW TRIGGERS", 2),
    ("SHOW STATUS", 2),
];

#[test]
fn auth_matrix_of_sql() {
    let site = Site::guarded("postgres: {listen_port: 0}\n");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    for (caller, ends) in CALLERS {
        for (statement, right) in STATEMENTS {
            for door in DOORS {
                let said = door.ask(&site, caller, statement);
                let what = format!("{door:?} {caller} {statement}: {said:?}");
                let is_known = ends[0] == Done;
                match (door, right) {
                    // It only reads, whoever asks.
                    (Door::Postgres, 1) if is_known => {
                        let told = matches!(&said, Said::Denied(t) if t.contains("may only read"));
                        assert!(told, "{what}");
                    }
                    _ => assert_eq!(said.end(), ends[right], "{what}"),
                }
                if let (Said::Denied(told), true) = (&said, door != Door::Postgres) {
                    assert!(
                        told.contains("is not allowed") || told.contains("right to administer"),
                        "{what}"
                    );
                }
            }
        }
    }
}

/// What Flight SQL has beside queries.
#[test]
fn auth_matrix_of_flight_sql() {
    let site = Site::guarded("");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    let change = "INSERT INTO \"A/1Min/X\" SELECT * FROM \"A/1Min/X\"";
    for (caller, [read, write, _]) in CALLERS {
        let mut flight = Flight::open(&site, caller);
        assert_eq!(flight.tables().end(), read, "tables {caller}");
        assert_eq!(flight.update(change).end(), write, "update {caller}");
        assert_eq!(flight.prepared_update(change).end(), write, "{caller}");
        assert_eq!(flight.ingest("A/1Min/X").end(), write, "ingest {caller}");
        // Of a bucket that is made by it.
        let made = format!("N{caller}/1Min/X");
        assert_eq!(flight.ingest(&made).end(), write, "ingest {caller}");
        // With a password, which is the token.
        let shaken = match site.token(caller).unwrap_or_default() {
            old if caller == "old" => flight.handshake_refused(&old, "expired"),
            token => flight.handshake(&token).end(),
        };
        assert_eq!(shaken, read, "handshake {caller}");
    }
}

/// Rows over HTTP: with the bucket in the path and in the rows.
#[test]
fn auth_matrix_of_write() {
    let site = Site::guarded("");
    for (caller, [_, write, _]) in CALLERS {
        for (path, rows) in [
            (
                "/write/A/1Min/X",
                "Epoch,Open\n1970-01-01T00:00:00Z,1.5\n".to_owned(),
            ),
            (
                "/write",
                format!(
                    "symbol,timeframe,attribute_group,Epoch,Open\n\
                     N{caller},1Min,X,1970-01-01T00:00:00Z,1.5\n"
                ),
            ),
        ] {
            let (status, text) = site.post(caller, path, "text/csv", &rows);
            let what = format!("{caller} {path}: {status} {text}");
            match write {
                Done => assert_eq!(status, 200, "{what}"),
                Unknown => assert!(status == 401 && text.contains("token"), "{what}"),
                Denied => {
                    assert_eq!(status, 400, "{what}");
                    assert!(text.contains("has no right to write"), "{what}");
                }
            }
        }
    }
    let buckets = site.client("admin").buckets().unwrap();
    assert_eq!(buckets, ["A/1Min/X", "Nadmin/1Min/X", "Nwriter/1Min/X"]);
}

/// A session that lives on is asked again before each statement.
#[test]
fn a_session_ends_with_its_token() {
    let site = Site::guarded("postgres: {listen_port: 0}\n");
    let mut session = Postgres::open(&site, "reader").unwrap();
    assert_eq!(
        session.ask("SELECT 1"),
        Said::Rows("\0\u{1}\0\0\0\u{1}1\n".into())
    );
    let mut flight = Flight::open(&site, "reader");
    assert_eq!(flight.tables().end(), Done);
    site.revoke("reader");
    assert_eq!(site.reload().0, Some(0));
    assert_eq!(session.ask("SELECT 1"), Said::Unknown);
    assert_eq!(flight.tables().end(), Unknown);
}

/// What was planned with rights that are gone is not read.
#[test]
fn a_plan_ends_with_its_rights() {
    let site = Site::guarded("");
    site.client("admin")
        .write(&[table("A/1Min/X")], RowKind::Bar)
        .unwrap();
    let mut flight = Flight::open(&site, "reader");
    let statement = "SELECT * FROM \"A/1Min/X\"";
    assert!(matches!(flight.rows(statement), Said::Rows(_)));
    let late = flight.rows_after(statement, || {
        site.narrow("reader", "B/**");
        assert_eq!(site.reload().0, Some(0));
    });
    assert!(!matches!(late, Said::Rows(_)), "{late:?}");
    assert_eq!(late, flight.rows(statement));
}
