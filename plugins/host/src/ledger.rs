//! `plugins/_ledger`: which libraries were running inside the server when it died.
//!
//! ```text
//! slot, 64 bytes: u16 origin, u16 state (0 idle, 1 inside), u16 strikes, u16 zero, u64 epoch,
//!                 u64 cursor, u64 window end, i64 started ns, u32 crc, zeros
//! ```
//! Little-endian; the CRC-32 is that of the 48 bytes before it. Before the host calls into a library
//! it marks the slot of the instance with a plain write, without a sync: that survives the death of
//! the process, which is the case that matters. Behind the call it clears the mark. A mark that is
//! found at a start is one strike; with two the instance runs in a child from then on. A window that
//! came to its end wipes the strikes, of a worker or source five healthy minutes do. Whoever else was
//! running gets a strike, too, and loses it with the next window. Loss of power may leave an old
//! mark: one strike too many, no more. A slot that does not read back counts for nothing.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _};
use disk::{Clock, Disk, File};
use engine::Origin;
use parking_lot::Mutex;

use crate::instances::DIR;

const FILE: &str = "plugins/_ledger";
const SLOT_BYTES: usize = 64;
const CRC_AT: usize = 48;

const IDLE: u16 = 0;
const INSIDE: u16 = 1;

/// With so many strikes an instance does not run inside the server any more.
pub(crate) const STRIKES_MAX: u16 = 2;

/// After this time a worker or source is not what ended the server before.
const HEALTHY_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// The slots of all instances that ever ran inside the server.
pub(crate) struct Ledger {
    file: Arc<dyn File>,
    clock: Arc<dyn Clock>,
    slots: Vec<Arc<Slot>>,
}

/// The slot of an instance.
pub(crate) struct Slot {
    file: Arc<dyn File>,
    clock: Arc<dyn Clock>,
    at: u64,
    now: Mutex<Now>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    origin: u16,
    strikes: u16,
    /// Calls under way; the slot is marked while there are any.
    depth: u32,
    stands: Stands,
    started: i64,
}

/// Where an instance stands, for whoever looks at the file after a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stands {
    pub(crate) epoch: u64,
    pub(crate) cursor: u64,
    pub(crate) end: u64,
}

impl Ledger {
    /// Reads what the last life of the server left, once, and counts the strikes.
    pub(crate) fn open(disk: &dyn Disk, clock: Arc<dyn Clock>) -> io::Result<Self> {
        if !disk.exists(FILE)? {
            disk.create_dir_all(DIR)?;
            drop(disk.create(FILE)?);
            disk.sync_dir(DIR)?;
        }
        let bytes = disk.read_all(FILE)?;
        let file: Arc<dyn File> = disk.open_write(FILE)?.into();
        let mut ledger = Self {
            file,
            clock,
            slots: Vec::new(),
        };
        for chunk in bytes.chunks(SLOT_BYTES) {
            let (now, state) = Now::decode(chunk).unwrap_or((Now::idle(0), IDLE));
            let slot = ledger.add(now);
            if state == INSIDE {
                slot.strike();
            }
        }
        Ok(ledger)
    }

    fn add(&mut self, now: Now) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            file: Arc::clone(&self.file),
            clock: Arc::clone(&self.clock),
            at: (self.slots.len() * SLOT_BYTES) as u64,
            now: Mutex::new(now),
        });
        self.slots.push(Arc::clone(&slot));
        slot
    }

    /// The slot of an instance.
    pub(crate) fn slot(&mut self, origin: Origin) -> Arc<Slot> {
        let is_its = |slot: &&Arc<Slot>| slot.now.lock().origin == origin.0;
        if let Some(slot) = self.slots.iter().find(is_its) {
            return Arc::clone(slot);
        }
        // One that did not read back belongs to nobody.
        let is_free = |slot: &&Arc<Slot>| slot.now.lock().origin == 0;
        let free = self.slots.iter().find(is_free).cloned();
        let slot = free.unwrap_or_else(|| self.add(Now::idle(0)));
        *slot.now.lock() = Now::idle(origin.0);
        slot
    }
}

impl Now {
    fn idle(origin: u16) -> Self {
        Self {
            origin,
            strikes: 0,
            depth: 0,
            stands: Stands::default(),
            started: 0,
        }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let mut out = &mut bytes[..];
        out.put_u16_le(self.origin);
        out.put_u16_le(if self.depth > 0 { INSIDE } else { IDLE });
        out.put_u16_le(self.strikes);
        out.put_u16_le(0);
        out.put_u64_le(self.stands.epoch);
        out.put_u64_le(self.stands.cursor);
        out.put_u64_le(self.stands.end);
        out.put_i64_le(self.started);
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// A slot and whether it is marked.
    fn decode(bytes: &[u8]) -> Option<(Self, u16)> {
        let (fields, mut rest) = bytes.split_at_checked(CRC_AT)?;
        let crc = rest.try_get_u32_le().ok()?;
        if bytes.len() != SLOT_BYTES || crc != crc32fast::hash(fields) {
            return None;
        }
        let mut input = fields;
        let (origin, state) = (input.get_u16_le(), input.get_u16_le());
        let (strikes, _zero) = (input.get_u16_le(), input.get_u16_le());
        let stands = Stands {
            epoch: input.get_u64_le(),
            cursor: input.get_u64_le(),
            end: input.get_u64_le(),
        };
        let now = Self {
            origin,
            strikes,
            depth: 0,
            stands,
            started: input.get_i64_le(),
        };
        Some((now, state))
    }
}

impl Slot {
    pub(crate) fn strikes(&self) -> u16 {
        self.now.lock().strikes
    }

    fn strike(&self) {
        let mut now = self.now.lock();
        now.strikes = now.strikes.saturating_add(1);
        self.write(&now);
    }

    /// What it did before is forgotten.
    pub(crate) fn forgive(&self) {
        let mut now = self.now.lock();
        now.strikes = 0;
        self.write(&now);
    }

    /// Marks the slot until the answer is dropped.
    pub(crate) fn enter(&self, stands: Stands) -> Inside<'_> {
        let mut now = self.now.lock();
        now.depth += 1;
        if now.depth == 1 {
            now.stands = stands;
            now.started = self.clock.now_ns();
            self.write(&now);
        }
        Inside {
            slot: self,
            is_window: false,
        }
    }

    /// A worker or source that has run for long enough is not what ended the server.
    pub(crate) fn tick(&self) {
        let mut now = self.now.lock();
        if now.strikes == 0 || now.depth == 0 {
            return;
        }
        if self.clock.now_ns().saturating_sub(now.started) >= HEALTHY_NANOS {
            now.strikes = 0;
            self.write(&now);
        }
    }

    /// A mark that cannot be written is a crash that is not counted, no more.
    fn write(&self, now: &Now) {
        if let Err(error) = self.file.write_at(self.at, &now.encode()) {
            tracing::warn!("{FILE}: {error}");
        }
    }
}

/// A call into a library is under way.
#[must_use]
pub(crate) struct Inside<'a> {
    slot: &'a Slot,
    is_window: bool,
}

impl Inside<'_> {
    /// The call was a window, and it came to its end.
    pub(crate) fn complete(mut self) {
        self.is_window = true;
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut now = self.slot.now.lock();
        now.depth -= 1;
        if self.is_window {
            now.strikes = 0;
        }
        if now.depth == 0 {
            self.slot.write(&now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use disk::ManualClock;
    use disk::sim::SimDisk;

    use super::*;

    const ONE: Origin = Origin(1);
    const TWO: Origin = Origin(2);

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(1_600_000_000_000_000_000))
    }

    fn open(disk: &SimDisk) -> Ledger {
        Ledger::open(disk, clock()).unwrap()
    }

    fn stands() -> Stands {
        Stands {
            epoch: 3,
            cursor: 100,
            end: 200,
        }
    }

    /// The process dies inside: nothing clears the mark.
    fn die_in(slot: &Slot) {
        std::mem::forget(slot.enter(stands()));
    }

    #[test]
    fn two_deaths_in_a_row_are_two_strikes() {
        let disk = SimDisk::new(1);
        die_in(&open(&disk).slot(ONE));
        // What a process wrote is there when only the process died.
        let disk = disk.restart();
        let mut ledger = open(&disk);
        assert_eq!(ledger.slot(ONE).strikes(), 1);
        assert_eq!(ledger.slot(TWO).strikes(), 0);
        // A life in which nothing was called neither adds nor takes.
        let disk = disk.restart();
        let slot = open(&disk).slot(ONE);
        assert_eq!(slot.strikes(), 1);
        die_in(&slot);
        let slot = open(&disk.restart()).slot(ONE);
        assert_eq!(slot.strikes(), STRIKES_MAX);
        slot.forgive();
        assert_eq!(slot.strikes(), 0);
    }

    #[test]
    fn a_window_wipes_strikes_and_making_an_object_does_not() {
        let disk = SimDisk::new(2);
        die_in(&open(&disk).slot(ONE));
        let disk = disk.restart();
        let slot = open(&disk).slot(ONE);
        drop(slot.enter(stands()));
        assert_eq!(open(&disk.copy()).slot(ONE).strikes(), 1);
        let window = slot.enter(stands());
        // Inside another call: nothing is written in between.
        let calls = disk.call_count();
        drop(slot.enter(Stands::default()));
        assert_eq!(disk.call_count(), calls);
        window.complete();
        assert_eq!(open(&disk.copy()).slot(ONE).strikes(), 0);
    }

    #[test]
    fn five_healthy_minutes_wipe_the_strikes_of_a_worker() {
        let disk = SimDisk::new(3);
        die_in(&open(&disk).slot(ONE));
        let disk = disk.restart();
        let clock = clock();
        let mut ledger = Ledger::open(&disk, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let slot = ledger.slot(ONE);
        let _runs = slot.enter(stands());
        clock.advance(Duration::from_secs(299));
        slot.tick();
        assert_eq!(slot.strikes(), 1);
        clock.advance(Duration::from_secs(1));
        slot.tick();
        assert_eq!(slot.strikes(), 0);
        // It runs on: its death is a strike again.
        assert_eq!(open(&disk.restart()).slot(ONE).strikes(), 1);
    }

    #[test]
    fn a_slot_has_the_documented_bytes() {
        let disk = SimDisk::new(4);
        let mut ledger = open(&disk);
        let first = ledger.slot(TWO);
        let _inside = first.enter(Stands::default());
        die_in(&ledger.slot(ONE));
        let bytes = disk.read_all(FILE).unwrap();
        assert_eq!(bytes.len(), 2 * SLOT_BYTES);
        let slot = &bytes[SLOT_BYTES..];
        assert_eq!(&slot[..8], [1, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(&slot[8..16], 3_u64.to_le_bytes());
        assert_eq!(&slot[16..24], 100_u64.to_le_bytes());
        assert_eq!(&slot[24..32], 200_u64.to_le_bytes());
        assert_eq!(&slot[32..40], 1_600_000_000_000_000_000_i64.to_le_bytes());
        assert_eq!(&slot[40..48], [0; 8]);
        assert_eq!(&slot[48..52], crc32fast::hash(&slot[..48]).to_le_bytes());
        assert_eq!(&slot[52..], [0; 12]);
    }

    #[test]
    fn damage_counts_for_nothing_and_its_slot_is_used_again() {
        let disk = SimDisk::new(5);
        let mut ledger = open(&disk);
        die_in(&ledger.slot(ONE));
        die_in(&ledger.slot(TWO));
        let whole = disk.read_all(FILE).unwrap();
        for at in 0..52 {
            let disk = disk.copy();
            disk.rot(FILE, |bytes| bytes[at] ^= 1).unwrap();
            let mut ledger = open(&disk);
            assert_eq!(ledger.slot(ONE).strikes(), 0, "byte {at}");
            assert_eq!(ledger.slot(TWO).strikes(), 1);
            die_in(&ledger.slot(ONE));
            assert_eq!(disk.read_all(FILE).unwrap().len(), whole.len());
        }
        for cut in 0..SLOT_BYTES {
            let disk = disk.copy();
            disk.rot(FILE, |bytes| bytes.truncate(SLOT_BYTES + cut))
                .unwrap();
            let mut ledger = open(&disk);
            assert_eq!(ledger.slot(ONE).strikes(), 1);
            assert_eq!(ledger.slot(TWO).strikes(), 0);
        }
    }
}
