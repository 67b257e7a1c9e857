//! One connection: who it is, what it has set, and its statements.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::channel::oneshot;
use futures::{Sink, SinkExt, stream};
use parking_lot::Mutex;
use pg_catalog::Catalog;
use pgwire::api::portal::Format;
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::api::{ConnectionGuard, ConnectionHandle, ConnectionManager};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::ParameterStatus;
use sql::{Dialect, Rows, ScalarValue, Sql, Statement};
use tokio::sync::watch;

use super::cursors::Cursors;
use super::errors::{fatal, of_statement, user};
use super::local::{Meaning, tokens};
use super::portal::Running;
use super::settings::Settings;
use super::{Peer, values};
use crate::auth;
use crate::http::App;
use crate::sql::{Tally, caller};

/// What a connection knows.
pub(super) struct Session {
    pub(super) app: Arc<App>,
    sql: Sql,
    pub(super) peer: Peer,
    pub(super) manager: Arc<ConnectionManager>,
    pub(super) who: Mutex<Option<auth::Caller>>,
    /// How a wish to cancel arrives; the guard ends with the session.
    pub(super) cancel: Mutex<Option<(Arc<ConnectionHandle>, ConnectionGuard)>>,
    pub(super) settings: Mutex<Settings>,
    /// The name that was logged in with, and the number of the session.
    pub(super) login: Mutex<(String, i32)>,
    pub(super) cursors: Cursors,
    busy: watch::Sender<bool>,
}

impl Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// The handlers of a connection.
#[derive(Debug, Clone)]
pub(super) struct Door(pub(super) Arc<Session>);

/// Busy until it is dropped.
pub(super) struct Busy<'a>(&'a watch::Sender<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Session {
    pub(super) fn new(
        app: &Arc<App>,
        sql: &Sql,
        manager: &Arc<ConnectionManager>,
        peer: Peer,
    ) -> Arc<Self> {
        Arc::new(Self {
            app: Arc::clone(app),
            sql: sql.clone(),
            peer,
            manager: Arc::clone(manager),
            who: Mutex::default(),
            cancel: Mutex::default(),
            settings: Mutex::default(),
            login: Mutex::default(),
            cursors: Cursors::default(),
            busy: watch::Sender::new(false),
        })
    }

    /// Whether a statement is under way.
    pub(super) fn busy(&self) -> watch::Receiver<bool> {
        self.busy.subscribe()
    }

    pub(super) fn begin(&self) -> Busy<'_> {
        self.busy.send_replace(true);
        Busy(&self.busy)
    }

    /// Whom the next statement runs for. A token may have been revoked meanwhile.
    fn caller(&self, text: &str) -> PgWireResult<sql::Caller> {
        let mut who = self.who.lock();
        let known = who
            .as_ref()
            .ok_or_else(|| fatal("28000", "nobody has logged in"))?;
        let again = self.app.auth.again(known);
        let again = again.map_err(|refused| fatal("28000", refused.to_string()))?;
        let zone = self.settings.lock().zone();
        let mut caller = caller(&again, true, zone);
        *who = Some(again);
        let words = tokens(text).into_iter().map(|(a, b)| &text[a..b]);
        if pg_catalog::is_question(words) {
            let catalog = Catalog::new(&self.app.engine, caller.access.as_ref(), self.known());
            caller.dialect = Dialect::Postgres;
            caller.extension = Some(Arc::new(catalog));
        }
        Ok(caller)
    }

    /// What the catalog says of the session.
    fn known(&self) -> pg_catalog::Session {
        let (user, pid) = self.login.lock().clone();
        pg_catalog::Session {
            user,
            pid,
            settings: self.settings.lock().all(),
        }
    }

    async fn cancelled(&self) -> oneshot::Receiver<()> {
        let handle = self
            .cancel
            .lock()
            .as_ref()
            .map(|(handle, _)| Arc::clone(handle));
        match handle {
            Some(handle) => handle.start_query().await,
            None => oneshot::channel().1,
        }
    }

    pub(super) async fn plan(&self, text: &str, before: usize) -> PgWireResult<Statement> {
        let caller = self.caller(text)?;
        let tally = Tally::start("postgres_plan");
        let planned = self.sql.prepare(text, &caller).await;
        planned
            .inspect_err(|error| tally.failed(error))
            .map_err(|error| of_statement(&error, text, before))
    }

    pub(super) async fn start(
        &self,
        statement: Statement,
        values: Vec<ScalarValue>,
        text: &str,
        before: usize,
    ) -> PgWireResult<Running> {
        let tally = Tally::start("postgres");
        let cancelled = self.cancelled().await;
        let rows: Rows = statement
            .execute(values)
            .await
            .inspect_err(|error| tally.failed(error))
            .map_err(|error| of_statement(&error, text, before))?;
        Ok(Running {
            rows,
            cancelled,
            tally,
            text: text.to_owned(),
            before,
        })
    }

    /// Does what needs no SQL; goes on with what does. `format` is that of its rows.
    pub(super) async fn local<C>(
        &self,
        client: &mut C,
        meaning: &Meaning,
        format: &Format,
    ) -> PgWireResult<ControlFlow<Response>>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Ok(ControlFlow::Break(match meaning {
            Meaning::Begin => Response::TransactionStart(Tag::new("BEGIN")),
            Meaning::End(tag) => {
                self.cursors.end_of_transaction();
                Response::TransactionEnd(Tag::new(tag))
            }
            Meaning::Nothing(tag) => Response::Execution(Tag::new(tag)),
            Meaning::Reset { name, tag } => {
                self.settings.lock().reset(name.as_deref());
                if *tag == "DISCARD ALL" {
                    self.cursors.close(None);
                }
                Response::Execution(Tag::new(tag))
            }
            Meaning::Set { name, value } => {
                let told = self.settings.lock().set(name, value)?;
                if let Some((name, value)) = told {
                    let told = ParameterStatus::new(name, value);
                    let told = PgWireBackendMessage::ParameterStatus(told);
                    client.feed(told).await?;
                }
                Response::Execution(Tag::new("SET"))
            }
            Meaning::Show(name) => {
                let value = self.settings.lock().get(name);
                match value {
                    Some(value) => shown(name, value)?,
                    None => return Ok(ControlFlow::Continue(())),
                }
            }
            Meaning::Fetch(fetch) => self.cursors.fetch(fetch, format).await?,
            Meaning::Close(name) => {
                let closed = self.cursors.close(name.as_deref());
                if let (false, Some(name)) = (closed, name) {
                    return Err(user("34000", format!("cursor \"{name}\" does not exist")));
                }
                Response::Execution(Tag::new("CLOSE CURSOR"))
            }
            Meaning::Bad(code, what) => return Err(user(code, what)),
            Meaning::Copy { .. } | Meaning::Declare(_) | Meaning::Sql => {
                return Ok(ControlFlow::Continue(()));
            }
        }))
    }
}

/// A setting as a row.
fn shown(name: &str, value: String) -> PgWireResult<Response> {
    let values = Arc::new(StringArray::from(vec![value]));
    let batch = RecordBatch::try_new(show_schema(name), vec![values]);
    let batch = batch.map_err(|error| user("XX000", error.to_string()))?;
    let mut response = ready(&batch, &Format::UnifiedText);
    if let Response::Query(response) = &mut response {
        response.set_command_tag("SHOW");
    }
    Ok(response)
}

/// Rows that are there.
pub(super) fn ready(batch: &RecordBatch, format: &Format) -> Response {
    let fields = Arc::new(values::fields(&batch.schema(), format));
    let rows: Vec<_> = values::rows(batch, &fields).into_iter().map(Ok).collect();
    Response::Query(QueryResponse::new(fields, stream::iter(rows)))
}

pub(super) fn show_schema(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]))
}
