//! Arrow IPC files and streams as record batches.
//!
//! The lengths that a file claims are compared with the bytes there are before anything is
//! allocated for them: the readers of `arrow-ipc` itself believe them, and a wrong one would end
//! the process. So messages are cut out here, and only their decoding is left to it.

mod messages;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::Block;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{FileDecoder, StreamDecoder, read_footer_length};
use arrow_schema::{ArrowError, SchemaRef};

use super::tables::Table;
use messages::{check_message, next_message, read_bytes};

/// First bytes of an IPC file; a stream has none.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// First bytes of Feather 1, which is no Arrow IPC.
const FEATHER_1_MAGIC: &[u8] = b"FEA1";

/// Length of the footer and the magic, at the end of a file.
const TRAILER_BYTES: i64 = 10;

/// The end of a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Opens a file and reads its schema.
pub(super) fn open(path: &Path) -> Result<Table, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut magic = Vec::new();
    let read = file.by_ref().take(6).read_to_end(&mut magic);
    read.and_then(|_| file.rewind())
        .map_err(|error| error.to_string())?;
    if magic.starts_with(FEATHER_1_MAGIC) {
        return Err("is Feather version 1; write it again as version 2".into());
    }
    let file = BufReader::with_capacity(1 << 18, file);
    let table = match magic.starts_with(FILE_MAGIC) {
        true => file_table(file),
        false => stream_table(file),
    };
    table.map_err(|what| format!("is no readable Arrow IPC file: {what}"))
}

fn table(schema: SchemaRef, batches: impl Iterator<Item = Batch> + 'static) -> Table {
    Table {
        metadata: schema.metadata().clone(),
        schema,
        batches: Box::new(batches),
    }
}

type Batch = Result<RecordBatch, String>;

fn told(error: ArrowError) -> String {
    error.to_string()
}

fn file_table(mut file: BufReader<File>) -> Result<Table, String> {
    let io = |error: std::io::Error| error.to_string();
    file.seek(SeekFrom::End(-TRAILER_BYTES)).map_err(io)?;
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact(&mut trailer).map_err(io)?;
    let length = read_footer_length(trailer).map_err(told)?;
    let back = i64::try_from(length).map_err(|_| "its footer is too long")?;
    file.seek(SeekFrom::End(-TRAILER_BYTES - back))
        .map_err(io)?;
    let footer = read_bytes(&mut file, length as u64)?;
    let footer = arrow_ipc::root_as_footer(&footer).map_err(|error| error.to_string())?;
    let schema = footer.schema().ok_or("it has no schema")?;
    let schema = Arc::new(fb_to_schema(schema));
    let mut decoder = FileDecoder::new(schema.clone(), footer.version());
    for block in footer.dictionaries().iter().flatten() {
        let bytes = read_block(&mut file, block)?;
        decoder.read_dictionary(block, &bytes).map_err(told)?;
    }
    let batches = footer.recordBatches();
    let blocks: Vec<Block> = batches.iter().flatten().copied().collect();
    let batches = blocks.into_iter().filter_map(move |block| {
        let batch = read_block(&mut file, &block)
            .and_then(|bytes| decoder.read_record_batch(&block, &bytes).map_err(told));
        batch.transpose()
    });
    Ok(table(schema, batches))
}

/// The message of a block, checked.
fn read_block(file: &mut BufReader<File>, block: &Block) -> Result<Buffer, String> {
    let wrong = || "a block lies outside of the file".to_owned();
    let [offset, head, body] = [
        block.offset(),
        i64::from(block.metaDataLength()),
        block.bodyLength(),
    ]
    .map(u64::try_from);
    let (Ok(offset), Ok(head), Ok(body)) = (offset, head, body) else {
        return Err(wrong());
    };
    let length = head.checked_add(body).ok_or_else(wrong)?;
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| error.to_string())?;
    let bytes = read_bytes(file, length)?;
    // The first eight bytes are a mark and the length of what follows, or only that.
    let start = if bytes.starts_with(&[0xff; 4]) { 8 } else { 4 };
    let head = usize::try_from(head).map_err(|_| wrong())?;
    let message = bytes.get(start..head).ok_or_else(wrong)?;
    check_message(message, &bytes[head..])?;
    Ok(Buffer::from(bytes))
}

fn stream_table(mut file: BufReader<File>) -> Result<Table, String> {
    let mut decoder = StreamDecoder::new();
    // The decoder looks at a message without a body, the schema, when the next one comes.
    let mut first = None;
    while decoder.schema().is_none() {
        let message = next_message(&mut file)?;
        let is_end = message.is_none();
        first = decode(&mut decoder, message.unwrap_or(END.into()))?;
        if is_end {
            break;
        }
    }
    let schema = decoder.schema().ok_or("it has no schema")?;
    let rest = std::iter::from_fn(move || next_batch(&mut file, &mut decoder).transpose());
    Ok(table(schema, first.map(Ok).into_iter().chain(rest)))
}

fn next_batch(
    file: &mut BufReader<File>,
    decoder: &mut StreamDecoder,
) -> Result<Option<RecordBatch>, String> {
    while let Some(message) = next_message(file)? {
        if let Some(batch) = decode(decoder, message)? {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Decodes one message, which holds one batch at most.
fn decode(decoder: &mut StreamDecoder, message: Vec<u8>) -> Result<Option<RecordBatch>, String> {
    let mut bytes = Buffer::from(message);
    while !bytes.is_empty() {
        if let Some(batch) = decoder.decode(&mut bytes).map_err(told)? {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}
