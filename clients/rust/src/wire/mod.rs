//! Bytes of the protocol. Everything that comes from outside is checked here, once:
//!
//! * a length field is compared with the bytes that are there before anything is allocated;
//! * nesting is counted, and nothing recurses on input;
//! * column data stays where it arrived: a decoded column is a slice of the body.
//!
//! JSON bodies are transcribed to MessagePack first, so that there is one decoder.

mod call;
mod dataset;
mod json;
pub mod msgpack;
mod numpy_type;
mod reply;
mod request;

pub use call::{Call, Codec, PARSE_ERROR, REQUEST_ERROR, RpcError, SERVER_ERROR};
pub(crate) use dataset::write_dataset;
pub use dataset::{
    DATASET_BUCKETS_MAX, Dataset, DatasetError, EPOCH, NANOSECONDS, Tables, epochs, nanos_of_second,
};
pub use numpy_type::{parse_type, parse_type_or_word, reply_code, write_code};
pub use reply::{Body, ColumnData, Counted, DatasetReply, Entry, Info, InfoColumn, Reply};
pub use request::{
    AlterRequest, CreateRequest, DeleteRequest, KeyRequest, ListRequest, QueryRequest, Request,
    WriteRequest,
};
