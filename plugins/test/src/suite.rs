//! The conformance cases: what every plugin must stand, whatever it runs as.
//!
//! Each case does something to the plugin and looks at all that came of it. Most demand the same
//! effects as the case `fires`, in which nothing goes wrong; two forms must have the same effects in
//! every case.

mod cases;
mod child;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugin_host::Entry;
use plugin_host::process::Program;
use plugin_sdk::{BuiltIn, Delivery, Kind, Module};
use serde_json::Value;

use crate::bench::Bench;
use crate::form::Form;
use crate::look::difference;
use crate::table::{Feed, sample};

/// The effects of a case, one line each.
pub type Effects = Vec<String>;

/// A change of the entry.
type Change = Arc<dyn Fn(&mut Entry) + Send + Sync>;

/// A plugin, and what is done to it.
#[derive(Clone)]
pub struct Suite {
    line: Option<BuiltIn>,
    /// Name of the crate, and so of its library.
    library: String,
    config: Value,
    params: String,
    feed: Vec<Feed>,
    changes: Vec<Change>,
    patience: Duration,
}

/// How one case ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its name.
    pub case: &'static str,
    /// Its effects, or what is wrong.
    pub result: Result<Effects, String>,
    /// How long the fires of it took; those of the case `fires` are what a timing table shows.
    pub fires: Vec<Duration>,
}

/// How all cases ended for one form.
#[derive(Debug, Clone)]
pub struct Report {
    /// The form.
    pub form: String,
    /// In order.
    pub cases: Vec<Done>,
}

impl Suite {
    /// Cases for a plugin of this crate: what [`crate::conformance!`] makes.
    pub fn new(line: BuiltIn, package: &str) -> Self {
        Self {
            line: Some(line),
            ..Self::of_files(package)
        }
    }

    /// Cases for a plugin that is known by its files only.
    pub fn of_files(package: &str) -> Self {
        Self {
            line: None,
            library: package.replace('-', "_"),
            config: Value::Null,
            params: String::new(),
            feed: sample(),
            changes: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }

    /// `config:` of the entry.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// `params:` of a source. The feed behind it must end.
    #[must_use]
    pub fn params(mut self, params: &str) -> Self {
        self.params = params.into();
        self
    }

    /// What a trigger is fed, instead of the bundled bars.
    #[must_use]
    pub fn feed(mut self, feed: impl IntoIterator<Item = Feed>) -> Self {
        self.feed = feed.into_iter().collect();
        self
    }

    /// `on:` of the entry; without it the trigger fires on every bucket.
    #[must_use]
    pub fn on(self, pattern: &str) -> Self {
        let pattern = pattern.to_owned();
        self.entry(move |entry| entry.on = vec![pattern.clone()])
    }

    /// Anything else of the entry.
    #[must_use]
    pub fn entry(mut self, change: impl Fn(&mut Entry) + Send + Sync + 'static) -> Self {
        self.changes.push(Arc::new(change));
        self
    }

    /// Name of the library, if it is not that of the package.
    #[must_use]
    pub fn library(mut self, name: &str) -> Self {
        self.library = name.into();
        self
    }

    fn bench(&self, module: &Arc<dyn Module>) -> Bench {
        let mut bench = Bench::new(Arc::clone(module), self.config.clone());
        bench.entry.params = self.params.clone();
        for change in &self.changes {
            change(&mut bench.entry);
        }
        bench
    }

    /// Runs every case, and hands each to `each` when it is done.
    ///
    /// # Errors
    /// If the plugin cannot be opened at all.
    pub fn run(&self, form: &Form, mut each: impl FnMut(&Done)) -> Result<Report, String> {
        let module = form.module()?;
        let mut report = Report {
            form: form.name().into(),
            cases: Vec::new(),
        };
        let kind = module.description().kind;
        for case in cases::of(kind) {
            let plain = report.of("fires").cloned();
            let done = case.run(self, &module, plain.as_ref());
            each(&done);
            let is_over = done.result.is_err() && matches!(done.case, "check" | "fires");
            report.cases.push(done);
            if is_over {
                break;
            }
        }
        Ok(report)
    }

    #[track_caller]
    fn must_run(&self, form: &Form) -> Report {
        match self.run(form, |_| {}) {
            Ok(report) => report,
            Err(why) => panic!("{why}"),
        }
    }

    /// The cases with the plugin linked into the test.
    ///
    /// # Panics
    /// With the cases that failed.
    #[track_caller]
    pub fn built_in(&self) {
        self.must_run(&self.line()).verify();
    }

    /// The cases with the library of the crate, loaded into the test; the effects must be those of the
    /// plugin linked in.
    ///
    /// # Panics
    /// With the cases that failed, and the lines that differ.
    #[track_caller]
    pub fn native(&self) {
        let native = self.must_run(&Form::Native(self.library_file()));
        native.verify();
        native.verify_same(&self.must_run(&self.line()));
    }

    /// The cases with the plugin in a process of its own; `child` is the name of the test that the
    /// process runs.
    ///
    /// # Panics
    /// As [`Suite::native`].
    #[track_caller]
    pub fn process(&self, child: &str) {
        let process = self.must_run(&self.in_process(child));
        process.verify();
        process.verify_same(&self.must_run(&self.line()));
    }

    /// The cases with any program, also in another language; its effects must be those of the plugin
    /// linked in, but for the words in which a wrong config is refused.
    ///
    /// # Panics
    /// As [`Suite::native`].
    #[track_caller]
    pub fn program(&self, program: Program) {
        let process = self.must_run(&Form::program(program));
        process.verify();
        if let Some(line) = self.line {
            let mut own = self.must_run(&Form::BuiltIn(line));
            own.cases.retain(|done| done.case != "check");
            process.verify_same(&own);
        }
    }

    /// The cases with a library in this process and in one of its own, with equal effects.
    ///
    /// # Panics
    /// As [`Suite::native`].
    #[track_caller]
    pub fn library_and_process(&self, file: PathBuf, child: &str) {
        let program = self.program_of(&file, child);
        let process = self.must_run(&Form::program(program));
        process.verify();
        let native = self.must_run(&Form::Native(file));
        native.verify();
        native.verify_same(&process);
    }

    #[track_caller]
    fn line(&self) -> Form {
        Form::BuiltIn(self.line.expect("a suite of a crate has its plugin"))
    }

    fn is_volatile(module: &Arc<dyn Module>, entry: &Entry) -> bool {
        let own = module.description().delivery;
        module.description().kind == Kind::Trigger
            && entry.delivery.unwrap_or(own) == Delivery::Volatile
    }
}

impl Report {
    /// The effects of a case, if it has run and is good.
    pub fn of(&self, case: &str) -> Option<&Effects> {
        let found = self.cases.iter().find(|done| done.case == case);
        found.and_then(|done| done.result.as_ref().ok())
    }

    /// Whether every case is good.
    pub fn is_good(&self) -> bool {
        self.cases.iter().all(|done| done.result.is_ok())
    }

    /// Ends the test if a case failed.
    ///
    /// # Panics
    /// With what is wrong.
    #[track_caller]
    pub fn verify(&self) {
        let mut text = String::new();
        for done in &self.cases {
            if let Err(why) = &done.result {
                // Writing to a String cannot fail.
                let _ = write!(text, "\ncase \"{}\": {why}", done.case);
            }
        }
        assert!(text.is_empty(), "{}:{text}", self.form);
    }

    /// What differs from another form's report, case by case.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let others: BTreeMap<_, _> = other.cases.iter().map(|d| (d.case, &d.result)).collect();
        let mut all = Vec::new();
        for done in &self.cases {
            let (Ok(own), Some(Ok(theirs))) = (&done.result, others.get(done.case)) else {
                continue;
            };
            if let Some(text) = difference(theirs, own) {
                all.push(format!(
                    "case \"{}\": {} (+) does not do what {} (-) does:\n{text}",
                    done.case, self.form, other.form
                ));
            }
        }
        all
    }

    /// Ends the test if another form has other effects.
    ///
    /// # Panics
    /// With the lines that differ.
    #[track_caller]
    pub fn verify_same(&self, other: &Self) {
        let all = self.differences(other);
        assert!(all.is_empty(), "{}", all.join("\n"));
    }
}

/// The library that cargo built beside the test program.
#[track_caller]
fn library_beside(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its file");
    let folder = program.parent().map(PathBuf::from).unwrap_or_default();
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let file = folder.join(format!("{prefix}{name}{suffix}"));
    assert!(
        file.exists(),
        "{} is not there: Cargo.toml needs crate-type = [\"rlib\", \"cdylib\"], and the test belongs \
         into tests/, for which cargo builds the library",
        file.display()
    );
    file
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suite({})", self.library)
    }
}

/// Tests that the plugin does the same linked in, as a library and as a process, and stands crashes,
/// panics, retries and full windows in each.
///
/// In a file of `tests/` of a crate that is built as `crate-type = ["rlib", "cdylib"]`:
///
/// ```ignore
/// plugin_test::conformance!(Spikes, config = json!({"above": 100.0}));
/// plugin_test::conformance!(Beats: bgworker, config = json!({"count": 3}));
/// plugin_test::conformance!(Prices: source, params = "prices.csv");
/// ```
///
/// Every method of [`Suite`] with one argument can be given: `config`, `params` (of a source), `feed`,
/// `on`, `entry`, `library`. Kinds are `trigger` (if none is given), `shared_trigger`, `bgworker` and
/// `source`. A worker or a source must come to an end with what it is given.
#[macro_export]
macro_rules! conformance {
    ($plugin:ty $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::conformance!($plugin: trigger $(, $name = $value)*);
    };
    ($plugin:ty : $kind:ident $(, $name:ident = $value:expr)* $(,)?) => {
        mod conformance {
            #[allow(unused_imports)]
            use super::*;

            pub(super) fn suite() -> $crate::Suite {
                let line = $crate::BuiltIn::$kind::<$plugin>();
                $crate::Suite::new(line, env!("CARGO_PKG_NAME"))$(.$name($value))*
            }

            #[test]
            fn built_in() {
                suite().built_in();
            }

            #[test]
            fn native() {
                suite().native();
            }

            #[test]
            fn process() {
                // Tests are named without their crate.
                let name = concat!(module_path!(), "::child");
                suite().process(name.split_once("::").map_or(name, |(_, test)| test));
            }

            /// What a child runs; of no interest otherwise.
            #[test]
            fn child() {
                $crate::Suite::child();
            }
        }
    };
}
