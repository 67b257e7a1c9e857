//! The calls of Flight SQL.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, SchemaAsIpc, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use sql::{Caller, Rows, ScalarValue, Sql, Statement};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::plans::Entry;
use super::{Door, ingest, status, tables};
use crate::grpc;
use crate::sql::{Tally, caller};

type Handshaken = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;
type Given = <Door as FlightService>::DoGetStream;

/// Encodes a result as it comes.
fn give<S>(schema: SchemaRef, rows: S) -> Response<Given>
where
    S: Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
{
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema);
    Response::new(Box::pin(encoder.build(rows).map_err(Status::from)))
}

fn give_one(batch: Result<RecordBatch, FlightError>) -> Result<Response<Given>, Status> {
    let batch = batch.map_err(Status::from)?;
    Ok(give(batch.schema(), stream::iter([Ok(batch)])))
}

/// The batches of a statement, counted.
fn batches(
    rows: Rows,
    mut tally: Tally,
) -> impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static {
    rows.map(move |batch| {
        let batch = batch.inspect_err(|error| tally.failed(error));
        let batch = batch.map_err(|error| FlightError::from(status(&error)))?;
        tally.add(batch.num_rows() as u64);
        Ok(batch)
    })
}

/// A description of what a ticket gives.
fn describe(
    schema: &Schema,
    ticket: impl Into<Bytes>,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor)
        .with_total_records(-1)
        .with_total_bytes(-1);
    Ok(Response::new(info))
}

/// A command that is its own ticket.
fn describe_command<T: ProstMessageExt>(
    command: &T,
    schema: &Schema,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = command.as_any().encode_to_vec();
    describe(schema, ticket, request.into_inner())
}

fn ipc_schema(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|error: arrow::error::ArrowError| Status::internal(error.to_string()))?;
    Ok(message.0)
}

/// Plans and starts a prepared statement.
async fn run(
    sql: &Sql,
    text: &str,
    caller: &Caller,
    values: Vec<ScalarValue>,
) -> Result<Rows, sql::Error> {
    sql.prepare(text, caller).await?.execute(values).await
}

fn unknown_handle() -> Status {
    Status::not_found(
        "the prepared statement is closed, or many newer ones were used; prepare it again",
    )
}

impl Door {
    /// Whom a call runs for, and the name of his token: prepared statements are his.
    async fn known<T>(&self, request: &Request<T>) -> Result<(Caller, String), Status> {
        let who = grpc::login(&self.app, request).await?;
        Ok((caller(&who, false, None), who.name().to_owned()))
    }

    /// A prepared statement of the caller.
    fn entry(&self, owner: &str, handle: &[u8]) -> Result<Entry, Status> {
        self.prepared.get(owner, handle).ok_or_else(unknown_handle)
    }

    /// Plans a statement, counted.
    async fn plan(&self, text: &str, caller: &Caller) -> Result<Statement, Status> {
        let tally = Tally::start("flight_plan");
        let planned = self.sql.prepare(text, caller).await;
        planned
            .inspect_err(|error| tally.failed(error))
            .map_err(|error| status(&error))
    }

    /// Runs a statement to its end; how many rows it changed.
    async fn update(&self, mut rows: Rows, mut tally: Tally) -> Result<i64, Status> {
        let mut seen = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.inspect_err(|error| tally.failed(error));
            seen += batch.map_err(|error| status(&error))?.num_rows() as u64;
        }
        tally.add(seen);
        let affected = rows.affected().unwrap_or(seen);
        Ok(i64::try_from(affected).unwrap_or(i64::MAX))
    }
}

#[tonic::async_trait]
impl FlightSqlService for Door {
    type FlightService = Self;

    /// A name and a password become the token that the password is.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Handshaken>, Status> {
        let bad = || Status::unauthenticated("send `authorization: Basic` or `Bearer`");
        let header = request.metadata().get("authorization").ok_or_else(bad)?;
        let header = header.to_str().map_err(|_| bad())?;
        let token = match header.split_once(' ') {
            Some((scheme, coded)) if scheme.eq_ignore_ascii_case("basic") => {
                let decoded = BASE64_STANDARD.decode(coded.trim()).map_err(|_| bad())?;
                let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
                let (_, password) = decoded.split_once(':').ok_or_else(bad)?;
                password.to_owned()
            }
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.to_owned(),
            _ => return Err(bad()),
        };
        let bearer = format!("Bearer {token}");
        let bearer = MetadataValue::try_from(bearer).map_err(|_| bad())?;
        self.known(&request).await?;
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: token.into(),
        };
        let answers: Handshaken = Box::pin(stream::iter([Ok(answer)]));
        let mut response = Response::new(answers);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let who = grpc::login(&self.app, &request).await?;
        let statement = self.plan(&query.query, &caller(&who, false, None)).await?;
        let schema = statement.schema();
        self.waiting.put(&who, &query.query, statement);
        let ticket = TicketStatementQuery {
            statement_handle: query.query.into(),
        };
        let ticket = ticket.as_any().encode_to_vec();
        describe(&schema, ticket, request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        let who = grpc::login(&self.app, &request).await?;
        let tally = Tally::start("flight");
        let text = std::str::from_utf8(&ticket.statement_handle)
            .map_err(|_| Status::invalid_argument("the ticket is not one of this server"))?;
        let run = async {
            let statement = match self.waiting.take(&who, text) {
                Some(statement) => statement,
                None => self.sql.prepare(text, &caller(&who, false, None)).await?,
            };
            statement.execute(Vec::new()).await
        };
        let rows = run.await.inspect_err(|error| tally.failed(error));
        let rows = rows.map_err(|error| status(&error))?;
        Ok(give(rows.schema(), batches(rows, tally)))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let (caller, owner) = self.known(&request).await?;
        let statement = self.plan(&query.query, &caller).await?;
        let dataset_schema = ipc_schema(&statement.schema())?;
        let parameter_schema = ipc_schema(&ingest::parameter_schema(&statement.parameters()))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.prepared.put(&owner, &query.query, &statement),
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let (_, owner) = self.known(&request).await?;
        self.prepared
            .close(&owner, &query.prepared_statement_handle);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let (_, owner) = self.known(&request).await?;
        let handle = query.prepared_statement_handle;
        let entry = self.entry(&owner, &handle)?;
        let rows = ingest::parameters(request.into_inner(), &entry.wanted).await?;
        if !self.prepared.bind(&owner, &handle, rows) {
            return Err(unknown_handle());
        }
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, owner) = self.known(&request).await?;
        let handle = &query.prepared_statement_handle;
        let entry = self.entry(&owner, handle)?;
        describe_command(&query, &entry.schema, request)
    }

    /// Each row of parameters is one run; their results follow each other.
    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        let (caller, owner) = self.known(&request).await?;
        let handle = &query.prepared_statement_handle;
        let entry = self.entry(&owner, handle)?;
        let (schema, text) = (entry.schema, entry.text);
        let mut runs = entry.parameters;
        if runs.is_empty() {
            runs.push(Vec::new());
        }
        let sql = self.sql.clone();
        let results = stream::iter(runs).then(move |values: Vec<ScalarValue>| {
            let (sql, text, caller) = (sql.clone(), text.clone(), caller.clone());
            async move {
                let tally = Tally::start("flight");
                let rows = run(&sql, &text, &caller, values).await;
                let rows = rows.inspect_err(|error| tally.failed(error));
                let rows = rows.map_err(|error| FlightError::from(status(&error)))?;
                Ok::<_, FlightError>(batches(rows, tally))
            }
        });
        Ok(give(schema, results.try_flatten()))
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (caller, owner) = self.known(&request).await?;
        let handle = &query.prepared_statement_handle;
        let entry = self.entry(&owner, handle)?;
        let mut runs = match entry.wanted.as_slice() {
            [] => Vec::new(),
            wanted => ingest::parameters(request.into_inner(), wanted).await?,
        };
        if runs.is_empty() {
            runs.push(Vec::new());
        }
        let mut changed = 0;
        for values in runs {
            let rows = run(&self.sql, &entry.text, &caller, values).await;
            let rows = rows.map_err(|error| status(&error))?;
            changed += self.update(rows, Tally::start("flight")).await?;
        }
        Ok(changed)
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (caller, _) = self.known(&request).await?;
        let rows = self.sql.run(&command.query, &caller).await;
        let rows = rows.map_err(|error| status(&error))?;
        self.update(rows, Tally::start("flight")).await
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (caller, _) = self.known(&request).await?;
        let target = ingest::Target::of(&command).map_err(|refused| *refused)?;
        let most = self.app.limits().request_body;
        let stream = request.into_inner();
        ingest::ingest(&self.app.engine, &caller, target, stream, most).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.known(&request).await?;
        describe_command(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        self.known(&request).await?;
        give_one(tables::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.known(&request).await?;
        describe_command(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        self.known(&request).await?;
        give_one(tables::schemas(query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.known(&request).await?;
        describe_command(&query, &tables::tables_schema(query.clone()), request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        let (caller, _) = self.known(&request).await?;
        let engine = self.app.engine.clone();
        let work = move || tables::tables(&engine, &caller, query);
        let found = tokio::task::spawn_blocking(work).await;
        give_one(found.map_err(|_| Status::internal("internal error"))?)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.known(&request).await?;
        describe_command(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        self.known(&request).await?;
        give_one(tables::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.known(&request).await?;
        let info = tables::info().map_err(Status::from)?;
        let schema = query.clone().into_builder(info).schema();
        describe_command(&query, &schema, request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Result<Response<Given>, Status> {
        self.known(&request).await?;
        let info = tables::info().map_err(Status::from)?;
        give_one(query.into_builder(info).build())
    }

    /// What is said of the server does not change while it runs.
    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
