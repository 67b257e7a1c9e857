//! Old rows go: at the start, when the rules of `retention:` change, and every hour.

use std::time::Duration;

use engine::{Engine, Error, RetentionRule};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};

/// Rows are kept for days; an hour more or less means nothing.
const EVERY: Duration = Duration::from_secs(3600);

/// Runs passes until the server stops.
pub(crate) async fn run(
    engine: Engine,
    mut rules: watch::Receiver<Vec<RetentionRule>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let (engine, now) = (engine.clone(), rules.borrow_and_update().clone());
        if !now.is_empty() {
            // A panic of a pass was printed; the next one tries again.
            let _ = tokio::task::spawn_blocking(move || pass(&engine, &now)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            // Nobody can change them any more: the server stops.
            changed = rules.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// One pass, with a line for each bucket that lost rows.
fn pass(engine: &Engine, rules: &[RetentionRule]) {
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    match engine.retain(rules, now) {
        Ok(buckets) => {
            for bucket in buckets {
                let cutoff = Timestamp::from_nanosecond(i128::from(bucket.cutoff));
                info!(
                    bucket = %bucket.key,
                    rows = bucket.rows,
                    before = cutoff.map(|time| time.to_string()).unwrap_or_default(),
                    "retention deleted rows"
                );
                metrics::counter!("mkts_retention_rows_total").increment(bucket.rows);
            }
        }
        // The server stops.
        Err(Error::Closed) => {}
        Err(error) => warn!("retention: {error}; the next pass is in an hour"),
    }
}
