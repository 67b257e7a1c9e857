//! The wire protocol of MarketStore, and a blocking client that speaks it.
//!
//! * [`wire`] turns bytes into requests, rows and replies, and back. It does no I/O; the server and
//!   the client share it, so both sides of the protocol are the same code.
//! * [`Client`] calls the RPC over one kept-alive HTTP connection.
//! * [`Client::sql`] runs SQL and streams its result.
//! * [`Subscription`] receives stream messages over a WebSocket.
//!
//! It is not an async client and keeps no pool: a program that wants eight connections makes eight
//! clients.
//!
//! ```no_run
//! use client::{Client, Query};
//!
//! let mut client = Client::new("127.0.0.1:5993");
//! for table in client.query(&Query::of("AAPL/1Min/OHLCV").last(10))? {
//!     println!("{}: {} rows", table.key, table.batch.rows());
//! }
//! # Ok::<(), client::Error>(())
//! ```
#![forbid(unsafe_code)]

mod rpc;
mod sql;
mod stream;
mod target;
pub mod wire;

pub use rpc::{Alter, BucketInfo, Client, Error, Query, Table};
pub use sql::{Answer, Stop};
pub use stream::{Message, Subscription};
pub use target::{Target, Tls};
