//! The store: catalog, tails, checkpoints, segments, snapshots, scans.
