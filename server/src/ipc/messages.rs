//! Messages of Arrow IPC, cut out of a stream and checked for lengths that cannot be.

use std::io::Read;

use arrow_ipc::{Message, MessageHeader, RecordBatch};

/// Largest column of a batch after decompression, which a few bytes may claim.
const BUFFER_BYTES_MAX: i64 = 1 << 32;

/// Marks a column that was not worth compressing.
const NOT_COMPRESSED: i64 = -1;

/// So many bytes. Memory grows with what is there, not with what is asked for.
pub(crate) fn read_bytes(input: &mut impl Read, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = input.take(length).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(format!(
            "it ends {} bytes early",
            length - bytes.len() as u64
        )),
    }
}

/// The next message of a stream, whole and checked; `None` at the end.
pub(crate) fn next_message(input: &mut impl Read) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    let mut take = |bytes: &mut Vec<u8>, length: u64| {
        bytes.extend(read_bytes(input, length)?);
        Ok::<(), String>(())
    };
    // Nothing more is an end, too: not every writer marks it.
    match read_first(&mut take, &mut bytes)? {
        false => return Ok(None),
        true if bytes == [0xff; 4] => take(&mut bytes, 4)?,
        true => {}
    }
    let start = bytes.len();
    let length: [u8; 4] = bytes[start - 4..].try_into().expect("four bytes were read");
    let length = u64::try_from(i32::from_le_bytes(length)).map_err(|_| "a length is negative")?;
    if length == 0 {
        return Ok(None);
    }
    take(&mut bytes, length)?;
    let message = arrow_ipc::root_as_message(&bytes[start..]).map_err(|e| e.to_string())?;
    let body = u64::try_from(message.bodyLength()).map_err(|_| "a length is negative")?;
    let head = bytes.len();
    take(&mut bytes, body)?;
    check_message(&bytes[start..head], &bytes[head..])?;
    Ok(Some(bytes))
}

/// Reads four bytes; `false` if there are none at all.
fn read_first(
    take: &mut impl FnMut(&mut Vec<u8>, u64) -> Result<(), String>,
    bytes: &mut Vec<u8>,
) -> Result<bool, String> {
    match take(bytes, 1) {
        Err(_) if bytes.is_empty() => Ok(false),
        Err(error) => Err(error),
        Ok(()) => take(bytes, 3).map(|()| true),
    }
}

/// Refuses what claims more than its body holds.
pub(crate) fn check_message(message: &[u8], body: &[u8]) -> Result<(), String> {
    let message = arrow_ipc::root_as_message(message).map_err(|error| error.to_string())?;
    match batch(&message) {
        Some(batch) => check_batch(&batch, body),
        None => Ok(()),
    }
}

fn batch<'a>(message: &Message<'a>) -> Option<RecordBatch<'a>> {
    match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch()?.data(),
        _ => None,
    }
}

fn check_batch(batch: &RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    // A row without a bit of its own would be of a column without values, which nobody imports.
    let bits = i64::try_from(body.len())
        .unwrap_or(i64::MAX)
        .saturating_mul(8);
    let compressed = batch.compression().is_some();
    let rows = [batch.length()].into_iter();
    let nodes = batch.nodes();
    for rows in rows.chain(nodes.iter().flatten().map(|node| node.length())) {
        if rows < 0 || (!compressed && rows > bits) {
            return Err(format!("{rows} rows are not in {} bytes", body.len()));
        }
    }
    for buffer in batch.buffers().iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let end = start.zip(length).and_then(|(a, b)| a.checked_add(b));
        let bytes = start.zip(end).and_then(|(a, b)| body.get(a..b));
        let bytes = bytes.ok_or("a column lies outside of its batch")?;
        let claim = bytes.first_chunk().map(|chunk| i64::from_le_bytes(*chunk));
        if let Some(claim) = claim.filter(|_| compressed)
            && claim != NOT_COMPRESSED
            && !(0..=BUFFER_BYTES_MAX).contains(&claim)
        {
            return Err(format!("a column claims to have {claim} bytes"));
        }
    }
    Ok(())
}
