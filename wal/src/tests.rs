//! The log as a whole.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Sender, unbounded};
use disk::{Disk, ManualClock, OsDisk};

use crate::*;

const STORE: [u8; 16] = *b"a store for test";

/// Sends every outcome to the test.
struct Outcomes(Sender<(u64, Result<Lsn>)>);

impl Sink<u64> for Outcomes {
    fn durable(&mut self, group: Vec<Committed<u64>>) {
        for commit in group {
            let _ = self.0.send((commit.token, Ok(commit.lsn)));
        }
    }

    fn failed(&mut self, tokens: Vec<u64>, error: &WalError) {
        for token in tokens {
            let _ = self.0.send((token, Err(error.clone())));
        }
    }
}

#[test]
fn commits_come_back_in_order_after_reopen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).expect("open"));
    let options = Options {
        segment_bytes: 4096,
        ..Options::default()
    };
    let mut total = 0_u64;
    for round in 0..4 {
        let mut seen = Vec::new();
        let clock = Arc::new(ManualClock::new(1));
        let (log, recovered) = open::<WalError>(
            disk.clone(),
            clock,
            STORE,
            options.clone(),
            Lsn::ZERO,
            &mut |frame| {
                seen.push(frame.payload[0]);
                Ok(())
            },
        )
        .expect("open");
        assert_eq!(recovered.frames, total);
        assert!(recovered.quarantined.is_empty());
        let want: Vec<u8> = (0..total).map(|n| n as u8).collect();
        assert_eq!(seen, want, "round {round}");
        let (send, outcomes) = unbounded();
        let wal = log.start(Box::new(Outcomes(send))).expect("start");
        for _ in 0..50 {
            let bytes = Bytes::from(vec![total as u8; 1 + (total as usize * 7) % 700]);
            wal.append(Payload::new(1, 0, 0, bytes), total)
                .expect("append");
            total += 1;
        }
        wal.flush().expect("flush");
        assert_eq!(outcomes.try_iter().filter(|(_, r)| r.is_ok()).count(), 50);
        let mut reader = wal.reader(Lsn::ZERO);
        for n in 0..total {
            let frame = reader.next_frame().expect("read").expect("a frame");
            assert_eq!(frame.payload[0], n as u8);
        }
        assert!(reader.next_frame().expect("read").is_none());
        wal.close().expect("close");
    }
}
