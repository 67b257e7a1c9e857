//! State and dead letters as an operator sees and changes them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Lsn, Origin};
use model::{BucketKey, ColumnBatch, RowKind};
use parking_lot::Mutex;
use plugin_sdk::{StateCalls as _, StateValue};

use super::{EventOf, Letter, LetterId, Overlay, SharedTable, StateView};
use crate::calls::effect_bytes_max;
use crate::cursor::Book;
use crate::host::{Error, Host, Inner, Instance};
use crate::section::Change;
use crate::start::no_rows;
use crate::swap::Swap;

/// An event that was given up, without its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Names it for ever.
    pub id: LetterId,
    /// Position of the first commit of the event.
    pub first_lsn: u64,
    /// Position of the last commit of the event.
    pub last_lsn: u64,
    /// When it was given up (wall clock, ns).
    pub time: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// [`plugin_sdk::Code`] of the last failure.
    pub code: i32,
    /// Why the last attempt failed.
    pub message: String,
    /// Bucket, if the event has one.
    pub key: Option<BucketKey>,
    /// `write`, `gap`, `deleted` or `timer`.
    pub event: &'static str,
    /// Rows of a write.
    pub rows: usize,
    /// First and last time of its rows or range; of a timer, when it was due.
    pub times: Option<(i64, i64)>,
}

impl DeadLetter {
    fn of(id: LetterId, letter: Letter) -> Self {
        let (rows, times) = match &letter.event {
            EventOf::Write(_, rows) => {
                let (first, last) = (rows.times().iter().min(), rows.times().iter().max());
                (rows.rows(), first.copied().zip(last.copied()))
            }
            EventOf::Large { from, to, rows } => {
                let rows = usize::try_from(*rows).expect("usize has 32 bits or more");
                (rows, Some((*from, *to)))
            }
            EventOf::Gap(from, to) => (0, Some((*from, *to))),
            EventOf::Timer { due, .. } => (0, Some((*due, *due))),
            EventOf::Deleted => (0, None),
        };
        Self {
            id,
            first_lsn: letter.first,
            last_lsn: letter.last,
            time: letter.time,
            attempts: letter.attempts,
            code: letter.code,
            event: letter.event.name(),
            message: letter.message,
            key: letter.key,
            rows,
            times,
        }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.lsn, self.index)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(lsn, index)| {
            let lsn = u64::from_str_radix(lsn, 16).ok()?;
            Some(Self {
                lsn,
                index: index.parse().ok()?,
            })
        });
        parts.ok_or_else(|| format!("\"{text}\" names no dead letter: use one like 1a2b.0"))
    }
}

/// What a running trigger is to do with dead letters.
pub(crate) enum Order {
    Replay(LetterId, Letter),
    Drop(Vec<LetterId>),
    /// Go on with another module.
    Swap(Box<Swap>),
    /// Fire all that is stored.
    Backfill,
}

/// Orders that a dispatcher has not taken yet.
pub(crate) type Orders = Arc<Mutex<Vec<Order>>>;

/// A stored instance.
struct Stored {
    origin: Origin,
    epoch: u64,
    cursor: Lsn,
    table: SharedTable,
}

impl Host {
    /// The dead letters of an instance, oldest first.
    ///
    /// # Errors
    /// If there is no such instance, or its files cannot be read.
    pub fn dead_letters(&self, id: &str) -> Result<Vec<DeadLetter>, Error> {
        let all = self.inner.letters(id)?.into_iter();
        Ok(all.map(|(id, letter)| DeadLetter::of(id, letter)).collect())
    }

    /// The rows of a dead letter; `None` if it is gone, has none, or they were over 1 MiB.
    ///
    /// # Errors
    /// As [`Host::dead_letters`].
    pub fn dead_letter_rows(
        &self,
        id: &str,
        letter: LetterId,
    ) -> Result<Option<(RowKind, ColumnBatch)>, Error> {
        let all = self.inner.letters(id)?;
        let found = all.into_iter().find(|(of, _)| *of == letter);
        Ok(found.and_then(|(_, letter)| match letter.event {
            EventOf::Write(kind, rows) => Some((kind, rows)),
            _ => None,
        }))
    }

    /// Fires dead letters once more: these, or all. One that fires is gone, in the same commit as its
    /// effects; one that fails stays. How many were handed to the instance, which works on them in
    /// its own time.
    ///
    /// # Errors
    /// If there is no such instance or it does not run.
    pub fn replay_dead_letters(
        &self,
        id: &str,
        letters: Option<&[LetterId]>,
    ) -> Result<usize, Error> {
        let chosen = self.inner.chosen(id, letters)?;
        let instance = self.inner.instance(id)?;
        if !instance.is_live() {
            return Err(instance.conflict("start it to fire its dead letters"));
        }
        let count = chosen.len();
        let orders = chosen
            .into_iter()
            .map(|(id, letter)| Order::Replay(id, letter));
        self.inner.order(&instance, orders)?;
        Ok(count)
    }

    /// Gives dead letters up for good: these, or all. How many.
    ///
    /// # Errors
    /// If there is no such instance, or the store refuses.
    pub fn drop_dead_letters(
        &self,
        id: &str,
        letters: Option<&[LetterId]>,
    ) -> Result<usize, Error> {
        let chosen = self.inner.chosen(id, letters)?;
        let gone: Vec<LetterId> = chosen.into_iter().map(|(id, _)| id).collect();
        let count = gone.len();
        match self.inner.instance(id) {
            Ok(instance) if instance.is_live() => {
                self.inner.order(&instance, [Order::Drop(gone)])?;
            }
            _ => {
                let changes = gone.into_iter().map(Change::LetterGone).collect();
                self.inner.change(id, changes)?;
            }
        }
        Ok(count)
    }

    /// A value of an instance's state. `namespace`: empty, or the bucket key with `state_scope: key`.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn state_get(
        &self,
        id: &str,
        namespace: &str,
        key: &[u8],
    ) -> Result<Option<StateValue>, Error> {
        let table = self.inner.table(id)?;
        let key = super::state_key(namespace.as_bytes(), key);
        let table = table.read();
        Ok(table.get(&key).cloned())
    }

    /// The first keys of an instance's state with a prefix, ascending.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn state_scan(
        &self,
        id: &str,
        namespace: &str,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, Error> {
        let table = self.inner.table(id)?;
        let namespace = Bytes::copy_from_slice(namespace.as_bytes());
        let mut view = StateView::new(&table, None, namespace, 0);
        view.scan(prefix, limit)
            .map_err(|error| Error::instance(id, error.text))
    }

    /// The namespaces an instance has state in: bucket keys with `state_scope: key`, else the empty
    /// one.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn state_namespaces(&self, id: &str) -> Result<Vec<String>, Error> {
        let table = self.inner.table(id)?;
        let all = table.read().namespaces();
        let text = |namespace: &Bytes| String::from_utf8_lossy(namespace).into_owned();
        Ok(all.iter().map(text).collect())
    }

    /// Sets a value of an instance's state, or removes it. Only while the instance does not run: it
    /// may keep a copy.
    ///
    /// # Errors
    /// If the instance runs or has stored nothing yet, or the value is over a limit.
    pub fn state_put(
        &self,
        id: &str,
        namespace: &str,
        key: &[u8],
        value: Option<StateValue>,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id).ok();
        let _one_verb = instance.as_ref().map(|instance| instance.control.lock());
        if let Some(instance) = instance.as_ref().filter(|instance| instance.is_live()) {
            return Err(instance.conflict("pause it to change its state"));
        }
        let engine = inner.open_engine()?;
        let stored = inner.stored(id)?;
        let none = Overlay::default();
        let namespace = Bytes::copy_from_slice(namespace.as_bytes());
        let mut view = StateView::new(
            &stored.table,
            Some(&none),
            namespace,
            effect_bytes_max(&engine),
        );
        // Whatever it was before.
        let set = view.delete(key).and_then(|()| match value {
            None => Ok(()),
            Some(StateValue::Bytes(value)) => view.put(key, &value),
            Some(StateValue::Counter(count)) => view.incr(key, count).map(drop),
        });
        set.map_err(|error| Error::instance(id, error.text))?;
        let mut changes = Vec::new();
        view.take().changes(&mut changes);
        inner.change(id, changes)
    }
}

impl Inner {
    /// The table of an instance: as it runs, or as it is stored.
    fn table(&self, id: &str) -> Result<SharedTable, Error> {
        let running = self.instance(id).ok().and_then(|instance| instance.table());
        match running {
            Some(table) => Ok(table),
            None => Ok(self.stored(id)?.table),
        }
    }

    fn stored(&self, id: &str) -> Result<Stored, Error> {
        self.book
            .stored_line(id)
            .ok_or_else(|| match self.instance(id) {
                Ok(instance) => instance.conflict("nothing is stored of it"),
                Err(error) => error,
            })
    }

    fn letters(&self, id: &str) -> Result<Vec<(LetterId, Letter)>, Error> {
        self.book.letters(id).map_err(|error| {
            Error::instance(id, format!("its dead letters cannot be read: {error}"))
        })
    }

    /// Those named, which must be there, or all.
    fn chosen(
        &self,
        id: &str,
        letters: Option<&[LetterId]>,
    ) -> Result<Vec<(LetterId, Letter)>, Error> {
        self.stored(id)?;
        let mut all = self.letters(id)?;
        let Some(wanted) = letters else {
            return Ok(all);
        };
        for letter in wanted {
            if !all.iter().any(|(id, _)| id == letter) {
                return Err(Error::Invalid {
                    id: id.into(),
                    reason: format!("it has no dead letter {letter}"),
                });
            }
        }
        all.retain(|(id, _)| wanted.contains(id));
        Ok(all)
    }

    pub(crate) fn order(
        &self,
        instance: &Instance,
        orders: impl IntoIterator<Item = Order>,
    ) -> Result<(), Error> {
        let engine = self.open_engine()?;
        instance.orders.lock().extend(orders);
        engine.wake_followers();
        Ok(())
    }

    /// A plugin commit of an instance that does not run.
    fn change(&self, id: &str, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let engine = self.open_engine()?;
        let Stored {
            origin,
            epoch,
            cursor,
            ..
        } = self.stored(id)?;
        self.book
            .commit(&engine, no_rows(origin), epoch, cursor, changes.into())?;
        Ok(())
    }
}

impl Book {
    fn stored_line(&self, id: &str) -> Option<Stored> {
        let lines = self.lines.lock();
        let line = lines
            .iter()
            .find(|line| line.record.id == id && line.record.last_commit > 0)?;
        Some(Stored {
            origin: Origin(line.record.origin),
            epoch: line.record.epoch,
            cursor: Lsn(line.record.cursor),
            table: Arc::clone(&line.table),
        })
    }

    fn letters(&self, id: &str) -> std::io::Result<Vec<(LetterId, Letter)>> {
        let (Some(stored), Some(disk)) = (self.stored_line(id), self.disk.get()) else {
            return Ok(Vec::new());
        };
        // No checkpoint moves them from memory to files meanwhile.
        let mut files = self.files.lock();
        let letters = stored.table.read().letters.clone();
        files.letters.read(&**disk, id, &letters)
    }
}
