//! `COPY (...) TO STDOUT`: rows as a stream of their own.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::BytesMut;
use futures::{Sink, SinkExt};
use pgwire::api::portal::Format;
use pgwire::api::results::{Response, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};

use super::portal::pieces;
use super::session::Door;
use super::values;

impl Door {
    /// Streams rows as COPY does; how many they were.
    pub(super) async fn copy<C>(
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
