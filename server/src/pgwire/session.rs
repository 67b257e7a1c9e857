//! One connection: who it is, what it has set, and its statements.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::BytesMut;
use futures::channel::oneshot;
use futures::{Sink, SinkExt, stream};
use model::Zone;
use parking_lot::Mutex;
use pgwire::api::auth::{
    DefaultServerParameterProvider, ServerParameterProvider, StartupHandler, finish_authentication,
    protocol_negotiation, save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler, send_query_response};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionGuard, ConnectionHandle, ConnectionManager,
    DEFAULT_NAME, PgWireConnectionState, PgWireServerHandlers, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator, Type,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use pgwire::messages::extendedquery::Execute;
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup::Authentication;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use sql::{Rows, ScalarValue, Sql, Statement};
use tokio::sync::watch;

use super::catalog;
use super::errors::{fatal, of_statement, user};
use super::local::{Meaning, meaning, split};
use super::portal::{Parsed, Running, data_rows, pieces};
use super::{Peer, parameters, values};
use crate::auth;
use crate::http::App;
use crate::sql::{Tally, caller};

/// What a connection knows.
pub(super) struct Session {
    app: Arc<App>,
    sql: Sql,
    peer: Peer,
    manager: Arc<ConnectionManager>,
    who: Mutex<Option<auth::Caller>>,
    /// How a wish to cancel arrives; the guard ends with the session.
    cancel: Mutex<Option<(Arc<ConnectionHandle>, ConnectionGuard)>>,
    settings: Mutex<BTreeMap<String, String>>,
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
struct Busy<'a>(&'a watch::Sender<bool>);

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
            busy: watch::Sender::new(false),
        })
    }

    /// Whether a statement is under way.
    pub(super) fn busy(&self) -> watch::Receiver<bool> {
        self.busy.subscribe()
    }

    fn begin(&self) -> Busy<'_> {
        self.busy.send_replace(true);
        Busy(&self.busy)
    }

    /// Whom the next statement runs for. A token may have been revoked meanwhile.
    fn caller(&self) -> PgWireResult<sql::Caller> {
        let mut who = self.who.lock();
        let known = who
            .as_ref()
            .ok_or_else(|| fatal("28000", "nobody has logged in"))?;
        let again = self.app.auth.again(known);
        let again = again.map_err(|refused| fatal("28000", refused.to_string()))?;
        let zone = self.zone();
        let caller = caller(&again, true, zone);
        *who = Some(again);
        Ok(caller)
    }

    fn zone(&self) -> Option<Zone> {
        let settings = self.settings.lock();
        settings
            .get("timezone")
            .and_then(|name| Zone::parse(name).ok())
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

    async fn plan(&self, text: &str, before: usize) -> PgWireResult<Statement> {
        let caller = self.caller()?;
        let tally = Tally::start("postgres_plan");
        let planned = self.sql.prepare(text, &caller).await;
        planned
            .inspect_err(|error| tally.failed(error))
            .map_err(|error| of_statement(&error, text, before))
    }

    async fn start(
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

    /// Does what needs no SQL; goes on with what does.
    fn local(&self, meaning: &Meaning) -> PgWireResult<ControlFlow<Response>> {
        Ok(ControlFlow::Break(match meaning {
            Meaning::Begin => Response::TransactionStart(Tag::new("BEGIN")),
            Meaning::End(tag) => Response::TransactionEnd(Tag::new(tag)),
            Meaning::Nothing(tag) => Response::Execution(Tag::new(tag)),
            Meaning::Set { name, value } => {
                self.set(name, value)?;
                Response::Execution(Tag::new("SET"))
            }
            Meaning::Show(name) => match self.setting(name) {
                Some(value) => {
                    let schema = show_schema(name);
                    let batch = RecordBatch::try_new(
                        Arc::clone(&schema),
                        vec![Arc::new(StringArray::from(vec![value]))],
                    );
                    let batch = batch.map_err(|error| user("XX000", error.to_string()))?;
                    let mut response = ready(&batch, &Format::UnifiedText);
                    if let Response::Query(response) = &mut response {
                        response.set_command_tag("SHOW");
                    }
                    response
                }
                None => return Ok(ControlFlow::Continue(())),
            },
            Meaning::BadCopy(what) => return Err(user("0A000", what)),
            Meaning::Copy { .. } | Meaning::Catalog | Meaning::Sql => {
                return Ok(ControlFlow::Continue(()));
            }
        }))
    }

    /// The answer to a question about the catalog.
    fn catalog(&self, text: &str) -> PgWireResult<Option<RecordBatch>> {
        let caller = self.caller()?;
        Ok(catalog::answer(&self.app.engine, &caller, text))
    }

    fn set(&self, name: &str, value: &str) -> PgWireResult<()> {
        if name == "timezone" && !value.eq_ignore_ascii_case("default") {
            Zone::parse(value).map_err(|error| user("22023", error.to_string()))?;
        }
        let mut settings = self.settings.lock();
        // A client that sets names without end is not kept in memory.
        if settings.len() < SETTINGS_MAX || settings.contains_key(name) {
            settings.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// A setting of the session, or one that every server has.
    fn setting(&self, name: &str) -> Option<String> {
        if let Some(value) = self.settings.lock().get(name) {
            return Some(value.clone());
        }
        let (_, value) = SETTINGS.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    }
}

/// Rows that are there.
fn ready(batch: &RecordBatch, format: &Format) -> Response {
    let fields = Arc::new(values::fields(&batch.schema(), format));
    let rows: Vec<_> = values::rows(batch, &fields).into_iter().map(Ok).collect();
    Response::Query(QueryResponse::new(fields, stream::iter(rows)))
}

/// Settings kept of one session.
const SETTINGS_MAX: usize = 64;

/// The version that clients are told: of a PostgreSQL whose catalogs we have the parts of.
pub(super) const SERVER_VERSION: &str = "16.6";

const SETTINGS: [(&str, &str); 17] = [
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("search_path", "public"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "repeatable read"),
    ("max_identifier_length", "63"),
    ("extra_float_digits", "1"),
    ("is_superuser", "off"),
];

fn show_schema(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]))
}

/// What a client is told when it has logged in.
struct Told(DefaultServerParameterProvider);

impl Told {
    fn new() -> Self {
        let mut told = DefaultServerParameterProvider::default();
        told.server_version = format!("{SERVER_VERSION} (mkts {})", env!("CARGO_PKG_VERSION"));
        told.default_transaction_read_only = true;
        told.is_superuser = false;
        told.time_zone = "UTC".to_owned();
        told.date_style = "ISO, MDY".to_owned();
        Self(told)
    }
}

impl ServerParameterProvider for Told {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        self.0.server_parameters(client)
    }
}

static KEYS: LazyLock<RandomPidSecretKeyGenerator> =
    LazyLock::new(RandomPidSecretKeyGenerator::default);

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
                if let Some(zone) = startup.parameters.get("TimeZone") {
                    session.set("timezone", zone)?;
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
        *session.cancel.lock() = Some(session.manager.register(pid, key));
        finish_authentication(client, &Told::new()).await
    }

    /// Streams rows as COPY does; how many they were.
    async fn copy<C>(
        &self,
        client: &mut C,
        query: &str,
        binary: bool,
        before: usize,
    ) -> PgWireResult<Response>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = &self.0;
        let statement = session.plan(query, before).await?;
        let fields = Arc::new(values::fields(&statement.schema(), &Format::UnifiedText));
        let mut running = session.start(statement, Vec::new(), query, before).await?;
        let count = i16::try_from(fields.len()).unwrap_or(i16::MAX);
        let code = i8::from(binary);
        let formats = vec![i16::from(code); fields.len()];
        let begin = CopyOutResponse::new(code, count, formats);
        client
            .send(PgWireBackendMessage::CopyOutResponse(begin))
            .await?;
        let mut out = BytesMut::new();
        if binary {
            // Flags and the length of an extension follow the signature: none.
            out.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        }
        let mut rows = 0;
        while let Some(batch) = running.next().await {
            for piece in pieces(&batch?) {
                rows += piece.num_rows();
                for row in values::copied(&piece, &fields, binary, &mut out) {
                    let data = PgWireBackendMessage::CopyData(CopyData::new(row));
                    client.feed(data).await?;
                }
            }
        }
        if binary {
            // The header is still there if no row took it along.
            out.extend_from_slice(&[0xff, 0xff]);
            let end = CopyData::new(out.freeze());
            client.feed(PgWireBackendMessage::CopyData(end)).await?;
        }
        client
            .send(PgWireBackendMessage::CopyDone(CopyDone::new()))
            .await?;
        Ok(Response::Execution(Tag::new("COPY").with_rows(rows)))
    }
}

#[async_trait]
impl SimpleQueryHandler for Door {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _busy = self.0.begin();
        self._on_query(client, query).await
    }

    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut responses = Vec::new();
        for (before, text) in split(query) {
            let session = &self.0;
            let meaning = meaning(text);
            if let ControlFlow::Break(response) = session.local(&meaning)? {
                responses.push(response);
                continue;
            }
            if let Meaning::Copy { query, binary } = &meaning {
                responses.push(self.copy(client, query, *binary, before).await?);
                continue;
            }
            if let Some(batch) = session.catalog(text)? {
                responses.push(ready(&batch, &Format::UnifiedText));
                continue;
            }
            let statement = session.plan(text, before).await?;
            let fields = Arc::new(values::fields(&statement.schema(), &Format::UnifiedText));
            let running = session.start(statement, Vec::new(), text, before).await?;
            let rows = data_rows(running, Arc::clone(&fields));
            responses.push(Response::Query(QueryResponse::new(fields, rows)));
        }
        match responses.is_empty() {
            true => Ok(vec![Response::EmptyQuery]),
            false => Ok(responses),
        }
    }
}

#[async_trait]
impl QueryParser for Session {
    type Statement = Arc<Parsed>;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        text: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let statements = split(text);
        let one = match statements[..] {
            [] => return Ok(None),
            [(_, one)] => one,
            _ => return Err(user("42601", "a prepared statement is one statement")),
        };
        let meaning = meaning(one);
        let parsed = match &meaning {
            Meaning::Show(name) if self.setting(name).is_some() => {
                let schema = show_schema(name);
                Parsed::local(one.to_owned(), meaning, Some(schema))
            }
            Meaning::Sql if self.catalog(one)?.is_some() => {
                let schema = self.catalog(one)?.map(|batch| batch.schema());
                Parsed::local(one.to_owned(), Meaning::Catalog, schema)
            }
            Meaning::Sql | Meaning::Show(_) => {
                let statement = self.plan(one, 0).await?;
                Parsed::planned(one.to_owned(), statement)
            }
            _ => Parsed::local(one.to_owned(), meaning, None),
        };
        Ok(Some(Arc::new(parsed)))
    }

    fn get_parameter_types(&self, statement: &Self::Statement) -> PgWireResult<Vec<Type>> {
        let ty = |ty: &Option<DataType>| ty.as_ref().map_or(Type::TEXT, values::pg_type);
        Ok(statement.wanted.iter().map(ty).collect())
    }

    fn get_result_schema(
        &self,
        statement: &Self::Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        let schema = statement.schema.as_ref();
        Ok(schema
            .map(|schema| values::fields(schema, format))
            .unwrap_or_default())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Door {
    type Statement = Arc<Parsed>;
    type QueryParser = Session;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::clone(&self.0)
    }

    /// Without a number of rows the rows are sent as they come; the protocol's own code would
    /// gather them first.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _busy = self.0.begin();
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let Some(Entry::Value(portal)) = client.portal_store().get_portal(name) else {
            return self._on_execute(client, message).await;
        };
        let state = portal.state();
        let mut state = state.lock().await;
        let streams = message.max_rows == 0
            && portal.statement.statement.meaning == Meaning::Sql
            && matches!(*state, PortalExecutionState::Initial);
        if !streams {
            drop(state);
            return self._on_execute(client, message).await;
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let response = ExtendedQueryHandler::do_query(self, client, &portal, 0).await?;
        if let Response::Query(response) = response {
            send_query_response(client, response, false).await?;
        }
        *state = PortalExecutionState::Finished;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = &self.0;
        let stored = &portal.statement;
        let parsed = &stored.statement;
        if let ControlFlow::Break(response) = session.local(&parsed.meaning)? {
            return Ok(response);
        }
        if let Meaning::Copy { query, binary } = &parsed.meaning {
            return self.copy(client, query, *binary, 0).await;
        }
        if parsed.meaning == Meaning::Catalog
            && let Some(batch) = session.catalog(&parsed.text)?
        {
            return Ok(ready(&batch, &portal.result_column_format));
        }
        let mut given = Vec::with_capacity(portal.parameters.len());
        for (at, bytes) in portal.parameters.iter().enumerate() {
            let wanted = parsed.wanted.get(at).and_then(Option::as_ref);
            let ty = stored.parameter_types.get(at).cloned().flatten();
            let ty = ty.or_else(|| wanted.map(values::pg_type));
            let binary = match &portal.parameter_format {
                Format::Individual(codes) if at >= codes.len() => false,
                format => format.is_binary(at),
            };
            given.push(parameters::scalar(
                at,
                bytes.as_deref(),
                binary,
                ty.as_ref(),
                wanted,
            )?);
        }
        let statement = match parsed.fresh() {
            Some(statement) => statement,
            None => session.plan(&parsed.text, 0).await?,
        };
        let fields = values::fields(&statement.schema(), &portal.result_column_format);
        let fields = Arc::new(fields);
        let running = session.start(statement, given, &parsed.text, 0).await?;
        let rows = data_rows(running, Arc::clone(&fields));
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }
}

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
