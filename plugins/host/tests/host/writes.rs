//! What a manifest lets a plugin write, and triggers that write in a circle.

use disk::sim::SimDisk;
use model::RowKind;
use plugin_host::{Entry, Match, Modules, OnError, State, check};
use plugin_sdk::{
    BgWorker, BuiltIn, Code, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin,
    PluginError, Trigger, WorkerCtx,
};
use serde_json::json;

use crate::support::{key, open, ticks};

/// May write `OUT/**` and `B/**`, and writes each key its config names.
pub(crate) struct Bound(Vec<String>);

const WRITES: &[&str] = &["OUT/**", "B/**"];

impl Plugin for Bound {
    type Config = Vec<String>;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        writes: WRITES,
        ..Manifest::new("bound", "1.0.0")
    };
    fn new(config: Vec<String>, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self(config))
    }
}

impl Trigger for Bound {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        for to in &self.0 {
            // It does not care whether it may.
            let _ = ctx.write(&key(to), RowKind::Tick, batch.rows.clone());
        }
        Ok(())
    }
}

/// The same as a worker, which does care.
pub(crate) struct BoundWorker(Vec<String>);

impl Plugin for BoundWorker {
    type Config = Vec<String>;
    const MANIFEST: Manifest = Manifest {
        writes: WRITES,
        ..Manifest::new("boundworker", "1.0.0")
    };
    fn new(config: Vec<String>, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self(config))
    }
}

impl BgWorker for BoundWorker {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        for to in &self.0 {
            let written = ctx.call().write(&key(to), RowKind::Tick, ticks(&[1]));
            written.map_err(|error| PluginError::new(Code::Config, error.text))?;
        }
        Ok(())
    }
}

fn bound(name: &str, on: &[&str], to: &[&str]) -> Entry {
    Entry {
        name: Some(name.into()),
        on: on.iter().map(|on| (*on).to_owned()).collect(),
        config: json!(to),
        max_attempts: Some(1),
        on_error: Some(OnError::Skip),
        place: name.into(),
        ..Entry::trigger("bound")
    }
}

#[test]
fn a_fire_that_writes_outside_fails_and_leaves_nothing() {
    let entries = vec![
        bound("good", &["A/**"], &["OUT/1Min/T", "B/1Min/T"]),
        bound("bad", &["A/**"], &["OUT/5Min/T", "C/1Min/T"]),
    ];
    let store = open(&SimDisk::new(1), entries);
    store.write("A/1Min/T", &[1, 2]);
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1, 2]);
    assert_eq!(store.times("B/1Min/T"), [1, 2]);
    assert_eq!(store.times("OUT/5Min/T"), [0; 0]);
    assert_eq!(store.times("C/1Min/T"), [0; 0]);
    let (good, bad) = (store.status("good"), store.status("bad"));
    assert_eq!((good.failures, good.dropped), (0, 0));
    assert_eq!((bad.failures, bad.dropped), (1, 2));
    store.close();
}

#[test]
fn a_worker_is_told_what_it_may_write() {
    let worker = |name: &str, to: &[&str]| Entry {
        name: Some(name.into()),
        config: json!(to),
        ..Entry::bgworker("boundworker")
    };
    let entries = vec![
        worker("good", &["OUT/1Min/T"]),
        worker("bad", &["B/1Min/T", "C/1Min/T"]),
    ];
    let store = open(&SimDisk::new(2), entries);
    store.until("good", State::Stopped);
    let bad = store.until("bad", State::Failed);
    assert_eq!(
        bad.reason,
        "C/1Min/T: the plugin's manifest lets it write OUT/**, B/** only (\"writes\")"
    );
    assert_eq!(store.times("OUT/1Min/T"), [1]);
    assert_eq!(store.times("B/1Min/T"), [0; 0]);
    store.close();
}

/// Place, whether it is fatal, and the circle of each problem.
fn problems(entries: &[Entry]) -> Vec<(String, bool, String)> {
    let modules = Modules::from(vec![BuiltIn::trigger::<Bound>()]);
    let found = check(entries, &modules, &model::Zone::utc());
    let circle = |text: &str| {
        let rest = text.split_once("in a circle, ").unwrap().1;
        rest.split_once(':').unwrap().0.to_owned()
    };
    let found = found.into_iter();
    found
        .map(|p| (p.place, p.fatal, circle(&p.message)))
        .collect()
}

#[test]
fn circles_that_patterns_prove_are_refused_and_possible_ones_told() {
    let none: [(String, bool, String); 0] = [];
    let fatal = |place: &str, circle: &str| (place.to_owned(), true, circle.to_owned());
    // What it writes itself does not fire it.
    let own = bound("own", &["OUT/**", "B/**"], &[]);
    assert_eq!(problems(std::slice::from_ref(&own)), none);
    let own = Entry {
        fire_on_own: true,
        ..own
    };
    assert_eq!(problems(&[own]), [fatal("own", "own -> own")]);
    let both = || bound("both", &["{OUT,B,C}/**"], &[]);
    let all = || bound("all", &[], &[]);
    let other = || bound("other", &["A/**"], &[]);
    assert_eq!(
        problems(&[other(), both(), all()]),
        [fatal("both", "both -> all -> both")]
    );
    assert_eq!(problems(&[other(), both()]), none);
    let off = Entry {
        enabled: Some(false),
        ..all()
    };
    assert_eq!(problems(&[both(), off]), none);
    let half = bound("half", &["B/1Min/*"], &[]);
    assert_eq!(
        problems(&[both(), half]),
        [("both".into(), false, "both -> half -> both".into())]
    );
    let regex = Entry {
        match_mode: Match::MarketStore,
        on: vec!["B/.*".into()],
        ..bound("regex", &[], &[])
    };
    assert_eq!(problems(&[both(), regex]), none);
}
