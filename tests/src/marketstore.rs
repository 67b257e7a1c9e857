//! Directories that real MarketStore servers wrote, and what these servers answered.
//!
//! A `.tree.gz` is the directory without its holes: for each file a line `PATH LENGTH STRETCHES`,
//! then for each stretch a line `OFFSET BYTES` and the bytes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

/// Versions of the servers.
pub const VERSIONS: [&str; 2] = ["v3.2.18", "v4.1.23"];

/// The directories of each version.
pub const NAMES: [&str; 5] = [
    "dtypes",
    "fixed_year_end",
    "ticks_compressed",
    "ticks_uncompressed",
    "wal_unreplayed",
];

fn open(version: &str, file: &str) -> impl Read + use<> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/marketstore");
    let path = dir.join(version).join(file);
    GzDecoder::new(File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Writes a directory to `target`, sparse as it was.
pub fn unpack(version: &str, name: &str, target: &Path) {
    let mut input = BufReader::new(open(version, &format!("{name}.tree.gz")));
    while let Some(fields) = line(&mut input) {
        let [path, len, stretches] = fields.try_into().expect("three fields");
        let path = target.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a directory"))
            .expect("a directory");
        let file = File::create(&path).expect("a new file");
        for _ in 0..number(&stretches) {
            let [offset, bytes] = line(&mut input)
                .expect("a stretch")
                .try_into()
                .expect("two fields");
            let mut stretch = vec![0; number(&bytes) as usize];
            input
                .read_exact(&mut stretch)
                .expect("the bytes of a stretch");
            file.write_all_at(&stretch, number(&offset))
                .expect("a write");
        }
        file.set_len(number(&len)).expect("a length");
    }
}

fn line(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    input.read_line(&mut line).expect("a line");
    let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    (!fields.is_empty()).then_some(fields)
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// What the server answered to a query of all rows of a bucket: the column's name, its values at
/// the beginning and at the end, how many there are, and the SHA-256 of their bytes where it is
/// known.
#[derive(Debug)]
pub struct Answer {
    /// Bucket key.
    pub key: String,
    /// Rows.
    pub rows: usize,
    /// Per column: name, wire type, first values, last values.
    pub columns: Vec<(String, String, Vec<Value>, Vec<Value>)>,
}

/// All answers to queries without a range or a limit.
pub fn answers(version: &str, name: &str) -> Vec<Answer> {
    let recorded: Value =
        serde_json::from_reader(open(version, &format!("{name}.json.gz"))).expect("recorded JSON");
    let list = recorded["expected_after_start"].as_array().expect("a list");
    let whole = list
        .iter()
        .filter(|e| e["what"].as_str().is_some_and(|w| w.starts_with("all of ")));
    // Version 3 refused text columns, so it has nothing to answer for them.
    let answered = whole.filter(|e| tables(e).is_object());
    answered.map(answer).collect()
}

fn tables(recorded: &Value) -> &Value {
    &recorded["response"]["result"]["responses"][0]["result"]["tables"]
}

fn answer(recorded: &Value) -> Answer {
    let tables = tables(recorded);
    let (key, table) = tables
        .as_object()
        .expect("tables")
        .iter()
        .next()
        .expect("a table");
    let columns = table["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| {
            let name = column[0].as_str().expect("a name").to_owned();
            let ty = column[1].as_str().expect("a type").to_owned();
            let values = &table["values"][&name];
            let list = |values: &Value| values.as_array().expect("values").clone();
            match values.get("$n") {
                None => (name, ty, list(values), list(values)),
                Some(_) => (name, ty, list(&values["head"]), list(&values["tail"])),
            }
        });
    Answer {
        key: key.split(':').next().unwrap_or(key).to_owned(),
        rows: table["rows"].as_u64().expect("a count") as usize,
        columns: columns.collect(),
    }
}
