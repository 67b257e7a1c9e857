//! The commands about buckets and their rows.

use std::fmt::Write as _;
use std::path::Path;

use engine::{DeleteRange, Limit};
use model::{BucketKey, ColumnDef, KeyPattern, NANOS_PER_SECOND, RowKind, Schema, Timeframe, Zone};

use super::session::{Session, key};
use crate::cli::load::table::Options;
use crate::cli::load::times::TimeFormat;
use crate::cli::load::{self, Job};
use crate::cli::output::go_time;
use crate::cli::place::Opened;
use crate::cli::source::Bucket;
use crate::cli::{Failure, ls, remote, start, words};
use crate::rpc::create::shapes;

/// The file of the word `csv` in `\show`.
const CSV_FILE: &str = "mstore-csv-output.csv";

/// Rows written in one request by `\load`.
const BATCH_ROWS: usize = 100_000;

/// A time of a command: a date, a time up to seconds and below, or seconds since 1970.
pub(super) fn time(text: &str) -> Result<i64, Failure> {
    // `20060102 150405999` is a spelling of MarketStore.
    let compact = text.len() >= 15 && text.as_bytes()[8] == b' ' && !text.contains('-');
    let read = match compact {
        true => {
            let (whole, below) = text.split_at(15);
            let format = TimeFormat::parse("20060102 150405").map_err(Failure::new)?;
            let fraction = format!("0.{below}").parse::<f64>().unwrap_or(0.0);
            let below = (fraction * NANOS_PER_SECOND as f64).round() as i64;
            format.read(whole, &Zone::utc()).map(|time| time + below)
        }
        false => TimeFormat::Auto.read(text, &Zone::utc()),
    };
    read.map_err(|what| Failure::new(format!("invalid time format: {what}")))
}

/// The bucket of a key with its columns.
pub(super) fn bucket(session: &mut Session, key: &BucketKey) -> Result<Bucket, Failure> {
    let pattern = KeyPattern::parse(key.as_str());
    let pattern = pattern.map_err(|error| Failure::new(error.to_string()))?;
    let found = session.opened.buckets(&pattern, &[])?;
    let found = found.into_iter().find(|bucket| bucket.key == *key);
    found.ok_or_else(|| Failure::new(format!("error finding existing bucket: there is no {key}")))
}

/// Key, first and last time of `\show` and `\gaps`.
pub(super) fn range(args: &[&str]) -> Result<(BucketKey, i64, i64), Failure> {
    let few = || Failure::new("Not enough arguments, see \"\\help show\"");
    let (name, times) = args.split_first().ok_or_else(few)?;
    let key = key(name)?;
    let is_filler = |word: &&&str| !matches!(**word, "between" | "and" | "csv");
    let times: Vec<&&str> = times.iter().filter(is_filler).collect();
    match times[..] {
        [] => Err(few()),
        [from] => Ok((key, time(from)?, i64::MAX)),
        [from, to] => Ok((key, time(from)?, time(to)?)),
        [..] => Err(Failure::new(
            "a range has a start and an end, no third time",
        )),
    }
}

pub(super) fn show(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let (key, from, to) = range(args)?;
    if args.contains(&"csv") {
        session.redirect(Some(CSV_FILE))?;
        eprintln!("rows go to {CSV_FILE} until \\o");
    }
    let bucket = bucket(session, &key)?;
    let schema = arrow_batch::schema(&bucket.columns, false, std::collections::HashMap::new());
    let mut printer = session.printer(&schema)?;
    let interrupts = session.interrupts.clone();
    session.opened.rows(&bucket, from, to, &mut |batch| {
        if interrupts.pressed() {
            return Err(Failure::new("ended by Ctrl-C"));
        }
        let batch = arrow_batch::record_batch(&schema, None, &batch).map_err(Failure::new)?;
        printer.add(&batch)
    })?;
    printer.end()
}

/// Deletes the rows of one bucket from a time to the end of its year, as MarketStore means to; with
/// a second time up to that.
pub(super) fn trim(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let (name, from, to) = match args {
        [name, from] => {
            let from = time(from)?;
            let (year, ..) = Zone::utc().local_date(from);
            let next = Zone::utc().day_start(Zone::year_start_day(year + 1));
            (name, from, next - 1)
        }
        [name, from, to] => (name, time(from)?, time(to)?),
        _ => {
            return Err(Failure::new(
                "Not enough arguments, see \"\\help trim\": \\trim key date [date]",
            ));
        }
    };
    if from > to {
        return Err(Failure::new("the start is behind the end"));
    }
    let key = key(name)?;
    let rows = match &mut session.opened {
        Opened::Store(engine) => {
            let key = key.clone();
            let range = DeleteRange { key, from, to };
            let deleted = engine.delete(std::slice::from_ref(&range));
            let deleted = deleted.map_err(|error| start::engine_failure(&error))?;
            deleted.rows.iter().sum()
        }
        Opened::Server(client) => client
            .delete(&key, from, to, false)
            .map_err(|error| remote::failure(&error))?,
    };
    println!(
        "Trimmed {} of {key} from {} to {}",
        words::count(rows, "row"),
        words::time(from),
        words::time(to)
    );
    Ok(())
}

pub(super) fn load(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let (name, file, control) = match args {
        [name, file] => (name, file, None),
        [name, file, control] => (name, file, Some(control)),
        _ => {
            return Err(Failure::new(
                "Not enough arguments to load, see \"\\help load\": \\load key file.csv [control.yml]",
            ));
        }
    };
    let key = key(name)?;
    // The type of the rows is that of the bucket, so there must be one.
    bucket(session, &key)?;
    let options = match control {
        Some(control) => load::by_control(Path::new(control), BATCH_ROWS)?,
        None => Options {
            batch_rows: BATCH_ROWS,
            ..Options::default()
        },
    };
    let job = Job {
        file: Path::new(file),
        key: &key,
        options,
        ticks: false,
        json: false,
    };
    load::load(&mut session.opened, job)
}

pub(super) fn create(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let [name, columns, kind] = args else {
        return Err(Failure::new(
            "Not enough arguments, see \"\\help create\": \\create key columns fixed|variable",
        ));
    };
    let kind = match kind.to_ascii_lowercase().as_str() {
        "fixed" => RowKind::Bar,
        "variable" => RowKind::Tick,
        other => {
            return Err(Failure::new(format!(
                "record type \"{other}\" is neither fixed nor variable"
            )));
        }
    };
    let key = key(name)?;
    let fail = |what: String| {
        Failure::new(format!(
            "Failed with error: creation of new catalog entry failed: {what}"
        ))
    };
    Timeframe::parse(key.timeframe()).map_err(|error| fail(error.to_string()))?;
    let schema = schema(columns).map_err(fail)?;
    match &mut session.opened {
        Opened::Store(engine) => {
            let made = engine.create_bucket(&key, kind, schema);
            made.map_err(|error| fail(error.to_string()))?;
        }
        Opened::Server(client) => {
            let made = client.create(&key, kind, &schema);
            made.map_err(|error| Failure::new(format!("Failed with error: {error}")))?;
        }
    }
    println!("Successfully created a new catalog entry for bucket {key}");
    Ok(())
}

/// `Open,High/float32:Volume/int64`; a bool is a byte, the time is implied.
fn schema(text: &str) -> Result<Schema, String> {
    let parts = text.split(':').map(|part| match part.rsplit_once('/') {
        Some((names, ty)) if ty.eq_ignore_ascii_case("bool") => format!("{names}/byte"),
        _ => part.to_owned(),
    });
    let parts: Vec<String> = parts.collect();
    let columns = shapes(&parts.join(":"))?;
    let columns = columns.into_iter().filter(|column| column.name != "Epoch");
    let columns: Vec<ColumnDef> = columns.collect();
    Schema::new(columns).map_err(|error| error.to_string())
}

pub(super) fn destroy(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let [name] = args else {
        return Err(Failure::new(
            "One argument is needed, see \"\\help destroy\": \\destroy key",
        ));
    };
    let key = key(name)?;
    let fail = |what: String| {
        Failure::new(format!(
            "Failed with error: removal of catalog entry failed: {what}"
        ))
    };
    match &mut session.opened {
        Opened::Store(engine) => {
            if engine.bucket(&key).is_none() {
                return Err(fail(format!("there is no bucket {key}")));
            }
            let dropped = engine.drop_buckets(std::slice::from_ref(&key));
            dropped.map_err(|error| fail(error.to_string()))?;
        }
        Opened::Server(client) => {
            let dropped = client.destroy(key.as_str());
            dropped.map_err(|error| Failure::new(format!("Failed with error: {error}")))?;
        }
    }
    println!("Successfully removed catalog entry for key: {key}");
    Ok(())
}

pub(super) fn list(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let pattern = args.first().copied().unwrap_or("*/*/*");
    let on = KeyPattern::parse(pattern).map_err(|error| Failure::new(error.to_string()))?;
    let mut keys = ls::keys(&mut session.opened)?;
    keys.sort();
    for key in keys.iter().filter(|key| on.matches(key)) {
        println!("{key}");
    }
    Ok(())
}

pub(super) fn getinfo(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let [name] = args else {
        return Err(Failure::new("One argument is needed: \\getinfo key"));
    };
    let key = key(name)?;
    let bucket = bucket(session, &key)?;
    let last = session
        .opened
        .limited(&bucket, (i64::MIN, i64::MAX), Limit::Last(1))?;
    let kind = match bucket.kind {
        RowKind::Bar => "FIXED",
        RowKind::Tick => "VARIABLE",
    };
    let timeframe = Timeframe::parse(key.timeframe());
    let timeframe = timeframe.map_err(|error| Failure::new(error.to_string()))?;
    let mut types = "Epoch:INT64".to_owned();
    for column in bucket.columns.columns() {
        // Writing to a string cannot fail.
        let _ = write!(types, " {}:{}", column.name, column.ty.name());
    }
    let newest = last.times().last().copied();
    let year = newest.map_or(0, |time| Zone::utc().local_date(time).0);
    println!("Bucket: {key}");
    println!(
        "Latest Year: {year}, RecordType: {kind}, TF: {}",
        go_duration(timeframe.nanos())
    );
    println!("Data Types: {{{types}}}");
    if let Some(time) = newest {
        let mut text = String::new();
        go_time(time, &mut text);
        println!("Newest Row: {text}");
    }
    Ok(())
}

/// `1m0s`, Go's text of a duration.
pub(super) fn go_duration(nanos: i64) -> String {
    if nanos < NANOS_PER_SECOND {
        return match nanos {
            0 => "0s".into(),
            ..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}us", nanos as f64 / 1e3),
            _ => format!("{}ms", nanos as f64 / 1e6),
        };
    }
    let seconds = nanos / NANOS_PER_SECOND;
    let below = nanos % NANOS_PER_SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let last = (seconds % 60) as f64 + below as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{last}s"),
        (0, _) => format!("{minutes}m{last}s"),
        _ => format!("{hours}h{minutes}m{last}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_reference() {
        let minute = 60 * NANOS_PER_SECOND;
        for (nanos, text) in [
            (minute, "1m0s"),
            (NANOS_PER_SECOND, "1s"),
            (24 * 60 * minute, "24h0m0s"),
            (15 * minute, "15m0s"),
            (1_500_000_000, "1.5s"),
            (1_000_000, "1ms"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }

    #[test]
    fn times_have_the_spellings_of_the_reference() {
        let of = |text: &str| time(text).map_err(|failure| failure.text);
        let midnight = 1_577_923_200 * NANOS_PER_SECOND;
        assert_eq!(of("2020-01-02").unwrap(), midnight);
        assert_eq!(
            of("2020-01-02T00:01").unwrap(),
            midnight + 60 * NANOS_PER_SECOND
        );
        assert_eq!(of("20200102 000000250").unwrap(), midnight + 250_000_000);
        assert_eq!(
            of("2020-01-02T00:00:00.5Z").unwrap(),
            midnight + 500_000_000
        );
        assert!(
            of("yesterday")
                .unwrap_err()
                .starts_with("invalid time format")
        );
    }

    #[test]
    fn columns_are_written_as_in_the_reference() {
        let columns = schema("Epoch/int64:Open,High/FLOAT32:Up/bool").unwrap();
        let names: Vec<&str> = columns.columns().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["Open", "High", "Up"]);
        assert!(schema("Open").is_err());
    }
}
