//! `mkts trigger replay` on the aggregates of real bars: what is right, and exactly what is wrong.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::candles::{Bar, Bars, table};
use tests::server::{Server, binary, workspace};
use tests::wire::write;

const AGG: &str = "  - module: ondiskagg.so
    name: agg
    on: \"*/1Min/OHLCV\"
    config:
      destinations: [5Min, 1H]
";

/// The first bars of the bundled file.
fn real(count: usize) -> Bars {
    use std::io::Read as _;
    let path = workspace().join("data/SPY_1Min_OHLCV.csv.gz");
    let file = std::fs::File::open(&path).expect("bundled bars");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip of text");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let price = |i: usize| fields[i].parse::<f32>().expect("a price");
        let bar = Bar {
            open: price(1),
            high: price(2),
            low: price(3),
            close: price(4),
            volume: fields[5].parse::<f64>().expect("a volume") as i32,
        };
        (fields[0].parse().expect("an epoch"), bar)
    };
    text.lines().skip(1).take(count).map(row).collect()
}

fn mkts(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.addr());
    Command::new(binary())
        .args(args)
        .args(["--url", &url])
        .output()
        .expect("mkts runs")
}

fn replay(server: &Server, bars: &Bars, more: &[&str]) -> Output {
    let first = bars.keys().next().expect("bars").to_string();
    let last = bars.keys().last().expect("bars").to_string();
    let mut args = vec!["trigger", "replay", "agg", "--from", &first, "--to", &last];
    args.extend(more);
    mkts(server, &args)
}

fn dry(server: &Server, bars: &Bars) -> Value {
    let done = replay(server, bars, &["--dry-run", "--diff", "--json"]);
    let (out, errors) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{errors}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn aggregates_of_real_bars_are_compared_and_mended() {
    let server = Server::start(&[AGG], "");
    let mut client = server.client();
    let bars = real(2000);
    for symbol in ["SPY", "QQQ"] {
        let key = format!("{symbol}/1Min/OHLCV");
        write(&mut client, &[(&key, &table(&bars))], false).expect("a write");
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let found = loop {
        let found = dry(&server, &bars);
        if found["equal"] == true && found["behind_bytes"] == 0 {
            break found;
        }
        assert!(Instant::now() < deadline, "{found:#}");
    };
    assert_eq!(
        (&found["rows"], &found["failures"]),
        (&4000.into(), &0.into())
    );
    let buckets = found["buckets"].as_array().expect("a list");
    let keys: Vec<_> = buckets
        .iter()
        .map(|b| b["key"].as_str().expect("a key"))
        .collect();
    assert_eq!(
        keys,
        [
            "QQQ/1H/OHLCV",
            "QQQ/5Min/OHLCV",
            "SPY/1H/OHLCV",
            "SPY/5Min/OHLCV"
        ]
    );
    assert!(
        buckets
            .iter()
            .all(|b| b["equal"] == b["computed"] && b["equal"] != 0)
    );

    // One aggregate is falsified, one deleted.
    let mut hours = bars.iter().map(|(epoch, bar)| (epoch / 3600 * 3600, *bar));
    let (hour, mut wrong) = hours.nth(500).expect("bars");
    wrong.volume = 1;
    let wrong = Bars::from([(hour, wrong)]);
    write(&mut client, &[("SPY/1H/OHLCV", &table(&wrong))], false).expect("a write");
    let five = (bars.keys().nth(900).expect("bars") / 300 * 300).to_string();
    let gone = [
        "delete",
        "QQQ/5Min/OHLCV",
        "--from",
        &five,
        "--to",
        &five,
        "--yes",
    ];
    assert!(mkts(&server, &gone).status.success());
    let found = dry(&server, &bars);
    let wrong: Vec<_> = found["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            (
                row["key"].as_str(),
                row["found"].as_str(),
                row["time_ns"].as_i64(),
            )
        })
        .collect();
    let five: i64 = five.parse().expect("a number");
    let expected = [
        (
            Some("QQQ/5Min/OHLCV"),
            Some("missing"),
            Some(five * 1_000_000_000),
        ),
        (
            Some("SPY/1H/OHLCV"),
            Some("different"),
            Some(hour * 1_000_000_000),
        ),
    ];
    assert_eq!(wrong, expected);
    let volume = &found["differences"][1]["columns"]["Volume"];
    assert!(volume["stored"] == 1 && volume["computed"] != 1, "{volume}");

    // Without a terminal nothing is written unasked; what is shown says what would be.
    let done = replay(&server, &bars, &["--diff"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "{said}");
    assert!(
        said.contains("Volume: stored 1, computed") && said.contains("write 2 rows"),
        "{said}"
    );
    assert_eq!(dry(&server, &bars)["equal"], false);
    let done = replay(&server, &bars, &["--yes"]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("2 rows written"),
        "{said}"
    );
    assert_eq!(dry(&server, &bars)["equal"], true);
}
