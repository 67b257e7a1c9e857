//! The ports: bound before the store opens, so that one that is taken is told at once; served when it
//! is open.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::cli::Failure;
use crate::config::{self, Config};
use crate::grpc;
use crate::http::{self, App};

/// The listeners of a configuration.
pub(super) struct Listeners {
    pub(super) http: TcpListener,
    utilities: Option<TcpListener>,
    grpc: Option<(config::Grpc, TcpListener)>,
    postgres: Option<(config::Postgres, TcpListener)>,
}

/// What answers.
pub(super) struct Doors {
    /// They end when the server stops.
    pub(super) servers: Vec<JoinHandle<std::io::Result<()>>>,
    /// Names of doors and where they are.
    pub(super) addresses: Vec<(&'static str, String)>,
    app: Arc<App>,
    stopping: watch::Receiver<bool>,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        let host = &config.listen_host;
        Ok(Self {
            http: bind(host, config.listen_port, "listen_port").await?,
            utilities: match &config.utilities_url {
                Some(address) => Some(bind_to(address, "utilities_url").await?),
                None => None,
            },
            grpc: match config.grpc {
                Some(grpc) => Some((grpc, bind(host, grpc.port, "grpc_listen_port").await?)),
                None => None,
            },
            postgres: match config.postgres {
                Some(postgres) => {
                    let key = "postgres.listen_port";
                    Some((postgres, bind(host, postgres.port, key).await?))
                }
                None => None,
            },
        })
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        address(&self.http)
    }

    /// Opens every door.
    pub(super) fn serve(
        self,
        app: &Arc<App>,
        config: &Config,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Doors, Failure> {
        let mut doors = Doors {
            servers: Vec::new(),
            addresses: vec![("http", self.address()?.to_string())],
            app: app.clone(),
            stopping: stopping.clone(),
        };
        for listener in std::iter::once(self.http).chain(self.utilities) {
            let serving = http::serve(app.clone(), listener, doors.stopped());
            doors.servers.push(tokio::spawn(serving));
        }
        if let Some((options, listener)) = self.grpc {
            doors.grpc(options, config.flight, listener)?;
        }
        if let Some((options, listener)) = self.postgres {
            doors.postgres(options, listener)?;
        }
        Ok(doors)
    }
}

impl Doors {
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        until_true(self.stopping.clone())
    }

    fn grpc(
        &mut self,
        options: config::Grpc,
        flight: config::Flight,
        listener: TcpListener,
    ) -> Result<(), Failure> {
        let address = address(&listener)?;
        info!("gRPC listens on {address}");
        self.addresses.push(("grpc", address.to_string()));
        let serving = grpc::serve(self.app.clone(), options, flight, listener, self.stopped());
        self.servers.push(tokio::spawn(serving));
        Ok(())
    }

    #[cfg(feature = "sql")]
    fn postgres(
        &mut self,
        options: config::Postgres,
        listener: TcpListener,
    ) -> Result<(), Failure> {
        let address = address(&listener)?;
        info!("the PostgreSQL wire listens on {address}");
        self.addresses.push(("postgres", address.to_string()));
        let serving = crate::pgwire::serve(self.app.clone(), options, listener, self.stopped());
        self.servers.push(tokio::spawn(serving));
        Ok(())
    }

    #[cfg(not(feature = "sql"))]
    fn postgres(&mut self, _: config::Postgres, listener: TcpListener) -> Result<(), Failure> {
        let address = address(&listener)?;
        tracing::warn!(
            "postgres: this mkts was built without SQL (feature sql): {address} is closed"
        );
        Ok(())
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    let address = listener.local_addr();
    address.map_err(|error| Failure::new(format!("the address is not known: {error}")))
}

async fn bind(host: &str, port: u16, key: &str) -> Result<TcpListener, Failure> {
    bind_to(&join_address(host, port), key).await
}

fn join_address(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

async fn bind_to(address: &str, key: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::new(format!("cannot listen on {address} ({key}): {error}")))
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = flag.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_sixth_version_get_brackets() {
        assert_eq!(join_address("::1", 5), "[::1]:5");
        assert_eq!(join_address("[::1]", 5), "[::1]:5");
        assert_eq!(join_address("localhost", 5), "localhost:5");
    }
}
