//! `plugin.toml`: what a package is called, what runs, and the digest of each file.
//!
//! ```toml
//! name = "alerts"
//! version = "1.4.0"
//! run = "alerts.so"          # a library or a program of the package
//!
//! [files]
//! "alerts.so" = "9f86d081..."
//! ```
//! A package that needs an interpreter names it instead: `interpreter = "python3"` and `args`, which
//! is started in the folder of the package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize;

use super::digest;
use super::want::LIBRARY;

/// Its name in a package.
pub(super) const FILE: &str = "plugin.toml";

/// A longer one is a mistake or an attack.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// Longest name of a file in a package.
const NAME_BYTES_MAX: usize = 512;

/// A checked `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: Version,
    #[serde(default)]
    pub(super) run: Option<String>,
    #[serde(default)]
    pub(super) interpreter: Option<String>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Digest of each file but this one.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
}

impl Package {
    /// Reads and checks a text; the error is one line and begins with `plugin.toml`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut package: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            format!("{FILE}:{line}: {}", error.message().replace('\n', " "))
        })?;
        package.check().map_err(|why| format!("{FILE}: {why}"))?;
        Ok(package)
    }

    /// Reads the `plugin.toml` of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        use std::io::Read as _;
        let file = folder.join(FILE);
        let mut text = String::new();
        std::fs::File::open(&file)
            .and_then(|open| open.take(BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", folder.display()))
    }

    fn check(&mut self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            let name = &self.name;
            return Err(format!(
                "name {name:?}: use 1 to 64 letters, digits, _ and -"
            ));
        }
        for (name, digest) in &mut self.files {
            check_name(name)?;
            *digest = digest::parse(digest)
                .ok_or_else(|| format!("files: {name}: the digest is not 64 hexadecimal digits"))?;
        }
        match (&self.run, &self.interpreter) {
            (Some(run), None) if self.files.contains_key(run) => match self.args.is_empty() {
                true => Ok(()),
                false => Err("args: belong to an interpreter".into()),
            },
            (Some(run), None) => Err(format!("run: \"{run}\" is not one of its files")),
            (None, Some(program)) if !program.is_empty() => Ok(()),
            _ => Err("needs either run (a file of the package) or interpreter".into()),
        }
    }

    /// The name of its folder.
    pub(super) fn folder(&self) -> String {
        format!("{}@v{}", self.name, self.version)
    }

    /// The library in a folder, if it runs one.
    pub(super) fn library(&self, folder: &Path) -> Option<PathBuf> {
        let run = self.run.as_ref()?;
        let ending = Path::new(run).extension()?.to_str()?;
        LIBRARY.contains(&ending).then(|| folder.join(run))
    }

    /// Compares every file of a folder with its digest.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), String> {
        for (name, expected) in &self.files {
            let file = folder.join(name);
            let found =
                digest::of_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            if found != *expected {
                return Err(format!(
                    "{}: its sha256 is {found}, {FILE} says {expected}; install the package anew",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}

/// Whether a name stays inside its folder and means the same on every system.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("file {name:?}: {why}"));
    if name.starts_with('/') {
        return refuse("an absolute name");
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return refuse("a name has 1 to 512 bytes");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+@/".contains(c);
    if !name.chars().all(plain) {
        return refuse("use letters, digits and ._-+@");
    }
    for part in name.split('/') {
        match part {
            ".." => return refuse("leads out of its folder"),
            "" | "." => return refuse("has an empty part"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_package_says_what_runs() {
        let text = format!(
            "name = \"alerts\"\nversion = \"1.4.0\"\nrun = \"lib/alerts.so\"\n[files]\n\
             \"lib/alerts.so\" = \"sha256:{SUM}\"\n"
        );
        let package = Package::parse(&text).unwrap();
        assert_eq!(package.folder(), "alerts@v1.4.0");
        assert_eq!(package.files["lib/alerts.so"], SUM);
        let library = package.library(Path::new("/p")).unwrap();
        assert_eq!(library, Path::new("/p/lib/alerts.so"));
        let python = "name=\"a\"\nversion=\"1.0.0\"\ninterpreter=\"python3\"\nargs=[\"-m\",\"x\"]";
        let python = Package::parse(python).unwrap();
        assert_eq!(python.library(Path::new("/p")), None);
        assert_eq!(python.args, ["-m", "x"]);
    }

    #[test]
    fn what_is_wrong_with_a_package_is_named() {
        for (text, part) in [
            ("", "plugin.toml:1: missing field"),
            ("name = \"a\"\nversion = \"1\"", "plugin.toml:2: "),
            (
                "name = \"a\"\nversion = \"1.0.0\"\nran = \"x\"",
                "plugin.toml:3: unknown field `ran`",
            ),
            ("name = \"a b\"\nversion = \"1.0.0\"", "use 1 to 64 letters"),
            ("name = \"a\"\nversion = \"1.0.0\"", "needs either run"),
            (
                "name = \"a\"\nversion = \"1.0.0\"\nrun = \"x\"",
                "\"x\" is not one of its files",
            ),
            (
                "name = \"a\"\nversion = \"1.0.0\"\nrun = \"x\"\n[files]\nx = \"12\"",
                "not 64 hexadecimal digits",
            ),
            (
                "name = \"a\"\nversion = \"1.0.0\"\nrun = \"x\"\n[files]\n\"../x\" = \"12\"",
                "leads out of its folder",
            ),
        ] {
            let error = Package::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn names_stay_inside() {
        for good in ["a", "a/b.so", "a@v1.0.0+x/b_c-d"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b", "a\0", "\u{e9}", "a b",
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
