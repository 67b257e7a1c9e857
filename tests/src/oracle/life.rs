//! A store on the simulated disk, living a script.

use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use engine::{Engine, Error, NoHook, Options, Recovery};

use super::{State, Step, script};

/// Small files, and no thread that calls the disk when it likes: a run repeats call by call.
pub fn options() -> Options {
    Options {
        wal_segment_bytes: 8 << 10,
        frame_bytes_max: 4 << 10,
        merge: false,
        prepare_ahead: false,
        checkpoint_before_serving: true,
        ..Options::default()
    }
}

/// Opens the store of this disk.
///
/// # Errors
/// As [`Engine::open_on`].
pub fn open(disk: &SimDisk) -> Result<(Engine, Recovery), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    Engine::open_on(disk, clock, options(), Arc::new(NoHook))
}

/// Runs one step, replacing the engine where the step says so.
///
/// # Errors
/// Whatever keeps the step from being acknowledged.
pub fn step(disk: &SimDisk, engine: &mut Option<Engine>, step: &Step) -> Result<(), Error> {
    step_with(&|| Ok(open(disk)?.0), engine, step)
}

/// The same wherever the store is.
///
/// # Errors
/// Whatever keeps the step from being acknowledged.
pub fn step_with(
    open: &dyn Fn() -> Result<Engine, Error>,
    engine: &mut Option<Engine>,
    step: &Step,
) -> Result<(), Error> {
    match step {
        Step::Reopen => drop(engine.take()),
        Step::Restart => {
            let closed = engine.take().map_or(Ok(()), |engine| engine.close());
            if let Err(error) = closed {
                *engine = Some(open()?);
                return Err(error);
            }
        }
        _ => {}
    }
    let running = match engine {
        Some(running) => running,
        None => engine.insert(open()?),
    };
    match step {
        Step::Reopen | Step::Restart => Ok(()),
        step => step.run(running),
    }
}

/// Opens what a fault left and compares; then the store must go on, and opening it once more
/// after yet another power cut must change nothing.
///
/// # Panics
/// If any of that is not so.
pub fn check(disk: &SimDisk, allowed: &[State], context: &str) {
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
    let probe = Step::Write(vec![script::probe()]);
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

/// The step in a few words.
pub fn summary(step: &Step) -> String {
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

/// Small files, and every thread at work: for stores that are killed from outside.
pub fn busy_options() -> Options {
    Options {
        wal_segment_bytes: 32 << 10,
        frame_bytes_max: 8 << 10,
        tail_bytes_max: 4 << 10,
        ..Options::default()
    }
}
