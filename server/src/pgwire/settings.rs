//! Settings of a session: those that every server has, and those that the client set.

use std::collections::{BTreeMap, HashMap};

use model::Zone;
use pg_catalog::SERVER_VERSION;
use pgwire::api::ClientInfo;
use pgwire::api::auth::{DefaultServerParameterProvider, ServerParameterProvider};
use pgwire::error::PgWireResult;

use super::errors::user;

/// Settings kept of one session.
const SETTINGS_MAX: usize = 64;

const SETTINGS: [(&str, &str); 25] = [
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("wal_level", "replica"),
];

/// Names that a client hears of when they change, as it writes them.
const REPORTED: [(&str, &str); 5] = [
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("timezone", "TimeZone"),
];

/// What a client has set.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Changes one; how the client hears of it, if it does.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &str,
    ) -> PgWireResult<Option<(String, String)>> {
        if value.eq_ignore_ascii_case("default") {
            self.reset(Some(name));
            return Ok(reported(name, self.get(name)));
        }
        check(name, value)?;
        // A client that sets names without end is not kept in memory.
        if self.0.len() < SETTINGS_MAX || self.0.contains_key(name) {
            self.0.insert(name.to_owned(), value.to_owned());
        }
        Ok(reported(name, Some(value.to_owned())))
    }

    /// Takes back one change, or all.
    pub(super) fn reset(&mut self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.0.remove(name)),
            None => self.0.clear(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        if let Some(value) = self.0.get(name) {
            return Some(value.clone());
        }
        let (_, value) = SETTINGS.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    }

    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let known = SETTINGS.iter();
        let known = known.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut all: BTreeMap<String, String> = known.collect();
        all.extend(self.0.clone());
        all
    }

    /// The zone of times that name none.
    pub(super) fn zone(&self) -> Option<Zone> {
        self.0
            .get("timezone")
            .and_then(|name| Zone::parse(name).ok())
    }
}

fn reported(name: &str, value: Option<String>) -> Option<(String, String)> {
    let (_, written) = REPORTED.iter().find(|(known, _)| *known == name)?;
    Some(((*written).to_owned(), value?))
}

/// Refuses values that would not be followed.
fn check(name: &str, value: &str) -> PgWireResult<()> {
    match name {
        "timezone" => {
            Zone::parse(value).map_err(|error| user("22023", error.to_string()))?;
        }
        "client_encoding" => {
            // Only letters and digits of such a name count: asyncpg quotes it.
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            let plain = plain.to_ascii_lowercase();
            if !matches!(plain.as_str(), "utf8" | "unicode" | "sqlascii") {
                let what = format!("client_encoding \"{value}\" is not supported, UTF8 is");
                return Err(user("22023", what));
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a client is told when it has logged in.
pub(super) struct Told(DefaultServerParameterProvider);

impl Told {
    pub(super) fn new(zone: Option<String>) -> Self {
        let mut told = DefaultServerParameterProvider::default();
        told.server_version = format!("{SERVER_VERSION} (mkts {})", env!("CARGO_PKG_VERSION"));
        told.default_transaction_read_only = true;
        told.is_superuser = false;
        told.time_zone = zone.unwrap_or_else(|| "UTC".to_owned());
        told.date_style = "ISO, MDY".to_owned();
        Self(told)
    }
}

impl ServerParameterProvider for Told {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        self.0.server_parameters(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_followed_is_refused() {
        let mut settings = Settings::default();
        assert!(settings.set("timezone", "Nowhere/Land").is_err());
        assert!(settings.set("client_encoding", "LATIN1").is_err());
        assert!(settings.set("client_encoding", "'utf-8'").is_ok());
        let told = settings.set("timezone", "America/New_York").unwrap();
        assert_eq!(
            told,
            Some(("TimeZone".to_owned(), "America/New_York".to_owned()))
        );
        assert!(settings.zone().is_some());
        let told = settings.set("timezone", "DEFAULT").unwrap();
        assert_eq!(told, Some(("TimeZone".to_owned(), "UTC".to_owned())));
        assert_eq!(settings.get("timezone").as_deref(), Some("UTC"));
        assert_eq!(settings.get("nothing"), None);
        for number in 0..100 {
            settings.set(&format!("my.{number}"), "1").unwrap();
        }
        assert!(settings.0.len() <= SETTINGS_MAX);
    }
}
