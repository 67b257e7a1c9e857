//! The messages of MarketStore's gRPC service, and of ours beside it.
//!
//! `proto/marketstore.proto` and `proto/mkts.proto` are the texts to read. The code here is generated from it by
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

/// What mkts answers beside MarketStore's service.
pub mod mkts {
    /// Package `mkts.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::all,
        rustdoc::all
    )]
    pub mod v1 {
        include!("mkts.v1.rs");
    }
}

/// What the services look like, for reflection: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
