//! Which files to import.

use std::fs;
use std::path::{Path, PathBuf};

use model::BucketKey;

use crate::cli::key_path;

/// Directories below each other. A tree of ours has three; more than this is a circle of links.
const DEPTH_MAX: usize = 32;

/// A file, and the bucket it is named after.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) key: Option<BucketKey>,
}

/// Files to import, and how many others were passed over, with one of them.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) inputs: Vec<Input>,
    strays: usize,
    stray: Option<PathBuf>,
}

/// Files as named, whatever they are called; of directories all files with one of the extensions,
/// in order of their names.
pub(super) fn find(paths: &[PathBuf], extensions: &[&str]) -> Result<Found, String> {
    let mut found = Found::default();
    for path in paths {
        if path == Path::new("-") || !path.is_dir() {
            let key = key_path::key(path, extensions);
            let path = path.clone();
            found.inputs.push(Input { path, key });
            continue;
        }
        let before = found.inputs.len();
        walk(path, extensions, 0, &mut found)?;
        if found.inputs.len() == before {
            return Err(format!(
                "{}: no file below ends in .{}",
                path.display(),
                extensions.join(" or .")
            ));
        }
    }
    Ok(found)
}

impl Found {
    /// One line about files that are not imported.
    pub(super) fn warning(&self) -> Option<String> {
        let stray = self.stray.as_ref()?;
        let more = match self.strays {
            1 => String::new(),
            strays => format!(" and {} more", strays - 1),
        };
        Some(format!("passed over {}{more}", stray.display()))
    }
}

fn walk(
    directory: &Path,
    extensions: &[&str],
    depth: usize,
    found: &mut Found,
) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", directory.display());
    if depth > DEPTH_MAX {
        return Err(format!("{}: too many directories", directory.display()));
    }
    let entries = fs::read_dir(directory).map_err(fail)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(fail)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, extensions, depth + 1, found)?;
        } else if matches(&path, extensions) {
            let key = key_path::key(&path, extensions);
            found.inputs.push(Input { path, key });
        } else {
            found.strays += 1;
            found.stray.get_or_insert(path);
        }
    }
    Ok(())
}

/// Hidden files are somebody's unfinished work.
fn matches(path: &Path, extensions: &[&str]) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let ends = |extension: &&str| {
        let rest = name.strip_suffix(*extension);
        rest.is_some_and(|rest| rest.ends_with('.'))
    };
    !name.starts_with('.') && extensions.iter().any(ends)
}
