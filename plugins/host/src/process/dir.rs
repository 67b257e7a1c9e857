//! The private directory of a child, with its socket, and the secret of its start.

use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A directory that only this user can enter; removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    pub(super) fn new() -> io::Result<Self> {
        // Short: the path of a socket has 108 bytes at most.
        let name = format!("mkts-{}", &secret()?[..16]);
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("s")
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

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: cannot remove: {error}", self.path.display());
        }
    }
}

/// 32 hexadecimal digits that nobody can guess.
pub(super) fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
