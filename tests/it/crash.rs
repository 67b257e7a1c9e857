//! kill -9 of the real server under load.
//!
//! Goal: whatever was acknowledged is there, value for value, after a kill at any moment, also
//! during recovery; what was not acknowledged is there as a whole request or not at all; ticks are
//! never doubled; aggregates end up equal to a recomputation.
//!
//! Method: each writer owns its buckets and has one request under way. After a kill at a random
//! moment its buckets must hold the model of all its acknowledged requests, with or without that
//! last one, decided over all its buckets together. `MKTS_KILL_ROUNDS` sets the number of rounds,
//! `MKTS_SEED` repeats a run (the kill moments, the requests; not the scheduling).

mod model;
mod writer;

use model::Model;
use std::time::{Duration, Instant};
use tests::candles;
use tests::http::Client;
use tests::rng::{Rng, seed_from_env};
use tests::server::{ONDISKAGG, Server};
use tests::wire::{list, query_one};
use writer::Writer;

const WRITERS: u64 = 8;
const LAG_LIMIT: Duration = Duration::from_secs(20);
const AGGREGATES: &[(&str, i64)] = &[("5Min", 300), ("15Min", 900), ("1H", 3600), ("1D", 86_400)];

#[test]
fn acknowledged_rows_survive_kill_9_and_aggregates_equal_recomputation() {
    let rounds: u64 = match std::env::var("MKTS_KILL_ROUNDS") {
        Ok(text) => text.parse().expect("MKTS_KILL_ROUNDS is a number"),
        Err(_) => 8,
    };
    let seed = seed_from_env();
    println!("MKTS_SEED={seed} MKTS_KILL_ROUNDS={rounds}");
    let mut rng = Rng::new(seed);
    let mut server = Server::start(&[ONDISKAGG], "");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|w| Writer::new(w, rng.fork(w))).collect();
    let (mut acknowledged, mut in_flight_kept, mut kills_in_recovery) = (0, 0, 0);
    for round in 0..rounds {
        let pause = Duration::from_millis(50 + rng.below(700));
        acknowledged += load_until_kill(&mut server, &mut writers, pause);
        server.spawn();
        if rng.chance(30) {
            // From the first instruction to a little after a start of the debug build is over.
            std::thread::sleep(Duration::from_micros(rng.below(50_000)));
            kills_in_recovery += u32::from(!server.is_ready());
            server.kill();
            server.spawn();
        }
        server.wait_ready();
        let mut client = server.client();
        in_flight_kept += verify(&mut client, &mut writers, round);
        verify_aggregates(&mut client, &writers, round);
    }
    let status = server.terminate();
    assert!(status.success(), "a graceful stop ended with {status}");
    server.restart();
    let mut client = server.client();
    verify(&mut client, &mut writers, rounds);
    verify_aggregates(&mut client, &writers, rounds);
    println!(
        "{rounds} rounds, {kills_in_recovery} killed again in recovery, {acknowledged} requests \
         acknowledged, {in_flight_kept} unacknowledged ones kept as a whole"
    );
    assert!(
        acknowledged > rounds * WRITERS,
        "the load was too small to prove anything"
    );
}

/// The server ends by itself at named points of the log, under the same load: between write and
/// sync, and between sync and acknowledgement.
#[test]
fn acknowledged_rows_survive_an_end_at_named_points() {
    let seed = seed_from_env();
    println!("MKTS_SEED={seed}");
    let rng = Rng::new(seed);
    let mut server = Server::start(&[ONDISKAGG], "");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|w| Writer::new(w, rng.fork(w))).collect();
    for (round, point) in ["wal.after_write:40", "wal.after_sync:40"]
        .into_iter()
        .enumerate()
    {
        assert!(server.terminate().success());
        server.spawn_failing(point);
        server.wait_ready();
        let addr = server.addr();
        std::thread::scope(|scope| {
            for writer in writers.iter_mut() {
                scope.spawn(move || writer.run(&mut Client::new(addr)));
            }
        });
        server.wait_end();
        server.spawn();
        server.wait_ready();
        let mut client = server.client();
        verify(&mut client, &mut writers, round as u64);
        verify_aggregates(&mut client, &writers, round as u64);
    }
    assert!(writers.iter().map(|w| w.acknowledged).sum::<u64>() > WRITERS);
}

/// Lets all writers write, kills the server, and returns how many requests were acknowledged.
fn load_until_kill(server: &mut Server, writers: &mut [Writer], pause: Duration) -> u64 {
    let addr = server.addr();
    let before: u64 = writers.iter().map(|w| w.acknowledged).sum();
    std::thread::scope(|scope| {
        for writer in writers.iter_mut() {
            scope.spawn(move || writer.run(&mut Client::new(addr)));
        }
        // The moment of the kill is the random input of this test, not a wait for something.
        std::thread::sleep(pause);
        server.kill();
    });
    writers.iter().map(|w| w.acknowledged).sum::<u64>() - before
}

/// Compares every writer's buckets with its model; returns how many requests that were under way
/// turned out to be stored.
fn verify(client: &mut Client, writers: &mut [Writer], round: u64) -> u64 {
    let mut kept = 0;
    let mut known = Vec::new();
    for writer in writers.iter_mut() {
        let stored = Model::read(client, &writer.keys());
        let with = writer.in_flight.take().map(|request| {
            let mut with = writer.model.clone();
            with.apply(&request);
            with
        });
        if stored != writer.model {
            match with {
                Some(with) if stored == with => {
                    writer.model = with;
                    kept += 1;
                }
                with => {
                    let other = with.map_or(String::new(), |w| w.difference(&stored));
                    panic!(
                        "round {round}, writer {}: the buckets hold neither the acknowledged rows \
                         {}\nnor those and the last request {other}",
                        writer.id,
                        writer.model.difference(&stored)
                    );
                }
            }
        }
        known.extend(writer.keys());
    }
    // Nobody may invent a bucket either.
    let listed = list(client).expect("the list of buckets");
    for key in listed {
        let aggregate = AGGREGATES
            .iter()
            .any(|(tf, _)| key.contains(&format!("/{tf}/")));
        assert!(
            aggregate || known.contains(&key),
            "round {round}: bucket {key} was invented"
        );
    }
    kept
}

/// Waits until the triggers have caught up; then every aggregate must equal its recomputation.
fn verify_aggregates(client: &mut Client, writers: &[Writer], round: u64) {
    let deadline = Instant::now() + LAG_LIMIT;
    loop {
        let caught_up = lag(client) == 0.0;
        let difference = writers.iter().find_map(|w| aggregate_difference(client, w));
        match difference {
            None if caught_up => return,
            difference => assert!(
                Instant::now() < deadline,
                "round {round}: after {LAG_LIMIT:?} (lag {:?} bytes): {difference:?}",
                lag(client)
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn aggregate_difference(client: &mut Client, writer: &Writer) -> Option<String> {
    for (symbol, base) in &writer.model.bars {
        for (timeframe, seconds) in AGGREGATES {
            let key = format!("{symbol}/{timeframe}/OHLCV");
            let stored = candles::bars(&query_one(client, &key).expect("a query"));
            let wanted = candles::aggregate(base, *seconds);
            if stored != wanted {
                return Some(model::bars_difference(&key, &wanted, &stored));
            }
        }
    }
    None
}

/// The largest lag of any trigger.
fn lag(client: &mut Client) -> f64 {
    let reply = client.send("GET", "/metrics", None, b"").expect("metrics");
    let text = reply.text();
    let values = text
        .lines()
        .filter(|line| line.starts_with("mkts_plugin_lag_bytes"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values
        .reduce(f64::max)
        .expect("the metrics show the lag of the trigger")
}
