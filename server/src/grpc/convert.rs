//! Messages of gRPC as those of the RPC, and back.

use std::borrow::Cow;

use client::wire::{
    CreateRequest, Dataset, DatasetReply, Entry, KeyRequest, ListRequest, QueryRequest, Reply,
    WriteRequest,
};
use client_proto::proto;
use tonic::Status;

use super::message::Rows;
use crate::http::App;

/// What a key has behind it where the RPC wants it.
const CATEGORIES: &str = ":Symbol/Timeframe/AttributeGroup";

pub(super) fn queries(requests: Vec<proto::QueryRequest>) -> Vec<QueryRequest> {
    requests.into_iter().map(query).collect()
}

/// Without a field for "not given", 0 means it: a start at 1970 is no bound for those who have no
/// older rows, and an end at 1970 cannot be asked for.
fn query(request: proto::QueryRequest) -> QueryRequest {
    let has_start = request.epoch_start != 0 || request.epoch_start_nanos != 0;
    QueryRequest {
        is_sqlstatement: request.is_sql_statement,
        sql_statement: request.sql_statement,
        destination: request.destination,
        key_category: request.key_category,
        epoch_start: has_start.then_some(request.epoch_start),
        epoch_start_nanos: request.epoch_start_nanos,
        epoch_end: (request.epoch_end != 0).then_some(request.epoch_end),
        epoch_end_nanos: request.epoch_end_nanos,
        limit_record_count: i64::from(request.limit_record_count),
        limit_from_start: request.limit_from_start,
        columns: request.columns,
        functions: request.functions,
    }
}

/// The result of one query, its columns apart.
pub(super) fn rows(reply: DatasetReply) -> Result<Rows, Status> {
    let count = |rows: usize| {
        i32::try_from(rows).map_err(|_| {
            Status::out_of_range(format!(
                "{rows} rows in one reply, gRPC counts up to {}: ask for fewer, or with \
                 mkts.v1.Bulk/QueryStream",
                i32::MAX
            ))
        })
    };
    let data = proto::NumpyDataset {
        column_types: reply.types.into_iter().map(Cow::into_owned).collect(),
        column_names: reply.names,
        column_data: Vec::new(),
        length: count(reply.length)?,
        data_shapes: Vec::new(),
    };
    let mut slices = proto::NumpyMultiDataset::default();
    for (key, start, rows) in reply.slices {
        slices.start_index.insert(key.clone(), count(start)?);
        slices.lengths.insert(key, count(rows)?);
    }
    Ok(Rows {
        data,
        columns: reply.data,
        slices,
    })
}

pub(super) fn writes(requests: Vec<proto::WriteRequest>) -> Result<Vec<WriteRequest>, Status> {
    requests.into_iter().map(write).collect()
}

fn write(request: proto::WriteRequest) -> Result<WriteRequest, Status> {
    let missing = |what| Status::invalid_argument(format!("a write request has no {what}"));
    let all = request.data.ok_or_else(|| missing("data"))?;
    let data = all.data.ok_or_else(|| missing("data.data"))?;
    let wide = |slices: std::collections::HashMap<String, i32>| {
        let wide = slices.into_iter().map(|(key, n)| (key, i64::from(n)));
        wide.collect::<Vec<_>>()
    };
    // A map has no order: that of the rows is the one meant.
    let mut startindex = wide(all.start_index);
    startindex.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    Ok(WriteRequest {
        dataset: Dataset {
            types: data.column_types,
            names: data.column_names,
            data: data.column_data,
            startindex,
            lengths: wide(all.lengths),
        },
        is_variable_length: request.is_variable_length,
    })
}

/// The error is that of this request alone.
pub(super) fn create(request: proto::CreateRequest) -> Result<CreateRequest, String> {
    if !matches!(request.row_type.as_str(), "fixed" | "variable") {
        let shown = request.row_type.chars().take(40);
        let shown: String = shown.filter(|c| !c.is_control()).collect();
        return Err(format!(
            "record type \"{shown}\" must be one of fixed or variable"
        ));
    }
    let mut key = request.key;
    if !key.contains(':') {
        key.push_str(CATEGORIES);
    }
    let (column_names, column_types) = request
        .data_shapes
        .into_iter()
        .map(|shape| (shape.name, shape.r#type))
        .unzip();
    Ok(CreateRequest {
        key,
        column_types,
        column_names,
        is_variable_length: request.row_type == "variable",
        data_shapes: String::new(),
        row_type: request.row_type,
    })
}

pub(super) fn failure(app: &App, error: String) -> proto::ServerResponse {
    proto::ServerResponse {
        error,
        version: app.version.clone(),
    }
}

pub(super) fn keys(requests: Vec<proto::KeyRequest>) -> Vec<KeyRequest> {
    let keys = requests.into_iter().map(|r| KeyRequest { key: r.key });
    keys.collect()
}

pub(super) fn list(format: i32) -> ListRequest {
    let format = match format {
        0 => "symbol",
        _ => "tbk",
    };
    ListRequest {
        format: format.to_owned(),
        timeframe: String::new(),
    }
}

pub(super) fn list_reply(reply: Reply) -> Result<proto::ListSymbolsResponse, Status> {
    match reply {
        Reply::List(results) => Ok(proto::ListSymbolsResponse { results }),
        _ => Err(other_reply()),
    }
}

pub(super) fn entries(reply: Reply) -> Result<Vec<proto::ServerResponse>, Status> {
    let Reply::Entries(entries) = reply else {
        return Err(other_reply());
    };
    let response = |Entry { error, version }| proto::ServerResponse { error, version };
    Ok(entries.into_iter().map(response).collect())
}

pub(super) fn entries_reply(reply: Reply) -> Result<proto::MultiServerResponse, Status> {
    Ok(proto::MultiServerResponse {
        responses: entries(reply)?,
    })
}

pub(super) fn other_reply() -> Status {
    Status::internal("internal error: the reply is that of another method")
}
