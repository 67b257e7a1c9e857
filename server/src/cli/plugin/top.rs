//! `mkts plugin top`: what instances do, again and again.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Api, Server};
use super::table;
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// Arguments of `mkts plugin top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "FIRES/S, IN/S (rows fired) and OUT/S (rows written) are of the last interval; \
P50 and P99 are times of its fires, read from the buckets of mkts_plugin_fire_seconds, so they are \
estimates. --json prints one line for each interval."
)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    server: Server,
    /// Seconds between two looks.
    #[arg(short, long, default_value_t = 2.0, value_parser = seconds)]
    interval: f64,
    /// Prints one interval and ends.
    #[arg(long)]
    once: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|seconds| (0.05..=86_400.0).contains(seconds));
    number.ok_or_else(|| "use 0.05 to 86400 seconds".into())
}

/// What was counted until a moment.
struct Sample {
    time: Instant,
    instances: Vec<Value>,
    counted: HashMap<String, Counted>,
}

/// Of one instance.
#[derive(Debug, Clone, Default)]
struct Counted {
    rows_in: f64,
    rows_out: f64,
    /// Upper bounds of fire times with the fires up to there.
    buckets: Vec<(f64, f64)>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut api = args.server.api()?;
    let mut before = sample(&mut api)?;
    let clears = std::io::stdout().is_terminal() && !args.once && !args.server.json;
    loop {
        std::thread::sleep(Duration::from_secs_f64(args.interval));
        let now = sample(&mut api)?;
        let lines = rates(&before, &now);
        if clears {
            // Clears the screen and goes to its upper left corner.
            print!("\x1b[2J\x1b[H");
        }
        args.server.show(&Value::Array(lines), screen);
        if args.once {
            return Ok(());
        }
        before = now;
    }
}

fn sample(api: &mut Api) -> Result<Sample, Failure> {
    let mut listed = api.all("", &Ask::Get)?;
    let instances = match listed["instances"].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    Ok(Sample {
        time: Instant::now(),
        instances,
        counted: counted(&api.metrics()?),
    })
}

/// Takes what is shown here out of Prometheus text.
fn counted(text: &str) -> HashMap<String, Counted> {
    let mut all: HashMap<String, Counted> = HashMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let Some((labels, value)) = rest.rsplit_once("} ") else {
            continue;
        };
        let (Some(id), Ok(value)) = (label(labels, "instance"), value.parse::<f64>()) else {
            continue;
        };
        match (name, label(labels, "dir").as_deref(), label(labels, "le")) {
            ("mkts_plugin_rows_total", Some("in"), _) => entry(&mut all, id).rows_in = value,
            ("mkts_plugin_rows_total", Some("out"), _) => entry(&mut all, id).rows_out = value,
            ("mkts_plugin_fire_seconds_bucket", _, Some(bound)) => {
                let bound = bound.parse().unwrap_or(f64::INFINITY);
                entry(&mut all, id).buckets.push((bound, value));
            }
            _ => {}
        }
    }
    all
}

fn entry(all: &mut HashMap<String, Counted>, id: String) -> &mut Counted {
    all.entry(id).or_default()
}

/// The value of a label; the exporter escapes as JSON does.
fn label(labels: &str, name: &str) -> Option<String> {
    let start = labels.find(&format!("{name}=\""))? + name.len() + 1;
    let mut values = serde_json::Deserializer::from_str(&labels[start..]).into_iter::<String>();
    values.next()?.ok()
}

/// One object for each instance.
fn rates(before: &Sample, now: &Sample) -> Vec<Value> {
    let seconds = (now.time - before.time).as_secs_f64().max(1e-3);
    let lines = now.instances.iter().map(|instance| {
        let id = instance["id"].as_str().unwrap_or("");
        let old = before.instances.iter().find(|old| old["id"] == *id);
        let count = |of: &Value| of["fires"].as_f64().unwrap_or(0.0);
        let fires = (count(instance) - old.map_or(0.0, count)).max(0.0);
        let new = now.counted.get(id).cloned().unwrap_or_default();
        let was = before.counted.get(id).cloned().unwrap_or_default();
        let buckets = difference(&was.buckets, &new.buckets);
        json!({
            "id": id,
            "state": instance["state"],
            "fires_per_second": fires / seconds,
            "rows_in_per_second": (new.rows_in - was.rows_in).max(0.0) / seconds,
            "rows_out_per_second": (new.rows_out - was.rows_out).max(0.0) / seconds,
            "lag_bytes": instance["lag_bytes"],
            "lag_seconds": instance["lag_seconds"],
            "fire_seconds_p50": quantile(&buckets, 0.5),
            "fire_seconds_p99": quantile(&buckets, 0.99),
            "retries": instance["retries"],
            "dead_letters": instance["dead_letters"],
            "restarts": instance["restarts"],
        })
    });
    lines.collect()
}

/// What came into each bucket since; a server that was started again begins at nothing.
fn difference(before: &[(f64, f64)], now: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let was_reset = before
        .last()
        .is_some_and(|(_, old)| now.last().is_none_or(|(_, new)| new < old));
    if before.len() != now.len() || was_reset {
        return now.to_vec();
    }
    let pairs = before.iter().zip(now);
    pairs
        .map(|((_, old), (bound, new))| (*bound, new - old))
        .collect()
}

/// The time below which a share of the fires lies, straight between two bounds.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (_, all) = *buckets.last()?;
    if all <= 0.0 {
        return None;
    }
    let wanted = share * all;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, upto) in buckets {
        if *upto >= wanted {
            // Above the last bound nothing is known.
            let high = if bound.is_finite() { *bound } else { low };
            let inside = (wanted - below) / (upto - below).max(f64::MIN_POSITIVE);
            return Some(low + (high - low) * inside);
        }
        (low, below) = (*bound, *upto);
    }
    Some(low)
}

fn screen(lines: &Value) -> String {
    let rows = lines.as_array().into_iter().flatten().map(|line| {
        let number = |name: &str| line[name].as_f64().unwrap_or(0.0);
        let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
        let time = |name: &str| line[name].as_f64().map_or_else(String::new, duration);
        vec![
            text("id"),
            text("state"),
            format!("{:.1}", number("fires_per_second")),
            format!("{:.1}", number("rows_in_per_second")),
            format!("{:.1}", number("rows_out_per_second")),
            words::bytes(line["lag_bytes"].as_u64().unwrap_or(0)),
            format!("{:.1} s", number("lag_seconds")),
            time("fire_seconds_p50"),
            time("fire_seconds_p99"),
            line["retries"].to_string(),
            line["dead_letters"].to_string(),
        ]
    });
    let heads = [
        "INSTANCE",
        "STATE",
        ">FIRES/S",
        ">IN/S",
        ">OUT/S",
        ">LAG",
        ">AGE",
        ">P50",
        ">P99",
        ">RETRIES",
        ">GIVEN UP",
    ];
    table::text(&heads, &rows.collect::<Vec<_>>())
}

/// `310 ns`, `4.2 us`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE mkts_plugin_rows_total counter\n\
        mkts_plugin_rows_total{instance=\"a\",dir=\"in\"} 10\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"0.001\"} 1\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"0.01\"} 1\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"+Inf\"} 1\n";
    const NOW: &str = "mkts_plugin_rows_total{instance=\"a\",dir=\"in\"} 30\n\
        mkts_plugin_rows_total{instance=\"q\\\"}q\",dir=\"out\"} 4\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"0.001\"} 51\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"0.01\"} 101\n\
        mkts_plugin_fire_seconds_bucket{instance=\"a\",le=\"+Inf\"} 101\n";

    fn sample(text: &str, fires: u64, time: Instant) -> Sample {
        Sample {
            time,
            instances: vec![json!({"id": "a", "state": "running", "fires": fires})],
            counted: counted(text),
        }
    }

    #[test]
    fn rates_and_times_are_of_the_interval() {
        let start = Instant::now();
        let before = sample(BEFORE, 1, start);
        let now = sample(NOW, 101, start + Duration::from_secs(2));
        let line = &rates(&before, &now)[0];
        assert_eq!(line["fires_per_second"], 50.0);
        assert_eq!(line["rows_in_per_second"], 10.0);
        assert_eq!(line["fire_seconds_p50"], 0.001);
        let p99 = line["fire_seconds_p99"].as_f64().unwrap();
        assert!((p99 - 0.00982).abs() < 1e-9, "{p99}");
        assert!((now.counted["q\"}q"].rows_out - 4.0).abs() < 1e-9);
        let text = screen(&json!([line]));
        assert!(text.contains("a         running     50.0"), "{text}");
        assert!(text.contains("1.0 ms"), "{text}");
    }

    #[test]
    fn no_fire_has_no_time_and_a_restart_counts_from_nothing() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(
            quantile(&[(0.1, 0.0), (f64::INFINITY, 9.0)], 0.5),
            Some(0.1)
        );
        let (old, new) = (
            [(0.1, 9.0), (f64::INFINITY, 9.0)],
            [(0.1, 2.0), (f64::INFINITY, 2.0)],
        );
        assert_eq!(difference(&old, &new), new);
        assert_eq!(difference(&[], &new), new);
        assert_eq!(duration(3.1e-7), "310 ns");
        assert_eq!(duration(0.0042), "4.2 ms");
    }
}
