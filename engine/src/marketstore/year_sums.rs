//! Checksums of year files by months, as MarketStore's integrity tool makes them, and what their
//! headers say.

use std::path::Path;

use disk::{Source, SourceFile, SourceKind};

use super::header::{self, HEADER_BYTES};
use crate::Error;

/// Bytes read at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// Directories below each other; a tree has three.
const DEPTH_MAX: usize = 16;

/// Which files and parts of them are wanted.
#[derive(Debug, Clone)]
pub struct YearsWanted {
    /// Parts that a file is cut into behind its header; 12 are about the months.
    pub chunks: u64,
    /// First and last year, inclusive.
    pub years: (i64, i64),
    /// First and last part, from 1, inclusive.
    pub months: (u64, u64),
}

/// A year file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YearSums {
    /// Its path below the root without `.bin`.
    pub name: String,
    /// Bytes, those of holes included.
    pub bytes: u64,
    /// Bytes that the file system holds.
    pub allocated: u64,
    /// Part 0 is the header. The sum of little-endian 64-bit words, without its sign, modulo 10000.
    pub sums: Vec<(u64, u64)>,
    /// What is wrong with the header, and at which byte.
    pub problem: Option<(u64, String)>,
}

/// Hands out the year files below a directory, or the file that `root` is, in order of their names.
///
/// # Errors
/// If something cannot be read, or `each` fails.
pub fn year_sums(
    root: &Path,
    wanted: &YearsWanted,
    each: &mut dyn FnMut(YearSums) -> Result<(), Error>,
) -> Result<(), Error> {
    if !root.is_file() {
        return walk(&Source::open(root)?, "", 0, wanted, each);
    }
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match root.file_name().and_then(|name| name.to_str()) {
        Some(name) => one(&Source::open(parent)?, name, wanted, each),
        None => Err(Error::Invalid(format!("{} is no file", root.display()))),
    }
}

fn walk(
    source: &Source,
    dir: &str,
    depth: usize,
    wanted: &YearsWanted,
    each: &mut dyn FnMut(YearSums) -> Result<(), Error>,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Invalid(format!("{dir}: too many directories")));
    }
    let mut entries = source.list(dir)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let path = match dir {
            "" => entry.name.clone(),
            _ => format!("{dir}/{}", entry.name),
        };
        match entry.kind {
            SourceKind::Dir => walk(source, &path, depth + 1, wanted, each)?,
            SourceKind::File if path.ends_with(".bin") => one(source, &path, wanted, each)?,
            _ => {}
        }
    }
    Ok(())
}

fn one(
    source: &Source,
    path: &str,
    wanted: &YearsWanted,
    each: &mut dyn FnMut(YearSums) -> Result<(), Error>,
) -> Result<(), Error> {
    let name = path.strip_suffix(".bin").unwrap_or(path);
    let year: Option<i64> = name.rsplit('/').next().and_then(|year| year.parse().ok());
    if year.is_some_and(|year| year < wanted.years.0 || year > wanted.years.1) {
        return Ok(());
    }
    let file = source.open_file(path)?;
    let mut head = vec![0; HEADER_BYTES as usize];
    let read = file.read_at(0, &mut head)?;
    let problem = match header::parse(&head[..read]) {
        Err(problem) => Some(problem),
        Ok(header) if year.is_some_and(|year| year != i64::from(header.year)) => {
            let what = format!("the header is that of the year {}", header.year);
            Some((264, what))
        }
        Ok(_) => None,
    };
    let mut sums = vec![(0, short(sum(&file, 0, HEADER_BYTES.min(file.len()))?))];
    // MarketStore's arithmetic: parts are multiples of 8 bytes, the last one is shorter.
    let size = file.len().saturating_sub(HEADER_BYTES);
    let chunks = wanted.chunks.max(1);
    let chunk = (size / chunks + size % chunks).next_multiple_of(8);
    for part in 1..=chunks {
        if part < wanted.months.0 || part > wanted.months.1 {
            continue;
        }
        let from = HEADER_BYTES + (part - 1) * chunk;
        let to = (from + chunk).min(file.len());
        sums.push((part, short(sum(&file, from.min(to), to)?)));
    }
    each(YearSums {
        name: name.to_owned(),
        bytes: file.len(),
        allocated: file.allocated(),
        sums,
        problem,
    })
}

fn short(sum: i64) -> u64 {
    sum.unsigned_abs() % 10_000
}

/// The sum of the words of a range; a word that the file ends in is filled up with zeros. Holes are
/// not read: they add nothing.
fn sum(file: &SourceFile, from: u64, to: u64) -> Result<i64, Error> {
    let mut total = 0_i64;
    let mut at = from;
    while let Some(data) = file.next_data(at).filter(|data| *data < to) {
        // Words are counted from the beginning of the range.
        at = from + (data.max(at) - from) / 8 * 8;
        let len = (to - at).min(BLOCK_BYTES);
        let mut bytes = vec![0; (len as usize).next_multiple_of(8)];
        let read = file.read_at(at, &mut bytes[..len as usize])?;
        if read == 0 {
            break;
        }
        for word in bytes.as_chunks::<8>().0 {
            total = total.wrapping_add(i64::from_le_bytes(*word));
        }
        at += len;
    }
    Ok(total)
}
