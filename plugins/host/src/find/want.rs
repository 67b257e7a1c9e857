//! `module:` as written: a path, or a name with the versions that will do.

use std::path::Path;

use semver::{Comparator, Op, Version, VersionReq};

/// What programs are called on disk.
pub(super) const PROGRAM: &str = "mkts-plugin-";

/// Endings of libraries.
pub(super) const LIBRARY: &[&str] = if cfg!(target_os = "macos") {
    &["so", "dylib"]
} else {
    &["so"]
};

/// What an entry names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// As written.
    pub(super) text: &'a str,
    /// Name without folder, ending, `lib` and version.
    pub(super) stem: &'a str,
    /// Versions that will do; `None` takes any that is no pre-release.
    pub(super) versions: Option<VersionReq>,
    /// Whether it names one file.
    pub(super) is_path: bool,
}

impl<'a> Wanted<'a> {
    /// Reads a name; the error is one line.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let is_path = text.contains('/');
        let wanted = |versions| Self {
            text,
            stem: stem(text),
            versions,
            is_path,
        };
        if is_path {
            return Ok(wanted(None));
        }
        let Some((_, versions)) = split_version(without_ending(text)) else {
            return Ok(wanted(None));
        };
        constraint(versions).map(|versions| wanted(Some(versions)))
    }

    /// Whether a version will do. Pre-releases only if they are asked for.
    pub(super) fn takes(&self, version: &Version) -> bool {
        match &self.versions {
            Some(versions) => versions.matches(version),
            None => version.pre.is_empty(),
        }
    }

    /// The file that a path names; relative ones begin at the first folder that has it.
    pub(super) fn paths(&self, folders: [&Path; 2]) -> Vec<std::path::PathBuf> {
        let path = Path::new(self.text);
        match path.is_absolute() {
            true => vec![path.into()],
            false => {
                let mut paths: Vec<_> = folders.iter().map(|folder| folder.join(path)).collect();
                paths.dedup();
                paths
            }
        }
    }
}

/// `^1.2`, `=1.2.3`, and `v1.2.3` as files are named, which is that version alone.
fn constraint(text: &str) -> Result<VersionReq, String> {
    if let Some(version) = text.strip_prefix('v').and_then(|v| Version::parse(v).ok()) {
        return Ok(VersionReq {
            comparators: vec![Comparator {
                op: Op::Exact,
                major: version.major,
                minor: Some(version.minor),
                patch: Some(version.patch),
                pre: version.pre,
            }],
        });
    }
    VersionReq::parse(text)
        .map_err(|error| format!("\"@{text}\" names no versions ({error}); write @^1.2 or @=1.2.3"))
}

/// The name without folder, ending, version, `lib` and `mkts-plugin-`.
pub(crate) fn stem(module: &str) -> &str {
    let file = module
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(module);
    let bare = without_ending(file);
    let name = split_version(bare).map_or(bare, |(name, _)| name);
    let name = without_ending(name);
    // `lib` stays itself when nothing would be left of a name.
    [PROGRAM, "lib"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name)
}

/// Without `.so`, `.dylib`, `.dll`: an old mkts.yml may come from any system.
pub(super) fn without_ending(file: &str) -> &str {
    ["so", "dylib", "dll"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending)?.strip_suffix('.'))
        .unwrap_or(file)
}

/// Name and what stands behind its `@`.
pub(super) fn split_version(text: &str) -> Option<(&str, &str)> {
    text.split_once('@').filter(|(name, _)| !name.is_empty())
}

/// The version of a file's name: `v1.2.3` or `1.2.3`.
pub(super) fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// Names are the same if they differ in `-` and `_` only: cargo turns one into the other.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    let plain = |c: u8| if c == b'_' { b'-' } else { c };
    a.len() == b.len() && a.bytes().map(plain).eq(b.bytes().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_has_no_folder_ending_version_or_lib() {
        for (module, expected) in [
            ("ondiskagg.so", "ondiskagg"),
            ("ondiskagg", "ondiskagg"),
            ("libondiskagg.so", "ondiskagg"),
            ("/opt/bin/libx.dylib", "x"),
            ("lib", "lib"),
            ("a.b.so", "a.b"),
            ("alerts@^1.4", "alerts"),
            ("alerts.so@^1.4", "alerts"),
            ("alerts@v1.2.3.so", "alerts"),
            ("/x/mkts-plugin-alerts@v1.0.0", "alerts"),
            ("packs/alerts@v1.0.0/", "alerts"),
        ] {
            assert_eq!(stem(module), expected);
        }
    }

    #[test]
    fn versions_are_those_of_cargo() {
        let takes = |module: &str, text: &str| {
            Wanted::parse(module)
                .unwrap()
                .takes(&version(text).unwrap())
        };
        for (module, yes, no) in [
            ("a@^1.2", "1.9.0", "2.0.0"),
            ("a@^1.2", "1.2.0", "1.1.9"),
            ("a@=1.2.3", "1.2.3", "1.2.4"),
            ("a@v1.2.3", "v1.2.3", "1.2.4"),
            ("a@v1.2.3.so", "1.2.3", "1.3.0"),
            ("a", "0.0.0", "1.0.0-rc.1"),
            ("a@^1.2", "1.3.0", "1.4.0-rc.1"),
            ("a@=1.4.0-rc.1", "1.4.0-rc.1", "1.4.0"),
            ("a@>=1.2, <1.4", "1.3.9", "1.4.0"),
        ] {
            assert!(takes(module, yes), "{module} {yes}");
            assert!(!takes(module, no), "{module} {no}");
        }
        let error = Wanted::parse("a@latest").unwrap_err();
        assert!(error.contains("\"@latest\" names no versions"), "{error}");
        assert!(error.contains("write @^1.2"), "{error}");
    }
}
