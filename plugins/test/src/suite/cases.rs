//! The cases themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, TIME_MAX, TIME_MIN};
use plugin_sdk::{Kind, Module};

use super::{Done, Effects, Suite};
use crate::bench::Bench;
use crate::crash::Point;
use crate::look::difference;
use crate::table::{Feed, parse_key};
use crate::watch::Fault;

/// How far the clock goes for timers.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Moments of a run of a worker or source at which the power goes.
const CUTS: usize = 6;

type Act = fn(&Ground<'_>) -> Result<Effects, String>;

/// One case.
pub(super) struct Case {
    name: &'static str,
    act: Act,
}

/// What a case works with.
struct Ground<'a> {
    suite: &'a Suite,
    module: &'a Arc<dyn Module>,
    /// Effects of the case `fires`.
    plain: Option<&'a Effects>,
    /// The fires of all benches of the case.
    fires: std::cell::RefCell<Vec<Duration>>,
}

/// The cases of a kind.
pub(super) fn of(kind: Kind) -> Vec<Case> {
    let case = |name, act: Act| Case { name, act };
    match kind {
        Kind::Trigger => vec![
            case("check", check),
            case("fires", fires),
            case("fires again after a crash", twice),
            case("every crash point", crash_points),
            case("power cut between events", power_cuts),
            case("restart between events", restarts),
            case("retry", retry),
            case("panic", panic),
            case("timeout", timeout),
            case("full window", full),
            case("dead letter", dead_letter),
            case("timers", timers),
            case("gap", gap),
            case("rows of another shape", odd_rows),
            case("dropped bucket", dropped),
        ],
        Kind::BgWorker | Kind::Source => vec![
            case("check", check),
            case("fires", ends),
            case("crash on the way", cuts),
            case("restart", ends_again),
        ],
    }
}

impl Case {
    /// Runs it; its panic is a failure like any other.
    pub(super) fn run(
        &self,
        suite: &Suite,
        module: &Arc<dyn Module>,
        plain: Option<&Effects>,
    ) -> Done {
        let ground = Ground {
            suite,
            module,
            plain,
            fires: std::cell::RefCell::default(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| (self.act)(&ground)));
        let result = result.unwrap_or_else(|_| Err("the case panicked".into()));
        Done {
            case: self.name,
            result,
            fires: ground.fires.into_inner(),
        }
    }
}

impl Ground<'_> {
    fn bench(&self) -> Bench {
        self.suite.bench(self.module)
    }

    fn is_volatile(&self) -> bool {
        Suite::is_volatile(self.module, &self.bench().entry)
    }

    /// Feeds everything; `before` is told of each feed.
    fn feed(
        &self,
        mut before: impl FnMut(usize, &mut Bench) -> Result<(), String>,
    ) -> Result<Bench, String> {
        let mut bench = self.bench();
        for (at, feed) in self.suite.feed.iter().enumerate() {
            before(at, &mut bench)?;
            bench.feed(feed)?;
        }
        let fires = bench.fires();
        self.fires
            .borrow_mut()
            .extend(fires.iter().map(|fire| fire.took));
        Ok(bench)
    }

    /// The effects must be those of the case in which nothing went wrong. Messages may be lost or
    /// sent again.
    fn same_as_plain(&self, bench: &mut Bench, what: &str) -> Result<Effects, String> {
        let effects = bench.effects()?;
        let stored = |all: &Effects| -> Effects {
            let kept = all.iter().filter(|line| !line.starts_with("message "));
            kept.cloned().collect()
        };
        let plain = self.plain.ok_or("the case \"fires\" has not run")?;
        match difference(&stored(plain), &stored(&effects)) {
            Some(text) => Err(format!(
                "{what}: the effects differ from those without it (- without, + with); what is kept \
                 between events belongs into the state:\n{text}"
            )),
            None => Ok(stored(&effects)),
        }
    }
}

/// The config is accepted, and one of a wrong kind refused in words.
fn check(ground: &Ground<'_>) -> Result<Effects, String> {
    let config = &ground.suite.config;
    ground
        .module
        .check(config)
        .map_err(|error| format!("its config is refused: {error}"))?;
    let wrong = serde_json::json!(["no", "map"]);
    match ground.module.check(&wrong) {
        Ok(()) => Ok(vec!["takes any config".into()]),
        Err(error) if error.to_string().contains('\n') => Err(format!(
            "the error of a wrong config has several lines: {error}"
        )),
        Err(error) => Ok(vec![error.to_string()]),
    }
}

fn fires(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.feed(|_, _| Ok(()))?;
    let fires = bench.fires();
    if fires.is_empty() {
        return Err("nothing fired; does `on` match what is fed?".into());
    }
    let failed = fires.iter().find(|fire| fire.result.is_err());
    if let Some(fire) = failed {
        let why = fire.result.as_ref().err().cloned().unwrap_or_default();
        return Err(format!("{}: {why}", fire.event));
    }
    let status = bench.status()?;
    if status.panics > 0 {
        return Err(format!("{} fires panicked", status.panics));
    }
    bench.effects()
}

fn crash_each(ground: &Ground<'_>, points: &[Point]) -> Result<Effects, String> {
    if ground.is_volatile() {
        return Ok(vec!["volatile: nothing survives".into()]);
    }
    let mut last = Vec::new();
    let middle = ground.suite.feed.len() / 2;
    for point in points {
        let mut bench = ground.bench();
        for (at, feed) in ground.suite.feed.iter().enumerate() {
            if at == middle {
                bench.crash_at(*point);
            }
            match bench.feed(feed) {
                Err(why) if at == middle && why.contains("had no effects") => bench.feed(feed)?,
                done => done?,
            }
            if at == middle && *point == Point::BeforeDurable {
                // The client was never told that they are there.
                bench.feed(feed)?;
            }
        }
        last = ground.same_as_plain(&mut bench, &format!("crash {}", point.name()))?;
    }
    Ok(last)
}

fn twice(ground: &Ground<'_>) -> Result<Effects, String> {
    crash_each(ground, &[Point::CommitWritten])
}

fn crash_points(ground: &Ground<'_>) -> Result<Effects, String> {
    crash_each(ground, &Point::ALL)
}

fn power_cuts(ground: &Ground<'_>) -> Result<Effects, String> {
    if ground.is_volatile() {
        return Ok(vec!["volatile: nothing survives".into()]);
    }
    let mut bench = ground.feed(|at, bench| match at % 3 {
        2 => bench.power_cut(),
        _ => Ok(()),
    })?;
    ground.same_as_plain(&mut bench, "power cut")
}

fn restarts(ground: &Ground<'_>) -> Result<Effects, String> {
    if ground.is_volatile() {
        return Ok(vec!["volatile: nothing survives".into()]);
    }
    let mut bench = ground.feed(|at, bench| match at % 3 {
        1 => bench.restart(),
        _ => Ok(()),
    })?;
    ground.same_as_plain(&mut bench, "restart")
}

/// The second event meets a fault.
fn with_fault(ground: &Ground<'_>, fault: &Fault, what: &str) -> Result<Effects, String> {
    if ground.is_volatile() {
        // One attempt is all there is.
        return Ok(vec!["volatile: nothing is tried again".into()]);
    }
    let mut bench = ground.feed(|at, bench| {
        if at == 1 {
            bench.fault(fault.clone());
        }
        Ok(())
    })?;
    let failures = bench.status()?.failures;
    if failures == 0 && *fault != Fault::Limit {
        return Err(format!("{what}: nothing fired a second time"));
    }
    ground.same_as_plain(&mut bench, what)
}

fn retry(ground: &Ground<'_>) -> Result<Effects, String> {
    let fault = Fault::Fail("failed, because the test said so".into());
    with_fault(ground, &fault, "retry")
}

fn panic(ground: &Ground<'_>) -> Result<Effects, String> {
    with_fault(ground, &Fault::Panic, "panic")
}

fn timeout(ground: &Ground<'_>) -> Result<Effects, String> {
    with_fault(ground, &Fault::Timeout, "timeout")
}

fn full(ground: &Ground<'_>) -> Result<Effects, String> {
    with_fault(
        ground,
        &Fault::Limit,
        "calls that answer LIMIT (a fire must fail with them, or have no effects)",
    )
}

/// An event that fails always is given up, and the others are not harmed.
fn dead_letter(ground: &Ground<'_>) -> Result<Effects, String> {
    if ground.is_volatile() {
        return Ok(vec!["volatile: no dead letters".into()]);
    }
    let mut bench = ground.feed(|at, bench| {
        if at == 1 {
            for _ in 0..2 {
                bench.fault(Fault::Fail("failed, because the test said so".into()));
            }
        }
        Ok(())
    })?;
    let letters = bench.letters()?;
    if letters.len() != 1 {
        return Err(format!("{} dead letters, not one", letters.len()));
    }
    bench.effects()
}

fn timers(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.feed(|_, _| Ok(()))?;
    bench.advance(DAY)?;
    let status = bench.status()?;
    if status.panics + status.failures > 0 {
        return Err(format!("{} fires failed", status.failures));
    }
    bench.effects()
}

fn gap(ground: &Ground<'_>) -> Result<Effects, String> {
    if !ground.module.description().accepts_gap {
        return Ok(vec!["takes no gaps".into()]);
    }
    let mut bench = ground.feed(|_, _| Ok(()))?;
    let Some(feed) = ground.suite.feed.first() else {
        return Err("there is nothing to feed".into());
    };
    bench.gap(&feed.key, TIME_MIN, TIME_MAX)?;
    let status = bench.status()?;
    if status.panics > 0 || status.failures > 0 {
        return Err("the gap failed".into());
    }
    bench.effects()
}

/// A bucket whose columns the plugin has never seen: it may fail, but not panic.
fn odd_rows(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.bench();
    bench.entry.on = Vec::new();
    let schema = Schema::new(vec![ColumnDef::new("Odd", ColumnType::U8)]);
    let schema = schema.map_err(|error| error.to_string())?;
    let times = Column::from_values(vec![60_000_000_000_i64]);
    let rows = ColumnBatch::new(schema, times, vec![Column::from_values(vec![7_u8])]);
    bench.feed(&Feed {
        key: parse_key("ODD/1Min/ODD")?,
        kind: RowKind::Bar,
        rows: rows.map_err(|error| error.to_string())?,
    })?;
    let status = bench.status()?;
    if status.panics > 0 {
        return Err("it panicked at rows without the columns it knows; answer with Skip".into());
    }
    bench.effects()
}

fn dropped(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.feed(|_, _| Ok(()))?;
    let Some(feed) = ground.suite.feed.first() else {
        return Err("there is nothing to feed".into());
    };
    bench.drop_bucket(&feed.key)?;
    let status = bench.status()?;
    if status.panics > 0 || status.failures > 0 {
        return Err("it failed when it was told that a bucket is gone".into());
    }
    bench.effects()
}

/// A worker or source runs to its end.
fn ends(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.bench();
    bench.until_ended(ground.suite.patience)?;
    bench.effects()
}

/// One that has ended has nothing left to do after a restart.
fn ends_again(ground: &Ground<'_>) -> Result<Effects, String> {
    let mut bench = ground.bench();
    bench.until_ended(ground.suite.patience)?;
    bench.restart_ended(ground.suite.patience)?;
    ground.same_as_plain(&mut bench, "restart")
}

/// The power goes on the way, and it runs to its end after that.
fn cuts(ground: &Ground<'_>) -> Result<Effects, String> {
    let patience = ground.suite.patience;
    let mut bench = ground.bench();
    let id = bench.id.clone();
    bench.start()?;
    let (base, disks) = bench.recorded(|bench| bench.until_ended(patience))?;
    let mut last = Vec::new();
    for cut in 0..CUTS {
        let mut bench = ground.bench().named(&id);
        bench.cut_at(&disks, base, cut * disks.len() / CUTS, true)?;
        bench.until_ended(patience)?;
        last = ground.same_as_plain(&mut bench, "power cut")?;
    }
    Ok(last)
}
