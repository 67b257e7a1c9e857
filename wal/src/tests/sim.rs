//! Many short lives of one log on a disk that crashes, fails and fills up (I3, I4, I11).
//!
//! `MKTS_SIM_SEEDS=n` runs more seeds; a failure names its seed, `MKTS_SIM_SEED=n` runs one.

use std::io::ErrorKind;

use disk::SimDisk;
use disk::sim::CallKind;

use super::model::{Model, recover};
use super::*;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    match number("MKTS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MKTS_SIM_SEEDS").unwrap_or(default),
    }
}

/// Plans what goes wrong in one life.
fn plan_fault(disk: &SimDisk, rng: &mut Rng) {
    const ERRORS: [ErrorKind; 3] = [
        ErrorKind::Other,
        ErrorKind::StorageFull,
        ErrorKind::NotFound,
    ];
    match rng.below(6) {
        0 | 1 => disk.crash_after(rng.below(60)),
        2 => disk.fail_sync_after(rng.below(12)),
        3 => disk.fail_after(rng.below(60), ERRORS[rng.below(3) as usize]),
        4 => disk.set_capacity(Some(
            disk.used_bytes() + rng.below(3) * 4096 + rng.below(4096),
        )),
        _ => {}
    }
}

fn one_seed(seed: u64, prepare_ahead: bool) {
    let mut rng = Rng::new(seed);
    let mut options = small_options();
    options.segment_bytes = 3072 + rng.below(4) * 1024;
    options.prepare_ahead = prepare_ahead;
    options.group_bytes_max = 1 << (9 + rng.below(6));
    let next_token = if rng.chance(2) { 0 } else { EQUAL_TOKENS };
    let mut model = Model {
        next_token,
        ..Model::default()
    };
    let mut disk = SimDisk::new(seed);
    for life in 0..8 {
        let story = format!("MKTS_SIM_SEED={seed}, life {life}");
        disk.set_capacity(None);
        let log;
        (disk, log) = recover(disk, &options, &mut model, &mut rng, &story);
        plan_fault(&disk, &mut rng);
        let outcomes = Outcomes::default();
        let wal = log.start(Box::new(outcomes.clone())).expect("start");
        for _ in 0..rng.below(25) {
            if !model.append(&wal, &outcomes, 1 + rng.below(6)) {
                break;
            }
            if rng.chance(6) && !model.release(&wal, &mut rng) {
                break;
            }
            // The helper may run into the crash while a reader is at work.
            if rng.chance(6) && !disk.crashed() && !prepare_ahead {
                model.check_reader(&wal);
            }
        }
        if wal.poisoned() {
            let late = wal.append(payload_of(0), 0);
            assert!(matches!(late, Err(WalError::Poisoned)), "{story}: {late:?}");
        }
        let _ = wal.close();
        disk = if rng.chance(3) {
            disk.restart()
        } else {
            disk.reopen()
        };
    }
}

#[test]
fn random_lives_lose_nothing_acknowledged_and_invent_nothing() {
    for seed in seeds(400) {
        one_seed(seed, false);
    }
}

/// The same with the helper thread: disk calls of two threads interleave as they like, so a seed
/// does not repeat exactly, but nothing may be lost in any order.
#[test]
fn lives_with_a_helper_thread_lose_nothing_either() {
    for seed in seeds(100) {
        one_seed(seed, true);
    }
}

/// One scripted life: several segments, groups of many sizes, a release in the middle.
fn script(disk: &SimDisk, options: &Options, model: &mut Model, story: &str) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok((log, _, frames)) = replay(&shared, options, model.from) else {
        return;
    };
    model.check(&frames, story);
    let outcomes = Outcomes::default();
    let wal = log.start(Box::new(outcomes.clone())).expect("start");
    for step in 0..24 {
        if !model.append(&wal, &outcomes, 1 + step % 5) {
            break;
        }
        if step == 12 {
            model.from = wal.durable_lsn();
            if wal.release(model.from).is_err() {
                break;
            }
        }
    }
    let _ = wal.close();
}

fn script_calls(options: &Options) -> Vec<disk::sim::Call> {
    let disk = SimDisk::new(0);
    script(&disk, options, &mut Model::default(), "no fault");
    disk.calls()
}

#[test]
fn a_crash_at_every_call_of_a_life_is_survived() {
    let options = small_options();
    let calls = script_calls(&options);
    assert!(
        calls
            .iter()
            .any(|call| call.kind == CallKind::Rename && !call.path.contains("tmp"))
    );
    assert!(
        calls
            .iter()
            .filter(|call| call.kind == CallKind::Create)
            .count()
            >= 3
    );
    for at in 0..calls.len() as u64 {
        for seed in 0..6 {
            let story = format!("crash at call {at}, seed {seed}");
            let mut model = Model::default();
            let disk = SimDisk::new(seed);
            disk.crash_after(at);
            script(&disk, &options, &mut model, &story);
            let disk = if seed == 0 {
                disk.restart()
            } else {
                disk.reopen()
            };
            let mut rng = Rng::new(seed + at);
            let (disk, log) = recover(disk, &options, &mut model, &mut rng, &story);
            drop(log);
            // The log goes on, and what it says next is kept as well.
            script(&disk, &options, &mut model, &story);
            recover(disk.reopen(), &options, &mut model, &mut rng, &story);
        }
    }
}

#[test]
fn an_error_at_every_call_of_a_life_poisons_or_passes_and_loses_nothing() {
    let options = small_options();
    for at in 0..script_calls(&options).len() as u64 {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let story = format!("{kind} at call {at}");
            let mut model = Model::default();
            let disk = SimDisk::new(at);
            disk.fail_after(at, kind);
            script(&disk, &options, &mut model, &story);
            let disk = if at % 2 == 0 {
                disk.restart()
            } else {
                disk.reopen()
            };
            recover(disk, &options, &mut model, &mut Rng::new(at), &story);
        }
    }
}

/// P7: the sync fails once and lies ever after; nothing may be acknowledged on such a promise.
#[test]
fn a_failed_sync_poisons_at_every_place() {
    let options = small_options();
    for at in 0.. {
        let disk = SimDisk::new(at);
        disk.create_dir_all("wal").unwrap();
        let mut model = Model::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, ..) = replay(&shared, &options, Lsn::ZERO).unwrap();
        disk.fail_sync_after(at);
        let outcomes = Outcomes::default();
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        let healthy = (0..10).all(|_| model.append(&wal, &outcomes, 3));
        assert_eq!(wal.poisoned(), !healthy);
        if healthy {
            assert!(at > 10, "some sync must have failed");
            return;
        }
        assert!(matches!(
            wal.append(payload_of(0), 0),
            Err(WalError::Poisoned)
        ));
        assert!(wal.flush().is_err());
        drop(wal);
        for next in [disk.restart(), disk.reopen()] {
            let mut expected = Model {
                certain: model.certain.clone(),
                ..Model::default()
            };
            expected.open.clone_from(&model.open);
            recover(
                next,
                &options,
                &mut expected,
                &mut Rng::new(at),
                "failed sync",
            );
        }
    }
}

/// The later half of a torn group survives, and the next life writes a frame that ends exactly
/// where it begins: it must stay cut, whether or not another crash comes in between.
#[test]
fn a_cut_frame_never_comes_back() {
    for crash_at in 0..12 {
        let disk = SimDisk::new(crash_at);
        let mut model = Model {
            next_token: EQUAL_TOKENS,
            ..Model::default()
        };
        let outcomes = Outcomes::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, ..) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        assert!(model.append(&wal, &outcomes, 3));
        let torn = wal.durable_lsn();
        assert!(model.append(&wal, &outcomes, 3));
        drop(wal);

        // As if the last group's sync had not returned: its first sector is lost.
        model.certain.truncate(3);
        let disk = disk.restart();
        disk.rot(&wal_path(0), |bytes| bytes[torn.0 as usize] ^= 1)
            .unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, found, frames) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
        assert_eq!((frames.len(), found.end), (3, torn));
        assert_eq!(found.cut_bytes, 3 * 152);
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        disk.crash_after(crash_at);
        model.append(&wal, &outcomes, 1);
        model.append(&wal, &outcomes, 1);
        drop(wal);
        let mut rng = Rng::new(crash_at);
        recover(
            disk.reopen(),
            &small_options(),
            &mut model,
            &mut rng,
            "after the cut",
        );
    }
}

fn wal_path(first: u64) -> String {
    segment::path_of(Lsn(first))
}

/// The engine replays from its checkpoint, a trigger reads from an older cursor: what it sees
/// must not depend on where the crash and the checkpoint fell.
#[test]
fn a_cursor_older_than_the_checkpoint_misses_nothing() {
    let options = Options {
        recycle_max: 0,
        ..small_options()
    };
    for crash_at in 0..60 {
        let story = format!("crash at {crash_at}");
        let mut model = Model {
            next_token: LONG_TOKENS,
            ..Model::default()
        };
        let disk = SimDisk::new(crash_at);
        let outcomes = Outcomes::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, ..) = replay(&shared, &options, Lsn::ZERO).unwrap();
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        disk.crash_after(crash_at);
        while model.append(&wal, &outcomes, 1) {}
        drop(wal);

        let disk = if crash_at % 2 == 0 {
            disk.reopen()
        } else {
            disk.restart()
        };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (_, found, frames) = replay(&shared, &options, Lsn::ZERO).unwrap();
        model.check(&frames, &story);
        model.next_token = 0;
        // Twice, so that a checkpoint also falls behind what the first of them appended.
        let mut checkpoint = found.end;
        for _ in 0..2 {
            let (log, ..) = replay(&shared, &options, checkpoint).unwrap();
            let outcomes = Outcomes::default();
            let wal = log.start(Box::new(outcomes.clone())).unwrap();
            // Into the next segment, so that readers jump.
            assert!((0..30).all(|_| model.append(&wal, &outcomes, 1)), "{story}");
            model.check_reader(&wal);
            checkpoint = wal.durable_lsn();
        }
    }
}
