//! Arrow Flight SQL, on the port of gRPC: ADBC, JDBC and whoever speaks it.
//!
//! A statement is planned when its `FlightInfo` is asked for and waits for its `DoGet` ([`plans`]);
//! a ticket holds the text itself, so that one that waited too long is planned anew. Prepared
//! statements live on the server until they are closed or many newer ones are used. Results are
//! record batches as the query makes them, pulled as the client takes them.

mod ingest;
mod plans;
mod service;
mod tables;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use sql::{ErrorKind, Sql};
use tonic::Status;

use crate::config::{Flight, Grpc};
use crate::http::App;
use plans::{Prepared, Waiting};

/// What the calls share.
#[derive(Clone)]
pub(crate) struct Door {
    app: Arc<App>,
    sql: Sql,
    waiting: Arc<Waiting>,
    prepared: Arc<Prepared>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

/// The service, if it and SQL are switched on.
pub(crate) fn service(
    app: &Arc<App>,
    flight: Flight,
    grpc: Grpc,
) -> Option<FlightServiceServer<Door>> {
    let sql = app.sql.clone().filter(|_| flight.enabled)?;
    let door = Door {
        app: Arc::clone(app),
        sql,
        waiting: Arc::new(Waiting::default()),
        prepared: Arc::new(Prepared::new(flight.prepared)),
    };
    let service = FlightServiceServer::new(door)
        .max_decoding_message_size(grpc.receive_bytes_max)
        .max_encoding_message_size(grpc.send_bytes_max);
    Some(service)
}

/// An error of a statement as one of gRPC.
fn status(error: &sql::Error) -> Status {
    let text = error.to_string();
    match error.kind {
        ErrorKind::Syntax | ErrorKind::Invalid => Status::invalid_argument(text),
        ErrorKind::Unknown => Status::not_found(text),
        ErrorKind::Denied => Status::permission_denied(text),
        ErrorKind::Limit | ErrorKind::Busy => Status::resource_exhausted(text),
        ErrorKind::Unsupported => Status::unimplemented(text),
        ErrorKind::Cancelled => Status::cancelled(text),
        ErrorKind::Failed => Status::internal(text),
    }
}
