//! The write-ahead log: frames, group commit, recovery scan.
