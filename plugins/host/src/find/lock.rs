//! `plugins.lock` of a plugin folder: the digest of every file that `install` put there.
//!
//! ```toml
//! version = 1
//! [files]
//! "alerts@v1.4.0/alerts.so" = "9f86d081..."
//! ```
//! Checked at each load. A module that was put there by hand is not in it and not checked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::{digest, package};

/// Its name in a plugin folder.
pub(super) const FILE: &str = "plugins.lock";

/// A longer one is a mistake.
const BYTES_MAX: u64 = 16 << 20;

/// What is pinned in a folder.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    version: u32,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl Lock {
    /// Reads a folder's lock; one that is not there pins nothing.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        use std::io::Read as _;
        let file = folder.join(FILE);
        let mut text = String::new();
        match std::fs::File::open(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    version: 1,
                    ..Self::default()
                });
            }
            Err(error) => return Err(format!("{}: {error}", file.display())),
            Ok(open) => open
                .take(BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|error| format!("{}: {error}", file.display()))?,
        };
        Self::parse(&text).map_err(|why| {
            format!(
                "{}: {why}; restore it, or remove it and install the plugins anew",
                file.display()
            )
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lock: Self =
            toml::from_str(text).map_err(|error| error.message().replace('\n', " "))?;
        if lock.version != 1 {
            return Err(format!("version {}, this build reads 1", lock.version));
        }
        for (name, sum) in &lock.files {
            package::check_name(name)?;
            if digest::parse(sum).as_ref() != Some(sum) {
                return Err(format!("{name}: the digest is not 64 hexadecimal digits"));
            }
        }
        Ok(lock)
    }

    /// As the file holds it. Names and digests need no escapes.
    pub(super) fn text(&self) -> String {
        let mut out = String::from(
            "# Written by `mkts plugin install`, checked at every load. Do not edit.\n\
             version = 1\n\n[files]\n",
        );
        for (name, digest) in &self.files {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "\"{name}\" = \"{digest}\"");
        }
        out
    }

    /// Pins a module anew: its file, or the files of its folder.
    pub(super) fn pin(&mut self, unit: &str, files: impl IntoIterator<Item = (String, String)>) {
        self.unpin(unit);
        self.files.extend(files);
    }

    /// Forgets a module; whether it was pinned.
    pub(super) fn unpin(&mut self, unit: &str) -> bool {
        let before = self.files.len();
        self.files.retain(|name, _| !belongs(name, unit));
        self.files.len() < before
    }

    /// Compares what is pinned of a module with the files; whether anything is.
    pub(super) fn check(&self, folder: &Path, unit: &str) -> Result<bool, String> {
        let mut pinned = false;
        for (name, expected) in self.files.iter().filter(|(name, _)| belongs(name, unit)) {
            pinned = true;
            let file = folder.join(name);
            let found = digest::of_file(&file)
                .map_err(|error| format!("{}: {error}; {FILE} pins it", file.display()))?;
            if found != *expected {
                return Err(format!(
                    "{}: its sha256 is {found}, {FILE} pins {expected}; install it anew if the \
                     change was meant",
                    file.display()
                ));
            }
        }
        Ok(pinned)
    }
}

fn belongs(name: &str, unit: &str) -> bool {
    name.strip_prefix(unit)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_back_and_belongs_to_whole_names() {
        let sum = "0".repeat(64);
        let mut lock = Lock::parse(&format!("version = 1\n[files]\n\"a.so\" = \"{sum}\"")).unwrap();
        lock.pin("a@v1.0.0", [("a@v1.0.0/x".to_owned(), sum.clone())]);
        lock.pin("a@v1.0.0-rc", [("a@v1.0.0-rc/x".to_owned(), sum)]);
        assert_eq!(Lock::parse(&lock.text()), Ok(lock));
        let mut lock = Lock::parse("version = 1").unwrap();
        lock.pin(
            "a@v1.0.0-rc",
            [("a@v1.0.0-rc/x".to_owned(), "0".repeat(64))],
        );
        assert!(!lock.unpin("a@v1.0.0"));
        assert!(lock.unpin("a@v1.0.0-rc"));
    }

    #[test]
    fn a_lock_that_says_nothing_good_is_refused() {
        for (text, part) in [
            ("version = 2", "version 2, this build reads 1"),
            ("version = 1\n[files]\n\"../a\" = \"x\"", "leads out"),
            ("version = 1\n[files]\na = \"x\"", "64 hexadecimal"),
            ("versions = 1", "unknown field"),
        ] {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
