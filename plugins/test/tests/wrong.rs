//! The cases find the faults they are there for: a suite that passes everything proves nothing.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use model::RowKind;
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};
use plugin_test::{Form, Suite, json};

/// What the plugin does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wrong {
    /// It counts in a field, which dies with the object.
    KeepsInField,
    /// It goes on when the host refuses its writes.
    IgnoresErrors,
    /// It needs a column.
    PanicsAtOddRows,
    /// It fails at every event.
    Fails,
}

#[derive(serde::Deserialize)]
struct Config {
    wrong: Option<Wrong>,
}

struct Faulty {
    wrong: Option<Wrong>,
    count: i64,
}

impl Plugin for Faulty {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        ..Manifest::new("faulty", "1.0.0")
    };
    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let (wrong, count) = (config.wrong, 0);
        Ok(Self { wrong, count })
    }
}

impl Trigger for Faulty {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        if self.wrong == Some(Wrong::Fails) {
            return Err(FireError::Retry("always".into()));
        }
        if batch.rows.column("Close").is_none() {
            assert!(self.wrong != Some(Wrong::PanicsAtOddRows), "no Close");
            return Err(FireError::Skip("no Close".into()));
        }
        self.count += batch.rows.rows() as i64;
        let count = match self.wrong {
            Some(Wrong::KeepsInField) => self.count,
            _ => ctx.state().counter("rows")? + batch.rows.rows() as i64,
        };
        let rows = plugin_test::Table::nanos([batch.rows.times()[0]]).column("Rows", [count]);
        let target = model::BucketKey::parse("OUT/1Sec/T").unwrap();
        let stored = ctx
            .state()
            .incr("rows", batch.rows.rows() as i64)
            .and_then(|_| ctx.write(&target, RowKind::Tick, rows.batch()));
        match self.wrong {
            Some(Wrong::IgnoresErrors) => Ok(()),
            _ => Ok(stored?),
        }
    }
}

fn failing(wrong: Option<&str>) -> Vec<&'static str> {
    let line = BuiltIn::trigger::<Faulty>();
    let suite = Suite::new(line, "faulty").config(json!({ "wrong": wrong }));
    let report = suite.run(&Form::BuiltIn(line), |_| {}).unwrap();
    let failed = report.cases.iter().filter(|done| done.result.is_err());
    failed.map(|done| done.case).collect()
}

#[test]
fn a_good_plugin_fails_nothing() {
    assert_eq!(failing(None), [""; 0]);
}

#[test]
fn what_is_kept_in_a_field_is_found() {
    let failed = failing(Some("keeps_in_field"));
    for case in [
        "fires again after a crash",
        "restart between events",
        "retry",
        "panic",
    ] {
        assert!(failed.contains(&case), "{case}: {failed:?}");
    }
}

#[test]
fn errors_that_are_ignored_are_found() {
    assert_eq!(failing(Some("ignores_errors")), ["full window"]);
}

#[test]
fn panics_are_found() {
    assert_eq!(
        failing(Some("panics_at_odd_rows")),
        ["rows of another shape"]
    );
}

#[test]
fn a_plugin_that_fails_is_not_tried_further() {
    assert_eq!(failing(Some("fails")), ["fires"]);
}
