//! Statements between two calls.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parking_lot::Mutex;
use sql::{ScalarValue, Statement};

use crate::auth::Caller;

/// Plans kept between `GetFlightInfo` and `DoGet`, which follows at once.
const WAITING_MAX: usize = 256;

/// A plan reads the store as it was then, so none waits long.
const WAITING_TIME: Duration = Duration::from_secs(5);

/// A plan, for whom, of what, since when.
#[derive(Debug)]
struct Plan {
    owner: Caller,
    text: String,
    statement: Statement,
    since: Instant,
}

/// Statements that were planned and wait for their `DoGet`.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<VecDeque<Plan>>);

impl Waiting {
    /// Keeps a plan for its caller, until his token is read with other rights.
    pub(super) fn put(&self, owner: &Caller, text: &str, statement: Statement) {
        let mut plans = self.0.lock();
        plans.retain(|plan| plan.since.elapsed() < WAITING_TIME);
        if plans.len() == WAITING_MAX {
            plans.pop_front();
        }
        plans.push_back(Plan {
            owner: owner.clone(),
            text: text.to_owned(),
            statement,
            since: Instant::now(),
        });
    }

    /// The plan, once.
    pub(super) fn take(&self, owner: &Caller, text: &str) -> Option<Statement> {
        let mut plans = self.0.lock();
        plans.retain(|plan| plan.since.elapsed() < WAITING_TIME);
        let at = plans
            .iter()
            .position(|plan| plan.owner.is_the_same(owner) && plan.text == text)?;
        plans.remove(at).map(|plan| plan.statement)
    }
}

/// One prepared statement. Its plan is not kept: each run reads the store as it is then.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) schema: SchemaRef,
    /// Types of the parameters.
    pub(super) wanted: Vec<Option<DataType>>,
    /// The rows of parameters that were bound.
    pub(super) parameters: Vec<Vec<ScalarValue>>,
    owner: String,
    used: u64,
}

/// Prepared statements of all callers.
#[derive(Debug)]
pub(super) struct Prepared {
    entries: Mutex<(u64, HashMap<u64, Entry>)>,
    most: usize,
}

impl Prepared {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: Mutex::default(),
            most,
        }
    }

    /// Keeps a statement; the one used longest ago makes room.
    pub(super) fn put(&self, owner: &str, text: &str, statement: &Statement) -> Bytes {
        let mut entries = self.entries.lock();
        let (clock, map) = &mut *entries;
        *clock += 1;
        if map.len() >= self.most {
            let oldest = map.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(handle, _)| *handle) {
                map.remove(&oldest);
            }
        }
        let entry = Entry {
            text: text.to_owned(),
            schema: statement.schema(),
            wanted: statement.parameters(),
            parameters: Vec::new(),
            owner: owner.to_owned(),
            used: *clock,
        };
        map.insert(*clock, entry);
        Bytes::copy_from_slice(&clock.to_le_bytes())
    }

    /// A statement of the caller.
    pub(super) fn get(&self, owner: &str, handle: &[u8]) -> Option<Entry> {
        self.with(owner, handle, |entry| entry.clone())
    }

    /// Binds parameters; `false` if there is no such statement.
    pub(super) fn bind(&self, owner: &str, handle: &[u8], rows: Vec<Vec<ScalarValue>>) -> bool {
        self.with(owner, handle, |entry| entry.parameters = rows)
            .is_some()
    }

    fn with<T>(&self, owner: &str, handle: &[u8], work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let handle = u64::from_le_bytes(handle.try_into().ok()?);
        let mut entries = self.entries.lock();
        let (clock, map) = &mut *entries;
        let entry = map.get_mut(&handle).filter(|entry| entry.owner == owner)?;
        *clock += 1;
        entry.used = *clock;
        Some(work(entry))
    }

    /// Forgets a statement of the caller.
    pub(super) fn close(&self, owner: &str, handle: &[u8]) {
        if self.with(owner, handle, |_| ()).is_some()
            && let Ok(handle) = handle.try_into()
        {
            self.entries.lock().1.remove(&u64::from_le_bytes(handle));
        }
    }
}
