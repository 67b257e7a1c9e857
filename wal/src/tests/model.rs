//! What a log may contain after a crash: a list to compare with.

use std::sync::Arc;

use disk::{Disk, SimDisk};

use super::*;

/// The truth about one log over many lives.
#[derive(Default)]
pub(crate) struct Model {
    /// In the log for certain: acknowledged, or seen by a recovery.
    pub(crate) certain: Vec<(u64, Lsn)>,
    /// Appended after that without an acknowledgement, in order; a prefix may be in the log.
    pub(crate) open: Vec<u64>,
    /// Everything below is durable and no longer needed.
    pub(crate) from: Lsn,
    pub(crate) next_token: u64,
}

impl Model {
    /// Compares a replay with what is allowed, and takes it as the truth from now on.
    pub(crate) fn check(&mut self, frames: &[(u64, Lsn)], story: &str) {
        self.certain.retain(|(_, lsn)| *lsn >= self.from);
        let known = self.certain.len();
        assert!(
            frames.len() >= known,
            "{story}: lost {:?}",
            &self.certain[frames.len()..]
        );
        assert_eq!(
            frames[..known],
            self.certain[..],
            "{story}: acknowledged commits differ"
        );
        let more: Vec<u64> = frames[known..].iter().map(|(token, _)| *token).collect();
        assert!(
            self.open.starts_with(&more),
            "{story}: {more:?} is no prefix of {:?}",
            self.open
        );
        self.certain = frames.to_vec();
        self.open.clear();
    }

    /// Appends some commits as one group and notes what became of them. False: the log has
    /// failed.
    pub(crate) fn append(&mut self, wal: &Wal<u64>, outcomes: &Outcomes, count: u64) -> bool {
        let tokens: Vec<u64> = (self.next_token..self.next_token + count).collect();
        self.next_token += count;
        let commits = tokens
            .iter()
            .map(|token| (payload_of(*token), *token))
            .collect();
        let accepted = wal.append_all(commits);
        let flushed = wal.flush();
        let mut healthy = accepted.is_ok() && flushed.is_ok();
        if accepted.is_ok() {
            self.open.extend(&tokens);
        }
        for (token, outcome) in outcomes.take() {
            match outcome {
                Ok((lsn, end)) => {
                    assert!(end <= wal.durable_lsn());
                    assert_eq!(self.open.first(), Some(&token), "acknowledged in order");
                    self.open.remove(0);
                    self.certain.push((token, lsn));
                }
                Err(WalError::DiskFull) => self.open.retain(|open| *open != token),
                Err(_) => healthy = false,
            }
        }
        assert!(
            self.open.is_empty() || !healthy,
            "every commit has an outcome after a flush"
        );
        healthy
    }

    /// Moves the checkpoint to a random mark and gives the log below it back.
    pub(crate) fn release(&mut self, wal: &Wal<u64>, rng: &mut Rng) -> bool {
        let index = rng.below(self.certain.len() as u64 + 1) as usize;
        let mark = self
            .certain
            .get(index)
            .map_or(wal.durable_lsn(), |(_, lsn)| *lsn);
        self.from = self.from.max(mark);
        wal.release(self.from).is_ok()
    }

    /// A reader sees exactly what is certain.
    pub(crate) fn check_reader(&self, wal: &Wal<u64>) {
        let mut reader = wal.reader(self.from);
        for (token, lsn) in self.certain.iter().filter(|(_, lsn)| *lsn >= self.from) {
            let frame = reader.next_frame().expect("read").expect("a durable frame");
            assert_eq!((token_of(&frame), frame.lsn), (*token, *lsn));
        }
        assert_eq!(reader.next_frame().expect("read"), None);
    }
}

/// Opens after a crash, with further crashes on the way (a drawn number of calls apart), and
/// checks that the recovery that gets through can be repeated.
pub(crate) fn recover(
    mut disk: SimDisk,
    options: &Options,
    model: &mut Model,
    rng: &mut Rng,
    story: &str,
) -> (SimDisk, Log) {
    for _ in 0..rng.below(3) {
        disk.crash_after(rng.below(4));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        // Whether it got through or not: what it has done so far must not matter.
        let _ = replay(&shared, options, model.from);
        disk = if rng.chance(3) {
            disk.restart()
        } else {
            disk.reopen()
        };
    }
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, first, frames) = replay(&shared, options, model.from).expect(story);
    assert_eq!(first.quarantined, [], "{story}: a crash is not damage");
    model.check(&frames, story);
    drop(log);
    if rng.chance(4) {
        // A checkpoint behind the start.
        model.from = first.end;
        model.certain.clear();
    }
    // What recovery has shown is promised from here on: a power cut must not take it back.
    let disk = if rng.chance(2) { disk.reopen() } else { disk };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, second, again) = replay(&shared, options, model.from).expect(story);
    let (certain, end) = (&model.certain, first.end);
    assert_eq!(
        (&again, second.end),
        (certain, end),
        "{story}: recovered twice"
    );
    (disk, log)
}
