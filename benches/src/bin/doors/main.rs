//! Measures the doors of a server: bulk reads through each beside a plain copy over the loopback
//! device, and the latency of point queries.
//!
//! ```text
//! cargo build --release -p server && cargo run --release -p benches --bin doors
//! ```
//!
//! It starts the `mkts` beside this program on a temporary directory with every door open, writes
//! one large bucket of tiled real bars, and prints a table, then one line of JSON for each figure.
//! Everything is read on one connection at a time; bytes are those of the columns (28 a row).
#![forbid(unsafe_code)]
// The driver makes a configuration beside the store.
#![allow(clippy::disallowed_methods)]

mod postgres;
mod server;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Instant;

use arrow_flight::sql::client::FlightSqlServiceClient;
use benches::minutes;
use clap::Parser;
use client::{Client, Query};
use client_proto::proto::marketstore_client::MarketstoreClient;
use client_proto::proto::{MultiQueryRequest, QueryRequest};
use futures::TryStreamExt;
use model::{BucketKey, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use tonic::transport::Channel;

use postgres::Postgres;
use server::Started;

/// Measures the doors of a server.
#[derive(Debug, Parser)]
struct Args {
    /// The server's binary; `mkts` beside this program if absent.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Rows of the large bucket.
    #[arg(long, default_value_t = 8_000_000)]
    rows: usize,
    /// Times each bulk read is repeated.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Point queries of each kind.
    #[arg(long, default_value_t = 2000)]
    points: usize,
    /// Print only the lines of JSON.
    #[arg(long)]
    json: bool,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROW_BYTES: usize = 28;
const KEY: &str = "DOORS/1Min/OHLCV";
const BATCH_ROWS: usize = 1_000_000;

struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    note: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir()?;
    let server = Started::new(args.binary.clone(), dir.path())?;
    let mut http = Client::new(&server.http);
    load(&mut http, args.rows)?;

    let mut figures = bulk(&args, &server, &mut http).await?;
    figures.extend(points(&args, &server, &mut http).await?);
    for figure in &figures {
        let Figure {
            name,
            value,
            unit,
            note,
        } = figure;
        if !args.json {
            println!("{name:<34} {value:>10.3} {unit:<6} {note}");
        }
    }
    for figure in &figures {
        let line = serde_json::json!({
            "figure": figure.name, "value": figure.value, "unit": figure.unit, "note": figure.note,
        });
        println!("{line}");
    }
    Ok(())
}

/// OHLC as f4 and Volume as i4, in requests of a million rows.
fn load(http: &mut Client, rows: usize) -> Result<()> {
    let wide = minutes::<f32>(rows);
    let columns = wide.schema().columns().iter().zip(wide.columns());
    let columns = columns.map(|(def, column)| {
        let ty = match def.name.as_str() {
            "Volume" => ColumnType::I32,
            _ => ColumnType::F32,
        };
        let column = column.cast(ty)?;
        Ok((ColumnDef::new(def.name.clone(), ty), column))
    });
    let (defs, columns): (Vec<_>, Vec<_>) =
        columns.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let batch = ColumnBatch::new(Schema::new(defs)?, wide.time_column().clone(), columns)?;
    let key = BucketKey::parse(KEY)?;
    for from in (0..rows).step_by(BATCH_ROWS) {
        let part = batch.slice(from..rows.min(from + BATCH_ROWS));
        http.write(&[(key.clone(), part)], RowKind::Bar)?;
    }
    let (status, text) = http.post("/admin/v1/checkpoint", "{}")?;
    match status {
        200 => Ok(()),
        _ => Err(format!("the checkpoint was refused: {status} {text}").into()),
    }
}

async fn bulk(args: &Args, server: &Started, http: &mut Client) -> Result<Vec<Figure>> {
    let bytes = args.rows * ROW_BYTES;
    let mut grpc = MarketstoreClient::connect(format!("http://{}", server.grpc))
        .await?
        .max_decoding_message_size(usize::MAX);
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?
        .connect()
        .await?;
    let mut flight = FlightSqlServiceClient::new(channel);
    let request = Client::query_request(&Query::of(KEY));
    let names = [
        "loopback copy",
        "gRPC Query",
        "Flight DoGet",
        "/rpc Query (MessagePack)",
    ];
    let mut seconds = vec![Vec::new(); names.len()];
    // In turn, so that all see the same neighbours.
    for _ in 0..=args.rounds {
        seconds[0].push(copy(bytes)?);
        seconds[1].push(over_grpc(&mut grpc, bytes).await?);
        seconds[2].push(over_flight(&mut flight, args.rows).await?);
        let began = Instant::now();
        let reply = http.call_raw(&request)?;
        seconds[3].push(began.elapsed().as_secs_f64());
        expect(reply.len() > bytes, "the reply of /rpc is too short")?;
    }
    let mut figures = Vec::new();
    let mut copied = f64::NAN;
    for (name, mut taken) in names.into_iter().zip(seconds) {
        // The first fills caches.
        taken.remove(0);
        let rate = bytes as f64 / median(&mut taken) / 1e9;
        if name == names[0] {
            copied = rate;
        }
        let note = format!("{:.2} of the copy", rate / copied);
        figures.push(figure(name, rate, "GB/s", note));
    }
    Ok(figures)
}

/// Bytes from one thread's memory into another's through a loopback socket.
fn copy(bytes: usize) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let source = vec![7_u8; bytes];
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut go = [0];
        stream.read_exact(&mut go)?;
        stream.write_all(&source)
    });
    let mut stream = TcpStream::connect(address)?;
    let began = Instant::now();
    stream.write_all(&[1])?;
    let mut target = Vec::with_capacity(bytes);
    let read = stream.read_to_end(&mut target)?;
    let taken = began.elapsed().as_secs_f64();
    sender.join().map_err(|_| "the sender panicked")??;
    expect(read == bytes, "the copy is not whole")?;
    Ok(taken)
}

async fn over_grpc(client: &mut MarketstoreClient<Channel>, bytes: usize) -> Result<f64> {
    let request = MultiQueryRequest {
        requests: vec![QueryRequest {
            destination: KEY.to_owned(),
            ..QueryRequest::default()
        }],
    };
    let began = Instant::now();
    let reply = client.query(request).await?.into_inner();
    let taken = began.elapsed().as_secs_f64();
    let data = reply.responses.first().and_then(|r| r.result.as_ref());
    let columns = data.and_then(|d| d.data.as_ref()).map(|d| &d.column_data);
    let length: usize = columns.into_iter().flatten().map(|c| c.len()).sum();
    expect(length == bytes, "the reply of gRPC is not whole")?;
    Ok(taken)
}

async fn over_flight(client: &mut FlightSqlServiceClient<Channel>, rows: usize) -> Result<f64> {
    let began = Instant::now();
    let found = flight_rows(client, &format!("SELECT * FROM \"{KEY}\"")).await?;
    let taken = began.elapsed().as_secs_f64();
    expect(found == rows, "the reply of Flight is not whole")?;
    Ok(taken)
}

async fn flight_rows(client: &mut FlightSqlServiceClient<Channel>, sql: &str) -> Result<usize> {
    let info = client.execute(sql.to_owned(), None).await?;
    let mut rows = 0;
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.ok_or("an endpoint without a ticket")?;
        let mut batches = client.do_get(ticket).await?;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows();
        }
    }
    Ok(rows)
}

async fn points(args: &Args, server: &Started, http: &mut Client) -> Result<Vec<Figure>> {
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?
        .connect()
        .await?;
    let mut flight = FlightSqlServiceClient::new(channel);
    let mut postgres = Postgres::connect(&server.postgres)?;
    let times = http.query(&Query::of(KEY).last(args.points))?;
    let times = times.first().ok_or("no rows")?.batch.times().to_vec();
    let names = [
        "Flight point query",
        "PostgreSQL point query",
        "/rpc last row",
    ];
    let mut seconds = vec![Vec::new(); names.len()];
    let last = Client::query_request(&Query::of(KEY).last(1));
    for time in times {
        let sql = format!(
            "SELECT * FROM \"{KEY}\" WHERE \"Epoch\" = {}",
            time / 1_000_000_000
        );
        let began = Instant::now();
        let rows = flight_rows(&mut flight, &sql).await?;
        seconds[0].push(began.elapsed().as_secs_f64());
        expect(rows == 1, "Flight did not find the row")?;
        let began = Instant::now();
        let rows = postgres.query(&sql)?;
        seconds[1].push(began.elapsed().as_secs_f64());
        expect(rows == 1, "PostgreSQL's door did not find the row")?;
        let began = Instant::now();
        http.call_raw(&last)?;
        seconds[2].push(began.elapsed().as_secs_f64());
    }
    let figures = names.into_iter().zip(seconds).map(|(name, mut taken)| {
        let p50 = median(&mut taken) * 1e3;
        let at = (taken.len() * 99 / 100).min(taken.len().saturating_sub(1));
        let p99 = taken.get(at).copied().unwrap_or(f64::NAN) * 1e3;
        figure(name, p50, "ms", format!("p99 {p99:.3}"))
    });
    Ok(figures.collect())
}

fn figure(name: &str, value: f64, unit: &'static str, note: String) -> Figure {
    Figure {
        name: name.to_owned(),
        value,
        unit,
        note,
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(otherwise.into()),
    }
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
