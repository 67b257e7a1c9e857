//! Relative paths below the store's root, checked before any call sees them.

use std::io;

/// Refuses absolute paths, empty parts, `.`, `..` and NUL. `""` is the root itself.
pub(crate) fn check(path: &str) -> io::Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let legal = path
        .split('/')
        .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    if legal {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{path:?} is not a path below the store's root"),
        ))
    }
}

/// Directory and last part; the directory of a name in the root is `""`.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_pass() {
        for path in ["", "LOCK", "wal/0.wal", "plugins/a..b/state.snap"] {
            assert!(check(path).is_ok(), "{path}");
        }
        for path in ["/etc", "..", "wal/../..", "wal//x", "wal/", "./x", "a\0b"] {
            assert!(check(path).is_err(), "{path}");
        }
    }

    #[test]
    fn split_names_the_directory() {
        assert_eq!(split("MANIFEST"), ("", "MANIFEST"));
        assert_eq!(split("a/b/c"), ("a/b", "c"));
    }
}
