//! How a connection begins: who is there, and what it is told.

use std::fmt::Debug;
use std::sync::LazyLock;

use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::auth::{
    StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::Authentication;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::errors::{ending, fatal};
use super::session::Door;
use super::settings::Told;
use crate::auth;

static KEYS: LazyLock<RandomPidSecretKeyGenerator> =
    LazyLock::new(RandomPidSecretKeyGenerator::default);

/// Parameters of the start that are no settings.
const NO_SETTINGS: [&str; 4] = ["user", "database", "options", "replication"];

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = &self.0;
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                for (name, value) in &startup.parameters {
                    let name = name.to_lowercase();
                    if !NO_SETTINGS.contains(&name.as_str()) {
                        session.settings.lock().set(&name, value).map_err(ending)?;
                    }
                }
                if session.app.auth.is_on() {
                    client.set_state(PgWireConnectionState::AuthenticationInProgress);
                    let ask = Authentication::CleartextPassword;
                    client
                        .send(PgWireBackendMessage::Authentication(ask))
                        .await?;
                    return Ok(());
                }
                let anyone = session.app.auth.caller(None);
                self.welcome(client, anyone).await
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let password = password.into_password()?;
                let known = session.app.auth.caller(Some(&password.password));
                self.welcome(client, known).await
            }
            _ => Ok(()),
        }
    }
}

impl Door {
    async fn welcome<C>(
        &self,
        client: &mut C,
        who: Result<auth::Caller, auth::Unauthorized>,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = &self.0;
        match who {
            Ok(who) => *session.who.lock() = Some(who),
            Err(refused) => {
                let pause = session
                    .app
                    .auth
                    .refused("postgres", Some(session.peer), &refused);
                tokio::time::sleep(pause).await;
                return Err(fatal("28P01", refused.to_string()));
            }
        }
        let (pid, key) = KEYS.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        let user = client.metadata().get(METADATA_USER).cloned();
        *session.login.lock() = (user.unwrap_or_default(), pid);
        *session.cancel.lock() = Some(session.manager.register(pid, key));
        let zone = session.settings.lock().get("timezone");
        finish_authentication(client, &Told::new(zone)).await
    }
}
