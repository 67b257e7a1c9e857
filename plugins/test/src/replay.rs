//! Recordings and CSV files as things to do to a plugin.

use std::path::Path;

use model::BucketKey;
use plugin_host::record::{self, RecordedEvent};

use crate::bench::Bench;
use crate::table::{Feed, read_file};

/// Rows of one commit of a CSV file.
const CSV_COMMIT_ROWS: usize = 100;

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Feed(Feed),
    Gap(BucketKey, i64, i64),
    Drop(BucketKey),
}

impl Step {
    pub(crate) fn apply(&self, bench: &mut Bench) -> Result<(), String> {
        match self {
            Self::Feed(feed) => bench.feed(feed),
            Self::Gap(key, from, to) => bench.gap(key, *from, *to),
            Self::Drop(key) => bench.drop_bucket(key),
        }
    }
}

/// What a file says. Timers of a recording are left out: the plugin sets its own.
pub(crate) fn read(path: &Path) -> Result<Vec<Step>, String> {
    let mut magic = [0; 8];
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let is_recording = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut magic))
        .map_err(|error| named(&error))?
        == magic.len()
        && magic == *record::MAGIC;
    if is_recording {
        let bytes = std::fs::read(path).map_err(|error| named(&error))?;
        return steps(&bytes).map_err(|why| named(&why));
    }
    let feed = read_file(path)?;
    let rows = feed.rows.rows();
    let parts = (0..rows).step_by(CSV_COMMIT_ROWS);
    Ok(parts
        .map(|start| {
            let end = (start + CSV_COMMIT_ROWS).min(rows);
            Step::Feed(Feed {
                rows: feed.rows.slice(start..end),
                ..feed.clone()
            })
        })
        .collect())
}

/// The events of a recording; a gap or a drop of a bucket that was never written has no meaning here.
fn steps(bytes: &[u8]) -> Result<Vec<Step>, String> {
    let events = record::read(bytes).map_err(|error| error.to_string())?;
    let mut seen: Vec<BucketKey> = Vec::new();
    let mut steps = Vec::new();
    for event in events {
        match event.event {
            RecordedEvent::Write { key, kind, rows } => {
                if !seen.contains(&key) {
                    seen.push(key.clone());
                }
                steps.push(Step::Feed(Feed { key, kind, rows }));
            }
            RecordedEvent::Gap { key, from, to } if seen.contains(&key) => {
                steps.push(Step::Gap(key, from, to));
            }
            RecordedEvent::Deleted(key) if seen.contains(&key) => {
                seen.retain(|other| *other != key);
                steps.push(Step::Drop(key));
            }
            _ => {}
        }
    }
    Ok(steps)
}

/// The rows of a file, as commits: what conformance cases feed.
///
/// # Errors
/// If it is neither a recording nor a CSV file that is named after its bucket.
pub fn feeds(path: &Path) -> Result<Vec<Feed>, String> {
    let steps = read(path)?;
    let feeds = steps.into_iter().filter_map(|step| match step {
        Step::Feed(feed) => Some(feed),
        _ => None,
    });
    Ok(feeds.collect())
}
