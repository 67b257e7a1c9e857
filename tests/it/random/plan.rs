//! What happens in the life of a seed.

use std::io::ErrorKind;

use tests::oracle::script::Drawer;
use tests::oracle::{State, Step};
use tests::rng::Rng;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// To the store.
    Step(Step),
    /// The machine or the process ends after so many more calls (or at once, if they do not come),
    /// and what is left is opened.
    Crash { after: u64, kind: Crash },
    /// The same, and the recovery ends after so many calls, too.
    DoubleCrash { after: u64, again: u64, kind: Crash },
    /// The sync after so many fails, later ones report success.
    FailSync(u64),
    /// The call after so many fails.
    FailCall(u64, ErrorKind),
    /// So many more bytes fit.
    Full(u64),
    /// Everything fits again.
    Heal,
    /// The wall clock is changed by so many seconds.
    Clock(i64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Crash {
    Power,
    Process,
}

/// The operations of a seed, 60 to 160. Weights differ by seed: one has only writes and crashes,
/// another mostly merges.
pub(super) fn plan(seed: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed ^ 0x9e37);
    let mut drawer = Drawer::new(seed);
    let mut state = State::default();
    let faults = rng.below(30);
    let mut ops = Vec::new();
    for _ in 0..60 + rng.below(100) {
        if rng.below(100) < faults {
            ops.push(fault(&mut rng));
            continue;
        }
        let step = match rng.below(12) {
            0 => Step::Burst((0..4).map(|_| drawer.write()).collect()),
            _ => drawer.step_on(&state),
        };
        state.apply(&step);
        ops.push(Op::Step(step));
    }
    ops
}

fn fault(rng: &mut Rng) -> Op {
    let kind = match rng.below(3) {
        0 => Crash::Process,
        _ => Crash::Power,
    };
    // Half of the crashes soon: in the midst of the next step.
    let after = match rng.below(2) {
        0 => rng.below(8),
        _ => rng.below(80),
    };
    match rng.below(12) {
        0..=4 => Op::Crash { after, kind },
        5 | 6 => Op::DoubleCrash {
            after,
            again: rng.below(25),
            kind,
        },
        7 => Op::FailSync(rng.below(8)),
        8 => {
            let kinds = [
                ErrorKind::Other,
                ErrorKind::Interrupted,
                ErrorKind::StorageFull,
            ];
            Op::FailCall(rng.below(30), kinds[rng.below(3) as usize])
        }
        9 => Op::Full(rng.below(20_000)),
        10 => Op::Heal,
        _ => Op::Clock(rng.below(1 << 30) as i64 - (1 << 29)),
    }
}
