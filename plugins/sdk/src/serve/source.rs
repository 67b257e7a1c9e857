//! One batch of a source in a child.

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_proto::v1::effect::Write;
use plugin_proto::v1::from_child::Message;
use plugin_proto::{Sent, encode_rows};

use super::link::Link;
use crate::ctx::Level;
use crate::error::{Code, PluginError};
use crate::source::SourceCalls;

/// Longest token: it is a value of the state store.
const TOKEN_BYTES_MAX: usize = 1 << 20;

pub(super) struct Calls<'a> {
    pub(super) link: &'a Link,
    pub(super) sent: &'a mut Sent,
    pub(super) writes: Vec<Write>,
    pub(super) resume: Option<Bytes>,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl SourceCalls for Calls<'_> {
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (schema_id, new) = self.sent.id(kind, rows.schema());
        if let Some(schema) = new {
            self.link.send(Message::Schema(schema));
        }
        self.rows = self.rows.saturating_sub(rows.rows());
        self.bytes = self.bytes.saturating_sub(rows.bytes());
        self.writes.push(Write {
            key: key.as_str().to_owned(),
            schema_id,
            rows: encode_rows(&rows),
            flags: 0,
        });
        Ok(())
    }

    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!("LIMIT: a token may have {TOKEN_BYTES_MAX} bytes"),
            ));
        }
        self.resume = Some(Bytes::copy_from_slice(token));
        Ok(())
    }

    fn room(&self) -> (usize, usize) {
        (self.rows, self.bytes)
    }

    fn is_cancelled(&self) -> bool {
        self.link.shared.is_cancelled()
    }

    fn log(&mut self, level: Level, text: &str) {
        self.link.log(level, text);
    }
}
