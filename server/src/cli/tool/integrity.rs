//! `mkts tool integrity`: checksums of MarketStore's year files, or a check of a store of ours.

use std::io::IsTerminal;
use std::path::PathBuf;

use engine::marketstore::{YearSums, YearsWanted, year_sums};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::check_store;
use crate::cli::start::DAMAGED;
use crate::cli::{Failure, root, start, words};

/// Arguments of `mkts tool integrity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of a MarketStore directory each year file gets a line: its header and 12 equal parts, each with the \
sum of its words modulo 10000, so that two copies can be compared. MarketStore's files have no \
checksums of their own; what their headers say is checked. A store of ours has checksums \
everywhere: all are checked, as by `mkts check`.\n\
Exit code 0 if all is well, 4 if something is damaged.")]
pub(in crate::cli) struct Args {
    /// The directory, or one year file.
    #[arg(short, long)]
    dir: PathBuf,
    /// Parts of a file, without its header.
    #[arg(long, default_value_t = 12)]
    chunks: u64,
    /// Only files of this year and later ones.
    #[arg(long = "yearStart", default_value_t = 0, hide_default_value = true)]
    year_start: i64,
    /// Only files of this year and earlier ones.
    #[arg(long = "yearEnd", default_value_t = 0, hide_default_value = true)]
    year_end: i64,
    /// Only this part and later ones, 1 to 12.
    #[arg(long = "monthStart", default_value_t = 0, hide_default_value = true)]
    month_start: u64,
    /// Only this part and earlier ones, 1 to 12.
    #[arg(long = "monthEnd", default_value_t = 0, hide_default_value = true)]
    month_end: u64,
    /// Understood and without a meaning: files are read one after another.
    #[arg(long)]
    parallel: bool,
    /// Refused: the files are never changed.
    #[arg(long)]
    fix: bool,
    /// A line of JSON for each file.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.fix {
        return Err(Failure::new(
            "--fix: mkts never changes MarketStore's files; `mkts import marketstore` copies what \
             they prove, `mkts check --repair` repairs a store of ours",
        ));
    }
    if !args.dir.exists() {
        let dir = args.dir.display();
        return Err(Failure::new(format!("{dir}: there is no such directory")));
    }
    match args.dir.join("MANIFEST").is_file() {
        true => ours(args),
        false => marketstore(args),
    }
}

fn wanted(args: &Args) -> Result<YearsWanted, Failure> {
    let month = |name: &str, month: u64| match month {
        0..=12 => Ok(month),
        _ => Err(Failure::new(format!("{name}: months are 1 to 12"))),
    };
    let open = |end: i64| if end == 0 { i64::MAX } else { end };
    let last = match month("--monthEnd", args.month_end)? {
        0 => u64::MAX,
        month => month,
    };
    if !(1..=1000).contains(&args.chunks) {
        return Err(Failure::new("--chunks: 1 to 1000"));
    }
    Ok(YearsWanted {
        chunks: args.chunks,
        years: (args.year_start, open(args.year_end)),
        months: (month("--monthStart", args.month_start)?.max(1), last),
    })
}

fn marketstore(args: &Args) -> Result<(), Failure> {
    let wanted = wanted(args)?;
    let bar = bar(args.json);
    let (mut files, mut bad) = (0_u64, 0_u64);
    let done = year_sums(&args.dir, &wanted, &mut |year| {
        files += 1;
        bad += u64::from(year.problem.is_some());
        bar.set_message(year.name.clone());
        bar.tick();
        bar.suspend(|| print(args, &year));
        Ok(())
    });
    bar.finish_and_clear();
    let dir = args.dir.display();
    done.map_err(|error| {
        let failure = start::engine_failure(&error);
        let text = format!("{dir}: {}", failure.text);
        Failure { text, ..failure }
    })?;
    if files == 0 {
        return Err(Failure::new(format!(
            "{dir}: no year file (YEAR.bin) lies there, and no store of ours"
        )));
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure {
            code: DAMAGED,
            text: format!(
                "{} of {files} cannot be believed",
                words::count(bad, "header")
            ),
        }),
    }
}

fn bar(json: bool) -> ProgressBar {
    if json || !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} files  {msg}");
    ProgressBar::new_spinner().with_style(style.expect("the template is a constant"))
}

const MONTHS: [&str; 13] = [
    "Hdr", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn print(args: &Args, year: &YearSums) {
    let problem = year.problem.as_ref();
    if args.json {
        let sums: Vec<_> = year.sums.iter().map(|(_, sum)| sum).collect();
        let line = json!({"file": format!("{}.bin", year.name), "bytes": year.bytes,
            "allocated": year.allocated, "parts": year.sums.iter().map(|s| s.0).collect::<Vec<_>>(),
            "sums": sums, "problem": problem.map(|(at, what)| format!("at byte {at}: {what}"))});
        println!("{line}");
        return;
    }
    println!("{}", line(year));
    if let Some((at, what)) = problem {
        println!("  {}.bin, byte {at}: {what}", year.name);
    }
}

/// `AAPL/1Min/OHLCV/2020,Hdr 1234,Jan    0,...`
fn line(year: &YearSums) -> String {
    let mut line = format!("{:>30}", year.name);
    for (part, sum) in &year.sums {
        let name = usize::try_from(*part).ok().and_then(|at| MONTHS.get(at));
        match name {
            Some(name) => line.push_str(&format!(",{name} {sum:>4}")),
            None => line.push_str(&format!(",{part:>3} {sum:>4}")),
        }
    }
    line
}

fn ours(args: &Args) -> Result<(), Failure> {
    let (root, store) = root::open(args.dir.clone())?;
    let report = check_store::check(&root, &store)?;
    check_store::show(&root, &report, args.json);
    match report.is_damaged() {
        false => Ok(()),
        true => Err(Failure {
            code: DAMAGED,
            text: "damaged; `mkts check --repair` says what can be kept".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_that_of_the_reference() {
        let year = YearSums {
            name: "AAPL/1Min/OHLCV/2020".into(),
            bytes: 1,
            allocated: 1,
            sums: vec![(0, 1234), (1, 0), (12, 56)],
            problem: None,
        };
        assert_eq!(
            line(&year),
            "          AAPL/1Min/OHLCV/2020,Hdr 1234,Jan    0,Dec   56"
        );
    }
}
