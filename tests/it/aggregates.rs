//! The aggregation trigger end to end, on the bundled real bars.
//!
//! Whatever the order of writing, once the trigger has caught up each coarser bar equals the
//! recomputation from the base bars that are stored. Windows are computed here from tables of
//! clock changes, not with the server's own calendar code.

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::candles::{Bar, Bars, bars, table};
use tests::http::Client;
use tests::rng::{Rng, seed_from_env};
use tests::server::{ONDISKAGG, Server, workspace};
use tests::wire::{Table, query_one, write};

const SETTLE: Duration = Duration::from_secs(30);
/// A destination and the rule that finds the window of a base bar, if it counts at all.
type Destination = (&'static str, fn(i64) -> Option<i64>);

fn floor(epoch: i64, seconds: i64) -> Option<i64> {
    Some(epoch - epoch.rem_euclid(seconds))
}

const UTC: &[Destination] = &[
    ("5Min", |e| floor(e, 300)),
    ("15Min", |e| floor(e, 900)),
    ("1H", |e| floor(e, 3600)),
    ("1D", |e| floor(e, 86_400)),
];

/// Bars of a file of the bundled data.
pub(crate) fn real(file: &str) -> Bars {
    let path = workspace().join("data").join(file);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip of text");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let price = |i: usize| fields[i].parse::<f32>().expect("a price");
        let volume = fields[5].parse::<f64>().expect("a volume") as i32;
        let (open, high, low, close) = (price(1), price(2), price(3), price(4));
        (
            fields[0].parse().expect("an epoch"),
            Bar {
                open,
                high,
                low,
                close,
                volume,
            },
        )
    };
    text.lines().skip(1).map(row).collect()
}

fn recompute(base: &Bars, window: fn(i64) -> Option<i64>) -> Bars {
    let mut out = Bars::new();
    for (epoch, bar) in base {
        let Some(start) = window(*epoch) else {
            continue;
        };
        out.entry(start)
            .and_modify(|sum| {
                sum.high = sum.high.max(bar.high);
                sum.low = sum.low.min(bar.low);
                sum.close = bar.close;
                sum.volume += bar.volume;
            })
            .or_insert(*bar);
    }
    out
}

/// Waits until every aggregate of a symbol equals its recomputation.
fn settle(client: &mut Client, symbol: &str, base: &Bars, destinations: &[Destination]) {
    let deadline = Instant::now() + SETTLE;
    for (timeframe, window) in destinations {
        let (key, wanted) = (
            format!("{symbol}/{timeframe}/OHLCV"),
            recompute(base, *window),
        );
        loop {
            let stored = bars(&query_one(client, &key).expect("a query"));
            if stored == wanted {
                break;
            }
            let at = wanted
                .keys()
                .chain(stored.keys())
                .find(|e| wanted.get(e) != stored.get(e));
            let at = *at.expect("they differ");
            assert!(
                Instant::now() < deadline,
                "{key}: {} wanted, {} stored; at {at}: {:?} wanted, {:?} stored",
                wanted.len(),
                stored.len(),
                wanted.get(&at),
                stored.get(&at)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.below(i as u64 + 1) as usize);
    }
}

/// The table of bars in any order.
fn rows(rows: &[(i64, Bar)]) -> Table {
    let column = |f: fn(&Bar) -> f32| rows.iter().map(|r| f(&r.1)).collect::<Vec<f32>>();
    Table::default()
        .i8("Epoch", &rows.iter().map(|r| r.0).collect::<Vec<_>>())
        .f4("Open", &column(|b| b.open))
        .f4("High", &column(|b| b.high))
        .f4("Low", &column(|b| b.low))
        .f4("Close", &column(|b| b.close))
        .i4(
            "Volume",
            &rows.iter().map(|r| r.1.volume).collect::<Vec<_>>(),
        )
}

#[test]
fn real_bars_in_random_order_with_corrections() {
    let seed = seed_from_env();
    println!("MKTS_SEED={seed}");
    let mut rng = Rng::new(seed);
    let server = Server::start(&[ONDISKAGG], "");
    let mut client = server.client();
    let mut base = real("SPY_1Min_OHLCV.csv.gz");
    assert!(base.len() > 1000);
    // A correction first, so that the right bar comes later and in any place.
    let mut todo: Vec<(i64, Bar)> = base.iter().map(|(e, b)| (*e, *b)).collect();
    shuffle(&mut todo, &mut rng);
    let wrong: Vec<(i64, Bar)> = todo
        .iter()
        .take(300)
        .map(|(e, b)| {
            (
                *e,
                Bar {
                    high: b.high * 2.0,
                    ..*b
                },
            )
        })
        .collect();
    write(&mut client, &[("SPY/1Min/OHLCV", &rows(&wrong))], false).expect("written");
    let mut rest = todo.as_slice();
    while !rest.is_empty() {
        let (batch, left) = rest.split_at(rest.len().min(1 + rng.below(400) as usize));
        write(&mut client, &[("SPY/1Min/OHLCV", &rows(batch))], false).expect("written");
        rest = left;
    }
    settle(&mut client, "SPY", &base, UTC);
    // The first and the last bar of a day, and one of a closed window, change afterwards.
    for epoch in [
        *base.keys().next().expect("bars"),
        *base.keys().last().expect("bars"),
    ] {
        let bar = base.get_mut(&epoch).expect("there");
        *bar = Bar {
            open: bar.open + 1.0,
            high: bar.high + 9.0,
            volume: bar.volume + 5,
            ..*bar
        };
        write(
            &mut client,
            &[("SPY/1Min/OHLCV", &rows(&[(epoch, *bar)]))],
            false,
        )
        .expect("written");
        settle(&mut client, "SPY", &base, UTC);
    }
    // Base rows are as written.
    assert_eq!(
        query_one(&mut client, "SPY/1Min/OHLCV").expect("a query"),
        table(&base)
    );
}

/// The library of a crate that these tests depend on.
fn library(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a program has a file");
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    program.with_file_name(format!("{prefix}{name}{suffix}"))
}

/// The crate is linked into the server and a library, too: what comes of it is the same.
#[test]
fn from_its_library_and_in_a_process_it_makes_the_same_bars() {
    let base = real("SPY_1Min_OHLCV.csv.gz");
    let all: Vec<(i64, Bar)> = base.iter().map(|(e, b)| (*e, *b)).collect();
    let module = library("ondiskagg");
    for host in ["native", "process"] {
        let entry = format!(
            "  - module: {}\n    host: {host}\n    on: \"*/1Min/OHLCV\"\n    \
             config: {{destinations: [5Min, 15Min, 1H, 1D]}}\n",
            module.display()
        );
        let server = Server::start(&[&entry], "plugins: {trust_native: [ondiskagg]}\n");
        let mut client = server.client();
        let list = client.send("GET", "/admin/v1/plugins", None, b"");
        let list = list.expect("the server answers").text();
        assert!(list.contains(&format!("\"host\":\"{host}\"")), "{list}");
        for batch in all.chunks(500) {
            write(&mut client, &[("SPY/1Min/OHLCV", &rows(batch))], false).expect("written");
        }
        settle(&mut client, "SPY", &base, UTC);
    }
}

#[test]
fn days_follow_the_configured_zone_across_changes_of_clocks_and_the_year() {
    const NEW_YORK: &[Destination] = &[
        ("5Min", |e| floor(e, 300)),
        ("1H", |e| floor(e, 3600)),
        // Clocks changed on 8 March 2020 07:00 UTC and 1 November 2020 06:00 UTC.
        ("1D", |e| {
            let offset = |t: i64| {
                if (1_583_650_800..1_604_210_400).contains(&t) {
                    -4 * 3600
                } else {
                    -5 * 3600
                }
            };
            let local_midnight = floor(e + offset(e), 86_400)?;
            // The midnight of a day of change lies before the change.
            let before = local_midnight + 5 * 3600;
            Some(if offset(before) == -5 * 3600 {
                before
            } else {
                local_midnight + 4 * 3600
            })
        }),
    ];
    let server = Server::start(&[ONDISKAGG], "timezone: America/New_York\n");
    let mut client = server.client();
    let mut base = Bars::new();
    let mut rng = Rng::new(7);
    for start in [1_577_836_800i64, 1_583_640_000, 1_604_185_200] {
        // Two and a half days of every seventh minute, from before the change to after it.
        for minute in (-1800..1800).step_by(7) {
            let price = rng.below(1 << 20) as f32 / 256.0;
            let bar = Bar {
                open: price,
                high: price + 1.0,
                low: price - 1.0,
                close: price,
                volume: 3,
            };
            base.insert(start - start % 60 + 60 * minute, bar);
        }
    }
    let mut all: Vec<(i64, Bar)> = base.iter().map(|(e, b)| (*e, *b)).collect();
    shuffle(&mut all, &mut rng);
    for batch in all.chunks(97) {
        write(&mut client, &[("Z/1Min/OHLCV", &rows(batch))], false).expect("written");
    }
    settle(&mut client, "Z", &base, NEW_YORK);
}

#[test]
fn the_nasdaq_filter_keeps_only_the_session_in_days_whatever_the_zone_of_the_server() {
    const FILTERED: &str = "  - module: ondiskagg.so
    on: \"*/1Min/OHLCV\"
    config:
      filter: nasdaq
      destinations: [5Min, 1H, 1D]
";
    // June 2014: 09:30 to 16:00 in New York is 13:30 to 20:00 UTC; 7 and 8 June are a weekend.
    const SESSION: &[Destination] = &[
        ("5Min", |e| floor(e, 300)),
        ("1H", |e| floor(e, 3600)),
        ("1D", |e| {
            let second = e.rem_euclid(86_400);
            let weekday = (e.div_euclid(86_400) + 4).rem_euclid(7);
            let open = (13 * 3600 + 1800..20 * 3600).contains(&second);
            if open && (1..=5).contains(&weekday) {
                floor(e, 86_400)
            } else {
                None
            }
        }),
    ];
    let server = Server::start(&[FILTERED], "");
    let mut client = server.client();
    let base = real("AAPL_1Min_OHLCV.csv.gz");
    write(&mut client, &[("AAPL/1Min/OHLCV", &table(&base))], false).expect("written");
    settle(&mut client, "AAPL", &base, SESSION);
}

#[test]
fn large_volumes_and_one_second_bars_add_up() {
    const SECONDS: &str = "  - module: ondiskagg.so
    on: \"*/1Sec/OHLCV\"
    config:
      destinations: [1Min, 1D]
";
    let server = Server::start(&[SECONDS], "");
    let mut client = server.client();
    let epochs: Vec<i64> = (0..600).map(|i| 1_583_159_400 + i).collect();
    let volume = 3_000_000_000_000i64;
    let price = vec![1.5f32; 600];
    let prices = |t: Table| {
        t.f4("Open", &price)
            .f4("High", &price)
            .f4("Low", &price)
            .f4("Close", &price)
    };
    let base = prices(Table::default().i8("Epoch", &epochs)).i8("Volume", &[volume; 600]);
    write(&mut client, &[("BIG/1Sec/OHLCV", &base)], false).expect("written");
    for (timeframe, seconds) in [("1Min", 60), ("1D", 86_400)] {
        let mut wanted = BTreeMap::new();
        for epoch in &epochs {
            *wanted.entry(epoch - epoch % seconds).or_insert(0) += volume;
        }
        let deadline = Instant::now() + SETTLE;
        loop {
            let got = query_one(&mut client, &format!("BIG/{timeframe}/OHLCV")).expect("a query");
            let volumes: BTreeMap<i64, i64> = match got.rows {
                0 => BTreeMap::new(),
                _ => got
                    .get_i8("Epoch")
                    .into_iter()
                    .zip(got.get_i8("Volume"))
                    .collect(),
            };
            if volumes == wanted {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{timeframe}: {volumes:?}, wanted {wanted:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
