//! The SDK that authors of plugins build against: packed into this program, unpacked once.
#![allow(
    clippy::disallowed_methods,
    reason = "a folder of sources below the user's cache is no store"
)]

use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::cli::Failure;

/// Sources of the SDK, the test kit and all they import; the C header; the Python package.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sdk.tar.gz"));

/// The C border.
pub(super) const HEADER: &str = include_str!("../../../../plugins/abi/include/mkts_plugin.h");

/// The folder of the SDK: a checkout that was named, or the packed one below the user's cache.
pub(super) fn folder(checkout: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(checkout) = checkout else {
        return unpacked();
    };
    let found = checkout.canonicalize();
    let found = found.map_err(|error| Failure::new(format!("{}: {error}", checkout.display())))?;
    if !found.join("plugins/sdk/Cargo.toml").exists() {
        return Err(Failure::new(format!(
            "{}: this is no checkout of mkts: there is no plugins/sdk",
            found.display()
        )));
    }
    Ok(found)
}

/// Unpacks the SDK, unless this version is there.
fn unpacked() -> Result<PathBuf, Failure> {
    let cache = cache_folder()?;
    let name = format!(
        "sdk-{}-{}",
        env!("CARGO_PKG_VERSION"),
        env!("MKTS_SDK_HASH")
    );
    let folder = cache.join(&name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(&cache).map_err(failed)?;
    // Beside its place, and moved when it is whole: another process may do the same.
    let beside = tempfile::Builder::new()
        .prefix(&name)
        .tempdir_in(&cache)
        .map_err(failed)?;
    tar::Archive::new(GzDecoder::new(PACKED))
        .unpack(beside.path())
        .map_err(failed)?;
    match std::fs::rename(beside.path(), &folder) {
        Err(error) if !folder.is_dir() => Err(failed(error)),
        _ => Ok(folder),
    }
}

/// `XDG_CACHE_HOME/mkts`, else `.cache/mkts` at home.
fn cache_folder() -> Result<PathBuf, Failure> {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("mkts"))
        .ok_or_else(|| {
            Failure::new("neither XDG_CACHE_HOME nor HOME is set; name a checkout with --sdk")
        })
}
