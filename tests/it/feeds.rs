//! A feed that is recorded, followed and killed.
//!
//! Goal: a feed that can be read again from a token is stored exactly once, whatever the moment of a
//! kill -9: no row twice, none missing, none changed.
//!
//! Method: a file grows by real trades while the server follows it and is killed at random moments,
//! also at its start. At the end the bucket must equal the file. `MKTS_PLUGIN_ROUNDS` sets the number
//! of kills (20), `MKTS_SEED` repeats their moments.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tests::http::Client;
use tests::rng::{Rng, seed_from_env};
use tests::server::{Server, workspace};
use tests::wire::{Table, query_one};

const BUCKET: &str = "IBM/1Sec/TRADE";
const HEADER: &str = "Epoch,Nanoseconds,Price,Size\n";
const LIMIT: Duration = Duration::from_secs(60);

/// Second, nanosecond, price and size of real trades, in the order of the file.
fn trades() -> Vec<(i64, i32, f64, i64)> {
    let file = File::open(workspace().join("data/IBM_Tick_TRADE.csv.gz")).expect("data is there");
    let mut text = String::new();
    let read = GzDecoder::new(file).read_to_string(&mut text);
    read.expect("data is CSV");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [epoch, nanos, price, size, ..] = fields[..] else {
            panic!("four fields at least in {line:?}");
        };
        let number = |text: &str| text.parse().expect("a number");
        (
            number(epoch),
            nanos.parse().expect("a number"),
            price.parse().expect("a price"),
            number(size),
        )
    };
    let mut rows: Vec<_> = text.lines().skip(1).map(row).collect();
    // Ticks are stored in order of time; rows of one time keep that of the file.
    rows.sort_by_key(|row| (row.0, row.1));
    rows
}

fn stored(client: &mut Client) -> Table {
    query_one(client, BUCKET).unwrap_or_default()
}

#[test]
fn a_feed_that_is_followed_is_stored_once_over_kill_9() {
    let rounds: usize = match std::env::var("MKTS_PLUGIN_ROUNDS") {
        Ok(text) => text.parse().expect("MKTS_PLUGIN_ROUNDS is a number"),
        Err(_) => 20,
    };
    let seed = seed_from_env();
    println!("MKTS_SEED={seed} MKTS_PLUGIN_ROUNDS={rounds}");
    let mut rng = Rng::new(seed);
    let trades = trades();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trades.csv");
    let mut file = File::create(&path).unwrap();
    file.write_all(HEADER.as_bytes()).unwrap();
    let entry = format!(
        "sources:\n  - module: replay.so\n    name: trades\n    params: {}\n    window: {{rows: 20}}\n    \
         config: {{bucket: {BUCKET}, follow: true, columns: {{Price: f8, Size: i8}}}}\n",
        path.display()
    );
    let mut server = Server::start(&[], &entry);
    let share = trades.len() / (rounds + 1);
    let mut written = 0;
    let mut under_way = 0;
    for _ in 0..rounds {
        for (epoch, nanos, price, size) in &trades[written..written + share] {
            writeln!(file, "{epoch},{nanos},{price},{size}").unwrap();
        }
        written += share;
        // The moment of the kill is the random input of this test, not a wait for something.
        std::thread::sleep(Duration::from_micros(rng.below(60_000)));
        if server.is_ready() {
            server.wait_ready();
            under_way += usize::from(stored(&mut server.client()).rows < written);
        }
        server.kill();
        server.spawn();
        if rng.chance(70) {
            server.wait_ready();
        }
    }
    server.wait_ready();
    let mut client = server.client();
    let deadline = Instant::now() + LIMIT;
    let mut table = stored(&mut client);
    while table.rows < written {
        assert!(
            Instant::now() < deadline,
            "{} of {written} rows",
            table.rows
        );
        std::thread::sleep(Duration::from_millis(5));
        table = stored(&mut client);
    }
    let expected = &trades[..written];
    assert_eq!(
        table.get_i8("Epoch"),
        expected.iter().map(|t| t.0).collect::<Vec<_>>()
    );
    assert_eq!(
        table.get_i4("Nanoseconds"),
        expected.iter().map(|t| t.1).collect::<Vec<_>>()
    );
    assert_eq!(
        table.get_i8("Size"),
        expected.iter().map(|t| t.3).collect::<Vec<_>>()
    );
    let prices = expected.iter().flat_map(|t| t.2.to_le_bytes());
    assert_eq!(
        table.column("Price").unwrap().data,
        prices.collect::<Vec<_>>()
    );
    println!("{under_way} of {rounds} kills in the middle of the feed");
    assert!(server.terminate().success());
}

/// A worker or source that runs is no reason for a stop to take long, and a feed that has ended stays
/// so over restarts, without a row of it being read again.
#[test]
fn a_feed_that_has_ended_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bars.csv");
    std::fs::write(&path, "Epoch,Close\n60,1\n120,2\n180,3\n").unwrap();
    let entry = format!(
        "sources:\n  - module: replay.so\n    name: bars\n    params: {}\n    \
         config: {{bucket: A/1Min/C, kind: tick}}\n",
        path.display()
    );
    let mut server = Server::start(&[], &entry);
    for _ in 0..3 {
        let deadline = Instant::now() + LIMIT;
        while !status(&mut server.client()).contains("feed ended") {
            assert!(Instant::now() < deadline, "the feed does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let table = query_one(&mut server.client(), "A/1Min/C").unwrap();
        assert_eq!(table.get_i8("Epoch"), [60, 120, 180]);
        assert!(server.terminate().success());
        server.restart();
    }
}

/// What `mkts status` asks for.
fn status(client: &mut Client) -> String {
    let answer = client.send("GET", "/admin/v1/status", None, b"");
    answer.expect("the server answers").text()
}
