//! The PostgreSQL wire, read-only: psql, psycopg, DuckDB, Grafana.
//!
//! The protocol's messages are those of the crate `pgwire`; what a statement means is here. A
//! statement goes one of four ways: what concerns the session alone (`local`: SET, BEGIN,
//! `SHOW server_version`) is answered at once, COPY ... TO STDOUT streams another statement's rows
//! (`copy`), DECLARE keeps them for FETCH (`cursors`), and everything else is SQL. What asks PostgreSQL's
//! catalog is SQL, too, over the tables of the crate `pg-catalog`. Rows are pulled as the client takes
//! them, also in the extended protocol. Transactions are accepted and mean nothing but the end of
//! cursors: each statement reads one state of the store.

mod arrays;
mod copy;
mod cursors;
mod errors;
mod extended;
mod local;
mod numeric;
mod parameters;
mod portal;
mod session;
mod settings;
mod simple;
mod startup;
mod values;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pgwire::api::auth::StartupHandler;
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::{ConnectionManager, PgWireServerHandlers};
use pgwire::tokio::process_socket;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::config::Postgres;
use crate::http::App;
use session::{Door, Session};

impl PgWireServerHandlers for Door {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::new(self.clone())
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::new(self.clone())
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(self.clone())
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(Arc::clone(&self.0.manager)))
    }
}

/// Longest pause after an error of `accept`, mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer that is refused may take for the answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Answers connections of a listener until `shutdown`, then waits for statements under way.
///
/// # Errors
/// None today; a listener that fails for a moment is tried again.
pub(crate) async fn serve(
    app: Arc<App>,
    options: Postgres,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Some(sql) = app.sql.clone() else {
        tracing::warn!("postgres: SQL is switched off (sql.enabled), so nobody is answered");
        return Ok(());
    };
    let places = Arc::new(Semaphore::new(options.connections));
    let manager = Arc::new(ConnectionManager::new());
    let (stop, stopping) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("mkts_rejected_total", "reason" => "connections").increment(1);
            tokio::spawn(refuse(stream));
            continue;
        };
        let session = Session::new(&app, &sql, &manager, peer.ip());
        let stopping = stopping.clone();
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            run(&app, stream, session, stopping).await;
            drop(place);
        });
    }
    drop(listener);
    drop(stopping);
    stop.send_replace(true);
    stop.closed().await;
    Ok(())
}

async fn run(
    app: &Arc<App>,
    stream: TcpStream,
    session: Arc<Session>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut busy = session.busy();
    let tls = app.tls.as_ref().map(|tls| tls.acceptor(&["postgresql"]));
    let stopped = async {
        // Errors mean that the server or the session is gone.
        let _ = stopping.wait_for(|stop| *stop).await;
        let _ = busy.wait_for(|busy| !busy).await;
    };
    tokio::select! {
        // A connection that breaks is the peer's affair.
        _ = process_socket(stream, tls, Door(session)) => {}
        () = stopped => {}
    }
}

/// Tells a peer that there is no place for it, whatever it asked first.
async fn refuse(mut stream: TcpStream) {
    let fields = b"SFATAL\0C53300\0Mtoo many connections (postgres.connections)\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let mut message = vec![b'E'];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(fields);
    let talk = async {
        // Closing with unread bytes would reset the connection before the answer arrives.
        let _ = stream.readable().await;
        let mut asked = [0; 1024];
        let _ = stream.try_read(&mut asked);
        let _ = stream.write_all(&message).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(REFUSAL_TIME, talk).await;
}

/// The address of a peer as the tokens' failures are counted.
type Peer = IpAddr;
