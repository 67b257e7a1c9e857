//! A whole store in one small file: its files as they lie on the disk, and what it answers.
//!
//! `cargo xtask golden` writes one with the format of today. Once a format is released its file
//! stays for ever, and every later version must open it, replay its log and answer the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use disk::{Disk, SimDisk};
use model::{BucketKey, ColumnType, RowKind};
use serde_json::{Value as Json, json};

use super::script::{self, Drawer};
use super::{Row, State, Step, Table, Value, life};

/// A store on a disk, stopped, and what it holds.
#[derive(Debug)]
pub struct Golden {
    /// Its files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What it answers.
    pub state: State,
}

/// Rows enough for packed pages; every kind of step; segments merged, masked and of older schemas;
/// commits of every kind that only the log has.
pub fn make() -> Golden {
    let disk = SimDisk::new(1);
    let mut engine = None;
    let mut state = State::default();
    let mut drawer = Drawer::new(4);
    let mut steps = Vec::new();
    for bucket in 0..5 {
        let parts = (0..24).map(|_| drawer.part(bucket, 16));
        steps.push(Step::Ingest(parts.collect()));
    }
    steps.extend(
        script::life()
            .into_iter()
            .filter(|step| !matches!(step, Step::Create(..))),
    );
    // Only in the log.
    let mut late = Drawer::new(5);
    steps.extend((0..6).map(|_| Step::Write(vec![late.part(4, 3)])));
    steps.push(late.delete(&[4]));
    steps.push(late.alter(4));
    steps.push(Step::Write(vec![late.part(4, 2)]));
    steps.push(Step::Write(vec![script::probe()]));
    for step in &steps {
        // Some steps of the script do not fit the rows before it: they are refused.
        if life::step(&disk, &mut engine, step).is_ok() {
            state.apply(step);
        }
    }
    let running = engine.expect("there were steps");
    let found = State::read(&running).expect("a sound disk");
    assert_eq!(found, state, "{}", found.difference(&state));
    drop(running);
    Golden {
        files: files_of(&disk),
        state,
    }
}

fn files_of(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["", "segments", "wal"] {
        for name in disk.list(dir).expect("a sound disk") {
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            if let Ok(bytes) = disk.read_all(&path) {
                files.insert(path, bytes.to_vec());
            }
        }
    }
    files
}

impl Golden {
    /// A disk with these files.
    pub fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(1);
        let write = |path: &str, bytes: &[u8]| -> std::io::Result<()> {
            if let Some((dir, _)) = path.rsplit_once('/') {
                disk.create_dir_all(dir)?;
                disk.sync_dir(dir)?;
            }
            let file = disk.create(path)?;
            file.write_at(0, bytes)?;
            file.sync_all()
        };
        for (path, bytes) in &self.files {
            write(path, bytes).expect("a sound disk");
        }
        disk
    }

    /// As one compressed file.
    pub fn encode(&self) -> Vec<u8> {
        let files = self
            .files
            .iter()
            .map(|(path, bytes)| (path.clone(), json!(STANDARD.encode(bytes))));
        let files: serde_json::Map<String, Json> = files.collect();
        let buckets = self
            .state
            .0
            .iter()
            .map(|(key, table)| (key.to_string(), table_json(table)));
        let buckets: serde_json::Map<String, Json> = buckets.collect();
        let text = json!({ "files": files, "buckets": buckets }).to_string();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let written = encoder.write_all(text.as_bytes());
        written
            .and_then(|()| encoder.finish())
            .expect("memory takes it")
    }

    /// Inverse of [`Golden::encode`]; `None` if the bytes are no such file.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_string(&mut text)
            .ok()?;
        let json: Json = serde_json::from_str(&text).ok()?;
        let files = json.get("files")?.as_object()?.iter();
        let files =
            files.map(|(path, bytes)| Some((path.clone(), STANDARD.decode(bytes.as_str()?).ok()?)));
        let buckets = json.get("buckets")?.as_object()?.iter();
        let buckets =
            buckets.map(|(key, table)| Some((BucketKey::parse(key).ok()?, table_of(table)?)));
        Some(Self {
            files: files.collect::<Option<_>>()?,
            state: State(buckets.collect::<Option<_>>()?),
        })
    }
}

fn table_json(table: &Table) -> Json {
    let value = |value: &Value| match value {
        Value::Int(number) => json!(number.to_string()),
        Value::Float(bits) => json!(format!("{bits:016x}")),
        Value::Text(text) => json!(text),
    };
    let row = |row: &Row| {
        let values = row.values.iter().map(value);
        Json::Array([json!(row.time)].into_iter().chain(values).collect())
    };
    let columns = table
        .columns
        .iter()
        .map(|(name, ty)| json!([name, ty.code()]));
    json!({
        "kind": table.kind.code(),
        "columns": columns.collect::<Vec<_>>(),
        "rows": table.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn table_of(json: &Json) -> Option<Table> {
    let columns = json.get("columns")?.as_array()?.iter().map(|column| {
        let code = u8::try_from(column.get(1)?.as_u64()?).ok()?;
        Some((
            column.get(0)?.as_str()?.to_owned(),
            ColumnType::from_code(code)?,
        ))
    });
    let columns: Vec<(String, ColumnType)> = columns.collect::<Option<_>>()?;
    let rows = json.get("rows")?.as_array()?.iter().map(|row| {
        let (time, values) = row.as_array()?.split_first()?;
        let values = columns.iter().zip(values);
        let values = values.map(|((_, ty), value)| value_of(*ty, value.as_str()?));
        Some(Row {
            time: time.as_i64()?,
            values: values.collect::<Option<_>>()?,
        })
    });
    Some(Table {
        kind: RowKind::from_code(u8::try_from(json.get("kind")?.as_u64()?).ok()?)?,
        rows: rows.collect::<Option<_>>()?,
        columns,
    })
}

fn value_of(ty: ColumnType, text: &str) -> Option<Value> {
    match ty {
        ColumnType::F32 | ColumnType::F64 => u64::from_str_radix(text, 16).ok().map(Value::Float),
        ColumnType::Str16 => Some(Value::Text(text.to_owned())),
        _ => text.parse().ok().map(Value::Int),
    }
}
