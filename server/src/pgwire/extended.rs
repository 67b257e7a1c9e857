//! The extended protocol: statements that are parsed once, with parameters, and portals of their rows.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::Sink;
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, send_describe_response, send_query_response};
use pgwire::api::results::{DescribePortalResponse, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{Describe, Execute, TARGET_TYPE_BYTE_PORTAL};
use sql::ScalarValue;

use super::errors::user;
use super::local::{Meaning, meaning, split};
use super::portal::{Parsed, data_rows};
use super::session::{Door, Session, show_schema};
use super::{parameters, values};

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
            Meaning::Show(name) if self.settings.lock().get(name).is_some() => {
                let schema = show_schema(name);
                Parsed::local(one.to_owned(), meaning, Some(schema))
            }
            Meaning::Sql | Meaning::Show(_) => {
                let statement = self.plan(one, 0).await?;
                Parsed::planned(one.to_owned(), Meaning::Sql, statement)
            }
            Meaning::Declare(declared) => {
                let query = declared.query.clone();
                let statement = self.plan(&query, 0).await?;
                Parsed::planned(query, meaning, statement)
            }
            Meaning::Fetch(fetch) if !fetch.leaves_out => {
                let schema = self.cursors.schema(&fetch.name).map(|(schema, _)| schema);
                Parsed::local(one.to_owned(), meaning, schema)
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

    /// A cursor is a portal, too: libraries ask for its columns.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let (TARGET_TYPE_BYTE_PORTAL, Some(name)) = (message.target_type, &message.name)
            && let Some((schema, binary)) = self.0.cursors.schema(name)
        {
            let format = Format::from(i16::from(binary));
            let fields = values::fields(&schema, &format);
            return send_describe_response(client, &DescribePortalResponse::new(fields)).await;
        }
        self._on_describe(client, message).await
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
        let gives_rows = matches!(
            portal.statement.statement.meaning,
            Meaning::Sql | Meaning::Fetch(_)
        );
        let streams =
            message.max_rows == 0 && gives_rows && matches!(*state, PortalExecutionState::Initial);
        if !streams {
            drop(state);
            return self._on_execute(client, message).await;
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        match ExtendedQueryHandler::do_query(self, client, &portal, 0).await? {
            Response::Query(response) => send_query_response(client, response, false).await?,
            Response::Execution(tag) => {
                pgwire::api::query::send_execution_response(client, tag).await?;
            }
            _ => {}
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
        let parsed = &portal.statement.statement;
        let format = &portal.result_column_format;
        let local = session.local(client, &parsed.meaning, format).await?;
        if let ControlFlow::Break(response) = local {
            return Ok(response);
        }
        if let Meaning::Copy { query, binary } = &parsed.meaning {
            return self.copy(client, query, *binary, 0).await;
        }
        if let Meaning::Declare(declared) = &parsed.meaning {
            session.cursors.may_declare(&declared.name)?;
        }
        let given = given(portal)?;
        let statement = match parsed.fresh() {
            Some(statement) => statement,
            None => session.plan(&parsed.text, 0).await?,
        };
        let schema = statement.schema();
        let running = session.start(statement, given, &parsed.text, 0).await?;
        if let Meaning::Declare(declared) = &parsed.meaning {
            session.cursors.declare(declared, schema, running);
            return Ok(Response::Execution(Tag::new("DECLARE CURSOR")));
        }
        let fields = Arc::new(values::fields(&schema, format));
        let rows = data_rows(running, Arc::clone(&fields));
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }
}

/// The values that came with a portal.
fn given(portal: &Portal<Arc<Parsed>>) -> PgWireResult<Vec<ScalarValue>> {
    let stored = &portal.statement;
    let mut given = Vec::with_capacity(portal.parameters.len());
    for (at, bytes) in portal.parameters.iter().enumerate() {
        let wanted = stored.statement.wanted.get(at).and_then(Option::as_ref);
        let ty = stored.parameter_types.get(at).cloned().flatten();
        let ty = ty.or_else(|| wanted.map(values::pg_type));
        let binary = match &portal.parameter_format {
            Format::Individual(codes) if at >= codes.len() => false,
            format => format.is_binary(at),
        };
        let bytes = bytes.as_deref();
        given.push(parameters::scalar(at, bytes, binary, ty.as_ref(), wanted)?);
    }
    Ok(given)
}
