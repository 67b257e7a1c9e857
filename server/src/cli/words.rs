//! Numbers and times as a person reads them, and questions to that person.

use std::io::{BufRead, IsTerminal, Write};

use super::Failure;

/// `1.5 GiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

/// `2020-01-31T15:04:05.25Z`; the ends of time are `beginning` and `end`.
pub(super) fn time(ns: i64) -> String {
    match ns {
        i64::MIN => return "the beginning".to_owned(),
        i64::MAX => return "the end".to_owned(),
        _ => {}
    }
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{ns} ns"),
    }
}

/// `12 rows`, `1 row`.
pub(super) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// Asks on the terminal, unless `yes`; an error is a no.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!(
            "{question}: nothing was done; without a terminal --yes says so"
        )));
    }
    eprint!("{question}? [y/N] ");
    // A prompt that does not show is answered with no.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match (read, line.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new("nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 40), "3.0 TiB");
        assert_eq!(time(1_580_483_045_250_000_000), "2020-01-31T15:04:05.25Z");
        assert_eq!(time(i64::MAX), "the end");
        assert_eq!(
            (count(1, "row"), count(0, "row")),
            ("1 row".into(), "0 rows".into())
        );
    }
}
