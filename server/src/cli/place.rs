//! Where a command finds the rows: a directory that nobody serves, or a running server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use client::Client;
use engine::{Engine, Options};
use model::Zone;
use plugin_host::{Host, Publisher};

use super::Failure;
use super::remote::Login;
use super::start;
use crate::config;

/// `--config`, `--dir` and `--url`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// Configuration of the store: its directory, and the time zone in which days begin.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Works on the store in this directory, which no server may have open.
    #[arg(short, long, value_name = "ROOT", conflicts_with = "url")]
    dir: Option<PathBuf>,
    /// Asks a running server; the default, at http://127.0.0.1:5993.
    #[arg(short, long, conflicts_with = "config")]
    url: Option<String>,
    #[command(flatten)]
    login: Login,
}

/// An open place.
pub(super) enum Opened {
    /// The store itself, locked.
    Store(Engine),
    /// A server.
    Server(Client),
}

impl Place {
    /// The directory, if the command works on one.
    pub(super) fn root(&self) -> Result<Option<(PathBuf, Options)>, Failure> {
        let Some(file) = &self.config else {
            return Ok(self.dir.clone().map(|root| (root, Options::default())));
        };
        let (config, _) = config::load(file).map_err(|p| Failure::new(p.to_string()))?;
        let options = start::options(&config);
        let root = self.dir.clone().unwrap_or(config.root_directory);
        Ok(Some((root, options)))
    }

    /// Opens it. A directory must exist unless `create`.
    pub(super) fn open(&self, create: bool) -> Result<Opened, Failure> {
        match self.root()? {
            Some((root, options)) => open_store(&root, options, create).map(Opened::Store),
            None => self.client().map(Opened::Server),
        }
    }

    /// A client of the server, whether it was named or not.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let url = self.url.as_deref().unwrap_or("http://127.0.0.1:5993");
        Ok(Client::new(self.login.target(url)?))
    }
}

/// Opens the store without starting any plugin. A host without instances stands in for them: it
/// keeps their cursors, and with these the part of the log that they have not read.
pub(super) fn open_store(root: &Path, options: Options, create: bool) -> Result<Engine, Failure> {
    if !create && !root.is_dir() {
        return Err(Failure::new(format!(
            "{}: there is no such directory",
            root.display()
        )));
    }
    let host = Host::new(Vec::new(), Vec::new(), Zone::utc(), Arc::new(Nobody))
        .map_err(start::host_failure)?;
    let opened = Engine::open(root, options, host.hook());
    let (engine, _) = opened.map_err(|error| {
        let hint = match error {
            engine::Error::Locked(_) => "; a server that runs on it is asked with --url",
            _ => "",
        };
        let failure = start::engine_failure(&error);
        Failure {
            code: failure.code,
            text: format!("{}: {}{hint}", root.display(), failure.text),
        }
    })?;
    Ok(engine)
}

/// Plugins that do not run publish nothing.
struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _instance: &str, _stream: &str, _payload: Bytes) {}
}
