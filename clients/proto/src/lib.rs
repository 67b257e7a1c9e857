//! The messages of MarketStore's gRPC service.
//!
//! `proto/marketstore.proto` is the text to read. The code here is generated from it by
//! `cargo xtask proto` and committed, so that nobody needs a protobuf compiler; a test compares the
//! two.
#![forbid(unsafe_code)]

/// Package `proto`, as MarketStore calls it.
#[allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    rustdoc::all
)]
pub mod proto {
    include!("proto.rs");
}

/// What the service looks like, for reflection: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("marketstore.bin");
