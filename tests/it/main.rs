//! All integration tests, linked once.
//!
//! | module | asks |
//! |---|---|
//! | `golden` | does the server answer recorded MarketStore traffic as recorded, and better where the recording is wrong |
//! | `vectors` | the same for the exchanges of an unmodified Python client |
//! | `flight` | do clients of Flight SQL read and write, plan and prepare |
//! | `grpc` | the same over gRPC, with bad input |
//! | `postgres` | do psql and psycopg read over the PostgreSQL wire |
//! | `pymarketstore` | does that client itself work |
//! | `python_client` | does our own Python client, and is its stand-in for that client the same to programs |
//! | `python_plugin` | does the Python SDK of plugins do what the server says and asks for |
//! | `native_crash` | does a library that ends the server twice run in a process then |
//! | `same_state` | does a plugin in Python do what one in Rust does, on the same state |
//! | `templates` | does what `mkts plugin new` writes pass its tests as it is |
//! | `exchange` | do pyarrow and we read each other's files |
//! | `crash` | is everything acknowledged there after kill -9, and nothing else |
//! | `feeds` | is a feed stored exactly once, whenever the server is killed |
//! | `process` | the same for a store whose process dies, whose disk fills up, whose calls fail |
//! | `corrupt` | is rot found and named, whatever byte it hits |
//! | `fuzz` | does any input make a decoder panic or hang |
//! | `aggregates` | do coarser bars equal recomputation for rows in any order, zone and volume |
//! | `functions` | do the functions of a query compute what is right on real bars, in bounded memory |
//! | `rights` | does a caller read only what it may, also through SQL and functions |
//! | `hostile` | does bad input get a clear error and leave nothing behind |
//! | `manage` | can an operator see and steer its plugins, and nobody their secrets |
//! | `ops` | do the dashboard, the image and the chart name what is there |
//! | `serve` | does it start, stop and refuse as promised |
//! | `import_marketstore` | do directories of real MarketStore servers arrive row by row |
//! | `sql_http` | does SQL over HTTP answer in every format, and do written rows come back |
//! | `stream` | do subscribers get their own, and only live ones matter |
//! | `visible` | does a reader see whole commits, in order, at once |
//! | `sim` | do log, store and triggers survive a disk that crashes at any call |
//! | `random` | the same with everything at once, drawn from seeds, and made small where it fails |
//! | `sweep` | the same, going through every crash, tear and error instead of drawing them |
//! | `upgrade` | do stores of every released format open and answer the same |
//! | `cli` | does the command line do what scripts for MarketStore expect, on directories and servers |
//! | `layering` | do the crates import only downwards, is the tree tidy |
#![forbid(unsafe_code)]
// Tests prepare their own files beside the store.
#![allow(clippy::disallowed_methods)]

mod aggregates;
mod cli;
mod corrupt;
mod crash;
mod exchange;
mod feeds;
mod flight;
mod functions;
mod fuzz;
mod golden;
mod grpc;
mod hostile;
mod import_marketstore;
mod layering;
mod manage;
mod native_crash;
mod ops;
mod postgres;
mod process;
mod pymarketstore;
mod python_client;
mod python_plugin;
mod random;
mod reload;
mod replay;
mod rights;
mod same_state;
mod serve;
mod sim;
mod sql_http;
mod stream;
mod sweep;
mod templates;
mod upgrade;
mod vectors;
mod visible;
