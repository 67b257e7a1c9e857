//! One store on the simulated disk, living a script.

use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use engine::{Engine, Error, NoHook, Options, Recovery};
use tests::oracle::{State, Step};

/// Small files, and no thread that calls the disk when it likes: a run repeats call by call.
fn options() -> Options {
    Options {
        wal_segment_bytes: 8 << 10,
        frame_bytes_max: 4 << 10,
        merge: false,
        prepare_ahead: false,
        ..Options::default()
    }
}

pub(super) fn open(disk: &SimDisk) -> Result<(Engine, Recovery), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    Engine::open_on(disk, clock, options(), Arc::new(NoHook))
}

/// Runs one step, replacing the engine where the step says so.
pub(super) fn step(disk: &SimDisk, engine: &mut Option<Engine>, step: &Step) -> Result<(), Error> {
    match step {
        Step::Reopen => drop(engine.take()),
        Step::Restart => {
            let closed = engine.take().map_or(Ok(()), |engine| engine.close());
            if let Err(error) = closed {
                *engine = Some(open(disk)?.0);
                return Err(error);
            }
        }
        _ => {}
    }
    let running = match engine {
        Some(running) => running,
        None => engine.insert(open(disk)?.0),
    };
    match step {
        Step::Reopen | Step::Restart => Ok(()),
        step => step.run(running),
    }
}

/// A run without faults, every state on the way kept.
pub(super) struct Recorded {
    /// The disk before each call.
    pub(super) disks: Vec<SimDisk>,
    /// What may be found in the disk before that call.
    pub(super) allowed: Vec<Arc<Vec<State>>>,
    /// What the call does, and in which step.
    pub(super) calls: Vec<String>,
}

impl Recorded {
    pub(super) fn run(script: &[Step]) -> Self {
        let disk = SimDisk::new(1);
        disk.record();
        let mut engine = Some(open(&disk).expect("an empty disk opens").0);
        let mut state = State::default();
        let mut steps = Vec::new();
        let mut allowed = Vec::new();
        let mut grow = |upto: u64, states: Vec<State>, name: String| {
            let states = Arc::new(states);
            while allowed.len() < upto as usize {
                allowed.push(states.clone());
                steps.push(name.clone());
            }
        };
        // The call that begins a step has done nothing yet, the one after its end all of it.
        grow(
            disk.call_count() + 1,
            vec![state.clone()],
            "open".to_owned(),
        );
        for (index, each) in script.iter().enumerate() {
            let outcomes = state.outcomes(each);
            step(&disk, &mut engine, each).unwrap_or_else(|e| panic!("step {index}: {e}"));
            state.apply(each);
            let name = format!("step {index} ({})", summary(each));
            grow(disk.call_count(), outcomes, name);
            grow(
                disk.call_count() + 1,
                vec![state.clone()],
                "between steps".to_owned(),
            );
            let found = State::read(engine.as_ref().expect("it runs")).expect("rows are readable");
            assert_eq!(found, state, "{}", found.difference(&state));
        }
        let outcomes = vec![state.clone()];
        let closed = engine.take().expect("it runs").close();
        closed.expect("a clean stop");
        grow(disk.call_count() + 1, outcomes, "close".to_owned());
        let calls = disk.calls();
        let call = |(index, step): (usize, String)| match calls.get(index) {
            Some(call) => format!(
                "before call {index} of {step}: {:?} {}",
                call.kind, call.path
            ),
            None => "after the last call".to_owned(),
        };
        let calls = steps.into_iter().enumerate().map(call).collect();
        let disks = disk.recorded();
        assert_eq!(disks.len(), allowed.len());
        Self {
            disks,
            allowed,
            calls,
        }
    }
}

pub(super) fn summary(step: &Step) -> String {
    match step {
        Step::Write(parts) => {
            let keys: Vec<String> = parts.iter().map(|part| part.key.to_string()).collect();
            format!("write {}", keys.join(" "))
        }
        other => {
            let text = format!("{other:?}");
            let end = text.find(['(', '{']).unwrap_or(text.len());
            text[..end].trim().to_lowercase()
        }
    }
}

/// Opens what a fault left and compares; then the store must go on, and opening it once more
/// after yet another power cut must change nothing.
pub(super) fn check(disk: &SimDisk, allowed: &[State], context: &str) {
    let (engine, recovery) = open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert!(
        recovery.quarantined.is_empty(),
        "{context}: a crash is no damage: {:?}",
        recovery.quarantined
    );
    let mut found = State::read(&engine).unwrap_or_else(|e| panic!("{context}: {e}"));
    if !allowed.contains(&found) {
        let last = allowed.last().expect("something is allowed");
        panic!(
            "{context}: rows lost, doubled or invented (found against wanted): {}",
            found.difference(last)
        );
    }
    let probe = Step::Write(vec![tests::oracle::script::probe()]);
    probe
        .run(&engine)
        .unwrap_or_else(|e| panic!("{context}: writing on: {e}"));
    found.apply(&probe);
    disk.crash();
    drop(engine);
    let (engine, _) = open(&disk.reopen_with(&[])).unwrap_or_else(|e| panic!("{context}: {e}"));
    let again = State::read(&engine).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(
        again,
        found,
        "{context}: opened again: {}",
        again.difference(&found)
    );
}
