//! What the logs hold on top of the year files: which rows of which intervals, and where. The rows
//! themselves stay in the log until their interval is read.

use std::collections::{BTreeMap, HashMap};

use disk::{Source, SourceFile};

use super::fault::Fault;
use super::log;

/// Rows of one interval that were written after the last checkpoint of their log.
#[derive(Debug, Clone)]
pub(super) struct WriteSet {
    log: usize,
    at: u64,
    len: usize,
    /// Whether they are ticks.
    pub(super) ticks: bool,
    /// Bytes of one row with its ticks; 0 for fixed.
    pub(super) row_bytes: i32,
    /// Where the log says the slot lies.
    pub(super) slot_at: i64,
    /// A later group of the log is damaged.
    pub(super) doubtful: bool,
}

/// Write sets of one year file by interval, each in the order of writing.
pub(super) type FileSets = BTreeMap<i64, Vec<WriteSet>>;

/// All logs of a directory.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    logs: Vec<(String, SourceFile)>,
    files: HashMap<String, FileSets>,
    pub(super) faults: Vec<Fault>,
    pub(super) notes: Vec<Fault>,
}

impl Overlay {
    /// Reads a log; logs are given in the order of their names, the oldest first.
    pub(super) fn add(&mut self, source: &Source, name: &str) {
        let file = match source.open_file(name) {
            Ok(file) => file,
            Err(error) => return self.faults.push(Fault::new(name, None, error.to_string())),
        };
        let found = log::read(&file, name);
        self.faults.extend(found.faults);
        if found.was_replaying && !found.groups.is_empty() {
            let what = "MarketStore was stopped while it replayed this log: it may have stored \
                        ticks of the group it was at twice, which cannot be told from equal ticks";
            self.notes.push(Fault::new(name, None, what));
        }
        let number = self.logs.len();
        for group in &found.groups {
            self.add_group(&file, name, number, group);
        }
        self.logs.push((name.to_owned(), file));
    }

    fn add_group(&mut self, file: &SourceFile, name: &str, log: usize, group: &log::Group) {
        let mut bytes = vec![0; group.len as usize];
        if let Err(error) = file.read_at(group.at, &mut bytes) {
            return self
                .faults
                .push(Fault::new(name, group.at, error.to_string()));
        }
        let Some(sets) = log::sets(&bytes) else {
            let what = "a transaction group of no known version of MarketStore, left out";
            return self.faults.push(Fault::new(name, group.at, what));
        };
        for set in sets {
            let file = match self.files.get_mut(set.path) {
                Some(file) => file,
                None => self.files.entry(set.path.to_owned()).or_default(),
            };
            file.entry(set.index).or_default().push(WriteSet {
                log,
                at: group.at + set.at as u64,
                len: set.len,
                ticks: set.kind == 1,
                row_bytes: set.row_bytes,
                slot_at: set.slot_at,
                doubtful: group.doubtful,
            });
        }
    }

    /// The write sets of a year file.
    pub(super) fn file(&self, path: &str) -> Option<&FileSets> {
        self.files.get(path)
    }

    /// The year files that the logs name.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &FileSets)> {
        self.files.iter().map(|(path, sets)| (path.as_str(), sets))
    }

    /// The rows of a write set.
    pub(super) fn rows(&self, set: &WriteSet) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; set.len];
        let (_, file) = &self.logs[set.log];
        if file.read_at(set.at, &mut bytes)? < set.len {
            return Err(std::io::Error::other("the log became shorter"));
        }
        Ok(bytes)
    }

    /// A fault about a write set.
    pub(super) fn fault(&self, set: &WriteSet, what: String) -> Fault {
        Fault::new(&self.logs[set.log].0, set.at, what)
    }
}
