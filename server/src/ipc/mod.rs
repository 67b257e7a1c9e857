//! Arrow IPC of others, read with care.
//!
//! The lengths that a stream claims are compared with the bytes there are before anything is
//! allocated for them: the readers of `arrow-ipc` itself believe them, and a wrong one would end
//! the process. So messages are cut out here, and only their decoding is left to it.

mod messages;

use std::io::Read;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::SchemaRef;

pub(crate) use messages::{check_message, next_message, read_bytes};

/// The end of a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The record batches of a stream.
pub(crate) struct Batches<R> {
    input: R,
    decoder: StreamDecoder,
    first: Option<RecordBatch>,
}

/// Reads the schema of a stream; the batches follow.
pub(crate) fn read<R: Read>(mut input: R) -> Result<(SchemaRef, Batches<R>), String> {
    let mut decoder = StreamDecoder::new();
    // The decoder looks at a message without a body, the schema, when the next one comes.
    let mut first = None;
    while decoder.schema().is_none() {
        let message = next_message(&mut input)?;
        let is_end = message.is_none();
        first = decode(&mut decoder, message.unwrap_or(END.into()))?;
        if is_end {
            break;
        }
    }
    let schema = decoder.schema().ok_or("it has no schema")?;
    let batches = Batches {
        input,
        decoder,
        first,
    };
    Ok((schema, batches))
}

impl<R: Read> Iterator for Batches<R> {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.first.take() {
            Some(batch) => Some(Ok(batch)),
            None => self.next_batch().transpose(),
        }
    }
}

impl<R: Read> Batches<R> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        while let Some(message) = next_message(&mut self.input)? {
            if let Some(batch) = decode(&mut self.decoder, message)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Decodes one message, which holds one batch at most.
fn decode(decoder: &mut StreamDecoder, message: Vec<u8>) -> Result<Option<RecordBatch>, String> {
    let mut bytes = Buffer::from(message);
    while !bytes.is_empty() {
        if let Some(batch) = decoder.decode(&mut bytes).map_err(|e| e.to_string())? {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}
