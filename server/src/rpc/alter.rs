//! `DataService.Alter`: the columns of a bucket; all changes of a request are one commit.

use client::wire::{AlterRequest, Reply, parse_type_or_word};
use engine::SchemaChange;
use model::{BucketKey, ColumnDef};

use super::counted;
use crate::auth::{Caller, Right};
use crate::http::App;

pub(super) fn run(app: &App, caller: &Caller, requests: &[AlterRequest]) -> Reply {
    let all = requests
        .iter()
        .map(|request| counted(&request.key, one(app, caller, request)));
    Reply::Altered(all.collect())
}

fn one(app: &App, caller: &Caller, request: &AlterRequest) -> Result<u64, String> {
    let key = BucketKey::parse(&request.key).map_err(|e| e.to_string())?;
    caller
        .require(Right::Write, &key)
        .map_err(|e| e.to_string())?;
    let changes = changes(request)?;
    if changes.is_empty() {
        return Err("nothing to change: add, widen, rename and drop are empty".into());
    }
    let info = app
        .engine
        .alter(&key, &changes)
        .map_err(|e| e.to_string())?;
    Ok(u64::from(info.schema_version))
}

/// In the order in which they are made: names that go make room for those that come.
fn changes(request: &AlterRequest) -> Result<Vec<SchemaChange>, String> {
    let mut changes = Vec::new();
    for column in &request.drop {
        changes.push(SchemaChange::Drop {
            column: column.clone(),
        });
    }
    for (from, to) in &request.rename {
        changes.push(SchemaChange::Rename {
            from: from.clone(),
            to: to.clone(),
        });
    }
    for (column, code) in &request.widen {
        changes.push(SchemaChange::Widen {
            column: column.clone(),
            ty: ty(code)?,
        });
    }
    for (name, code) in &request.add {
        changes.push(SchemaChange::Add(ColumnDef::new(name, ty(code)?)));
    }
    Ok(changes)
}

fn ty(code: &str) -> Result<model::ColumnType, String> {
    parse_type_or_word(code).ok_or_else(|| {
        let shown: String = code.chars().take(40).filter(|c| !c.is_control()).collect();
        format!("unexpected data type:{shown}")
    })
}
