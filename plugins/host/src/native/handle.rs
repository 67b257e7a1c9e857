//! Handles of calls: numbers that are checked, not pointers that are believed.
//!
//! A handle names a slot and the call that has it. It leads to the host's calls while the call
//! lasts, on any thread, one call of the plugin at a time; afterwards it leads nowhere. The end of a
//! call waits for a call of another thread that is under way.

use std::cell::Cell;
use std::ffi::c_void;

use parking_lot::{Mutex, RwLock};
use plugin_sdk::{HostCalls, SourceCalls, StateCalls, WorkerCalls};

/// Bits of a handle that name the slot; the others name the call.
const SLOT_BITS: u32 = 20;

/// What a handle leads to.
pub(super) enum Target<'a> {
    Fire(&'a mut dyn HostCalls),
    Worker(&'a mut dyn WorkerCalls),
    Source(&'a mut dyn SourceCalls),
    State(&'a mut dyn StateCalls),
}

/// A target whose lifetime [`lend`] watches over.
enum Raw {
    Fire(*mut dyn HostCalls),
    Worker(*mut dyn WorkerCalls),
    Source(*mut dyn SourceCalls),
    State(*mut dyn StateCalls),
}

// SAFETY: the traits are `Send`; the slot's lock lets one thread in at a time.
unsafe impl Send for Raw {}

#[derive(Default)]
struct Slot {
    call: u64,
    target: Option<Raw>,
}

/// Never shrinks: a plugin may show us an old handle at any time.
static SLOTS: RwLock<Vec<&'static Mutex<Slot>>> = RwLock::new(Vec::new());
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

thread_local! {
    /// Handle of the call this thread is in; 0 for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` with a handle for `target`.
pub(super) fn lend<R>(target: Target<'_>, body: impl FnOnce(*mut c_void) -> R) -> R {
    let lent = Lent::new(target);
    body(std::ptr::without_provenance_mut(lent.handle))
}

/// Ends the handle on every way out.
struct Lent {
    index: usize,
    slot: &'static Mutex<Slot>,
    handle: usize,
    before: usize,
}

impl Lent {
    fn new(target: Target<'_>) -> Self {
        let (index, slot) = free_slot();
        let mut inside = slot.lock();
        inside.call += 1;
        inside.target = Some(raw(target));
        let handle = ((inside.call << SLOT_BITS) as usize) | index;
        drop(inside);
        Self {
            index,
            slot,
            handle,
            before: CURRENT.replace(handle),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        CURRENT.set(self.before);
        self.slot.lock().target = None;
        FREE.lock().push(self.index);
    }
}

fn free_slot() -> (usize, &'static Mutex<Slot>) {
    if let Some(index) = FREE.lock().pop() {
        return (index, SLOTS.read()[index]);
    }
    let mut slots = SLOTS.write();
    let index = slots.len();
    // As many as calls at the same time: instances and their threads.
    assert!(index < 1 << SLOT_BITS, "a million calls at the same time");
    let slot: &'static Mutex<Slot> = Box::leak(Box::default());
    slots.push(slot);
    (index, slot)
}

/// Forgets lifetimes, which [`Lent`] guards from here on.
fn raw(target: Target<'_>) -> Raw {
    // SAFETY: only the lifetime changes. A target is used under the slot's lock and removed, under
    // that lock, before its borrow ends.
    unsafe {
        match target {
            Target::Fire(calls) => Raw::Fire(std::mem::transmute::<
                *mut (dyn HostCalls + '_),
                *mut (dyn HostCalls + 'static),
            >(calls)),
            Target::Worker(calls) => Raw::Worker(std::mem::transmute::<
                *mut (dyn WorkerCalls + '_),
                *mut (dyn WorkerCalls + 'static),
            >(calls)),
            Target::Source(calls) => Raw::Source(std::mem::transmute::<
                *mut (dyn SourceCalls + '_),
                *mut (dyn SourceCalls + 'static),
            >(calls)),
            Target::State(calls) => Raw::State(std::mem::transmute::<
                *mut (dyn StateCalls + '_),
                *mut (dyn StateCalls + 'static),
            >(calls)),
        }
    }
}

/// Calls `with` on what the handle leads to; `None` if its call is over.
pub(super) fn with<R>(handle: *mut c_void, with: impl FnOnce(Target<'_>) -> R) -> Option<R> {
    with_number(handle.addr(), with)
}

/// [`with`] the call this thread is in; `None` if it is in none.
pub(super) fn with_current<R>(with: impl FnOnce(Target<'_>) -> R) -> Option<R> {
    with_number(CURRENT.get(), with)
}

fn with_number<R>(handle: usize, with: impl FnOnce(Target<'_>) -> R) -> Option<R> {
    let index = handle & ((1 << SLOT_BITS) - 1);
    let slot = *SLOTS.read().get(index)?;
    let inside = slot.lock();
    if inside.call != (handle >> SLOT_BITS) as u64 {
        return None;
    }
    let target = inside.target.as_ref()?;
    // SAFETY: the borrow lasts as long as the target is in the slot, whose lock is held; nobody else
    // uses it, for the lender waits in its call.
    let target = unsafe {
        match target {
            Raw::Fire(calls) => Target::Fire(&mut **calls),
            Raw::Worker(calls) => Target::Worker(&mut **calls),
            Raw::Source(calls) => Target::Source(&mut **calls),
            Raw::State(calls) => Target::State(&mut **calls),
        }
    };
    Some(with(target))
}
