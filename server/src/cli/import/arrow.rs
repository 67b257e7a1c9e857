//! Arrow IPC files and streams as record batches.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use arrow_ipc::reader::{FileReader, StreamReader};

use super::tables::Table;

/// First bytes of an IPC file; a stream has none.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// First bytes of Feather 1, which is no Arrow IPC.
const FEATHER_1_MAGIC: &[u8] = b"FEA1";

/// Opens a file and reads its schema.
pub(super) fn open(path: &Path) -> Result<Table, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut magic = Vec::new();
    let rewound = file.by_ref().take(6).read_to_end(&mut magic);
    rewound
        .and_then(|_| file.rewind())
        .map_err(|error| error.to_string())?;
    if magic.starts_with(FEATHER_1_MAGIC) {
        return Err("is Feather version 1; write it again as version 2".into());
    }
    let unreadable =
        |error: arrow_schema::ArrowError| format!("is no readable Arrow IPC file: {error}");
    let file = BufReader::with_capacity(1 << 18, file);
    if magic.starts_with(FILE_MAGIC) {
        let reader = FileReader::try_new(file, None).map_err(unreadable)?;
        let schema = reader.schema();
        let batches = reader.map(|batch| batch.map_err(|error| error.to_string()));
        return Ok(Table {
            metadata: schema.metadata().clone(),
            schema,
            batches: Box::new(batches),
        });
    }
    let reader = StreamReader::try_new(file, None).map_err(unreadable)?;
    let schema = reader.schema();
    let batches = reader.map(|batch| batch.map_err(|error| error.to_string()));
    Ok(Table {
        metadata: schema.metadata().clone(),
        schema,
        batches: Box::new(batches),
    })
}
