//! Directories made by hand, byte by byte, and what is read of them.
#![allow(clippy::disallowed_methods)] // makes and damages the files that are then read

mod damage;
mod interrupted;
mod logged;
mod maker;
mod types;

use model::{BucketKey, ColumnBatch, RowKind, Zone};

use super::{Compression, Fault, ReadOptions, Repaired, Tree};
use maker::Maker;

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

fn utc() -> ReadOptions {
    ReadOptions::default()
}

fn zone(name: &str) -> ReadOptions {
    ReadOptions {
        zone: Zone::parse(name).unwrap(),
        ..ReadOptions::default()
    }
}

/// Everything that is read of one bucket.
struct Read {
    kind: Option<RowKind>,
    batches: Vec<ColumnBatch>,
    faults: Vec<Fault>,
    repaired: Repaired,
}

impl Read {
    fn times(&self) -> Vec<i64> {
        self.batches
            .iter()
            .flat_map(|batch| batch.times().to_vec())
            .collect()
    }

    fn f32s(&self, column: usize) -> Vec<f32> {
        let values = self
            .batches
            .iter()
            .map(|b| b.columns()[column].values::<f32>().unwrap().to_vec());
        values.flatten().collect()
    }

    fn fault(&self) -> &Fault {
        assert_eq!(self.faults.len(), 1, "{:?}", self.faults);
        &self.faults[0]
    }
}

fn read(maker: &Maker, options: &ReadOptions, bucket: &str) -> Read {
    let tree = Tree::open(maker.root(), options.clone()).unwrap();
    let found = tree.buckets().iter().find(|found| found.key == key(bucket));
    let found = found.unwrap_or_else(|| panic!("{bucket} is not among {:?}", tree.buckets()));
    let mut reader = tree.read(found);
    let batches: Vec<ColumnBatch> = reader.by_ref().collect();
    let read = Read {
        kind: reader.layout().map(|(kind, _)| kind),
        faults: [tree.faults(), reader.faults()].concat(),
        repaired: reader.repaired(),
        batches,
    };
    assert!(read.times().is_sorted(), "{bucket} is not in order of time");
    read
}
