//! The private directory of a child, with its socket, and the secret of its start.
//!
//! A server that is killed leaves its directories behind. Each has a file that its server keeps locked
//! for as long as it lives, so the next start knows which belong to nobody: of our own name, user and
//! mode, with nothing in them but a socket and a lock that can be had.
#![allow(
    clippy::disallowed_methods,
    reason = "below the system's directory for temporary files, not in a store"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Begins every name.
const PREFIX: &str = "mkts-";
/// Digits behind it.
const DIGITS: usize = 16;
const SOCKET: &str = "s";
const LOCK: &str = "lock";
/// The lock before it is held: a directory without [`LOCK`] is somebody's who is just making it.
const NEW_LOCK: &str = "lock.new";

/// A directory that only this user can enter; removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
    /// Held as long as we live.
    _lock: File,
}

impl PrivateDir {
    pub(super) fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        let below = std::env::temp_dir();
        SWEPT.call_once(|| sweep(&below));
        Self::below(&below)
    }

    fn below(below: &Path) -> io::Result<Self> {
        // Short: the path of a socket has 108 bytes at most.
        let path = below.join(format!("{PREFIX}{}", &secret()?[..DIGITS]));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let locked = lock(&path);
        if locked.is_err() {
            let _ = std::fs::remove_dir_all(&path);
        }
        Ok(Self {
            _lock: locked?,
            path,
        })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(self.socket())?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Nobody finds the lock before it is held.
fn lock(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.join(NEW_LOCK))?;
    file.try_lock().map_err(io::Error::from)?;
    std::fs::rename(dir.join(NEW_LOCK), dir.join(LOCK))?;
    Ok(file)
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: cannot remove: {error}", self.path.display());
        }
    }
}

/// Removes what killed servers have left.
fn sweep(below: &Path) {
    let Ok(entries) = std::fs::read_dir(below) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if is_ours(&path) && remove_abandoned(&path).is_ok_and(|removed| removed) {
            tracing::info!(
                "{}: left by a server that was killed, removed",
                path.display()
            );
        }
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let digits = name.and_then(|name| name.strip_prefix(PREFIX));
    let is_named = digits.is_some_and(|digits| {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        digits.len() == DIGITS && digits.bytes().all(is_digit)
    });
    // Of the entry itself: a link leads to what is not ours.
    is_named
        && std::fs::symlink_metadata(path).is_ok_and(|found| {
            let is_private = found.mode() & 0o777 == 0o700;
            found.is_dir() && is_private && found.uid() == rustix::process::getuid().as_raw()
        })
}

/// Removes a directory whose lock nobody holds, and nothing that we do not know.
fn remove_abandoned(path: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != SOCKET && name != LOCK {
            return Ok(false);
        }
    }
    let lock = File::options().read(true).open(path.join(LOCK))?;
    if lock.try_lock().is_err() {
        return Ok(false);
    }
    match std::fs::remove_file(path.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::remove_file(path.join(LOCK))?;
    std::fs::remove_dir(path)?;
    Ok(true)
}

/// 32 hexadecimal digits that nobody can guess.
pub(super) fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_server_left_is_swept() {
        let temp = tempfile::tempdir().unwrap();
        let below = temp.path();
        let living = PrivateDir::below(below).unwrap();
        let _listening = living.listen().unwrap();
        // Killed: the lock is free, nothing was removed.
        let killed = PrivateDir::below(below).unwrap();
        drop(killed.listen().unwrap());
        let left = killed.path().to_owned();
        let kept = below.join("kept");
        std::fs::rename(&left, &kept).unwrap();
        drop(killed);
        std::fs::rename(&kept, &left).unwrap();

        let make = |name: &str, mode: u32| {
            let path = below.join(name);
            std::fs::DirBuilder::new().mode(mode).create(&path).unwrap();
            path
        };
        let others = [
            make("mkts-0123456789abcdef", 0o755),
            make("mkts-0123456789abcde", 0o700),
            make("mkts-0123456789ABCDEF", 0o700),
            make("other-0123456789abcdef", 0o700),
        ];
        let with_more = make("mkts-1123456789abcdef", 0o700);
        std::fs::write(with_more.join("mine"), "text").unwrap();
        for path in others.iter().chain([&with_more]) {
            std::fs::write(path.join(LOCK), "").unwrap();
        }
        // Just being made.
        let new = make("mkts-2123456789abcdef", 0o700);
        std::fs::write(new.join(NEW_LOCK), "").unwrap();
        let linked = below.join("mkts-3123456789abcdef");
        std::os::unix::fs::symlink(&others[3], &linked).unwrap();

        sweep(below);
        assert!(!left.exists());
        assert!(living.socket().exists() && living.path().join(LOCK).exists());
        for path in others.iter().chain([&with_more, &new, &linked]) {
            assert!(path.exists(), "{}", path.display());
        }
        assert!(with_more.join("mine").exists() && others[3].join(LOCK).exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
