//! I12: a stored cursor never passes a fire that has not returned.
//!
//! The book knows of every instance where it stands: its cursor and its last plugin commit, always
//! as a pair. A dispatcher moves its line only behind a finished window; a checkpoint writes the
//! lines to `plugins/_instances`; recovery reads them and replays the plugin commits behind them.
//! The book, not the host, is what the engine holds, so the two do not keep each other alive.
//!
//! The state of an instance belongs to its line: the changes of a plugin commit are applied in the
//! same moment as the line moves, here and nowhere else.
//!
//! I18: whoever moves a line names the epoch of its run, and a line follows the newest epoch only. A
//! run that was given up, and comes back to life behind its successor, moves nothing.
//!
//! A checkpoint may meet a plugin commit that is visible but whose dispatcher has not heard of it
//! yet. The log below the checkpoint is not replayed, so the checkpoint looks it up in the log.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use disk::{Clock, Disk};
use engine::{Commit, DeleteRange, Engine, Error, Lsn, Origin, Ticket};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::checkpoint::Files;
use crate::entry::WAL_HOLD;
use crate::instances::{FLAG_BEHIND, FLAG_INCOMPLETE, Record};
use crate::overflow::Hold;
use crate::section::{Change, Section, encode};
use crate::state::SharedTable;

/// Log kept beyond `wal_hold` for one that was told and has not answered.
const GRACE_BYTES: u64 = 256 << 20;

/// Where every instance stands.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) lines: Mutex<Vec<Line>>,
    /// With `lines`: a commit in flight has landed or failed.
    landed: Condvar,
    /// Held over a checkpoint; taken before `lines`.
    pub(crate) files: Mutex<Files>,
    pub(crate) disk: OnceLock<Arc<dyn Disk>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Between start and stop of the host.
    engine: Mutex<Option<Engine>>,
    /// When the engine was lent (wall clock, ns).
    lent: AtomicI64,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) record: Record,
    /// How much log is kept behind the cursor.
    pub(crate) hold: Hold,
    /// Set by a checkpoint that would let go of log which is not fired yet. The dispatcher has the
    /// other end while it runs.
    over: Arc<AtomicBool>,
    /// Its next start is that of a new instance.
    is_anew: bool,
    /// Why replay could not follow the instance's commits, or its state cannot be read.
    pub(crate) broken: Option<String>,
    /// Whether its `state.snap` is there and cannot be used.
    pub(crate) state_lost: bool,
    pub(crate) table: SharedTable,
    /// Version of the table that `state.snap` has.
    pub(crate) snapped: u64,
    in_flight: Option<InFlight>,
}

/// A plugin commit handed to the engine.
#[derive(Debug, Clone)]
struct InFlight {
    /// The commit is not below.
    base: Lsn,
    /// Where the cursor will be.
    cursor: Lsn,
    changes: Arc<[Change]>,
}

impl InFlight {
    fn is(&self, other: &Self) -> bool {
        (self.base, self.cursor) == (other.base, other.cursor)
    }
}

/// What is known of an instance at its start.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Of this start.
    pub(crate) epoch: u64,
    /// `None` for a new instance.
    pub(crate) cursor: Option<Lsn>,
    /// Why its state is incomplete.
    pub(crate) broken: Option<String>,
    /// Whether there is state that the break may have made wrong: reading rows again mends the
    /// rest, not that.
    pub(crate) has_wrong_state: bool,
    pub(crate) table: SharedTable,
    /// Whether it fell too far behind and was not enabled since.
    pub(crate) fell_behind: bool,
    /// See [`Line`].
    pub(crate) over: Arc<AtomicBool>,
}

impl Book {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            lines: Mutex::default(),
            landed: Condvar::new(),
            files: Mutex::default(),
            disk: OnceLock::new(),
            clock,
            engine: Mutex::default(),
            lent: AtomicI64::default(),
        }
    }

    /// Lends the engine for checkpoints; `None` takes it back.
    pub(crate) fn lend(&self, engine: Option<Engine>) {
        self.lent.store(self.clock.now_ns(), Relaxed);
        *self.engine.lock() = engine;
    }

    /// Begins a run of an instance: the runs before it move nothing any more. A new one gets its line
    /// with its first plugin commit.
    pub(crate) fn start(&self, origin: Origin, id: &str, hold: impl Into<Hold>) -> Recovered {
        let hold = hold.into();
        let mut lines = self.lines.lock();
        self.wait_landed(&mut lines, origin);
        let Some(line) = find(&mut lines, origin) else {
            let line = Line::new(origin, id, hold);
            let (table, over) = (Arc::clone(&line.table), Arc::clone(&line.over));
            lines.push(line);
            return Recovered {
                epoch: 1,
                cursor: None,
                broken: None,
                has_wrong_state: false,
                table,
                fell_behind: false,
                over,
            };
        };
        line.record.id = id.into();
        line.record.epoch += 1;
        line.hold = match line.record.flags & FLAG_BEHIND {
            0 => hold,
            _ => Hold::NONE,
        };
        line.over = Arc::default();
        let is_anew = std::mem::take(&mut line.is_anew);
        Recovered {
            epoch: line.record.epoch,
            cursor: line.place().filter(|_| !is_anew),
            broken: line.broken.clone(),
            has_wrong_state: line.broken.is_some()
                && (line.state_lost || !line.table.read().has_no_values()),
            table: Arc::clone(&line.table),
            fell_behind: line.record.flags & FLAG_BEHIND != 0,
            over: Arc::clone(&line.over),
        }
    }

    /// The epoch of an instance that begins anew while the host runs; who has an older one moves
    /// nothing any more.
    pub(crate) fn restart(&self, origin: Origin) -> u64 {
        let mut lines = self.lines.lock();
        self.wait_landed(&mut lines, origin);
        let line = find(&mut lines, origin).expect("a running instance has a line");
        line.record.epoch += 1;
        line.record.epoch
    }

    /// What is in flight of an instance decides where the next run begins.
    pub(crate) fn wait_landed(&self, lines: &mut MutexGuard<'_, Vec<Line>>, origin: Origin) {
        while find(lines, origin).is_some_and(|line| line.in_flight.is_some()) {
            self.landed.wait(lines);
        }
    }

    /// Keeps as much log as `hold` says for an id. Lines of ids that no entry names any more stay,
    /// without log.
    pub(crate) fn hold<H: Into<Hold>>(&self, engine: &Engine, hold: impl Fn(&str) -> H) {
        for line in self.lines.lock().iter_mut() {
            if line.record.id.is_empty() {
                let name = engine.origin_name(Origin(line.record.origin));
                line.record.id = name.unwrap_or_default();
            }
            line.hold = match line.record.flags & FLAG_BEHIND {
                0 => hold(&line.record.id).into(),
                _ => Hold::NONE,
            };
        }
    }

    /// It is too far behind: it does not run until it is enabled, and no log is kept for it.
    pub(crate) fn fall_behind(&self, origin: Origin) {
        if let Some(line) = find(&mut self.lines.lock(), origin) {
            line.hold = Hold::NONE;
            line.record.flags |= FLAG_BEHIND;
        }
    }

    /// An instance is enabled: if it fell too far behind, it begins like a new one.
    pub(crate) fn forgive(&self, id: &str) {
        let mut lines = self.lines.lock();
        let behind = |line: &&mut Line| line.record.flags & FLAG_BEHIND != 0;
        let mut all = lines.iter_mut().filter(behind);
        if let Some(line) = all.find(|line| line.record.id == id) {
            line.is_anew = true;
        }
    }

    /// What a broken chain lost has been computed anew.
    pub(crate) fn mend(&self, origin: Origin) {
        if let Some(line) = find(&mut self.lines.lock(), origin) {
            line.broken = None;
            line.record.flags &= !FLAG_INCOMPLETE;
        }
    }

    /// LSN of the last plugin commit, 0 if there is none.
    #[cfg(test)]
    pub(crate) fn last_commit(&self, origin: Origin) -> u64 {
        find(&mut self.lines.lock(), origin).map_or(0, |line| line.record.last_commit)
    }

    /// Everything below `cursor` has been fired, without effects to commit.
    pub(crate) fn advance(&self, origin: Origin, epoch: u64, cursor: Lsn) -> Result<(), Error> {
        let mut lines = self.lines.lock();
        let line = find(&mut lines, origin).ok_or(Error::Closed)?;
        line.check_epoch(epoch)?;
        assert!(line.in_flight.is_none(), "one window at a time");
        assert!(cursor.0 >= line.record.cursor, "a cursor never goes back");
        line.record.cursor = cursor.0;
        Ok(())
    }

    /// Writes a plugin commit: rows, changes and cursor in one frame. On return it is visible, and
    /// its changes are applied.
    pub(crate) fn commit(
        &self,
        engine: &Engine,
        rows: Commit,
        epoch: u64,
        cursor: Lsn,
        changes: Arc<[Change]>,
    ) -> Result<Lsn, Error> {
        self.commit_deleting(engine, (rows, &[]), epoch, cursor, changes)
    }

    /// [`Book::commit`] with ranges whose rows are deleted in front of the commit's own.
    pub(crate) fn commit_deleting(
        &self,
        engine: &Engine,
        effects: (Commit, &[DeleteRange]),
        epoch: u64,
        cursor: Lsn,
        changes: Arc<[Change]>,
    ) -> Result<Lsn, Error> {
        let origin = effects.0.origin;
        if let Some(line) = find(&mut self.lines.lock(), origin) {
            assert!(cursor.0 >= line.record.cursor, "a cursor never goes back");
        }
        self.append(engine, effects, epoch, cursor, changes)
    }

    /// [`Book::commit`] in an operator's name, who may set a cursor back.
    pub(crate) fn command(
        &self,
        engine: &Engine,
        rows: Commit,
        epoch: u64,
        cursor: Lsn,
        changes: Arc<[Change]>,
    ) -> Result<Lsn, Error> {
        self.append(engine, (rows, &[]), epoch, cursor, changes)
    }

    fn append(
        &self,
        engine: &Engine,
        (rows, deletes): (Commit, &[DeleteRange]),
        epoch: u64,
        cursor: Lsn,
        changes: Arc<[Change]>,
    ) -> Result<Lsn, Error> {
        let origin = rows.origin;
        let begun = InFlight {
            base: engine.marks().visible,
            cursor,
            changes: Arc::clone(&changes),
        };
        let previous = self.begin(origin, epoch, begun)?;
        let section = encode(epoch, previous, cursor.0, &changes);
        let commit = Commit {
            section: Some(section),
            ..rows
        };
        let result = engine
            .write_deleting(commit, deletes)
            .and_then(Ticket::wait_visible);
        self.finish(origin, result.as_ref().ok().copied());
        result
    }

    /// A plugin commit goes to the engine; nothing below `base` can be it. The LSN of the one before.
    fn begin(&self, origin: Origin, epoch: u64, commit: InFlight) -> Result<u64, Error> {
        let mut lines = self.lines.lock();
        self.wait_landed(&mut lines, origin);
        let line = find(&mut lines, origin).ok_or(Error::Closed)?;
        line.check_epoch(epoch)?;
        line.in_flight = Some(commit);
        Ok(line.record.last_commit)
    }

    /// The commit begun is visible at `lsn`, or failed.
    fn finish(&self, origin: Origin, lsn: Option<Lsn>) {
        if let Some(line) = find(&mut self.lines.lock(), origin) {
            line.finish(lsn);
        }
        self.landed.notify_all();
    }

    /// Looks for commits in flight that are visible below `upto`.
    pub(crate) fn settle(&self, upto: Lsn) -> Result<(), Error> {
        let in_flight: Vec<(Origin, InFlight)> = self
            .lines
            .lock()
            .iter()
            .filter_map(|line| Some((Origin(line.record.origin), line.in_flight.clone()?)))
            .filter(|(_, commit)| commit.base < upto)
            .collect();
        // Borrowed, not cloned: a last handle dropped here would join the thread it is dropped on.
        let engine = self.engine.lock();
        let Some(engine) = &*engine else {
            return Ok(());
        };
        for (origin, commit) in in_flight {
            let mut reader = engine.follow(commit.base)?;
            while let Some(found) = reader.next_commit()? {
                if found.lsn >= upto {
                    break;
                }
                if found.origin == origin {
                    self.settled(origin, &commit, found.lsn);
                    break;
                }
            }
        }
        Ok(())
    }

    /// A checkpoint found `commit` visible at `lsn`. Its dispatcher may have heard of it meanwhile,
    /// and have begun the next one, which this is not about.
    fn settled(&self, origin: Origin, commit: &InFlight, lsn: Lsn) {
        let mut lines = self.lines.lock();
        let is_it = |line: &&mut Line| line.in_flight.as_ref().is_some_and(|c| c.is(commit));
        if let Some(line) = find(&mut lines, origin).filter(is_it) {
            line.finish(Some(lsn));
            self.landed.notify_all();
        }
    }

    /// The lines as stored, and the LSN from which on log is needed.
    pub(crate) fn stored(lines: &[Line], upto: Lsn, too_old: &[u16]) -> (Vec<Record>, Lsn) {
        let stored = lines
            .iter()
            .filter(|line| line.record.last_commit > 0 || line.record.flags != 0);
        let held = stored
            .clone()
            .filter(|line| !line.hold.is_none() && line.place().is_some());
        let floors = held.map(|line| line.floor(upto, too_old.contains(&line.record.origin)));
        let floor = floors.min().unwrap_or(upto.0);
        let mut records: Vec<Record> = stored.map(|line| line.record.clone()).collect();
        records.sort_by_key(|record| record.origin);
        (records, Lsn(floor).min(upto))
    }

    /// Instances whose oldest commit that is not fired is older than their log may be. Its age
    /// counts while the host runs: a server that was off for long has had no time to fire.
    pub(crate) fn too_old(&self, upto: Lsn) -> Vec<u16> {
        let lent = self.lent.load(Relaxed);
        let now = self.clock.now_ns();
        let lags = |line: &&Line| {
            line.record.last_commit > 0
                && line.record.cursor < upto.0
                && !line.hold.is_none()
                && !line.hold.is_endless
                && now.saturating_sub(lent) > line.hold.nanos
        };
        let lagging: Vec<(u16, Lsn, i64)> = {
            let lines = self.lines.lock();
            let lagging = lines.iter().filter(lags);
            let of = |line: &Line| {
                let record = &line.record;
                (record.origin, Lsn(record.cursor), line.hold.nanos)
            };
            lagging.map(of).collect()
        };
        let engine = self.engine.lock();
        let Some(engine) = &*engine else {
            return Vec::new();
        };
        let is_too_old = |(_, cursor, nanos): &(u16, Lsn, i64)| {
            let first = engine.follow(*cursor).and_then(|mut log| log.next_commit());
            // Log that cannot be read is not kept for its age.
            let since = first.ok().flatten().map(|commit| commit.wall_ns.max(lent));
            since.is_some_and(|since| now.saturating_sub(since) > *nanos)
        };
        let old = lagging.into_iter().filter(is_too_old);
        old.map(|(origin, ..)| origin).collect()
    }

    pub(crate) fn replay(&self, lsn: Lsn, origin: Origin, section: &[u8]) {
        let mut lines = self.lines.lock();
        if find(&mut lines, origin).is_none() {
            lines.push(Line::new(origin, "", WAL_HOLD.into()));
        }
        let line = find(&mut lines, origin).expect("made just now");
        // Recovery offers commits that the file already covers.
        if lsn.0 > line.record.last_commit {
            line.replay(lsn, section);
        }
    }
}

pub(crate) fn find(lines: &mut [Line], origin: Origin) -> Option<&mut Line> {
    lines.iter_mut().find(|line| line.record.origin == origin.0)
}

impl Line {
    pub(crate) fn new(origin: Origin, id: &str, hold: Hold) -> Self {
        Self {
            hold,
            ..Self::of(Record::new(origin, id))
        }
    }

    pub(crate) fn of(record: Record) -> Self {
        let incomplete = record.flags & FLAG_INCOMPLETE != 0;
        Self {
            record,
            // Until the entries are known every line may be one of theirs.
            hold: WAL_HOLD.into(),
            over: Arc::default(),
            is_anew: false,
            broken: incomplete.then(|| "found so at the last start".into()),
            state_lost: false,
            table: SharedTable::default(),
            snapped: 0,
            in_flight: None,
        }
    }

    /// Where the instance goes on; `None` if it is new, or begins like one.
    pub(crate) fn place(&self) -> Option<Lsn> {
        let is_known = self.record.last_commit > 0 && self.record.cursor > 0;
        is_known.then_some(Lsn(self.record.cursor))
    }

    /// A run that has a successor is told what one behind the end of the store is told.
    fn check_epoch(&self, epoch: u64) -> Result<(), Error> {
        if self.record.epoch == epoch {
            return Ok(());
        }
        Err(Error::Closed)
    }

    /// From where on log is kept for it.
    fn floor(&self, upto: Lsn, is_too_old: bool) -> u64 {
        let cursor = self.record.cursor;
        let limit = match is_too_old {
            true => upto.0,
            false => upto.0.saturating_sub(self.hold.bytes),
        };
        if self.hold.is_endless || limit <= cursor {
            return cursor;
        }
        // One that runs is told, and has some time to answer.
        let runs = Arc::strong_count(&self.over) > 1;
        let is_news = runs && !self.over.swap(true, Relaxed);
        let most = self.hold.bytes.saturating_add(GRACE_BYTES);
        if is_news || runs && upto.0 - cursor <= most {
            return cursor;
        }
        limit
    }

    fn finish(&mut self, lsn: Option<Lsn>) {
        // A checkpoint may have settled the commit before its dispatcher.
        let Some(commit) = self.in_flight.take() else {
            return;
        };
        let Some(lsn) = lsn else {
            return;
        };
        assert!(lsn >= commit.base, "a commit is behind what it followed");
        self.apply(lsn, &commit.changes);
        self.record.cursor = commit.cursor.0;
        self.record.last_commit = lsn.0;
    }

    /// A reset mends whatever was wrong before it.
    fn apply(&mut self, lsn: Lsn, changes: &[Change]) {
        self.table.write().apply(lsn.0, changes);
        if changes.contains(&Change::Reset) {
            self.broken = None;
            self.state_lost = false;
            self.record.flags &= !(FLAG_INCOMPLETE | FLAG_BEHIND);
        }
    }

    fn replay(&mut self, lsn: Lsn, section: &[u8]) {
        let section = match Section::decode(section) {
            Ok(section) => section,
            Err(what) => {
                self.break_off(format!("commit {:x}: {what}", lsn.0));
                self.record.last_commit = lsn.0;
                return;
            }
        };
        if section.previous != self.record.last_commit {
            self.break_off(format!(
                "commit {:x} follows {:x}, which is not in the log",
                lsn.0, section.previous
            ));
        }
        self.apply(lsn, &section.changes);
        self.record.last_commit = lsn.0;
        // Not the larger one: an operator may have set it back.
        self.record.cursor = section.cursor;
        self.record.epoch = self.record.epoch.max(section.epoch);
    }

    /// Its `state.snap` cannot be used: nothing can be computed anew from half a state.
    pub(crate) fn lose_state(&mut self, why: String) {
        self.broken = Some(why);
        self.state_lost = true;
        self.record.flags |= FLAG_INCOMPLETE;
    }

    /// The first break is the one worth telling.
    fn break_off(&mut self, why: String) {
        self.broken.get_or_insert(why);
        self.record.flags |= FLAG_INCOMPLETE;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use disk::SystemClock;
    use disk::sim::SimDisk;
    use engine::{CheckpointHook, Options};

    use super::*;
    use crate::instances;

    fn section(previous: u64, cursor: u64) -> Bytes {
        let changes = Vec::new();
        Section {
            epoch: 4,
            previous,
            cursor,
            changes,
        }
        .encode()
    }

    fn book(disk: &SimDisk) -> Book {
        let book = Book::new(Arc::new(SystemClock::new()));
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        book.opened(&disk).unwrap();
        book
    }

    #[test]
    fn replay_moves_lines_and_a_checkpoint_stores_them() {
        let disk = SimDisk::new(1);
        let first = book(&disk);
        first.replayed(Lsn(100), Origin(1), &section(0, 90));
        first.replayed(Lsn(200), Origin(1), &section(100, 190));
        first.replayed(Lsn(210), Origin(2), &section(0, 50));
        assert_eq!(first.checkpoint(Lsn(300)).unwrap(), Lsn(50));
        let second = book(&disk);
        // Offered again, below what the file covers.
        second.replayed(Lsn(200), Origin(1), &section(100, 190));
        let recovered = second.start(Origin(1), "one", WAL_HOLD);
        assert_eq!((recovered.epoch, recovered.cursor), (5, Some(Lsn(190))));
        assert_eq!(recovered.broken, None);
        second.advance(Origin(1), 5, Lsn(250)).unwrap();
        assert!(second.advance(Origin(1), 4, Lsn(260)).is_err());
        second.fall_behind(Origin(2));
        assert_eq!(second.checkpoint(Lsn(300)).unwrap(), Lsn(250));
        assert_eq!(second.checkpoint(Lsn(240)).unwrap(), Lsn(240));
    }

    #[test]
    fn log_is_kept_up_to_the_limit() {
        let book = book(&SimDisk::new(2));
        book.replayed(Lsn(100), Origin(1), &section(0, 90));
        book.start(Origin(1), "one", 500);
        assert_eq!(book.checkpoint(Lsn(400)).unwrap(), Lsn(90));
        assert_eq!(book.checkpoint(Lsn(4000)).unwrap(), Lsn(3500));
    }

    /// A checkpoint looks a commit up in the log while its dispatcher goes on to the next.
    #[test]
    fn a_checkpoint_that_is_late_leaves_the_next_commit_alone() {
        let book = book(&SimDisk::new(4));
        let one = Origin(1);
        book.start(one, "one", WAL_HOLD);
        let none: Arc<[Change]> = Arc::default();
        let in_flight = |base, cursor| InFlight {
            base: Lsn(base),
            cursor: Lsn(cursor),
            changes: Arc::clone(&none),
        };
        book.begin(one, 1, in_flight(100, 90)).unwrap();
        let seen = in_flight(100, 90);
        book.finish(one, Some(Lsn(110)));
        book.begin(one, 1, in_flight(200, 190)).unwrap();
        book.settled(one, &seen, Lsn(110));
        assert_eq!(book.last_commit(one), 110);
        book.finish(one, Some(Lsn(210)));
        assert_eq!(book.last_commit(one), 210);
        // In time: the dispatcher hears of it later.
        book.begin(one, 1, in_flight(300, 290)).unwrap();
        book.settled(one, &in_flight(300, 290), Lsn(310));
        assert_eq!(book.last_commit(one), 310);
        book.finish(one, Some(Lsn(310)));
        assert_eq!(book.last_commit(one), 310);
    }

    /// A break is remembered over checkpoints and restarts until somebody mends it.
    #[test]
    fn a_broken_chain_is_found_and_remembered() {
        let disk = SimDisk::new(3);
        let first = book(&disk);
        first.replayed(Lsn(100), Origin(1), &section(0, 90));
        first.replayed(Lsn(300), Origin(1), &section(200, 290));
        let why = first.start(Origin(1), "one", WAL_HOLD).broken.unwrap();
        assert!(why.contains("commit 12c follows c8"), "{why}");
        first.checkpoint(Lsn(400)).unwrap();
        let second = book(&disk);
        assert!(second.start(Origin(1), "one", WAL_HOLD).broken.is_some());
        second.mend(Origin(1));
        second.checkpoint(Lsn(400)).unwrap();
        assert!(
            book(&disk)
                .start(Origin(1), "one", WAL_HOLD)
                .broken
                .is_none()
        );
        let garbled = book(&SimDisk::new(4));
        garbled.replayed(Lsn(100), Origin(1), b"garbage");
        assert!(garbled.start(Origin(1), "one", WAL_HOLD).broken.is_some());
    }

    #[test]
    fn a_failed_commit_moves_nothing() {
        let book = book(&SimDisk::new(5));
        book.replayed(Lsn(100), Origin(1), &section(0, 90));
        book.start(Origin(1), "one", WAL_HOLD);
        let commit = InFlight {
            base: Lsn(120),
            cursor: Lsn(120),
            changes: Arc::default(),
        };
        book.begin(Origin(1), 5, commit).unwrap();
        book.finish(Origin(1), None);
        assert_eq!(book.last_commit(Origin(1)), 100);
        assert_eq!(book.checkpoint(Lsn(400)).unwrap(), Lsn(90));
    }

    /// The commit is visible, its dispatcher has not heard of it: recovery will not replay it, so
    /// the file must have it.
    #[test]
    fn a_checkpoint_finds_a_commit_its_dispatcher_has_not_heard_of() {
        let disk = SimDisk::new(6);
        let book = Arc::new(Book::new(Arc::new(SystemClock::new())));
        let hook = Arc::clone(&book) as Arc<dyn CheckpointHook>;
        let clock = Arc::new(SystemClock::new());
        let (engine, _) =
            Engine::open_on(Arc::new(disk.clone()), clock, Options::default(), hook).unwrap();
        book.lend(Some(engine.clone()));
        let origin = engine.origin("one").unwrap();
        book.start(origin, "one", WAL_HOLD);
        let base = engine.marks().visible;
        let write = |section| {
            let commit = Commit {
                origin,
                hops: 0,
                rows: Vec::new(),
                section: Some(section),
            };
            engine.write(commit).unwrap().wait_visible().unwrap()
        };
        let kept = Change::Counter {
            key: crate::state::state_key(b"", b"n"),
            value: 7,
        };
        let commit = InFlight {
            base,
            cursor: base,
            changes: Arc::new([kept.clone()]),
        };
        book.begin(origin, 1, commit).unwrap();
        let lsn = write(section(0, base.0));
        let upto = engine.marks().visible;
        assert!(lsn < upto);
        book.checkpoint(upto).unwrap();
        let records = instances::decode(&disk.read_all(instances::FILE).unwrap()).unwrap();
        assert_eq!((records[0].last_commit, records[0].cursor), (lsn.0, base.0));
        // Its changes, too.
        let snap = disk.read_all("plugins/one/state.snap").unwrap();
        let (header, table) = crate::state::decode_snapshot(&snap).unwrap();
        assert_eq!((header.covered, table.contents()), (lsn.0, vec![kept]));
        // The dispatcher hears of it later; nothing moves twice.
        book.advance(origin, 1, upto).unwrap();
        book.finish(origin, Some(lsn));
        assert_eq!(book.last_commit(origin), lsn.0);
        book.lend(None);
    }
}
