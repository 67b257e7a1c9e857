//! Asking a server, and what its failures are for a person.

use std::fs;
use std::path::{Path, PathBuf};

use client::{Client, Error, Target, Tls};
use serde_json::Value;

use super::Failure;
use super::start::POISONED;
use crate::percent;

/// How a command makes itself known to a server, and how it knows the server.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Login {
    /// Token to show; --token-file keeps it out of the list of processes.
    #[arg(long, env = "MKTS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's, for https.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Login {
    /// The server of a URL: `http://`, `https://`, `ws://`, `wss://` or none of them. A password in it
    /// is a token, too.
    pub(super) fn target(&self, url: &str) -> Result<Target, Failure> {
        let url = Url::parse(url)?;
        let tls = match url.is_tls {
            true => Some(self.tls(None)?),
            false => None,
        };
        let token = self.token()?.or(url.token);
        Ok(Target::new(url.address).token(token).tls(tls))
    }

    /// The server of a configuration, which may name its certificate.
    pub(super) fn target_at(
        &self,
        address: String,
        certificate: Option<&Path>,
    ) -> Result<Target, Failure> {
        let tls = certificate.map(|file| self.tls(Some(file))).transpose()?;
        Ok(Target::new(address).token(self.token()?).tls(tls))
    }

    fn tls(&self, or: Option<&Path>) -> Result<Tls, Failure> {
        let tls = match self.ca.as_deref().or(or) {
            Some(file) => Tls::with_ca(file),
            None => Tls::system(),
        };
        tls.map_err(|error| Failure::new(format!("--ca: {error}")))
    }

    fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(self.token.clone().filter(|token| !token.is_empty()));
        };
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::new(format!("--token-file: {}: {error}", file.display())))?;
        match text.trim() {
            "" => Err(Failure::new(format!(
                "--token-file: {} is empty",
                file.display()
            ))),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// A server, as a person writes it.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    address: String,
    is_tls: bool,
    token: Option<String>,
}

impl Url {
    fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::new(format!(
                "--url: \"{}\" is not like http://127.0.0.1:5993",
                // Not what may be a token.
                url.rsplit('@').next().unwrap_or_default()
            ))
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is_tls = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(wrong()),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let address = match address.rsplit_once(':') {
            _ if address.ends_with(']') => format!("{address}:5993"),
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => address.into(),
            None if !address.is_empty() => format!("{address}:5993"),
            _ => return Err(wrong()),
        };
        let password = user.map(|user| user.split_once(':').map_or(user, |(_, password)| password));
        let token = password.map(percent::decode).transpose();
        let token = token
            .map_err(|_| wrong())?
            .map(String::from_utf8)
            .transpose();
        Ok(Self {
            address,
            is_tls,
            token: token.map_err(|_| wrong())?,
        })
    }
}

/// What is asked of `/admin/v1`.
pub(super) enum Ask<'a> {
    Get,
    Post(&'a Value),
    Put(&'a Value),
}

/// What went wrong, with the exit code that a person expects.
pub(super) fn failure(error: &Error) -> Failure {
    let text = match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("no server answers at {error}; --url names another, --dir asks the files")
        }
        other => other.to_string(),
    };
    let poisoned = text.contains("stopped taking writes after a disk error");
    Failure {
        code: if poisoned { POISONED } else { 1 },
        text,
    }
}

/// The answer of `/admin/v1`, or its refusal.
pub(super) fn admin(
    client: &mut Client,
    call: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let ask = body.map_or(Ask::Get, Ask::Post);
    answer(client, call, &ask).map_err(|error| failure(&error))?
}

/// The same of any method; the outer error is that of a server that does not answer.
pub(super) fn answer(
    client: &mut Client,
    call: &str,
    ask: &Ask<'_>,
) -> Result<Result<Value, Failure>, Error> {
    let path = format!("/admin/v1/{call}");
    let (status, text) = match ask {
        Ask::Get => client.get(&path)?,
        Ask::Post(body) => client.post(&path, &body.to_string())?,
        Ask::Put(body) => client.put(&path, &body.to_string())?,
    };
    let value: Option<Value> = serde_json::from_str(&text).ok();
    Ok(match (status, value) {
        (200, Some(value)) => Ok(value),
        (401 | 403, Some(value)) if value["error"].is_string() => Err(Failure::new(format!(
            "{} (--token, --token-file, MKTS_TOKEN)",
            value["error"].as_str().unwrap_or_default()
        ))),
        (_, Some(value)) if value["error"].is_string() => Err(Failure {
            code: value["exit_code"]
                .as_u64()
                .map_or(1, |code| u8::try_from(code).unwrap_or(1)),
            text: value["error"].as_str().unwrap_or_default().to_owned(),
        }),
        _ => Err(Failure::new(format!(
            "the server answered {status}: {}",
            text.trim()
        ))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_targets() {
        for (url, address, is_tls, token) in [
            ("http://127.0.0.1:5993", "127.0.0.1:5993", false, None),
            ("localhost:1/rpc", "localhost:1", false, None),
            ("http://box", "box:5993", false, None),
            ("wss://a:1/ws", "a:1", true, None),
            ("https://[::1]", "[::1]:5993", true, None),
            ("https://me:t%5Fx@box:7", "box:7", true, Some("t_x")),
            ("http://t@box", "box:5993", false, Some("t")),
        ] {
            let expected = Url {
                address: address.into(),
                is_tls,
                token: token.map(str::to_owned),
            };
            assert_eq!(Url::parse(url).unwrap(), expected, "{url}");
        }
        for wrong in ["ftp://a:1", "http://:1", "a:port", "", "http://x:%zz@a"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        let shown = Url::parse("ftp://me:secret@box").unwrap_err().text;
        assert!(!shown.contains("secret"), "{shown}");
    }
}
