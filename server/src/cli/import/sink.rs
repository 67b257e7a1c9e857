//! Rows on their way into the store or to a server: gathered, written, and counted afterwards.

use std::collections::BTreeMap;

use client::Client;
use engine::{DeleteRange, Engine, Rows};
use model::{BucketKey, ColumnBatch, RowKind, Schema, Timeframe, Zone};

use crate::cli::Failure;
use crate::cli::place::{Opened, Place};
use crate::cli::start::engine_failure;

/// Bytes gathered before they are written: enough for large pieces, little beside what a machine
/// has.
const GATHER_BYTES: usize = 64 << 20;

/// Bytes of one request, far below what a server takes.
const PIECE_BYTES: usize = 8 << 20;

/// Rows asked for at once when a server's are counted.
const COUNT_ROWS: usize = 1 << 18;

/// What became of a bucket.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: BucketKey,
    /// Rows read from files.
    pub(super) rows: u64,
    /// Rows that are there now, from the first time read to the last.
    pub(super) stored: u64,
}

/// Where rows go.
pub(super) struct Sink {
    place: Opened,
    zone: Zone,
    targets: BTreeMap<String, Target>,
    gathered: Vec<(BucketKey, RowKind, ColumnBatch)>,
    gathered_bytes: usize,
}

/// A bucket that rows go to.
struct Target {
    key: BucketKey,
    /// As it is, or as it will be made.
    made: Option<(RowKind, Schema)>,
    /// Whether it is there.
    exists: bool,
    tally: Tally,
}

/// What is known of the rows without keeping them.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    first: i64,
    last: i64,
    /// Slots of the timeframe, as long as rows came in order.
    slots: Option<u64>,
    last_slot: Option<i64>,
}

impl Sink {
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        let place = place.open(true)?;
        let zone = match &place {
            Opened::Store(engine) => engine.options().zone.clone(),
            Opened::Server(_) => Zone::utc(),
        };
        Ok(Self {
            place,
            zone,
            targets: BTreeMap::new(),
            gathered: Vec::new(),
            gathered_bytes: 0,
        })
    }

    /// Kind and columns of a bucket: as stored, or as rows before have made it.
    pub(super) fn bucket(&mut self, key: &BucketKey) -> Result<Option<(RowKind, Schema)>, Failure> {
        if let Some(target) = self.targets.get(key.as_str()) {
            return Ok(target.made.clone());
        }
        Timeframe::parse(key.timeframe()).map_err(|e| Failure::new(format!("{key}: {e}")))?;
        let made = match &mut self.place {
            Opened::Store(engine) => engine
                .bucket(key)
                .map(|info| (info.kind, info.schema.clone())),
            Opened::Server(client) => on_server(client, key)?,
        };
        let target = Target {
            key: key.clone(),
            exists: made.is_some(),
            made: made.clone(),
            tally: Tally::default(),
        };
        self.targets.insert(key.as_str().to_owned(), target);
        Ok(made)
    }

    /// Takes rows with the columns of the bucket; writes what is gathered if it is much.
    pub(super) fn add(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        batch: ColumnBatch,
    ) -> Result<(), Failure> {
        self.bucket(key)?;
        let target = self
            .targets
            .get_mut(key.as_str())
            .expect("it was looked up just now");
        if target.made.is_none() {
            target.made = Some((kind, batch.schema().clone()));
        }
        target.tally.add(key, batch.times(), &self.zone);
        if batch.is_empty() {
            return Ok(());
        }
        self.gathered_bytes += batch.bytes();
        self.gathered.push((key.clone(), kind, batch));
        match self.gathered_bytes >= GATHER_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.gathered_bytes = 0;
        let gathered = std::mem::take(&mut self.gathered);
        for (key, _, _) in &gathered {
            if let Some(target) = self.targets.get_mut(key.as_str()) {
                target.exists = true;
            }
        }
        match &mut self.place {
            Opened::Store(engine) => write(engine, gathered),
            Opened::Server(client) => send(client, gathered),
        }
    }

    /// Writes the rest, makes buckets that got no rows, and compares what is stored with what was
    /// read.
    pub(super) fn finish(mut self) -> Result<Vec<Loaded>, Failure> {
        self.flush()?;
        let targets = std::mem::take(&mut self.targets);
        let mut loaded = Vec::with_capacity(targets.len());
        for target in targets.into_values() {
            if let (false, Some((kind, schema))) = (target.exists, &target.made) {
                self.create(&target.key, *kind, schema)?;
            }
            let stored = match target.tally.rows {
                0 => 0,
                _ => self.count(&target)?,
            };
            loaded.push(compare(&target, stored)?);
        }
        match &self.place {
            Opened::Store(engine) => engine.close().map_err(|e| engine_failure(&e))?,
            Opened::Server(_) => {}
        }
        Ok(loaded)
    }

    fn create(&mut self, key: &BucketKey, kind: RowKind, schema: &Schema) -> Result<(), Failure> {
        match &mut self.place {
            Opened::Store(engine) => engine
                .create_bucket(key, kind, schema.clone())
                .map(|_| ())
                .map_err(|e| engine_failure(&e)),
            Opened::Server(client) => client
                .create(key, kind, schema)
                .map_err(|e| Failure::new(e.to_string())),
        }
    }

    /// Rows of a bucket between the first and the last time that was read.
    fn count(&mut self, target: &Target) -> Result<u64, Failure> {
        let from = slot(&target.key, target.tally.first, &self.zone);
        let to = target.tally.last;
        match &mut self.place {
            Opened::Store(engine) => {
                let key = target.key.clone();
                let range = DeleteRange { key, from, to };
                engine.count_rows(&range).map_err(|e| engine_failure(&e))
            }
            Opened::Server(client) => count_on_server(client, target, from, to),
        }
    }
}

/// The start of the window that holds a time: bars are stored there.
fn slot(key: &BucketKey, time: i64, zone: &Zone) -> i64 {
    match Timeframe::parse(key.timeframe()) {
        Ok(timeframe) => timeframe.floor(time, zone),
        Err(_) => time,
    }
}

impl Tally {
    fn add(&mut self, key: &BucketKey, times: &[i64], zone: &Zone) {
        let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        if self.rows == 0 {
            (self.first, self.last, self.slots) = (*least, *most, Some(0));
        }
        self.first = self.first.min(*least);
        self.last = self.last.max(*most);
        self.rows += times.len() as u64;
        let Ok(timeframe) = Timeframe::parse(key.timeframe()) else {
            return;
        };
        let mut slots = times.to_vec();
        timeframe.floor_all(&mut slots, zone);
        let in_order = slots.is_sorted() && self.last_slot <= slots.first().copied();
        if !in_order {
            self.slots = None;
        }
        if let Some(count) = &mut self.slots {
            let repeats = self.last_slot == slots.first().copied();
            let changes = slots.windows(2).filter(|pair| pair[0] != pair[1]).count();
            *count += changes as u64 + u64::from(!repeats);
        }
        self.last_slot = slots.last().copied();
    }
}

fn compare(target: &Target, stored: u64) -> Result<Loaded, Failure> {
    let tally = &target.tally;
    let wanted = match &target.made {
        Some((RowKind::Tick, _)) => tally.rows,
        // Bars of one time become one; of rows out of order it is not known how many are left.
        _ => tally.slots.unwrap_or(0),
    };
    if stored < wanted {
        return Err(Failure::new(format!(
            "{}: {wanted} rows were imported, but only {stored} are there; were rows deleted \
             meanwhile? Import again",
            target.key
        )));
    }
    Ok(Loaded {
        key: target.key.clone(),
        rows: tally.rows,
        stored,
    })
}

/// Cuts rows into pieces of at most about [`PIECE_BYTES`].
fn pieces(batch: &ColumnBatch) -> impl Iterator<Item = ColumnBatch> + '_ {
    let row_bytes = (batch.bytes() / batch.rows().max(1)).max(1);
    let step = (PIECE_BYTES / row_bytes).max(1);
    let starts = (0..batch.rows()).step_by(step);
    starts.map(move |start| batch.slice(start..batch.rows().min(start + step)))
}

/// One segment, past the log: all or none of what is gathered, and no trigger sees it.
fn write(engine: &Engine, gathered: Vec<(BucketKey, RowKind, ColumnBatch)>) -> Result<(), Failure> {
    if gathered.is_empty() {
        return Ok(());
    }
    let rows = gathered.into_iter().map(|(key, kind, batch)| Rows {
        key,
        batch,
        create: Some(kind),
    });
    let ingested = engine.ingest(rows.collect());
    ingested.map(|_| ()).map_err(|e| engine_failure(&e))
}

fn send(
    client: &mut Client,
    gathered: Vec<(BucketKey, RowKind, ColumnBatch)>,
) -> Result<(), Failure> {
    for (key, kind, batch) in gathered {
        for piece in pieces(&batch) {
            let written = client.write(&[(key.clone(), piece)], kind);
            written.map_err(|error| Failure::new(format!("{key}: {error}")))?;
        }
    }
    Ok(())
}

fn on_server(client: &mut Client, key: &BucketKey) -> Result<Option<(RowKind, Schema)>, Failure> {
    match client.get_info(key) {
        Ok(info) => {
            // Nanoseconds are part of the time of a tick, not a column of its own.
            let columns = info.columns.into_iter();
            let columns = columns.filter(|c| info.kind == RowKind::Bar || c.name != "Nanoseconds");
            let schema = Schema::new(columns.collect())
                .map_err(|error| Failure::new(format!("{key}: {error}")))?;
            Ok(Some((info.kind, schema)))
        }
        Err(client::Error::Rpc(_)) => Ok(None),
        Err(error) => Err(Failure::new(format!("the server does not answer: {error}"))),
    }
}

/// Counts by reading one column, because a server does not count.
fn count_on_server(
    client: &mut Client,
    target: &Target,
    mut from: i64,
    to: i64,
) -> Result<u64, Failure> {
    let schema = target.made.as_ref().map(|(_, schema)| schema);
    let least = schema.and_then(|schema| schema.columns().iter().min_by_key(|c| c.ty.size()));
    let names: Vec<&str> = least.iter().map(|column| column.name.as_str()).collect();
    let mut count = 0;
    loop {
        let query = client::Query::of(target.key.as_str()).from(from).to(to);
        let tables = client
            .query(&query.columns(&names).first(COUNT_ROWS))
            .map_err(|e| Failure::new(format!("{}: {e}", target.key)))?;
        let batches = tables.iter().map(|table| table.batch.times());
        let times: Vec<i64> = batches.flatten().copied().collect();
        count += times.len() as u64;
        let Some(last) = times.last().filter(|_| times.len() >= COUNT_ROWS) else {
            return Ok(count);
        };
        // The rows of the last time may not all have been there.
        let cut = times.partition_point(|time| time < last);
        if cut == 0 {
            // So many ticks of one nanosecond: nothing is known, so nothing is wrong.
            return Ok(count.max(target.tally.rows));
        }
        count -= (times.len() - cut) as u64;
        from = *last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::NANOS_PER_SECOND;

    #[test]
    fn slots_are_counted_as_long_as_rows_ascend() {
        let key = BucketKey::parse("A/1Min/B").unwrap();
        let minute = 60 * NANOS_PER_SECOND;
        let mut tally = Tally::default();
        tally.add(&key, &[0, 1, minute], &Zone::utc());
        tally.add(&key, &[minute + 5, 2 * minute], &Zone::utc());
        assert_eq!((tally.rows, tally.slots), (5, Some(3)));
        assert_eq!((tally.first, tally.last), (0, 2 * minute));
        tally.add(&key, &[0], &Zone::utc());
        assert_eq!((tally.rows, tally.slots), (6, None));
    }
}
