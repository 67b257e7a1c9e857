//! Statements that change the store: INSERT and DELETE.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;

use crate::session::Inner;
use crate::{Error, Kind, Rows};

/// A change of the store that is planned.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    schema: SchemaRef,
    kind: Kind,
}

impl Change {
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn parameters(&self) -> Vec<Option<DataType>> {
        Vec::new()
    }

    pub(crate) async fn run(
        &self,
        _inner: &Inner,
        _values: Vec<ScalarValue>,
    ) -> Result<Rows, Error> {
        Err(Error::unsupported("not yet"))
    }
}
