//! What a reader sees while others write: whole commits, in order, and its own at once.

use std::sync::atomic::{AtomicI32, Ordering};
use tests::server::Server;
use tests::wire::{Table, query, write};

const KEYS: [&str; 4] = [
    "A/1Min/OHLCV",
    "B/1Min/OHLCV",
    "C/1Min/OHLCV",
    "D/1Min/OHLCV",
];
const WRITES: i32 = 300;

/// Rows that all carry the number of their commit.
fn version(n: i32) -> Table {
    let epochs: Vec<i64> = (0..20).map(|i| 1_583_159_400 + 60 * i).collect();
    Table::default()
        .i8("Epoch", &epochs)
        .i4("N", &[n; 20])
        .f4("Half", &[n as f32 / 2.0; 20])
}

#[test]
fn a_query_of_several_buckets_sees_whole_commits_and_never_goes_back() {
    let server = Server::start(&[], "");
    let acknowledged = AtomicI32::new(0);
    let mut client = server.client();
    send_all(&mut client, 0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (acknowledged, mut client) = (&acknowledged, server.client());
            scope.spawn(move || {
                let mut last = 0;
                while last < WRITES {
                    let known = acknowledged.load(Ordering::SeqCst);
                    let tables = query(&mut client, "A,B,C,D/1Min/OHLCV").expect("a query");
                    let seen = tables[KEYS[0]].get_i4("N")[0];
                    for key in KEYS {
                        assert_eq!(tables[key], version(seen), "{key} is of another commit");
                    }
                    assert!(seen >= last, "went back from {last} to {seen}");
                    assert!(seen >= known, "{known} was acknowledged, {seen} is visible");
                    last = seen;
                }
            });
        }
        for n in 1..=WRITES {
            send_all(&mut client, n);
            acknowledged.store(n, Ordering::SeqCst);
        }
    });
}

fn send_all(client: &mut tests::http::Client, n: i32) {
    let table = version(n);
    let tables: Vec<(&str, &Table)> = KEYS.iter().map(|key| (*key, &table)).collect();
    write(client, &tables, false).expect("written");
}

#[test]
fn many_writers_of_one_bucket_of_ticks_lose_and_double_nothing() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 40;
    let server = Server::start(&[], "");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut client = server.client();
            scope.spawn(move || {
                for n in 0..EACH {
                    // All writers use the same few times; the number tells the ticks apart.
                    let ticks = Table::default()
                        .i8("Epoch", &[1_583_159_400 + n % 3, 1_583_159_400])
                        .i8("Id", &[writer * 1000 + n, writer * 1000 + 500 + n])
                        .i4("Nanoseconds", &[7, 7]);
                    write(&mut client, &[("T/1Sec/TICK", &ticks)], true).expect("written");
                }
            });
        }
    });
    let stored =
        query(&mut server.client(), "T/1Sec/TICK").expect("a query")["T/1Sec/TICK"].clone();
    let epochs = stored.get_i8("Epoch");
    assert!(epochs.is_sorted());
    let mut ids = stored.get_i8("Id");
    // Ticks of one writer and one time stay in the order of writing.
    for writer in 0..WRITERS {
        let of_writer = epochs
            .iter()
            .zip(&ids)
            .filter(|(e, id)| **e == 1_583_159_400 && **id / 1000 == writer && **id % 1000 >= 500);
        assert!(of_writer.map(|(_, id)| id).is_sorted(), "writer {writer}");
    }
    ids.sort_unstable();
    let both = |w: i64| (0..EACH).chain(500..500 + EACH).map(move |n| w * 1000 + n);
    let wanted: Vec<i64> = (0..WRITERS).flat_map(both).collect();
    assert_eq!(ids, wanted);
}
