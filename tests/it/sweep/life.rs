//! One life, every state on the way kept.

use std::sync::Arc;

use disk::SimDisk;
use tests::oracle::life::{open, step, summary};
use tests::oracle::{State, Step};

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
        // Its write and its sync are among the calls that are crashed and fail.
        let log = engine::log_frames(&disk, &mut |_| Ok(())).expect("it is readable");
        assert!(log.log.closed, "an orderly stop marks the end of the log");
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
