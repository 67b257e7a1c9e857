//! `mkts estimate`: how much space data will take.
//!
//! The first line is MarketStore's, by its formula for its files. The second is for ours: whole
//! bytes of what real bars take once they are packed.

use serde_json::json;

use super::Failure;

/// Arguments of `mkts estimate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Columns of 4 bytes.
    #[arg(long = "4byteCols", value_name = "N", default_value_t = 0)]
    four: u32,
    /// Columns of 8 bytes.
    #[arg(long = "8byteCols", value_name = "N", default_value_t = 5)]
    eight: u32,
    /// 1D, 1Min, 1Sec, 1ms or 1us.
    #[arg(short, long, default_value = "1Min")]
    timeframe: String,
    /// Number of symbols.
    #[arg(short, long, default_value_t = 1000)]
    symbols: u32,
    /// Number of years.
    #[arg(short, long, default_value_t = 10)]
    years: u32,
    /// Trading days a year.
    #[arg(short, long, default_value_t = 261)]
    days: u32,
    /// Hours a day that the market is open.
    #[arg(long, default_value_t = 6.5)]
    hours: f64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Bytes of the header of a year file.
const HEADER_BYTES: f64 = 37_024.0;

/// What a value of real bars takes when packed: 5 columns with the time in 4 to 10 bytes a row
/// (docs/benchmarks.md). The upper end, so that the disk is large enough.
const PACKED_BYTES: f64 = 2.0;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !(args.hours > 0.0 && args.hours <= 24.0) {
        return Err(Failure::new(
            "--hours: a day has more than 0 and at most 24",
        ));
    }
    let theirs = marketstore_bytes(args);
    let rows = rows(args);
    let ours = rows * PACKED_BYTES * f64::from(args.four + args.eight);
    if args.json {
        let line = json!({"marketstore_bytes": theirs.round(), "rows": rows.round(),
            "bytes": ours.round()});
        println!("{line}");
        return Ok(());
    }
    match readable(theirs) {
        Some(size) => println!("{}: {size}", subject(args)),
        None => println!("Estimated space required is more than 10,000EB"),
    }
    if rows == 0.0 {
        let known = "known are 1D, 1Min, 1Sec, 1ms and 1us";
        return Err(Failure::new(format!(
            "--timeframe: \"{}\" is not known, so no rows were counted; {known}",
            args.timeframe
        )));
    }
    let size = readable(ours).unwrap_or_else(|| "more than 10,000EB".into());
    println!("Packed by mkts the same {rows:.0} rows take about {size}; ticks take less");
    Ok(())
}

fn subject(args: &Args) -> String {
    let plural = |count: u32, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    format!(
        "Estimated space required for {} with {} of {} data",
        plural(args.symbols, "symbol"),
        plural(args.years, "year"),
        args.timeframe
    )
}

/// Intervals of a day; unknown timeframes have none.
fn intervals(timeframe: &str) -> f64 {
    match timeframe {
        "1D" => 1.0,
        "1Min" => 1440.0,
        "1Sec" => 86_400.0,
        "1ms" => 86_400e3,
        "1us" => 86_400e6,
        _ => 0.0,
    }
}

fn rows(args: &Args) -> f64 {
    let day = match args.timeframe.as_str() {
        // A day is a bar, however long it is.
        "1D" => 1.0,
        other => intervals(other) * args.hours / 24.0,
    };
    day * f64::from(args.days) * f64::from(args.symbols) * f64::from(args.years)
}

fn marketstore_bytes(args: &Args) -> f64 {
    let record = 8 + 4 * u64::from(args.four) + 8 * u64::from(args.eight);
    let record = (record + record % 8) as f64;
    let day = intervals(&args.timeframe) * args.hours / 24.0;
    let file = HEADER_BYTES + record * day * f64::from(args.days);
    file * f64::from(args.symbols) * f64::from(args.years)
}

/// The first unit in which the number has at most four digits.
fn readable(bytes: f64) -> Option<String> {
    let mut size = bytes;
    for unit in ["KB", "MB", "GB", "TB", "PB", "EB"] {
        size /= 1000.0;
        if size < 10_000.0 {
            return Some(format!("{size:.0}{unit}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn line(args: &[&str]) -> String {
        let cli = Cli::parse_from(std::iter::once(&"estimate").chain(args));
        let size = readable(marketstore_bytes(&cli.args)).unwrap_or_default();
        format!("{}: {size}", subject(&cli.args))
    }

    #[test]
    fn the_reference_says_the_same() {
        assert_eq!(
            line(&[]),
            "Estimated space required for 1000 symbols with 10 years of 1Min data: 49GB"
        );
        assert_eq!(
            line(&["-s", "1", "-y", "1", "-t", "1Sec"]),
            "Estimated space required for 1 symbol with 1 year of 1Sec data: 293MB"
        );
        assert_eq!(readable(1e25), None);
    }
}
