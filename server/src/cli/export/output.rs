//! Where the bytes go: a file that appears whole or not at all, standard output, or a pipe.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Format;
use crate::cli::Failure;

/// Bytes gathered before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// What `--out` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Target {
    Directory,
    File(PathBuf),
    /// A pipe or device that is there: nothing can be renamed over it.
    Device(PathBuf),
    Stdout,
}

impl Target {
    /// A file that is named as one, or the device that is there.
    pub(in crate::cli) fn named(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(meta) if !meta.is_file() && !meta.is_dir() => Self::Device(path.into()),
            _ => Self::File(path.into()),
        }
    }

    /// Decides by what is there, then by the end of the name.
    pub(super) fn of(out: &Path, format: Option<Format>) -> Result<Self, String> {
        if out == Path::new("-") {
            return Ok(Self::Stdout);
        }
        match fs::metadata(out) {
            Ok(meta) if meta.is_dir() => return Ok(Self::Directory),
            Ok(meta) if !meta.is_file() => return Ok(Self::Device(out.into())),
            Ok(_) if by_name(out).is_none() && format.is_none() => {
                return Err(format!(
                    "{} is a file; say its --format csv|parquet|arrow",
                    out.display()
                ));
            }
            Ok(_) => return Ok(Self::File(out.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", out.display())),
        }
        Ok(match by_name(out) {
            Some(_) => Self::File(out.into()),
            None => Self::Directory,
        })
    }

    /// The format said or, of a file, seen.
    pub(super) fn format(&self, out: &Path, said: Option<Format>) -> Result<Format, Failure> {
        let seen = match self {
            Self::File(_) => by_name(out),
            _ => None,
        };
        said.or(seen).ok_or_else(|| {
            Failure::new(format!(
                "--format csv|parquet|arrow is missing, \"{}\" does not tell it",
                out.display()
            ))
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) | Self::Device(path) => path.clone(),
            Self::Directory | Self::Stdout => PathBuf::from("-"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            other => write!(f, "{}", other.path().display()),
        }
    }
}

fn by_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let (_, end) = name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?;
    match end {
        "csv" => Some(Format::Csv),
        _ if name.ends_with(".gz") => None,
        "parquet" => Some(Format::Parquet),
        "arrow" | "feather" | "ipc" => Some(Format::Arrow),
        _ => None,
    }
}

/// Refuses a file that is there.
pub(super) fn check_free(file: &Path, force: bool) -> Result<(), String> {
    match fs::symlink_metadata(file) {
        Ok(meta) if meta.is_dir() => Err(format!("{} is a directory", file.display())),
        Ok(_) if !force => Err(format!(
            "{} exists already; --force overwrites it",
            file.display()
        )),
        _ => Ok(()),
    }
}

/// An open output. Dropped before [`Output::publish`], a file leaves nothing behind.
pub(in crate::cli) struct Output {
    writer: BufWriter<Box<dyn Sink>>,
    bytes: u64,
    file: Option<Unpublished>,
    name: String,
}

/// A file under a temporary name beside its own.
struct Unpublished {
    temporary: PathBuf,
    path: PathBuf,
    force: bool,
}

trait Sink: Write + Send {
    /// Makes what was written durable, where that has a meaning.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

// Exported files are not the store's: `disk` does not know the place.
#[allow(clippy::disallowed_methods)]
impl Sink for File {
    fn sync(&self) -> io::Result<()> {
        match self.metadata()?.is_file() {
            true => self.sync_all(),
            false => Ok(()),
        }
    }
}

impl Sink for io::Stdout {}

impl Output {
    pub(in crate::cli) fn create(target: &Target, force: bool) -> Result<Self, String> {
        let fail = |error: io::Error| format!("{target}: {error}");
        let (sink, file): (Box<dyn Sink>, _) = match target {
            Target::Directory => return Err("a directory is no file".into()),
            Target::Stdout => (Box::new(io::stdout()), None),
            Target::Device(path) => {
                let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
                (Box::new(file), None)
            }
            Target::File(path) => {
                check_free(path, force)?;
                let (file, unpublished) = temporary(path, force).map_err(fail)?;
                (Box::new(file), Some(unpublished))
            }
        };
        Ok(Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, sink),
            bytes: 0,
            file,
            name: target.to_string(),
        })
    }

    /// Flushes, syncs, and gives a file its name. Returns the bytes written.
    pub(in crate::cli) fn publish(mut self) -> Result<u64, String> {
        let name = std::mem::take(&mut self.name);
        let fail = |error: io::Error| format!("{name}: {}", reason(&error));
        self.writer.flush().map_err(fail)?;
        self.writer.get_ref().sync().map_err(fail)?;
        if let Some(file) = self.file.take() {
            file.publish().map_err(fail)?;
        }
        Ok(self.bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.writer.write(bytes).map_err(told)?;
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(told)
    }
}

fn told(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), reason(&error))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe => "the reader has closed the pipe".into(),
        _ => error.to_string(),
    }
}

// As above.
#[allow(clippy::disallowed_methods)]
fn temporary(path: &Path, force: bool) -> io::Result<(File, Unpublished)> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    // Short, for a name at the limit of the file system; unique among exports that run now.
    let temporary = directory.join(format!(".mkts-{}.tmp", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)?;
    let unpublished = Unpublished {
        temporary,
        path: path.into(),
        force,
    };
    Ok((file, unpublished))
}

// As above.
#[allow(clippy::disallowed_methods)]
impl Unpublished {
    fn publish(self) -> io::Result<()> {
        if self.force {
            return fs::rename(&self.temporary, &self.path);
        }
        // Unlike a rename, a link never replaces what somebody else made meanwhile. Drop unlinks.
        match fs::hard_link(&self.temporary, &self.path) {
            Err(error) if cannot_link(&error) => fs::rename(&self.temporary, &self.path),
            other => other,
        }
    }
}

/// Some file systems have no links.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

// As above.
#[allow(clippy::disallowed_methods)]
impl Drop for Unpublished {
    fn drop(&mut self) {
        // Gone already after a rename.
        let _ = fs::remove_file(&self.temporary);
    }
}
