//! The simple protocol: a text of statements, answered one after the other.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Sink;
use pgwire::api::portal::Format;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::simplequery::Query;

use super::local::{Meaning, meaning, split};
use super::portal::data_rows;
use super::session::Door;
use super::values;

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
        let session = &self.0;
        let format = Format::UnifiedText;
        let mut responses = Vec::new();
        for (before, text) in split(query) {
            let meaning = meaning(text);
            let local = session.local(client, &meaning, &format).await?;
            if let ControlFlow::Break(response) = local {
                responses.push(response);
                continue;
            }
            responses.push(match &meaning {
                Meaning::Copy { query, binary } => {
                    self.copy(client, query, *binary, before).await?
                }
                Meaning::Declare(declared) => {
                    session.cursors.may_declare(&declared.name)?;
                    let (query, before) = (&declared.query, before + place(text, &declared.query));
                    let statement = session.plan(query, before).await?;
                    let schema = statement.schema();
                    let running = session.start(statement, Vec::new(), query, before).await?;
                    session.cursors.declare(declared, schema, running);
                    Response::Execution(Tag::new("DECLARE CURSOR"))
                }
                _ => {
                    let statement = session.plan(text, before).await?;
                    let fields = Arc::new(values::fields(&statement.schema(), &format));
                    let running = session.start(statement, Vec::new(), text, before).await?;
                    let rows = data_rows(running, Arc::clone(&fields));
                    Response::Query(QueryResponse::new(fields, rows))
                }
            });
        }
        match responses.is_empty() {
            true => Ok(vec![Response::EmptyQuery]),
            false => Ok(responses),
        }
    }
}

/// Characters of a statement in front of the query in it.
fn place(text: &str, query: &str) -> usize {
    let at = text.find(query).unwrap_or_default();
    text[..at].chars().count()
}
