//! Which columns the rows of a bucket are sent as.

use client::wire::{EPOCH, NANOSECONDS, reply_code};
use model::{RowKind, Schema};

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Epoch,
    /// Position among `Output::scanned`.
    Column(usize),
    Nanoseconds,
}

/// The columns of the result of one bucket.
#[derive(Debug, Default)]
pub(super) struct Output {
    made_for: Option<(Schema, RowKind)>,
    /// Positions in the schema that are read.
    pub(super) scanned: Vec<usize>,
    pub(super) columns: Vec<(String, &'static str, Source)>,
}

impl Output {
    /// `Epoch`, then the columns in stored order or those asked for in the order asked for, then
    /// `Nanoseconds` for ticks. Unknown names are left out. A name asked for twice comes twice, and
    /// so does `Epoch`, as clients of the reference see it.
    pub(super) fn new(schema: &Schema, kind: RowKind, wanted: &[String]) -> Self {
        let mut output = Self {
            made_for: Some((schema.clone(), kind)),
            scanned: Vec::new(),
            columns: vec![(EPOCH.to_owned(), "i8", Source::Epoch)],
        };
        if wanted.is_empty() {
            (0..schema.len()).for_each(|position| output.add(schema, position));
        }
        for name in wanted {
            match schema.position(name) {
                Some(position) => output.add(schema, position),
                None if name == EPOCH => {
                    output.columns.push((EPOCH.to_owned(), "i8", Source::Epoch));
                }
                None => {}
            }
        }
        if kind == RowKind::Tick {
            output
                .columns
                .push((NANOSECONDS.to_owned(), "i4", Source::Nanoseconds));
        }
        output
    }

    /// Becomes the output of such rows, if it is not yet.
    pub(super) fn be_for(&mut self, schema: &Schema, kind: RowKind, wanted: &[String]) {
        if !self.is_for(schema, kind) {
            *self = Self::new(schema, kind, wanted);
        }
    }

    pub(super) fn is_for(&self, schema: &Schema, kind: RowKind) -> bool {
        let same = |made: &(Schema, RowKind)| made.1 == kind && made.0 == *schema;
        self.made_for.as_ref().is_some_and(same)
    }

    fn add(&mut self, schema: &Schema, position: usize) {
        let at = match self.scanned.iter().position(|p| *p == position) {
            Some(at) => at,
            None => {
                self.scanned.push(position);
                self.scanned.len() - 1
            }
        };
        let def = &schema.columns()[position];
        self.columns
            .push((def.name.clone(), reply_code(def.ty), Source::Column(at)));
    }

    /// The columns to read: a batch has at least one; if only Epoch is wanted the first is read and not
    /// sent.
    pub(super) fn read_columns(&self) -> Vec<usize> {
        match self.scanned.is_empty() {
            true => vec![0],
            false => self.scanned.clone(),
        }
    }

    pub(super) fn row_bytes(&self) -> u64 {
        let columns = self.made_for.as_ref().map(|(schema, _)| schema.columns());
        let columns = columns.unwrap_or_default();
        let size = |source: &Source| match source {
            Source::Epoch => 8,
            Source::Nanoseconds => 4,
            Source::Column(at) => columns[self.scanned[*at]].ty.size() as u64,
        };
        self.columns.iter().map(|c| size(&c.2)).sum()
    }

    /// What these columns have that the first do not.
    pub(super) fn difference(&self, first: &[(String, &'static str, Source)]) -> Option<String> {
        if first.len() != self.columns.len() {
            return Some(format!(
                "has {} columns, the first has {}",
                self.columns.len(),
                first.len()
            ));
        }
        let mut pairs = first.iter().zip(&self.columns);
        let (first, other) = pairs.find(|(a, b)| (&a.0, a.1) != (&b.0, b.1))?;
        Some(format!(
            "has {} {} where the first has {} {}",
            other.0, other.1, first.0, first.1
        ))
    }
}
