//! What folders hold: libraries, programs and packages by their names.

use std::cmp::Reverse;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use semver::Version;

use super::package;
use super::want::{LIBRARY, PROGRAM, same_name, split_version, stem, version};

/// How a module lies on the disk. The order decides between equal versions in one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// `NAME.so`.
    Library,
    /// `mkts-plugin-NAME`.
    Program,
    /// A folder with `plugin.toml`.
    Package,
}

/// A module that was found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) form: Form,
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// 0.0.0 if the name has none.
    pub(super) version: Version,
    /// Whether the name says the version.
    pub(super) is_versioned: bool,
}

/// All that bears a name, best first; what is odd about it; and which other names there are.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) candidates: Vec<Candidate>,
    pub(super) warnings: Vec<String>,
    pub(super) others: Vec<String>,
}

/// Looks through folders for a name. Highest version first; then the earlier folder; then by form.
pub(super) fn scan<'p>(folders: impl Iterator<Item = &'p Path>, wanted: &str) -> Scan {
    let mut scan = Scan::default();
    let mut ranked = Vec::new();
    for (rank, folder) in folders.enumerate() {
        for path in listing(folder, &mut scan.warnings) {
            match look(&path, wanted) {
                Look::Other(name) => scan.others.push(name),
                Look::Nothing => {}
                Look::Odd(why) => scan.warnings.push(why),
                Look::Module(candidate) => ranked.push((rank, candidate)),
            }
        }
    }
    ranked.sort_by_key(|(rank, c)| (Reverse(c.version.clone()), *rank, c.form, c.path.clone()));
    scan.candidates = ranked.into_iter().map(|(_, c)| c).collect();
    scan.others.sort();
    scan.others.dedup();
    scan
}

/// A module at a path, whatever its version.
pub(super) fn at(path: &Path) -> Result<Candidate, String> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    match look(path, stem(name)) {
        Look::Module(candidate) => Ok(candidate),
        Look::Odd(why) => Err(why),
        _ if path.is_dir() => Err(format!("{} has no {}", path.display(), package::FILE)),
        _ => program(path, stem(name)),
    }
}

fn listing(folder: &Path, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warnings.push(format!("{} cannot be searched: {error}", folder.display()));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

enum Look {
    Module(Candidate),
    /// A module of another name.
    Other(String),
    /// It bears the name and cannot be used.
    Odd(String),
    Nothing,
}

fn look(path: &Path, wanted: &str) -> Look {
    let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
        return Look::Nothing;
    };
    let Some((form, bare)) = form(path, file) else {
        return Look::Nothing;
    };
    let name = stem(file);
    if !same_name(name, wanted) {
        return Look::Other(name.into());
    }
    let shown = path.display();
    let text = split_version(bare).map(|(_, text)| text);
    let Some(number) = text.map_or(Some(Version::new(0, 0, 0)), version) else {
        let text = text.unwrap_or_default();
        return Look::Odd(format!(
            "{shown} is ignored: \"{text}\" is no version like v1.2.3"
        ));
    };
    if form == Form::Program && !is_executable(path) {
        return Look::Odd(format!(
            "{shown} is ignored: it is not executable (chmod +x)"
        ));
    }
    Look::Module(Candidate {
        form,
        path: path.into(),
        name: name.into(),
        version: number,
        is_versioned: text.is_some(),
    })
}

/// The form that a name says, and the name without its ending.
fn form<'n>(path: &Path, file: &'n str) -> Option<(Form, &'n str)> {
    // Such names are folders under way of `install`, and editors' files.
    if file.starts_with('.') {
        return None;
    }
    let library = LIBRARY
        .iter()
        .find_map(|ending| file.strip_suffix(ending)?.strip_suffix('.'));
    if let Some(bare) = library.filter(|bare| !bare.is_empty()) {
        return path.is_file().then_some((Form::Library, bare));
    }
    if path.is_dir() {
        return path
            .join(package::FILE)
            .is_file()
            .then_some((Form::Package, file));
    }
    let bare = file.strip_prefix(PROGRAM)?;
    (!bare.is_empty() && path.is_file()).then_some((Form::Program, file))
}

/// A path may name a program of any name.
fn program(path: &Path, name: &str) -> Result<Candidate, String> {
    if !is_executable(path) {
        let shown = path.display();
        return Err(format!(
            "{shown} is no library (.so), no folder with {}, and not executable",
            package::FILE
        ));
    }
    Ok(Candidate {
        form: Form::Program,
        path: path.into(),
        name: name.into(),
        version: Version::new(0, 0, 0),
        is_versioned: false,
    })
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
