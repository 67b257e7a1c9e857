//! Statements that change the store. Each is one commit: all of it or nothing.

mod delete;
mod insert;

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Array, RecordBatch, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use engine::BucketInfo;
use model::BucketKey;

use crate::pauses::Ended;
use crate::plan::{self, Planned};
use crate::session::{Inner, parameters};
use crate::shared::SharedRef;
use crate::times::time_type;
use crate::{Dialect, Error, ErrorKind, Kind, Rows};

/// A change of the store that is planned.
#[derive(Clone)]
pub(crate) struct Change {
    /// Selects the rows.
    plan: LogicalPlan,
    state: Arc<SessionState>,
    shared: SharedRef,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Into the bucket; column names for the columns of the plan, if they are matched by place.
    Insert(Arc<BucketInfo>, Option<Vec<String>>),
    Delete,
}

pub(crate) async fn insert(
    inner: &Inner,
    statement: ast::Insert,
    shared: SharedRef,
) -> Result<Planned, Error> {
    may_change(&shared)?;
    let (target, source, names) = insert::parts(statement, &shared)?;
    let source = ast::Statement::Query(source);
    let what = What::Insert(target, names);
    planned(inner, source, shared, what).await
}

pub(crate) async fn delete(
    inner: &Inner,
    statement: ast::Delete,
    shared: SharedRef,
) -> Result<Planned, Error> {
    may_change(&shared)?;
    let select = delete::as_select(statement, &shared)?;
    planned(inner, select, shared, What::Delete).await
}

async fn planned(
    inner: &Inner,
    source: ast::Statement,
    shared: SharedRef,
    what: What,
) -> Result<Planned, Error> {
    let Planned::Query { state, plan, .. } = plan::query(inner, source, shared.clone()).await?
    else {
        return Err(Error::failed("internal error: a source that is no query"));
    };
    let change = Change {
        plan,
        state,
        shared,
        what,
    };
    // What cannot be done is said before anything is.
    match &change.what {
        What::Insert(target, names) => {
            insert::mapping(target, change.plan.schema().as_arrow(), names.as_deref())?;
        }
        What::Delete if parameters(&change.plan, 0).is_empty() => {
            delete::ranges(&change.state, &change.plan, &change.shared)?;
        }
        What::Delete => {}
    }
    Ok(Planned::Change(change))
}

fn may_change(shared: &SharedRef) -> Result<(), Error> {
    match shared.caller.read_only {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::Denied,
            "this connection may only read",
        )),
    }
}

fn may_write(shared: &SharedRef, key: &BucketKey) -> Result<(), Error> {
    match shared.caller.access.may_write(key) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Denied,
            format!("writing to {key} is not allowed"),
        )),
    }
}

impl Change {
    /// The columns of the row that says what was done.
    pub(crate) fn schema(&self) -> SchemaRef {
        let (name, ty) = match (&self.what, self.shared.dialect()) {
            (What::Insert(..), Dialect::MarketStore) => ("Rows Written", DataType::Float32),
            (What::Insert(..), Dialect::Standard | Dialect::Postgres) => {
                ("Rows Written", DataType::UInt64)
            }
            (What::Delete, _) => ("Rows Deleted", DataType::UInt64),
        };
        let epoch = Field::new(crate::table::EPOCH, time_type(), false);
        Arc::new(Schema::new(vec![epoch, Field::new(name, ty, false)]))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.what {
            What::Insert(..) => Kind::Insert,
            What::Delete => Kind::Delete,
        }
    }

    pub(crate) fn parameters(&self) -> Vec<Option<DataType>> {
        parameters(&self.plan, 0)
    }

    pub(crate) async fn run(
        &self,
        inner: &Inner,
        values: Vec<ScalarValue>,
        ended: &Ended,
    ) -> Result<Rows, Error> {
        let plan = plan::with_values(self.plan.clone(), 0, values)?;
        let rows = match &self.what {
            What::Insert(target, names) => {
                insert::run(
                    &self.state,
                    plan,
                    target,
                    names.as_deref(),
                    inner,
                    &self.shared,
                    ended,
                )
                .await?
            }
            What::Delete => {
                let ranges = delete::ranges(&self.state, &plan, &self.shared)?;
                delete::run(ranges, inner).await?
            }
        };
        self.done(rows)
    }

    fn done(&self, rows: u64) -> Result<Rows, Error> {
        let schema = self.schema();
        let now = TimestampNanosecondArray::from(vec![self.shared.now]).with_timezone("UTC");
        let count: ArrayRef = match schema.field(1).data_type() {
            DataType::Float32 => Arc::new(Float32Array::from(vec![rows as f32])),
            _ => Arc::new(UInt64Array::from(vec![rows])),
        };
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(now), count]);
        let batch = batch.map_err(|error| Error::failed(error.to_string()))?;
        Ok(Rows::ready(schema, vec![batch]).with_affected(rows))
    }
}
