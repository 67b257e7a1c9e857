//! The directories: symbol, timeframe, attribute group, year files; and the logs beside them.

use std::path::Path;

use disk::{Source, SourceKind};
use model::{BucketKey, Zone};

use super::compress::Compression;
use super::fault::Fault;
use super::overlay::Overlay;
use super::reader::BucketReader;
use crate::Error;

const CATEGORY_FILE: &str = "category_name";
const LOG_ENDING: &str = ".walfile";
const YEAR_ENDING: &str = ".bin";
/// Directories that MarketStore and file systems keep beside the data.
const NOT_DATA: [&str; 2] = ["metadata.db", "lost+found"];

/// What a MarketStore directory does not say about itself.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// `timezone` of the MarketStore that wrote it.
    pub zone: Zone,
    /// Whether ticks are compressed.
    pub compression: Compression,
    /// What its configuration says about that: taken for areas that can be read both ways, if no
    /// other area of the bucket tells.
    pub in_doubt: Compression,
    /// Move bars that begin between the windows of mkts to the beginning of their window, instead of
    /// leaving them out.
    pub floor_bars: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            zone: Zone::utc(),
            compression: Compression::Auto,
            in_doubt: Compression::Auto,
            floor_bars: false,
        }
    }
}

/// A bucket of a [`Tree`].
#[derive(Debug, Clone)]
pub struct SourceBucket {
    /// Its key.
    pub key: BucketKey,
    /// Bytes that its files take on disk.
    pub bytes: u64,
    /// Year and path of each year file, ascending.
    pub(super) years: Vec<(i16, String)>,
}

/// A MarketStore directory.
#[derive(Debug)]
pub struct Tree {
    pub(super) source: Source,
    pub(super) options: ReadOptions,
    pub(super) overlay: Overlay,
    buckets: Vec<SourceBucket>,
    faults: Vec<Fault>,
    notes: Vec<Fault>,
}

impl Tree {
    /// Lists a directory and reads its logs.
    ///
    /// # Errors
    /// If it cannot be read or is no MarketStore directory. Damage inside is no error, see
    /// [`Tree::faults`].
    pub fn open(root: &Path, options: ReadOptions) -> Result<Self, Error> {
        let source = Source::open(root)?;
        let mut tree = Self {
            source,
            options,
            overlay: Overlay::default(),
            buckets: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
        };
        let Some(category) = tree.category("") else {
            return Err(Error::Invalid(format!(
                "{} is no MarketStore directory: it has no file {CATEGORY_FILE}",
                root.display()
            )));
        };
        for name in tree.logs()? {
            tree.overlay.add(&tree.source, &name);
        }
        tree.walk("", &mut vec![category], &mut Vec::new());
        tree.buckets.sort_by(|a, b| a.key.cmp(&b.key));
        tree.check_logged_files();
        tree.faults.append(&mut tree.overlay.faults);
        tree.notes.append(&mut tree.overlay.notes);
        Ok(tree)
    }

    /// The directory, absolute.
    pub fn root(&self) -> &Path {
        self.source.root()
    }

    /// How it is read.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// The buckets, ordered by key.
    pub fn buckets(&self) -> &[SourceBucket] {
        &self.buckets
    }

    /// What of the tree and the logs was left out. A bucket's own faults come with its reader.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What is there and holds no rows: files that MarketStore does not know.
    pub fn notes(&self) -> &[Fault] {
        &self.notes
    }

    /// Reads a bucket of this tree.
    pub fn read<'a>(&'a self, bucket: &'a SourceBucket) -> BucketReader<'a> {
        BucketReader::new(self, bucket)
    }

    fn logs(&self) -> Result<Vec<String>, Error> {
        let files = self.source.list("")?.into_iter();
        let logs = files.filter(|e| e.kind == SourceKind::File && e.name.ends_with(LOG_ENDING));
        Ok(logs.map(|entry| entry.name).collect())
    }

    /// The category of the names in a directory.
    fn category(&self, dir: &str) -> Option<String> {
        let file = self.source.open_file(&join(dir, CATEGORY_FILE)).ok()?;
        let mut bytes = vec![0; file.len().min(64) as usize];
        file.read_at(0, &mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Goes down one level. `categories` has one more entry than `items`: what the names here are.
    fn walk(&mut self, dir: &str, categories: &mut Vec<String>, items: &mut Vec<String>) {
        let is_leaf = categories.last().is_some_and(|category| category == "Year");
        if is_leaf {
            return self.leaf(dir, categories, items);
        }
        if items.len() == 3 {
            let what = format!(
                "names of {:?} inside, year files are expected: left out",
                categories[3]
            );
            return self.faults.push(Fault::new(dir, None, what));
        }
        let entries = match self.source.list(dir) {
            Ok(entries) => entries,
            Err(error) => return self.faults.push(Fault::new(dir, None, error.to_string())),
        };
        for entry in entries {
            let path = join(dir, &entry.name);
            if entry.kind != SourceKind::Dir {
                self.stray(dir, &path, &entry.name, entry.kind);
            } else if !NOT_DATA.contains(&entry.name.as_str()) {
                self.enter(&path, entry.name, categories, items);
            }
        }
    }

    fn enter(
        &mut self,
        path: &str,
        name: String,
        categories: &mut Vec<String>,
        items: &mut Vec<String>,
    ) {
        let Some(category) = self.category(path) else {
            let empty = self
                .source
                .list(path)
                .is_ok_and(|entries| entries.is_empty());
            let what =
                format!("a directory without {CATEGORY_FILE}, which MarketStore skips as well");
            let list = if empty {
                &mut self.notes
            } else {
                &mut self.faults
            };
            return list.push(Fault::new(path, None, what));
        };
        categories.push(category);
        items.push(name);
        self.walk(path, categories, items);
        categories.pop();
        items.pop();
    }

    fn stray(&mut self, dir: &str, path: &str, name: &str, kind: SourceKind) {
        let log = dir.is_empty() && name.ends_with(LOG_ENDING);
        if name == CATEGORY_FILE || (log && kind == SourceKind::File) {
            return;
        }
        let fault = |what: &str| Fault::new(path, None, what);
        if dir.is_empty() && name.ends_with(".walfile.tmp") {
            let what = "a log that MarketStore could not replay and set aside: its rows are not \
                        imported; to have them, rename a copy of it to end in .walfile";
            self.faults.push(fault(what));
        } else if kind == SourceKind::Other {
            self.faults.push(fault(
                "neither a file nor a directory, or a name that is not UTF-8",
            ));
        } else if name.ends_with(YEAR_ENDING) {
            self.faults.push(fault("a year file outside a bucket"));
        } else {
            self.notes.push(fault("not a file of MarketStore"));
        }
    }

    fn leaf(&mut self, dir: &str, categories: &[String], items: &[String]) {
        let key = match key(categories, items) {
            Ok(key) => key,
            Err(why) => return self.faults.push(Fault::new(dir, None, why)),
        };
        let entries = match self.source.list(dir) {
            Ok(entries) => entries,
            Err(error) => return self.faults.push(Fault::new(dir, None, error.to_string())),
        };
        let mut bucket = SourceBucket {
            key,
            bytes: 0,
            years: Vec::new(),
        };
        for entry in entries {
            let path = join(dir, &entry.name);
            let stem = entry.name.strip_suffix(YEAR_ENDING);
            let year = stem.and_then(|stem| {
                let year = stem.parse::<i16>().ok()?;
                (year.to_string() == stem).then_some(year)
            });
            match (entry.kind, stem, year) {
                (SourceKind::File, _, Some(year)) => {
                    let opened = self.source.open_file(&path);
                    bucket.bytes += opened.map_or(0, |file| file.allocated());
                    bucket.years.push((year, path));
                }
                (SourceKind::File, None, _) if entry.name == CATEGORY_FILE => {}
                (SourceKind::File, Some(_), None) => {
                    let what = "the name is no year: left out";
                    self.faults.push(Fault::new(&path, None, what));
                }
                (SourceKind::File, None, _) => {
                    self.notes
                        .push(Fault::new(&path, None, "not a file of MarketStore"));
                }
                _ => {
                    let what = "not a file where year files are expected: left out";
                    self.faults.push(Fault::new(&path, None, what));
                }
            }
        }
        bucket.years.sort();
        if bucket.years.is_empty() {
            self.notes
                .push(Fault::new(dir, None, "a bucket without year files"));
        } else {
            self.buckets.push(bucket);
        }
    }

    /// Rows in logs for files that are not there: the bucket was destroyed, or the file lost.
    fn check_logged_files(&mut self) {
        let mut missing = Vec::new();
        for (path, sets) in self.overlay.paths() {
            let known = self
                .buckets
                .iter()
                .any(|bucket| bucket.years.iter().any(|(_, p)| p == path));
            let Some(first) = sets.values().flatten().next().filter(|_| !known) else {
                continue;
            };
            let count: usize = sets.values().map(Vec::len).sum();
            let what = format!(
                "{count} writes to {path:?}, which is not there: the bucket was destroyed, or the \
                 file lost"
            );
            missing.push(self.overlay.fault(first, what));
        }
        missing.sort_by_key(|fault| (fault.file.clone(), fault.offset));
        self.faults.append(&mut missing);
    }
}

/// The key of three items in the order of the categories above them.
fn key(categories: &[String], items: &[String]) -> Result<BucketKey, String> {
    let [a, b, c] = items else {
        return Err(format!(
            "{} levels of directories, 3 are expected: left out",
            items.len()
        ));
    };
    let order = BucketKey::category_order(&categories[..3].join("/"));
    let [symbol, timeframe, group] = order.map_err(|error| error.to_string())?;
    let items = [a, b, c];
    BucketKey::new(items[symbol], items[timeframe], items[group])
        .map_err(|error| format!("{error}; left out"))
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}
