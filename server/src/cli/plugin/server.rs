//! The running server that a command asks about its instances, and the paths it asks.

use std::time::Duration;

use client::{Client, Error, Target};
use serde_json::Value;

use super::ConfigFile;
use crate::cli::Failure;
use crate::cli::remote::{self, Ask, Login};
use crate::config::Config;
use crate::percent;

/// Which server, and how its answer is shown.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Server {
    /// Asks this server; else that of the configuration, else http://127.0.0.1:5993.
    #[arg(short, long, conflicts_with = "config")]
    url: Option<String>,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    config: ConfigFile,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Server {
    pub(in crate::cli) fn api(&self) -> Result<Api, Failure> {
        let config = match &self.url {
            Some(url) => return Ok(Api::of(self.login.target(url)?)),
            None => self.config.load()?,
        };
        let target = match config {
            Some(config) => target_of(&config, &self.login)?,
            None => self.login.target("http://127.0.0.1:5993")?,
        };
        Ok(Api::of(target))
    }

    /// Shows an answer: as JSON if that is wanted, else as text.
    pub(in crate::cli) fn show(&self, answer: &Value, text: impl FnOnce(&Value) -> String) {
        match self.json {
            true => println!("{answer}"),
            false => print!("{}", text(answer)),
        }
    }
}

/// Where the server of a configuration is called.
pub(in crate::cli) fn target_of(config: &Config, login: &Login) -> Result<Target, Failure> {
    let host = match config.listen_host.as_str() {
        // An address to listen on is none to call.
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "[::1]",
        host => host,
    };
    let certificate = config.tls.as_ref().map(|tls| &*tls.cert);
    login.target_at(format!("{host}:{}", config.listen_port), certificate)
}

/// Calls about instances.
pub(in crate::cli) struct Api(Client);

impl Api {
    pub(in crate::cli) fn of(target: Target) -> Self {
        Self(Client::new(target))
    }

    /// Waits so much longer for an answer.
    pub(in crate::cli) fn patient(self, seconds: u64) -> Self {
        let timeout = Duration::from_secs(seconds.saturating_add(120));
        Self(self.0.timeout(Some(timeout)))
    }

    /// All instances; `None` if no server answers.
    pub(super) fn instances(&mut self) -> Result<Option<Value>, Failure> {
        match remote::answer(&mut self.0, "plugins", &Ask::Get) {
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Ok(None)
            }
            Err(error) => Err(failure(&error)),
            Ok(answer) => answer.map(Some),
        }
    }

    /// A call about all instances: `""` lists them, `":gc"` is a verb.
    pub(super) fn all(&mut self, rest: &str, ask: &Ask<'_>) -> Result<Value, Failure> {
        self.ask(&format!("plugins{rest}"), ask)
    }

    /// A call about one: `rest` is what stands behind its id, encoded.
    pub(in crate::cli) fn one(
        &mut self,
        id: &str,
        rest: &str,
        ask: &Ask<'_>,
    ) -> Result<Value, Failure> {
        self.ask(
            &format!("plugins/{}{rest}", percent::encode(id.as_bytes())),
            ask,
        )
    }

    /// Any call.
    pub(in crate::cli) fn call(&mut self, call: &str, ask: &Ask<'_>) -> Result<Value, Failure> {
        self.ask(call, ask)
    }

    fn ask(&mut self, call: &str, ask: &Ask<'_>) -> Result<Value, Failure> {
        remote::answer(&mut self.0, call, ask).map_err(|error| failure(&error))?
    }

    /// `/metrics`.
    pub(super) fn metrics(&mut self) -> Result<String, Failure> {
        let (status, text) = self.0.get("/metrics").map_err(|error| failure(&error))?;
        match status {
            200 => Ok(text),
            _ => Err(Failure::new(format!("/metrics answered {status}"))),
        }
    }
}

/// Instances are asked about of a running server only.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Failure::new(format!("no server answers at {error}; --url names another"))
        }
        other => remote::failure(other),
    }
}
