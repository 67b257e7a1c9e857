//! Calls about the store.

use std::path::Path;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::call::{Answer, Call, Nothing, Refusal};
use crate::status;

/// Sizes, marks, instances, damage, limits hit.
pub(super) fn status(call: &Call<'_>) -> Answer {
    Ok(status::json(call.app))
}

/// Writes tails into a segment now.
pub(super) fn checkpoint(call: &Call<'_>) -> Answer {
    let _: Nothing = call.body()?;
    let engine = &call.app.engine;
    engine.checkpoint()?;
    Ok(json!({ "checkpoint": engine.marks().checkpoint.to_string() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    #[serde(default)]
    dry_run: bool,
}

/// Reads the configuration again; `{"dry_run": true}` only says what would change.
pub(super) fn reload(call: &Call<'_>) -> Answer {
    call.query()?.end()?;
    let Reload { dry_run } = call.body()?;
    let Some(reload) = call.app.reload.get() else {
        let what = "this server was not started from a file";
        return Err(Refusal::new(StatusCode::CONFLICT, what));
    };
    reload
        .run(call.app, dry_run)
        .map_err(|wrong| Refusal::bad(format!("nothing was changed:\n{wrong}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    #[serde(default)]
    full: bool,
}

/// Merges that are due, or everything.
pub(super) fn merge(call: &Call<'_>) -> Answer {
    let Merge { full } = call.body()?;
    let engine = &call.app.engine;
    let written = if full {
        engine.compact()?
    } else {
        engine.merge()?
    };
    let status = engine.status();
    Ok(json!({
        "written": written,
        "segments": status.segments,
        "segment_bytes": status.segment_bytes,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    directory: String,
}

/// A consistent copy in an empty directory.
pub(super) fn backup(call: &Call<'_>) -> Answer {
    let Backup { directory } = call.body()?;
    if !Path::new(&directory).is_absolute() {
        let what = format!("directory: \"{directory}\" is not an absolute path");
        return Err(Refusal::bad(what));
    }
    let backup = call.app.engine.backup(Path::new(&directory))?;
    tracing::info!(
        directory,
        files = backup.files,
        linked_bytes = backup.linked_bytes,
        copied_bytes = backup.copied_bytes,
        "backup made"
    );
    Ok(json!({
        "directory": directory,
        "visible": backup.visible.to_string(),
        "files": backup.files,
        "linked_bytes": backup.linked_bytes,
        "copied_bytes": backup.copied_bytes,
    }))
}
