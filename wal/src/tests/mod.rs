//! The log as a whole.

mod basic;
mod close;
mod damage;
mod inspect;
mod model;
mod sim;

use std::sync::Arc;

use bytes::Bytes;
use disk::sim::Rng;
use disk::{Disk, ManualClock};
use parking_lot::Mutex;

use crate::*;

pub(crate) const STORE: [u8; 16] = *b"a store for test";

/// Small segments, so that a short life sees many; no helper thread, so that calls repeat.
pub(crate) fn small_options() -> Options {
    Options {
        segment_bytes: 4096,
        prepare_ahead: false,
        recycle_max: 2,
        ..Options::default()
    }
}

/// A token, and its frame's begin and end or why there is none.
pub(crate) type Outcome = (u64, Result<(Lsn, Lsn)>);

/// What the sink was told.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

impl Outcomes {
    pub(crate) fn take(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Sink<u64> for Outcomes {
    fn durable(&mut self, group: Vec<Committed<u64>>) {
        let told = group
            .into_iter()
            .map(|commit| (commit.token, Ok((commit.lsn, commit.end))));
        self.0.lock().extend(told);
    }

    fn failed(&mut self, tokens: Vec<u64>, error: &WalError) {
        self.0
            .lock()
            .extend(tokens.into_iter().map(|token| (token, Err(error.clone()))));
    }
}

/// Tokens from here on have payloads of one length, so that a frame that follows a cut ends
/// where a cut frame began.
pub(crate) const EQUAL_TOKENS: u64 = 1 << 32;

/// Tokens from here on have payloads so long that much room is left behind a segment end.
pub(crate) const LONG_TOKENS: u64 = 1 << 33;

/// The one payload that belongs to a token: its number, then bytes of a length drawn from it.
pub(crate) fn payload_of(token: u64) -> Payload {
    let mut rng = Rng::new(token);
    if token >= EQUAL_TOKENS {
        let len = if token < LONG_TOKENS { 104 } else { 1400 };
        let fill = vec![token as u8; len];
        return Payload::new(
            1,
            0,
            0,
            Bytes::from([&token.to_le_bytes()[..], &fill].concat()),
        );
    }
    let bound = if rng.chance(8) { 1800 } else { 200 };
    let len = rng.below(bound);
    let fill = if rng.chance(3) { 0 } else { token as u8 };
    let mut bytes = token.to_le_bytes().to_vec();
    bytes.resize(8 + len as usize, fill);
    Payload::new(
        1 + (token % 7) as u8,
        token as u8,
        token as u16,
        Bytes::from(bytes),
    )
}

/// The token of a frame, after checking that every field is what `payload_of` made.
pub(crate) fn token_of(frame: &FrameView) -> u64 {
    let token = u64::from_le_bytes(frame.payload[..8].try_into().expect("eight bytes"));
    let want = payload_of(token);
    assert_eq!(frame.payload, want.bytes);
    assert_eq!(
        (frame.kind, frame.hops, frame.origin),
        (want.kind, want.hops, want.origin)
    );
    assert_eq!(frame.end.0, frame.lsn.0 + frame::frame_bytes(want.len()));
    token
}

/// Tokens with their LSNs.
pub(crate) type Tokens = Vec<(u64, Lsn)>;

/// Opens and returns what was replayed, as tokens with their LSNs.
pub(crate) fn replay(
    disk: &Arc<dyn Disk>,
    options: &Options,
    from: Lsn,
) -> Result<(Log, Recovered, Tokens)> {
    let mut frames = Vec::new();
    let clock = Arc::new(ManualClock::new(1));
    let (log, recovered) = open::<WalError>(
        disk.clone(),
        clock,
        STORE,
        options.clone(),
        from,
        &mut |frame| {
            frames.push((token_of(&frame), frame.lsn));
            Ok(())
        },
    )?;
    assert_eq!(recovered.frames, frames.len() as u64);
    assert!(frames.is_sorted_by_key(|(_, lsn)| *lsn), "LSN order");
    Ok((log, recovered, frames))
}
