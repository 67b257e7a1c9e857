//! I1: a published file never changes.
//!
//! This is the one way a finished file gets its name: temporary file -> fill -> read-only ->
//! sync -> rename -> sync directory. Nobody reimplements the order. The rename is the only
//! moment at which the name changes its meaning, and it happens after the bytes are durable.

use std::io;

use crate::failpoint::pass_publish;
use crate::{Disk, File, path};

/// Publishes `target`, replacing an older file of that name. `fill` writes the bytes of the
/// temporary file `<target>.tmp`; it need not sync.
///
/// Atomic, and durable on return. After an error (or a crash) the old file is still there, or
/// the new one is; the temporary file is removed if possible and otherwise by the next publish.
pub fn publish<R, E: From<io::Error>>(
    disk: &dyn Disk,
    target: &str,
    fill: impl FnOnce(&dyn File) -> Result<R, E>,
) -> Result<R, E> {
    let temporary = format!("{target}.tmp");
    if disk.exists(&temporary)? {
        disk.unlink(&temporary)?;
    }
    let result = fill_and_sync(disk, &temporary, || pass_publish(target, "filled"), fill);
    if result.is_err() {
        // The first error is the one worth telling; a leftover is removed by the next publish.
        let _ = disk.unlink(&temporary);
        return result;
    }
    pass_publish(target, "synced");
    disk.rename(&temporary, target)?;
    pass_publish(target, "renamed");
    disk.sync_dir(path::split(target).0)?;
    pass_publish(target, "published");
    result
}

fn fill_and_sync<R, E: From<io::Error>>(
    disk: &dyn Disk,
    temporary: &str,
    filled: impl FnOnce(),
    fill: impl FnOnce(&dyn File) -> Result<R, E>,
) -> Result<R, E> {
    let file = disk.create(temporary)?;
    let result = fill(&*file)?;
    filled();
    disk.set_readonly(temporary)?;
    file.sync_all()?;
    Ok(result)
}
