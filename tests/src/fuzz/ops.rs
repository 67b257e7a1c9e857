//! A life of a store, written in bytes: each byte is a step or a fault.

use disk::SimDisk;
use disk::sim::Keep;

use crate::oracle::script::Drawer;
use crate::oracle::{State, life};

const STEPS_MAX: usize = 40;

/// The first byte is the seed of rows. A byte below 192 is the next step drawn; others crash after
/// so many calls (the low four bits) of the next step, and bits 4 and 5 say what a power cut leaves.
pub(super) fn ops(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else {
        return;
    };
    let mut drawer = Drawer::new(u64::from(*seed));
    let mut disk = SimDisk::new(u64::from(*seed));
    let mut engine = None;
    let mut states = vec![State::default()];
    for (number, byte) in data.iter().take(STEPS_MAX).enumerate() {
        // The byte takes part in what is drawn, so that a fuzzer can steer.
        drawer.stir(u64::from(*byte));
        let step = drawer.step_on(&states[0]);
        let crash = *byte >= 192;
        if engine.is_none() {
            engine = Some(life::open(&disk).expect("a sound disk opens").0);
        }
        if crash {
            disk.crash_after(u64::from(byte & 15));
        }
        match life::step(&disk, &mut engine, &step) {
            Ok(()) => states.iter_mut().for_each(|state| state.apply(&step)),
            Err(_) => states = states.iter().flat_map(|s| s.outcomes(&step)).collect(),
        }
        if crash {
            disk.crash();
            drop(engine.take());
            disk = survive(&disk, byte >> 4 & 3);
            let (opened, _) = life::open(&disk).expect("what a crash left opens");
            let found = State::read(&opened).expect("rows are readable");
            assert!(
                states.contains(&found),
                "step {number}: {}",
                found.difference(&states[0])
            );
            states = vec![found];
            engine = Some(opened);
        }
    }
    if let Some(engine) = engine {
        let found = State::read(&engine).expect("rows are readable");
        assert!(states.contains(&found), "{}", found.difference(&states[0]));
    }
}

fn survive(disk: &SimDisk, how: u8) -> SimDisk {
    let count = disk.unsynced().len();
    let kept = |step: usize| (0..count).step_by(step).map(|i| (i, Keep::Whole));
    match how {
        0 => disk.restart(),
        1 => disk.reopen_with(&[]),
        2 => disk.reopen_with(&kept(1).collect::<Vec<_>>()),
        _ => disk.reopen(),
    }
}
