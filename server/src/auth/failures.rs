//! Peers that show bad tokens: how often in this minute, and how long their answers wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A minute of failures counts together.
const WINDOW: Duration = Duration::from_secs(60);

/// Failures of one address in a minute that are answered at once: a client with an old token that
/// tries again is no attack.
const FREE: u32 = 20;

/// How long each further answer waits.
const DELAY: Duration = Duration::from_secs(1);

/// Addresses that are remembered; when there are more, all are forgotten.
const PEERS_MAX: usize = 4096;

/// What is known of all peers.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

/// What a failure is among those before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The first of this minute: the one that is logged.
    pub(super) is_first: bool,
    pub(super) delay: Duration,
}

impl Failures {
    pub(super) fn add(&self, peer: IpAddr) -> Seen {
        self.add_at(peer, Instant::now())
    }

    fn add_at(&self, peer: IpAddr, now: Instant) -> Seen {
        let mut peers = self.0.lock();
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            peers.clear();
        }
        let count = peers.entry(peer).or_insert(Count {
            since: now,
            failures: 0,
        });
        if now.duration_since(count.since) >= WINDOW {
            *count = Count {
                since: now,
                failures: 0,
            };
        }
        count.failures = count.failures.saturating_add(1);
        Seen {
            is_first: count.failures == 1,
            delay: match count.failures > FREE {
                true => DELAY,
                false => Duration::ZERO,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_often_waits_and_others_do_not() {
        let failures = Failures::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert!(failures.add_at(one, now).is_first);
        for _ in 1..FREE {
            assert_eq!(failures.add_at(one, now).delay, Duration::ZERO);
        }
        assert_eq!(failures.add_at(one, now).delay, DELAY);
        assert_eq!(failures.add_at(other, now).delay, Duration::ZERO);
        let later = failures.add_at(one, now + WINDOW);
        assert_eq!((later.is_first, later.delay), (true, Duration::ZERO));
        for peer in 0..2 * u32::try_from(PEERS_MAX).unwrap() {
            failures.add_at(IpAddr::from(peer.to_be_bytes()), now);
        }
        assert!(failures.0.lock().len() <= PEERS_MAX);
    }
}
