//! Failures of a server that was asked.

use client::{Client, Error};
use serde_json::Value;

use super::Failure;
use super::start::POISONED;

/// What went wrong, with the exit code that a person expects.
pub(super) fn failure(error: &Error) -> Failure {
    let text = match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("no server answers ({error}); --url names another, --dir asks the files")
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
    let path = format!("/admin/v1/{call}");
    let reply = match body {
        None => client.get(&path),
        Some(body) => client.post(&path, &body.to_string()),
    };
    let (status, text) = reply.map_err(|error| failure(&error))?;
    let value: Option<Value> = serde_json::from_str(&text).ok();
    match (status, value) {
        (200, Some(value)) => Ok(value),
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
    }
}
