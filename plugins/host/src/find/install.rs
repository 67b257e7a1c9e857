//! `install` and `remove`: a module appears in a plugin folder whole or not at all.
//!
//! Unpack into `.install-PID`, verify, sync; pin it in `plugins.lock`; rename it to its name; sync the
//! folder. A crash before the rename leaves a name with a dot that the next call clears away, and pins
//! of a module that is not there, which nobody asks for.
#![allow(clippy::disallowed_methods)] // plugin_dir is no store: `disk` knows nothing of it

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use semver::Version;

use super::digest::{self, Hashed};
use super::files::{self, Candidate, Form};
use super::finder::{Describe, Finder};
use super::lock::{self, Lock};
use super::package::{self, Package};
use super::search::Modules;
use super::unpack::{sync, unpack};
use super::want::{LIBRARY, PROGRAM, Wanted};

/// Beginnings of names that are under way.
const UNDER_WAY: [&str; 2] = [".install-", ".remove-"];

/// What `install` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name of the plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it is now.
    pub path: PathBuf,
    /// Whether it was there already, byte for byte.
    pub was_there: bool,
}

/// What `remove` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Where it was.
    pub path: PathBuf,
}

/// Puts a package, or a library or program with a manifest, into a plugin folder, which is made if it
/// is missing. `sha256` is what the whole file must have.
///
/// # Errors
/// One line that names the file and the fix; then nothing was changed.
pub fn install(file: &Path, sha256: Option<&str>, dir: &Path) -> Result<Installed, String> {
    install_with(file, sha256, dir, super::describe)
}

pub(super) fn install_with(
    file: &Path,
    sha256: Option<&str>,
    dir: &Path,
    describe: Describe,
) -> Result<Installed, String> {
    let shown = file.display();
    let mut open = File::open(file).map_err(|error| format!("{shown}: {error}"))?;
    check_digest(&mut open, sha256).map_err(|why| format!("{shown}: {why}"))?;
    let guard = Guard::take(dir)?;
    let staging = guard.staging(UNDER_WAY[0])?;
    let staged = match is_package(file) {
        true => stage_package(open, &staging, describe),
        false => stage_file(open, file, &staging, describe),
    };
    let done = staged
        .map_err(|why| format!("{shown}: {why}"))
        .and_then(|staged| guard.publish(&staged));
    // What is left of a failure is removed by the next call, too.
    let _ = fs::remove_dir_all(&staging);
    done
}

/// Removes an installed module; the highest version if none is named. Whether something uses it is
/// the caller's to know.
///
/// # Errors
/// One line; then it is still there.
pub fn remove(module: &str, dir: &Path) -> Result<Removed, String> {
    let path = installed(module, dir)?;
    let guard = Guard::take(dir)?;
    let unit = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let staging = guard.staging(UNDER_WAY[1])?;
    // One rename takes it away; deleting a folder is many steps.
    fs::rename(&path, staging.join(unit)).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lock = Lock::read(dir)?;
    if lock.unpin(unit) {
        guard.write_lock(&lock)?;
    }
    guard.sync_dir()?;
    let _ = fs::remove_dir_all(&staging);
    Ok(Removed { path })
}

/// The path of an installed module in one folder.
///
/// # Errors
/// One line, if it is not there or the name does not say which.
pub fn installed(module: &str, dir: &Path) -> Result<PathBuf, String> {
    let wanted = Wanted::parse(module).map_err(|why| format!("\"{module}\": {why}"))?;
    if wanted.is_path {
        return Err(format!(
            "\"{module}\" is a path; name a module, like alerts@=1.4.0"
        ));
    }
    let scan = files::scan(std::iter::once(dir), wanted.stem);
    let any = wanted.versions.is_none();
    let mut fitting = scan
        .candidates
        .iter()
        .filter(|c| any || wanted.takes(&c.version));
    let Some(first) = fitting.next() else {
        let near = super::near::nearest(wanted.stem, scan.others.iter().map(String::as_str));
        let near = near
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        return Err(format!("no module \"{module}\" in {}{near}", dir.display()));
    };
    if let Some(other) = fitting.next() {
        return Err(format!(
            "\"{module}\" is {} and {}; name one, like {}@={}",
            first.path.display(),
            other.path.display(),
            first.name,
            first.version
        ));
    }
    Ok(first.path.clone())
}

fn check_digest(open: &mut File, sha256: Option<&str>) -> Result<(), String> {
    let Some(text) = sha256 else {
        return Ok(());
    };
    let expected = digest::parse(text).ok_or("--sha256 takes 64 hexadecimal digits")?;
    let mut hashed = Hashed::new(&mut *open);
    std::io::copy(&mut hashed, &mut std::io::sink()).map_err(|error| error.to_string())?;
    let found = hashed.hex();
    if found != expected {
        return Err(format!("its sha256 is {found}, expected {expected}"));
    }
    open.rewind().map_err(|error| error.to_string())
}

/// A package by its first bytes: those of gzip.
fn is_package(file: &Path) -> bool {
    let mut magic = [0; 2];
    let read = File::open(file).and_then(|mut open| open.read_exact(&mut magic));
    read.is_ok() && magic == [0x1f, 0x8b]
}

/// A module that is ready to be renamed.
struct Staged {
    /// Where it is.
    path: PathBuf,
    /// What it will be called.
    unit: String,
    name: String,
    version: Version,
}

fn stage_package(open: File, staging: &Path, describe: Describe) -> Result<Staged, String> {
    let folder = staging.join("package");
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let package = unpack(std::io::BufReader::new(open), &folder)?;
    let unit = package.folder();
    let path = staging.join(&unit);
    fs::rename(&folder, &path).map_err(|error| error.to_string())?;
    make_runnable(&package, &path).map_err(|error| error.to_string())?;
    sync_tree(&path).map_err(|error| error.to_string())?;
    // The same look as at every load: name, version, digests, manifest.
    let modules = Modules::from(Vec::new());
    let text = path.display().to_string();
    Finder::with(&modules, describe)
        .find(&text, None)
        .map_err(|not_found| not_found.text().replace(&text, &unit))?;
    Ok(Staged {
        path,
        unit,
        name: package.name,
        version: package.version,
    })
}

/// The archive may have lost the mode of what is started.
fn make_runnable(package: &Package, folder: &Path) -> std::io::Result<()> {
    match (&package.run, package.library(folder)) {
        (Some(run), None) => {
            fs::set_permissions(folder.join(run), fs::Permissions::from_mode(0o755))
        }
        _ => Ok(()),
    }
}

fn stage_file(
    mut open: File,
    file: &Path,
    staging: &Path,
    describe: Describe,
) -> Result<Staged, String> {
    let candidate = files::at(file)?;
    let copy = |name: &str, mode: u32| -> std::io::Result<PathBuf> {
        let path = staging.join(name);
        let mut target = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        std::io::copy(&mut open, &mut target)?;
        sync(&target)?;
        Ok(path)
    };
    let ending = file
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or(LIBRARY[0]);
    let (name, mode) = match candidate.form {
        Form::Library => (format!("{}.{ending}", candidate.name), 0o644),
        _ => (format!("{PROGRAM}{}", candidate.name), 0o755),
    };
    let mut copy = copy;
    let path = copy(&name, mode).map_err(|error| error.to_string())?;
    let modules = Modules::from(Vec::new());
    let text = path.display().to_string();
    let found = Finder::with(&modules, describe)
        .find(&text, None)
        .map_err(|not_found| not_found.text().replace(&text, &file.display().to_string()))?;
    let Some(description) = found.description else {
        return Err(format!(
            "it has no manifest that says name and version; put it into a package with {}",
            package::FILE
        ));
    };
    let version = Version::parse(&description.version).map_err(|error| error.to_string())?;
    let Candidate { form, .. } = candidate;
    let unit = match form {
        Form::Library => format!("{}@v{version}.{ending}", description.name),
        _ => format!("{PROGRAM}{}@v{version}", description.name),
    };
    Ok(Staged {
        path,
        unit,
        name: description.name,
        version,
    })
}

/// The folder, held by one process at a time.
struct Guard<'d> {
    dir: &'d Path,
    /// Its lock ends with it.
    handle: File,
}

impl<'d> Guard<'d> {
    fn take(dir: &'d Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(fail)?;
        let handle = File::open(dir).map_err(fail)?;
        handle.lock().map_err(fail)?;
        let guard = Self { dir, handle };
        guard.clear();
        Ok(guard)
    }

    /// Removes what calls that did not end left behind; nobody else is at work.
    fn clear(&self) {
        for entry in fs::read_dir(self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if UNDER_WAY.iter().any(|begin| name.starts_with(begin)) {
                // What stays is tried again by the next call.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn staging(&self, begin: &str) -> Result<PathBuf, String> {
        let path = self.dir.join(format!("{begin}{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn publish(&self, staged: &Staged) -> Result<Installed, String> {
        let target = self.dir.join(&staged.unit);
        let fail = |error: std::io::Error| format!("{}: {error}", target.display());
        let files = digests(&staged.path, &staged.unit).map_err(fail)?;
        let was_there = target.exists();
        if was_there && digests(&target, &staged.unit).map_err(fail)? != files {
            return Err(format!(
                "{} is there already, with other bytes; remove it first (mkts plugin remove {}@={})",
                target.display(),
                staged.name,
                staged.version
            ));
        }
        let mut lock = Lock::read(self.dir)?;
        lock.pin(&staged.unit, files);
        self.write_lock(&lock)?;
        if !was_there {
            fs::rename(&staged.path, &target).map_err(fail)?;
        }
        self.sync_dir()?;
        Ok(Installed {
            name: staged.name.clone(),
            version: staged.version.to_string(),
            path: target,
            was_there,
        })
    }

    fn write_lock(&self, lock: &Lock) -> Result<(), String> {
        let path = self.dir.join(lock::FILE);
        let temporary = self.dir.join(format!(".{}", lock::FILE));
        let write = || {
            fs::write(&temporary, lock.text())?;
            sync(&File::open(&temporary)?)?;
            fs::rename(&temporary, &path)?;
            sync(&self.handle)
        };
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    fn sync_dir(&self) -> Result<(), String> {
        sync(&self.handle).map_err(|error| format!("{}: {error}", self.dir.display()))
    }
}

/// Names below the plugin folder, and digests, of a file or of all files of a folder.
fn digests(path: &Path, unit: &str) -> std::io::Result<Vec<(String, String)>> {
    if path.is_file() {
        return Ok(vec![(unit.to_owned(), digest::of_file(path)?)]);
    }
    let mut out = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{unit}/{}", entry.file_name().to_string_lossy());
        out.extend(digests(&entry.path(), &name)?);
    }
    Ok(out)
}

fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync(&File::open(folder)?)
}
