//! Peers that open connections and send no whole request: a few are a slow network, many are one
//! peer taking the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections of one address whose request head has been coming for longer than a tick.
const SLOW_HEADS_MAX: usize = 64;

/// How many slow heads each address has.
#[derive(Debug, Clone, Default)]
pub(super) struct SlowHeads(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl SlowHeads {
    /// One more of this address, until the value is dropped; `None` if it has as many as it may.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<SlowHead> {
        let mut counts = self.0.lock();
        let count = counts.entry(peer).or_default();
        if *count == SLOW_HEADS_MAX {
            return None;
        }
        *count += 1;
        Some(SlowHead {
            all: self.clone(),
            peer,
        })
    }
}

/// One slow head.
#[derive(Debug)]
pub(super) struct SlowHead {
    all: SlowHeads,
    peer: IpAddr,
}

impl Drop for SlowHead {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_others_are_not_touched() {
        let all = SlowHeads::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut held: Vec<_> = (0..SLOW_HEADS_MAX)
            .map(|_| all.enter(one).unwrap())
            .collect();
        assert!(all.enter(one).is_none());
        assert!(all.enter(other).is_some());
        held.pop();
        assert!(all.enter(one).is_some());
        held.clear();
        assert!(all.0.lock().is_empty());
    }
}
