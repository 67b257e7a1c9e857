//! Named points where a test ends the process: `MKTS_FAIL=wal.after_sync:17` aborts at the 17th
//! pass of that point, as if the power of that very moment had been the last.
//!
//! Compiled in, so that the program that is tested is the program that is used. Where the variable
//! is not set a point costs one relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

struct Armed {
    point: String,
    /// Passes until the end.
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Every point there is, so that a test can go through them. A pass of one that is not listed
/// panics where `MKTS_FAIL` is set.
pub const POINTS: &[&str] = &[
    "wal.after_write",
    "wal.after_sync",
    "wal.rotated",
    "segment.filled",
    "segment.synced",
    "segment.renamed",
    "segment.published",
    "catalog.filled",
    "catalog.synced",
    "catalog.renamed",
    "catalog.published",
    "manifest.filled",
    "manifest.synced",
    "manifest.renamed",
    "manifest.published",
    "checkpoint.frozen",
    "checkpoint.published",
    "ingest.written",
    "ingest.published",
    "merge.written",
    "merge.published",
    "recover.opened",
    "recover.replayed",
];

/// Passes a point.
#[inline]
pub fn pass(point: &str) {
    if STATE.load(Ordering::Relaxed) != OFF {
        look(point);
    }
}

/// Passes the point of this step in the publication of a file.
pub(crate) fn pass_publish(target: &str, step: &str) {
    if STATE.load(Ordering::Relaxed) != OFF {
        let kind = match target {
            "MANIFEST" => "manifest",
            _ if target.starts_with("catalog.") => "catalog",
            _ if target.starts_with("segments/") => "segment",
            _ => return,
        };
        look(&format!("{kind}.{step}"));
    }
}

#[cold]
fn look(point: &str) {
    let armed = ARMED.get_or_init(|| {
        let armed = std::env::var("MKTS_FAIL")
            .ok()
            .and_then(|text| parse(&text));
        STATE.store(if armed.is_some() { ON } else { OFF }, Ordering::Relaxed);
        armed
    });
    let Some(armed) = armed else { return };
    assert!(POINTS.contains(&point), "the point {point} is not listed");
    if armed.point == point && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::abort();
    }
}

/// `point:n`; anything else is no plan, and is said.
fn parse(text: &str) -> Option<Armed> {
    let (point, count) = text.split_once(':').unwrap_or((text, "1"));
    match count.parse::<u64>() {
        Ok(count) if count > 0 && POINTS.contains(&point) => Some(Armed {
            point: point.to_owned(),
            left: AtomicU64::new(count),
        }),
        _ => {
            eprintln!("MKTS_FAIL={text:?} is ignored: it is not one of {POINTS:?} and a count");
            None
        }
    }
}
