//! Asking a server, and what its failures are for a person.

use client::{Client, Error};
use serde_json::Value;

use super::Failure;
use super::start::POISONED;

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
