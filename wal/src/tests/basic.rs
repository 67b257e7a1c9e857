//! Behaviour without faults.

use std::time::Duration;

use disk::sim::CallKind;
use disk::{OsDisk, SimDisk};

use super::model::Model;
use super::*;

fn start(disk: &Arc<dyn Disk>, options: &Options) -> (Wal<u64>, Outcomes) {
    let (log, ..) = replay(disk, options, Lsn::ZERO).unwrap();
    let outcomes = Outcomes::default();
    (log.start(Box::new(outcomes.clone())).unwrap(), outcomes)
}

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    (disk.clone(), Arc::new(disk))
}

#[test]
fn commits_come_back_in_order_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).unwrap());
    let options = Options {
        segment_bytes: 8192,
        ..Options::default()
    };
    let mut model = Model::default();
    for round in 0..4 {
        let (log, recovered, frames) = replay(&disk, &options, Lsn::ZERO).unwrap();
        model.check(&frames, &format!("round {round}"));
        assert_eq!((recovered.quarantined.len(), recovered.cut_bytes), (0, 0));
        let outcomes = Outcomes::default();
        let wal = log.start(Box::new(outcomes.clone())).unwrap();
        for _ in 0..20 {
            assert!(model.append(&wal, &outcomes, 5));
        }
        model.check_reader(&wal);
        wal.close().unwrap();
    }
}

#[test]
fn a_thousand_queued_commits_are_one_write_and_one_sync() {
    let (disk, shared) = sim();
    let options = Options {
        segment_bytes: 1 << 20,
        prepare_ahead: false,
        ..Options::default()
    };
    let (wal, outcomes) = start(&shared, &options);
    wal.append(payload_of(0), 0).unwrap();
    wal.flush().unwrap();
    let before = disk.call_count();
    wal.append_all((1..=1000).map(|token| (payload_of(token), token)).collect())
        .unwrap();
    wal.flush().unwrap();
    let calls = disk.calls().split_off(before as usize);
    let kinds: Vec<CallKind> = calls.iter().map(|call| call.kind).collect();
    assert_eq!(kinds, [CallKind::Write, CallKind::Sync]);
    assert_eq!(outcomes.take().len(), 1001);
}

/// The sink holds the committer as a slow sync would, while others append.
#[test]
fn appends_that_arrive_during_a_commit_share_the_next_sync() {
    struct Gate(Outcomes, crossbeam_channel::Receiver<()>);
    impl Sink<u64> for Gate {
        fn durable(&mut self, group: Vec<Committed<u64>>) {
            let first = group[0].token == 0;
            self.0.durable(group);
            if first {
                self.1.recv().unwrap();
            }
        }
        fn failed(&mut self, tokens: Vec<u64>, error: &WalError) {
            self.0.failed(tokens, error);
        }
    }
    let (disk, shared) = sim();
    let options = Options {
        segment_bytes: 1 << 20,
        prepare_ahead: false,
        ..Options::default()
    };
    let (log, ..) = replay(&shared, &options, Lsn::ZERO).unwrap();
    let (open_gate, gate) = crossbeam_channel::bounded(1);
    let outcomes = Outcomes::default();
    let wal = log.start(Box::new(Gate(outcomes.clone(), gate))).unwrap();
    let syncs = || {
        disk.calls()
            .iter()
            .filter(|call| call.kind == CallKind::Sync)
            .count()
    };
    wal.append(payload_of(0), 0).unwrap();
    while outcomes.0.lock().is_empty() {
        std::thread::yield_now();
    }
    let before = syncs();
    std::thread::scope(|scope| {
        for writer in 1..=64_u64 {
            let wal = &wal;
            scope.spawn(move || wal.append(payload_of(writer), writer).unwrap());
        }
    });
    open_gate.send(()).unwrap();
    wal.flush().unwrap();
    assert_eq!(outcomes.take().len(), 65);
    assert_eq!(syncs() - before, 1);
}

#[test]
fn an_interval_syncs_when_told_and_makes_nothing_visible_before() {
    let (_, shared) = sim();
    let sync = SyncMode::Interval(Duration::from_secs(3600));
    let (wal, outcomes) = start(
        &shared,
        &Options {
            sync,
            ..small_options()
        },
    );
    wal.append(payload_of(0), 0).unwrap();
    wal.flush().unwrap();
    outcomes.take();
    for token in 1..4 {
        wal.append(payload_of(token), token).unwrap();
    }
    let durable = wal.durable_lsn();
    assert!(outcomes.take().is_empty());
    wal.flush().unwrap();
    assert!(wal.durable_lsn() > durable);
    assert_eq!(outcomes.take().len(), 3);
    wal.append(payload_of(4), 4).unwrap();
    wal.close().unwrap();
    assert_eq!(outcomes.take().len(), 1, "close commits what is queued");
}

#[test]
fn too_large_a_payload_is_refused_and_the_largest_fits() {
    let (_, shared) = sim();
    let (wal, outcomes) = start(&shared, &small_options());
    let limit = wal.payload_bytes_max() as usize;
    let refused = wal.append(Payload::new(1, 0, 0, vec![1; limit + 1].into()), 0);
    assert!(matches!(refused, Err(WalError::TooLarge { bytes, limit }) if bytes == limit + 1));
    for token in 0..3 {
        wal.append(Payload::new(1, 0, 0, vec![1; limit].into()), token)
            .unwrap();
    }
    wal.flush().unwrap();
    assert!(outcomes.take().iter().all(|(_, outcome)| outcome.is_ok()));
    let mut reader = wal.reader(Lsn::ZERO);
    for _ in 0..3 {
        assert_eq!(reader.next_frame().unwrap().unwrap().payload.len(), limit);
    }
}

#[test]
fn a_full_disk_fails_commits_until_there_is_space_again() {
    let (disk, shared) = sim();
    let (wal, outcomes) = start(&shared, &small_options());
    let mut model = Model::default();
    model.append(&wal, &outcomes, 1);
    disk.set_capacity(Some(disk.used_bytes()));
    let mut refused = 0;
    for token in 1000..1100 {
        wal.append(payload_of(token), token).unwrap();
        wal.flush().unwrap();
        let outcome = outcomes.take().remove(0).1;
        refused += usize::from(matches!(outcome, Err(WalError::DiskFull)));
    }
    assert!(refused > 0);
    assert!(!wal.poisoned());
    disk.set_capacity(None);
    wal.append(payload_of(1), 1).unwrap();
    wal.flush().unwrap();
    assert!(outcomes.take()[0].1.is_ok());
}

#[test]
fn a_full_disk_keeps_accepted_commits_in_interval_mode() {
    let (disk, shared) = sim();
    let sync = SyncMode::Interval(Duration::ZERO);
    let (wal, outcomes) = start(
        &shared,
        &Options {
            sync,
            ..small_options()
        },
    );
    wal.append(payload_of(0), 0).unwrap();
    wal.flush().unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let mut accepted = 1;
    while wal.append(payload_of(accepted), accepted).is_ok() {
        accepted += 1;
        let _ = wal.flush();
    }
    disk.set_capacity(None);
    while wal.flush().is_err() {
        std::thread::yield_now();
    }
    let outcomes = outcomes.take();
    assert_eq!(outcomes.len() as u64, accepted);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn released_segments_are_used_again_and_old_positions_refused() {
    let (disk, shared) = sim();
    let (wal, outcomes) = start(&shared, &small_options());
    let mut model = Model::default();
    let mut slow = wal.reader(Lsn::ZERO);
    slow.next_frame().unwrap();
    for _ in 0..200 {
        assert!(model.append(&wal, &outcomes, 4));
        model.from = wal.durable_lsn();
        wal.release(model.from).unwrap();
    }
    let created = disk
        .calls()
        .iter()
        .filter(|call| call.kind == CallKind::Create)
        .count();
    assert!(
        created <= 4,
        "{created} files were made for some hundred segments"
    );
    assert!(disk.list("wal").unwrap().len() <= 4);
    let mut old = wal.reader(Lsn(64));
    assert!(matches!(old.next_frame(), Err(WalError::Released { .. })));
    assert!(wal.reader(wal.oldest()).next_frame().is_ok());
}

#[test]
fn a_reader_follows_the_growing_log() {
    let (_, shared) = sim();
    let (wal, _outcomes) = start(&shared, &small_options());
    let mut reader = wal.reader(Lsn::ZERO);
    assert_eq!(reader.next_frame().unwrap(), None);
    for token in 0..200 {
        wal.append(payload_of(token), token).unwrap();
        wal.flush().unwrap();
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(token_of(&frame), token);
        assert_eq!(reader.next_frame().unwrap(), None);
        assert_eq!(reader.position(), wal.durable_lsn());
    }
}

#[test]
fn a_panic_in_the_sink_poisons_instead_of_blocking_writers() {
    struct Panics;
    impl Sink<u64> for Panics {
        fn durable(&mut self, _: Vec<Committed<u64>>) {
            std::panic::resume_unwind(Box::new("the sink fails"));
        }
        fn failed(&mut self, _: Vec<u64>, _: &WalError) {}
    }
    let (_, shared) = sim();
    let (log, ..) = replay(&shared, &small_options(), Lsn::ZERO).unwrap();
    let wal = log.start(Box::new(Panics)).unwrap();
    wal.append(payload_of(0), 0).unwrap();
    assert!(matches!(wal.flush(), Err(WalError::Poisoned)));
    assert!(matches!(
        wal.append(payload_of(1), 1),
        Err(WalError::Poisoned)
    ));
    assert!(wal.close().is_err());
}

#[test]
fn a_log_of_another_store_is_refused() {
    let (_, shared) = sim();
    let (wal, _outcomes) = start(&shared, &small_options());
    wal.append(payload_of(0), 0).unwrap();
    wal.close().unwrap();
    let clock = Arc::new(ManualClock::new(1));
    let other = open::<WalError>(
        shared,
        clock,
        [9; 16],
        small_options(),
        Lsn::ZERO,
        &mut |_| Ok(()),
    );
    let Err(WalError::Corrupt { file, what, .. }) = other else {
        panic!("must be refused")
    };
    assert!(file.ends_with(".wal") && what.contains("another store"));
}
