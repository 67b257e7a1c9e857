//! I17 with several threads: the lanes of a window are shared out by their key, so a key is always
//! fired by the same object, and an object may cache by key.
//!
//! Each thread collects effects of its own. With `state_scope: key`, which several threads need, no
//! two of them touch the same state or timers, so the effects of a window are simply joined.

use plugin_sdk::CloseReason;

use crate::calls::{Effects, effect_bytes_max};
use crate::dispatch::Dispatcher;
use crate::fire::{Fired, Hand, Shared};
use crate::laps::Laps;
use crate::run::End;
use crate::window::{Lane, What};

impl Dispatcher {
    /// Fires every event of a window. `can_split`: whether a smaller window could be tried instead.
    pub(crate) fn fire_lanes(&mut self, lanes: Vec<Lane>, can_split: bool) -> Result<Fired, End> {
        let threads = self.triggers.len();
        let mut shares: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
        for lane in lanes {
            shares[lane.thread(threads)].push(lane);
        }
        // Threads that fill a window together may fill it too much: one after the other they cannot.
        let is_serial = self.refusals > 0;
        let shared = Shared::default();
        let run = &self.run;
        let (policy, timeout, replay_below) = (self.policy, self.timeout, self.replay_below);
        let over = &*self.over;
        let hands = self.triggers.iter_mut().enumerate();
        let hands = hands.map(|(thread, trigger)| Hand {
            run,
            policy,
            timeout,
            replay_below,
            trigger,
            fires: run.stop.clocks.of(thread),
            laps: Laps::new(&*run.clock),
            window: &shared,
            over,
        });
        let mut work: Vec<(Hand<'_>, Vec<Lane>)> = hands
            .zip(shares)
            .filter(|(_, share)| !share.is_empty())
            .collect();
        let fired: Vec<Result<Fired, End>> = if is_serial || work.len() < 2 {
            work.into_iter()
                .map(|(mut hand, share)| hand.fire_lanes(share, can_split))
                .collect()
        } else {
            std::thread::scope(|scope| {
                let own = work.pop();
                let others: Vec<_> = work
                    .into_iter()
                    .map(|(mut hand, share)| scope.spawn(move || hand.fire_lanes(share, can_split)))
                    .collect();
                let own = own.map(|(mut hand, share)| hand.fire_lanes(share, can_split));
                let joined = others.into_iter().map(|thread| match thread.join() {
                    Ok(fired) => fired,
                    // Plugins' panics are contained: this one is ours.
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                joined.collect::<Vec<_>>().into_iter().chain(own).collect()
            })
        };
        let fired = join(fired)?;
        match fired {
            Fired::Done(effects)
                if can_split && effects.bytes() > effect_bytes_max(&run.engine) =>
            {
                Ok(Fired::TooLarge)
            }
            fired => Ok(fired),
        }
    }

    /// Ends the objects. After anything but [`CloseReason::Stop`] the next fire makes new ones: so
    /// an object forgets events whose window was dropped.
    pub(crate) fn close_triggers(&mut self, why: CloseReason) {
        for trigger in &mut self.triggers {
            if let Some(trigger) = trigger.take() {
                self.run.close_trigger(trigger, why);
            }
        }
    }
}

/// What the threads of a window did, together. The end of an instance is the first that is one.
fn join(fired: Vec<Result<Fired, End>>) -> Result<Fired, End> {
    let mut effects = Effects::new();
    let (mut is_too_large, mut is_over) = (false, false);
    let mut ends = Vec::new();
    for fired in fired {
        match fired {
            Ok(Fired::Done(more)) => effects.append(more),
            Ok(Fired::TooLarge) => is_too_large = true,
            Ok(Fired::Overflow) => is_over = true,
            Err(end) => ends.push(end),
        }
    }
    // Those that were told to stop know less than the one that failed.
    ends.sort_by_key(|end| matches!(end, End::Stopped));
    match ends.into_iter().next() {
        Some(end) => Err(end),
        None if is_over => Ok(Fired::Overflow),
        None if is_too_large => Ok(Fired::TooLarge),
        None => Ok(Fired::Done(effects)),
    }
}

impl Lane {
    /// The thread of the lane's key.
    fn thread(&self, threads: usize) -> usize {
        let event = self.events.front();
        let key = event.and_then(|event| match &event.what {
            What::Timer(due) => Some(&due.timer.lane[..]),
            _ => event.key().map(|key| key.as_str().as_bytes()),
        });
        let hash = crc32fast::hash(key.unwrap_or_default());
        usize::try_from(hash).expect("usize has 32 bits or more") % threads
    }
}
