//! What an import has done, in a file below the store's root, so that it can be stopped at any
//! moment and go on later.
//!
//! Lines of fields with tabs between: the source, a line for each bucket that was begun or finished,
//! a line for each fault of it, `complete` at the end of all, and the CRC-32 of the lines before. It
//! is replaced as a whole: a bucket is in it before its first row is stored, and finished in it only
//! after its last one is.

use std::collections::BTreeMap;

use disk::Disk;
use model::BucketKey;

use super::fault::Fault;
use super::reader::Repaired;
use super::sums::Sums;
use crate::Error;

/// The file below the store's root.
pub(super) const JOURNAL: &str = "import.journal";
const HEAD: &str = "mkts import of a MarketStore directory, 1";

/// A bucket whose rows are all stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Finished {
    pub(super) sums: Sums,
    pub(super) repaired: Repaired,
    pub(super) faults: Vec<Fault>,
}

/// What is known of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Some of its rows may be stored.
    Started,
    /// All are.
    Finished(Finished),
}

/// The journal of one import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    /// The directory read.
    pub(super) source: String,
    /// How times are read: another way would give other rows.
    pub(super) reading: String,
    pub(super) buckets: BTreeMap<BucketKey, State>,
    pub(super) complete: bool,
}

impl Journal {
    pub(super) fn new(source: String, reading: String) -> Self {
        Self {
            source,
            reading,
            buckets: BTreeMap::new(),
            complete: false,
        }
    }

    /// The journal of a store, if it has one.
    pub(super) fn load(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        if !disk.exists(JOURNAL)? {
            return Ok(None);
        }
        let bytes = disk.read_all(JOURNAL)?;
        let damaged = |what: &str| Error::corrupt(JOURNAL, 0, what);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not UTF-8"))?;
        let (lines, sum) = text
            .trim_end()
            .rsplit_once('\n')
            .ok_or_else(|| damaged("it has no checksum"))?;
        if sum != format!("{:08x}", crc32fast::hash(lines.as_bytes())) {
            return Err(damaged("its checksum does not fit"));
        }
        parse(lines)
            .ok_or_else(|| damaged("a line is not understood"))
            .map(Some)
    }

    /// Replaces the file; durable on return.
    pub(super) fn publish(&self, disk: &dyn Disk) -> Result<(), Error> {
        let lines = self.text();
        let sum = crc32fast::hash(lines.as_bytes());
        let text = format!("{lines}\n{sum:08x}\n");
        disk::publish(disk, JOURNAL, |file| {
            file.write_at(0, text.as_bytes()).map_err(Error::from)
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            HEAD.to_owned(),
            format!("source\t{}", escape(&self.source)),
            format!("reading\t{}", escape(&self.reading)),
        ];
        for (key, state) in &self.buckets {
            match state {
                State::Started => lines.push(format!("started\t{key}")),
                State::Finished(finished) => finished_lines(key, finished, &mut lines),
            }
        }
        if self.complete {
            lines.push("complete".to_owned());
        }
        lines.join("\n")
    }
}

fn finished_lines(key: &BucketKey, finished: &Finished, lines: &mut Vec<String>) {
    let sums: Vec<String> = finished
        .sums
        .columns
        .iter()
        .map(|sum| format!("{sum:x}"))
        .collect();
    let Repaired {
        first_january,
        from_log,
        not_doubled,
    } = finished.repaired;
    lines.push(format!(
        "finished\t{key}\t{}\t{}\t{first_january},{from_log},{not_doubled}",
        finished.sums.rows,
        sums.join(",")
    ));
    for fault in &finished.faults {
        let offset = fault
            .offset
            .map_or("-".to_owned(), |offset| offset.to_string());
        lines.push(format!(
            "fault\t{offset}\t{}\t{}",
            escape(&fault.file),
            escape(&fault.what)
        ));
    }
}

fn parse(text: &str) -> Option<Journal> {
    let mut lines = text.lines();
    if lines.next()? != HEAD {
        return None;
    }
    let mut field = |name: &str| {
        let (found, value) = lines.next()?.split_once('\t')?;
        (found == name).then(|| unescape(value))
    };
    let mut journal = Journal::new(field("source")?, field("reading")?);
    let mut last: Option<BucketKey> = None;
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["started", key] => {
                let key = BucketKey::parse(key).ok()?;
                journal.buckets.insert(key, State::Started);
            }
            ["finished", key, rows, sums, repaired] => {
                let key = BucketKey::parse(key).ok()?;
                let sums = sums.split(',').filter(|sum| !sum.is_empty());
                let columns = sums.map(|sum| u64::from_str_radix(sum, 16).ok());
                let repaired = repaired.split(',').map(|count| count.parse().ok());
                let [first_january, from_log, not_doubled] =
                    repaired.collect::<Option<Vec<u64>>>()?.try_into().ok()?;
                let finished = Finished {
                    sums: Sums {
                        rows: rows.parse().ok()?,
                        columns: columns.collect::<Option<_>>()?,
                    },
                    repaired: Repaired {
                        first_january,
                        from_log,
                        not_doubled,
                    },
                    faults: Vec::new(),
                };
                journal
                    .buckets
                    .insert(key.clone(), State::Finished(finished));
                last = Some(key);
            }
            ["fault", offset, file, what] => {
                let State::Finished(finished) = journal.buckets.get_mut(last.as_ref()?)? else {
                    return None;
                };
                let offset = match offset {
                    "-" => None,
                    offset => Some(offset.parse().ok()?),
                };
                finished
                    .faults
                    .push(Fault::new(&unescape(file), offset, unescape(what)));
            }
            ["complete"] => journal.complete = true,
            _ => return None,
        }
    }
    Some(journal)
}

/// File names may hold anything.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => escaped.push_str("%25"),
            '\t' => escaped.push_str("%09"),
            '\n' => escaped.push_str("%0A"),
            '\r' => escaped.push_str("%0D"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    let text = text.replace("%0D", "\r").replace("%0A", "\n");
    text.replace("%09", "\t").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let mut journal = Journal::new("/a %25\tb".into(), "UTC".into());
        let key = |text: &str| BucketKey::parse(text).unwrap();
        let finished = Finished {
            sums: Sums {
                rows: 7,
                columns: vec![1, u64::MAX],
            },
            repaired: Repaired {
                first_january: 1,
                from_log: 2,
                not_doubled: 3,
            },
            faults: vec![
                Fault::new("A\n/x", 5, "what % is\twrong"),
                Fault::new("", None, ""),
            ],
        };
        journal.buckets.insert(key("A/1Min/X"), State::Started);
        journal
            .buckets
            .insert(key("B/1Min/X"), State::Finished(finished));
        journal
            .buckets
            .insert(key("C/1Min/X"), State::Finished(Finished::default()));
        journal
    }

    #[test]
    fn a_journal_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk::OsDisk::open(dir.path()).unwrap();
        assert_eq!(Journal::load(&disk).unwrap(), None);
        let mut journal = journal();
        for complete in [false, true] {
            journal.complete = complete;
            journal.publish(&disk).unwrap();
            assert_eq!(Journal::load(&disk).unwrap().unwrap(), journal);
        }
    }

    #[test]
    fn no_flipped_bit_is_believed() {
        let good = {
            let dir = tempfile::tempdir().unwrap();
            let disk = disk::OsDisk::open(dir.path()).unwrap();
            journal().publish(&disk).unwrap();
            disk.read_all(JOURNAL).unwrap().to_vec()
        };
        let dir = tempfile::tempdir().unwrap();
        let disk = disk::OsDisk::open(dir.path()).unwrap();
        // The last byte is only the end of the line.
        for at in (0..good.len() - 1).step_by(3) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            disk::publish(&disk, JOURNAL, |file| file.write_at(0, &bad)).unwrap();
            assert!(Journal::load(&disk).is_err(), "byte {at}");
        }
    }
}
