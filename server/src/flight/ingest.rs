//! Rows that come as record batches: `CommandStatementIngest`, and the parameters of statements.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use engine::Engine;
use futures::{Stream, StreamExt, TryStreamExt};
use model::{BucketKey, RowKind};
use sql::{Caller, ScalarValue};
use tonic::Status;

use crate::ipc;
use crate::sql::fitted;
use crate::write::{self, Gathered};

/// A table of this name stands for the buckets that the rows name themselves.
const MANY: &str = "*";

/// Where rows go, and what is to be made.
pub(super) struct Target {
    key: Option<BucketKey>,
    create: Option<RowKind>,
    must_be_new: bool,
}

impl Target {
    pub(super) fn of(command: &CommandStatementIngest) -> Result<Self, Box<Status>> {
        let bad = |what: String| Box::new(Status::invalid_argument(what));
        if command.transaction_id.is_some() {
            return Err(bad("there are no transactions".to_owned()));
        }
        let kind = match command.options.get("kind").map(String::as_str) {
            None | Some("bar") => RowKind::Bar,
            Some("tick") => RowKind::Tick,
            Some(other) => return Err(bad(format!("kind \"{other}\" is not bar or tick"))),
        };
        let options = command.table_definition_options.unwrap_or_default();
        let create = options.if_not_exist() != TableNotExistOption::Fail;
        if options.if_exists() == TableExistsOption::Replace {
            return Err(bad(
                "replacing a bucket is not supported: destroy it first, then create".to_owned(),
            ));
        }
        let key = match command.table.as_str() {
            MANY => None,
            table => Some(BucketKey::parse(table).map_err(|e| bad(e.to_string()))?),
        };
        Ok(Self {
            key,
            create: create.then_some(kind),
            must_be_new: options.if_exists() == TableExistsOption::Fail,
        })
    }
}

type Batches = Pin<Box<dyn Stream<Item = Result<FlightData, FlightError>> + Send>>;

/// The batches of a call, each message checked before it is decoded.
pub(super) fn batches(stream: PeekableFlightDataStream) -> FlightRecordBatchStream {
    let checked: Batches = Box::pin(stream.map_err(FlightError::from).map(|message| {
        let message = message?;
        if !message.data_header.is_empty() {
            ipc::check_message(&message.data_header, &message.data_body)
                .map_err(FlightError::DecodeError)?;
        }
        Ok(message)
    }));
    FlightRecordBatchStream::new_from_flight_data(checked)
}

/// Reads all rows of a call, then writes them; how many they were.
pub(super) async fn ingest(
    engine: &Engine,
    caller: &Caller,
    target: Target,
    stream: PeekableFlightDataStream,
    bytes_max: usize,
) -> Result<i64, Status> {
    let mut batches = batches(stream);
    let mut gathered: Option<Gathered> = None;
    let mut bytes = 0;
    while let Some(batch) = batches.try_next().await.map_err(Status::from)? {
        bytes += batch.get_array_memory_size();
        if bytes > bytes_max {
            return Err(Status::resource_exhausted(format!(
                "the rows are over {bytes_max} bytes (limits.request_body); send them in parts"
            )));
        }
        let parts = match &mut gathered {
            Some(parts) => parts,
            none => {
                let parts = Gathered::new(&batch.schema(), target.key.as_ref());
                none.insert(parts.map_err(Status::invalid_argument)?)
            }
        };
        parts.add(&batch).map_err(Status::invalid_argument)?;
    }
    let parts = gathered.map(Gathered::finish).unwrap_or_default();
    for (key, part) in &parts {
        let Ok((key, _)) = part else {
            return Err(Status::invalid_argument(format!("\"{key}\" is no bucket")));
        };
        if !caller.access.may_write(key) {
            return Err(Status::permission_denied(format!("may not write {key}")));
        }
        if target.must_be_new && engine.bucket(key).is_some() {
            return Err(Status::already_exists(format!(
                "bucket {key} exists already"
            )));
        }
    }
    let engine = engine.clone();
    let work = move || write::write(&engine, parts, target.create);
    let written = tokio::task::spawn_blocking(work).await;
    let written = written.map_err(|_| Status::internal("internal error"))?;
    let rows: usize = written.iter().map(|w| w.rows).sum();
    match written.into_iter().find_map(|w| Some((w.key, w.error?))) {
        Some((key, what)) => Err(Status::invalid_argument(format!("{key}: {what}"))),
        None => Ok(i64::try_from(rows).unwrap_or(i64::MAX)),
    }
}

/// Rows of parameters of all statements of one call.
const PARAMETER_ROWS_MAX: usize = 65_536;

/// Parameters, a list for each row.
pub(super) async fn parameters(
    stream: PeekableFlightDataStream,
    wanted: &[Option<DataType>],
) -> Result<Vec<Vec<ScalarValue>>, Status> {
    let mut batches = batches(stream);
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(Status::from)? {
        if rows.len() + batch.num_rows() > PARAMETER_ROWS_MAX {
            return Err(Status::resource_exhausted(format!(
                "more than {PARAMETER_ROWS_MAX} rows of parameters in one call"
            )));
        }
        for row in 0..batch.num_rows() {
            rows.push(row_of(&batch, row, wanted).map_err(Status::invalid_argument)?);
        }
    }
    Ok(rows)
}

fn row_of(
    batch: &RecordBatch,
    row: usize,
    wanted: &[Option<DataType>],
) -> Result<Vec<ScalarValue>, String> {
    let pairs = batch.columns().iter().enumerate();
    pairs
        .map(|(at, column)| {
            let value = ScalarValue::try_from_array(column, row).map_err(|e| e.to_string())?;
            let ty = wanted.get(at).and_then(Option::as_ref);
            fitted(value, ty).map_err(|what| format!("parameter ${}: {what}", at + 1))
        })
        .collect()
}

/// The schema of parameters, for clients that ask before they bind.
pub(super) fn parameter_schema(wanted: &[Option<DataType>]) -> SchemaRef {
    let fields = wanted.iter().enumerate().map(|(at, ty)| {
        let ty = ty.clone().unwrap_or(DataType::Utf8);
        arrow::datatypes::Field::new(format!("${}", at + 1), ty, true)
    });
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}
