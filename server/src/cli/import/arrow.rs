//! Arrow IPC files and streams as record batches.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::Block;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_schema::{ArrowError, SchemaRef};

use super::tables::Table;
use crate::ipc::{self, check_message, read_bytes};

/// First bytes of an IPC file; a stream has none.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// First bytes of Feather 1, which is no Arrow IPC.
const FEATHER_1_MAGIC: &[u8] = b"FEA1";

/// Length of the footer and the magic, at the end of a file.
const TRAILER_BYTES: i64 = 10;

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

fn stream_table(file: BufReader<File>) -> Result<Table, String> {
    let (schema, batches) = ipc::read(file)?;
    Ok(table(schema, batches))
}
