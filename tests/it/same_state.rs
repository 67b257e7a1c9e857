//! A plugin in Python does what the one in Rust does, and each reads the other's state (T38).

use std::path::Path;

use plugin_host::process::Program;
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};
use plugin_test::{Form, Harness, Suite, Table, json};
use serde::{Deserialize, Serialize};
use tests::server::workspace;

use crate::python_plugin::virtual_environment;

/// A plugin of `tests/python`; `None` if Python is to be left out.
fn python(folder: &Path, plugin: &str) -> Option<Program> {
    let mut program = Program::new(virtual_environment(&folder.join("venv"))?);
    program.args = ["-m", "mkts.plugin", plugin].map(Into::into).into();
    program.folder = Some(workspace().join("tests/python"));
    program.env = vec![("PYTHONDONTWRITEBYTECODE".into(), "1".into())];
    Some(program)
}

#[test]
fn the_counter_in_python_does_what_the_one_in_rust_does() {
    let folder = tempfile::tempdir().expect("a temp directory");
    let Some(program) = python(folder.path(), "counter.py:Counter") else {
        return;
    };
    let config = json!({"remind_after": 3_600_000_000_000_i64});
    let line = BuiltIn::trigger::<counter::Counter>();
    Suite::new(line, "counter").config(config).program(program);
}

#[derive(Serialize, Deserialize)]
struct Record {
    by: String,
    count: i64,
    levels: Vec<f64>,
    note: Option<String>,
}

/// `tests/python/keeper.py` in Rust.
struct Keeper;

impl Plugin for Keeper {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        ..Manifest::new("keeper", "1.0.0")
    };
    fn new(_config: serde_json::Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Keeper {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, _event: &Event<'_>) -> Result<(), FireError> {
        let found: Option<Record> = ctx.state().get_as("record")?;
        let mut record = found.unwrap_or(Record {
            by: "nobody".into(),
            count: 0,
            levels: Vec::new(),
            note: None,
        });
        let levels: Vec<String> = record.levels.iter().map(f64::to_string).collect();
        let note = record.note.as_deref().unwrap_or("-");
        let text = format!(
            "{} {} [{}] {note}",
            record.by,
            record.count,
            levels.join(",")
        );
        ctx.publish("found", text.into());
        record.levels.push(0.25);
        (record.by, record.count, record.note) = ("rust".into(), record.count + 1, None);
        Ok(ctx.state().put_as("record", &record)?)
    }
}

#[test]
fn rust_and_python_read_each_others_state() {
    let folder = tempfile::tempdir().expect("a temp directory");
    let Some(program) = python(folder.path(), "keeper.py:keeper") else {
        return;
    };
    let forms = [
        Form::BuiltIn(BuiltIn::trigger::<Keeper>()),
        Form::program(program),
    ];
    let mut keeper = Harness::open(&forms[0], json!({}));
    let bar = |time| Table::seconds([time]).column("Close", [1.0]);
    keeper.feed("A/1Min/T", bar(60));
    for (at, form) in [1, 0, 1, 0].into_iter().enumerate() {
        keeper.replace(&forms[form]);
        keeper.feed("A/1Min/T", bar(120 + 60 * at as i64));
    }
    keeper.assert_messages(
        "found",
        &[
            "nobody 0 [] -",
            "rust 1 [0.25] -",
            "python 2 [0.25,0.5] \u{e4}",
            "rust 3 [0.25,0.5,0.25] -",
            "python 4 [0.25,0.5,0.25,0.5] \u{e4}",
        ],
    );
    assert_eq!(
        keeper
            .state_as::<Record>("record")
            .map(|record| record.count),
        Some(5)
    );
}
