//! In memory; follows.
