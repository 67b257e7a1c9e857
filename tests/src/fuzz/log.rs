//! Bytes in WAL segments.

use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, ManualClock, SimDisk};
use wal::{FrameView, Lsn, Options, Payload, WalError};

const STORE: [u8; 16] = *b"a fuzzed store  ";
const SEGMENT_BYTES: u64 = 4096;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        prepare_ahead: false,
        ..Options::default()
    }
}

/// A disk with these bytes as WAL segments, one behind the other, and every checksum right where
/// `sealed`.
fn disk_with(data: &[u8], sealed: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let write = || -> std::io::Result<()> {
        disk.create_dir_all("wal")?;
        for (index, piece) in data.chunks(SEGMENT_BYTES as usize).take(4).enumerate() {
            let first = index as u64 * SEGMENT_BYTES;
            let mut piece = piece.to_vec();
            if sealed {
                wal::fuzz::reseal(&mut piece, &STORE, Lsn(first));
            }
            let file = disk.create(&format!("wal/{first:016x}.wal"))?;
            file.write_at(0, &piece)?;
            file.sync_all()?;
        }
        disk.sync_dir("wal")
    };
    write().expect("a sound disk");
    disk
}

type Opened = (wal::Log, wal::Recovered, Vec<FrameView>);

fn open(disk: &SimDisk) -> Result<Opened, WalError> {
    let mut frames = Vec::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new(0));
    let (log, found) = wal::open(shared, clock, STORE, options(), Lsn::ZERO, &mut |frame| {
        frames.push(frame);
        Ok::<(), WalError>(())
    })?;
    Ok((log, found, frames))
}

/// One segment, raw and with checksums put right: frames come in order and within the file.
pub(super) fn wal_frame(data: &[u8]) {
    let data = &data[..data.len().min(SEGMENT_BYTES as usize)];
    for sealed in [false, true] {
        let Ok((_, found, frames)) = open(&disk_with(data, sealed)) else {
            continue;
        };
        let mut last = Lsn::ZERO;
        for frame in &frames {
            assert!(frame.lsn >= last && frame.end > frame.lsn);
            last = frame.end;
        }
        assert!(last <= found.end);
    }
}

/// Some segments: recovery ends, twice gives the same frames, and the log goes on.
pub(super) fn wal_recover(data: &[u8]) {
    for sealed in [false, true] {
        let disk = disk_with(data, sealed);
        let Ok((log, _, frames)) = open(&disk) else {
            continue;
        };
        drop(log);
        let (log, _, again) = open(&disk).expect("what opened once opens again");
        assert_eq!(again, frames, "a second recovery differs");
        let Ok(wal) = log.start(Box::new(Nobody)) else {
            continue;
        };
        let payload = Payload::new(1, 0, 0, Bytes::from_static(b"goes on"));
        let queued = wal.append(payload, ());
        if queued
            .and_then(|()| wal.flush())
            .and_then(|()| wal.close())
            .is_ok()
        {
            let (_, _, after) = open(&disk).expect("what went on opens");
            let ours = after
                .iter()
                .filter(|frame| &frame.payload[..] == b"goes on");
            assert!(ours.count() >= 1, "an acknowledged frame is lost");
            assert!(after.len() > frames.len(), "frames are lost");
        }
    }
}

struct Nobody;

impl wal::Sink<()> for Nobody {
    fn durable(&mut self, _group: Vec<wal::Committed<()>>) {}
    fn failed(&mut self, _tokens: Vec<()>, _error: &WalError) {}
}

/// A log as it is written, of one segment and of several.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    [3, 40].map(written).to_vec()
}

fn written(frames: usize) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk).expect("an empty disk");
    let wal = log.start(Box::new(Nobody)).expect("threads can be made");
    for number in 0..frames {
        let bytes = vec![number as u8; 17 * (number % 20)];
        let payload = Payload::new(1 + (number % 5) as u8, 0, 0, bytes.into());
        wal.append(payload, ())
            .and_then(|()| wal.flush())
            .expect("a sound disk");
    }
    wal.close().expect("a sound disk");
    let names = disk.list("wal").expect("the log is there");
    let files = names
        .iter()
        .map(|name| disk.read_all(&format!("wal/{name}")));
    files
        .flat_map(|bytes| bytes.expect("a sound disk").to_vec())
        .collect()
}
