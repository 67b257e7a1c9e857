//! Group commit: commits of many writers share a sync. One commit is 256 bytes, and every writer
//! waits until its own is durable. `bare` is what the disk does alone: write 512 bytes, fdatasync.
#![allow(missing_docs)]
// The bare disk is measured past `disk`, on purpose.
#![allow(clippy::disallowed_methods)]

use std::io::{Seek, Write};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use disk::{Disk, OsDisk, SystemClock};
use wal::{Committed, Lsn, Options, Payload, Sink, Wal, WalError};

/// Tells each writer that its commit is durable.
struct Tell;

impl Sink<Sender<()>> for Tell {
    fn durable(&mut self, group: Vec<Committed<Sender<()>>>) {
        for commit in group {
            // A writer that is gone does not wait.
            let _ = commit.token.send(());
        }
    }

    fn failed(&mut self, _: Vec<Sender<()>>, error: &WalError) {
        panic!("the log failed: {error}");
    }
}

fn open(path: &std::path::Path) -> Wal<Sender<()>> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(path).expect("the directory is new"));
    let clock = Arc::new(SystemClock::new());
    let options = Options::default();
    let opened = wal::open::<WalError>(disk, clock, [1; 16], options, Lsn::ZERO, &mut |_| Ok(()));
    let (log, _) = opened.expect("an empty log opens");
    log.start(Box::new(Tell)).expect("threads start")
}

/// A new log first fills two segments with zeros; that is not what is measured.
fn settle(wal: &Wal<Sender<()>>) {
    let mut took = commit(wal, 1, 1);
    while took > Duration::from_millis(1) {
        std::thread::sleep(Duration::from_millis(100));
        took = commit(wal, 1, 1);
    }
}

/// `commits` commits by each of `writers` threads.
fn commit(wal: &Wal<Sender<()>>, writers: usize, commits: u64) -> Duration {
    let payload = Bytes::from(vec![7_u8; 256]);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                let (tell, told) = channel();
                for _ in 0..commits {
                    let payload = Payload::new(1, 0, 0, payload.clone());
                    wal.append(payload, tell.clone()).expect("the log accepts");
                    told.recv().expect("the sink tells");
                }
            });
        }
    });
    begin.elapsed()
}

fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal");
    group.throughput(Throughput::Elements(1));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");

    let mut file = std::fs::File::create(directory.path().join("bare")).expect("a file");
    file.write_all(&vec![0; 1 << 20])
        .and_then(|()| file.sync_all())
        .expect("written");
    group.bench_function("bare", |b| {
        b.iter(|| {
            // Inside written space, as the log does.
            if file.stream_position().expect("a position") >= 1 << 20 {
                file.rewind().expect("rewound");
            }
            file.write_all(&[7; 512])
                .and_then(|()| file.sync_data())
                .expect("synced");
        });
    });

    for writers in [1_usize, 4, 16, 64] {
        let path = directory.path().join(writers.to_string());
        std::fs::create_dir(&path).expect("a directory");
        let wal = open(&path);
        settle(&wal);
        group.bench_function(BenchmarkId::new("writers", writers), |b| {
            b.iter_custom(|commits| {
                let each = commits.div_ceil(writers as u64);
                let took = commit(&wal, writers, each);
                // Time of what was asked for; a few more were made to be even.
                took.mul_f64(commits as f64 / (each * writers as u64) as f64)
            });
        });
        wal.close().expect("closed");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1500));
    targets = group_commit
}
criterion_main!(benches);
