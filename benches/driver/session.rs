//! Requests on an open store.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::{BucketId, Engine, Limit, NoHook, Options, Rows, Scan};
use model::{
    Aggregation, BatchBuilder, BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind,
    Schema, Timeframe, Windows, roll_up,
};

use crate::answer::{Answer, status_kib};
use crate::request::{How, Keys, Repeat, Request, StoreOptions, Table};
use crate::{Result, asof, load};

/// Bytes of rows in one commit: well below the largest frame.
const COMMIT_BYTES: usize = 16 << 20;

const MINUTE_NANOS: i64 = 60 * model::NANOS_PER_SECOND;

/// The store, once opened.
#[derive(Debug, Default)]
pub(crate) struct Session {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    dir: PathBuf,
    options: Options,
    engine: Engine,
}

impl Session {
    pub(crate) fn run(&mut self, request: Request) -> Result<Answer> {
        match request {
            Request::Open { dir, options } => {
                self.close()?;
                self.open(&dir, store_options(&options))
            }
            Request::Reopen => {
                let open = self.open.as_ref().ok_or("no store is open")?;
                let (dir, options) = (open.dir.clone(), open.options.clone());
                self.close()?;
                self.open(&dir, options)
            }
            Request::Close => {
                let began = Instant::now();
                self.close()?;
                Ok(Answer::timed(vec![nanos(began)]))
            }
            other => self.open.as_ref().ok_or("no store is open")?.run(other),
        }
    }

    fn open(&mut self, dir: &Path, options: Options) -> Result<Answer> {
        let began = Instant::now();
        let (engine, recovery) = Engine::open(dir, options.clone(), Arc::new(NoHook))?;
        let took = nanos(began);
        let dir = dir.to_owned();
        self.open = Some(Open {
            dir,
            options,
            engine,
        });
        Ok(Answer::timed(vec![took]).with("rows", recovery.rows))
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        match self.open.take() {
            Some(open) => Ok(open.engine.close()?),
            None => Ok(()),
        }
    }
}

fn store_options(wanted: &StoreOptions) -> Options {
    let default = Options::default();
    Options {
        tail_bytes_max: wanted.tail_bytes_max.unwrap_or(default.tail_bytes_max),
        wal_bytes_max: wanted.wal_bytes_max.unwrap_or(default.wal_bytes_max),
        merge: wanted.merge.unwrap_or(default.merge),
        ..default
    }
}

fn nanos(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

impl Open {
    fn run(&self, request: Request) -> Result<Answer> {
        match request {
            Request::Ingest { table, how } => self.ingest(&table, how),
            Request::Fill { table, later } => self.fill(&table, later),
            Request::Append { key, rows, writers } => self.append(&key, rows, writers),
            Request::Range {
                key,
                from,
                to,
                repeat,
            } => {
                let span = Scan {
                    from,
                    to,
                    ..Scan::all()
                };
                self.read(&key, &span, repeat)
            }
            Request::Last { key, count, repeat } => {
                let last = Scan {
                    limit: Some(Limit::Last(count)),
                    ..Scan::all()
                };
                self.read(&key, &last, repeat)
            }
            Request::LastOfAll { keys, repeat } => self.last_of_all(&keys, repeat),
            Request::Column {
                keys,
                column,
                from,
                to,
                repeat,
            } => self.column(&keys, &column, (from, to), repeat),
            Request::Aggregate {
                key,
                timeframe,
                repeat,
            } => self.aggregate(&key, &timeframe, repeat),
            Request::Asof {
                trades,
                quotes,
                repeat,
            } => self.asof(&trades, &quotes, repeat),
            Request::Copy { key, repeat } => self.copy(&key, repeat),
            Request::Checkpoint => self.once(|engine| Ok(engine.checkpoint()?)),
            Request::Merge => self.once(|engine| Ok(engine.merge().map(drop)?)),
            Request::Stats => self.stats(),
            Request::Open { .. } | Request::Reopen | Request::Close => {
                Err("answered by the session".into())
            }
        }
    }

    fn once(&self, f: impl FnOnce(&Engine) -> Result<()>) -> Result<Answer> {
        let began = Instant::now();
        f(&self.engine)?;
        Ok(Answer::timed(vec![nanos(began)]))
    }

    fn bucket(&self, key: &str) -> Result<(BucketId, Schema)> {
        let key = BucketKey::parse(key)?;
        let info = self.engine.bucket(&key);
        let info = info.ok_or_else(|| format!("no bucket {key}"))?;
        Ok((info.id, info.schema.clone()))
    }

    fn buckets(&self, keys: &Keys) -> Result<(Vec<BucketId>, Schema)> {
        let mut ids = Vec::new();
        let mut schema = None;
        for name in keys.names() {
            let (id, found) = self.bucket(&name)?;
            ids.push(id);
            schema = Some(found);
        }
        Ok((ids, schema.ok_or("no bucket is asked for")?))
    }

    fn ingest(&self, table: &Table, how: How) -> Result<Answer> {
        let kind = RowKind::from(table.kind);
        let mut rows = Vec::new();
        for (key, batch) in table.keys.names().iter().zip(load::batches(table)?) {
            let key = BucketKey::parse(key)?;
            rows.push(Rows {
                key,
                batch,
                create: Some(kind),
            });
        }
        let began = Instant::now();
        match how {
            How::Ingest => {
                self.engine.ingest(rows)?;
            }
            How::Write => self.write(rows)?,
        }
        Ok(Answer::timed(vec![nanos(began)]).with("rows", table.rows))
    }

    fn fill(&self, table: &Table, later: i64) -> Result<Answer> {
        let rows = load::whole(table)?;
        let times = rows.times().iter().map(|time| time + later).collect();
        let rows = rows.with_times(times)?;
        let keys = table.keys.names().into_iter();
        let keys = keys.map(|key| BucketKey::parse(&key));
        let keys = keys.collect::<std::result::Result<Vec<_>, _>>()?;
        // A row makes a bucket; all of them at once, in a few commits.
        let missing = keys.iter().filter(|key| self.engine.bucket(key).is_none());
        let first = missing.map(|key| Rows {
            key: key.clone(),
            batch: rows.slice(0..rows.rows().min(1)),
            create: Some(table.kind.into()),
        });
        self.write(first.collect())?;
        engine::bench::fill(&self.engine, &keys, &rows)?;
        Ok(Answer::default().with("rows", rows.rows() * keys.len()))
    }

    /// Commits of bounded size, all queued before the first is waited for.
    fn write(&self, rows: Vec<Rows>) -> Result<()> {
        let mut tickets = Vec::new();
        let mut commit = Vec::new();
        let mut bytes = 0;
        for Rows { key, batch, create } in rows {
            let step = (COMMIT_BYTES / (8 + batch.schema().row_bytes())).max(1);
            for start in (0..batch.rows()).step_by(step) {
                let piece = batch.slice(start..batch.rows().min(start + step));
                bytes += piece.bytes();
                commit.push((key.clone(), piece, create));
                if bytes >= COMMIT_BYTES {
                    tickets.push(self.engine.write(client_commit(&mut commit))?);
                    bytes = 0;
                }
            }
        }
        if !commit.is_empty() {
            tickets.push(self.engine.write(client_commit(&mut commit))?);
        }
        for ticket in tickets {
            ticket.wait_visible()?;
        }
        Ok(())
    }

    /// Bars go on after the last one of the bucket; each writer has a bucket of its own.
    fn append(&self, key: &str, rows: u64, writers: u64) -> Result<Answer> {
        let writers = writers.max(1);
        let each = rows.div_ceil(writers);
        let keys = (0..writers).map(|number| match number {
            0 => BucketKey::parse(key),
            _ => BucketKey::parse(&format!("W{number}{key}")),
        });
        let keys = keys.collect::<std::result::Result<Vec<_>, _>>()?;
        let starts = keys.iter().map(|key| self.end_of(key));
        let starts = starts.collect::<Result<Vec<i64>>>()?;
        let began = Instant::now();
        let times = std::thread::scope(|scope| {
            let threads: Vec<_> = keys
                .iter()
                .zip(&starts)
                .map(|(key, start)| scope.spawn(move || self.append_some(key, *start, each)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                let times = thread.join().map_err(|_| "a writer panicked".to_owned())?;
                times.map_err(|error| error.to_string())
            });
            joined.collect::<std::result::Result<Vec<Vec<u64>>, String>>()
        })?;
        let took = nanos(began);
        let rows = each * writers;
        Ok(Answer::timed(times.concat())
            .with("rows", rows)
            .with("total_ns", took)
            .with("rows_per_s", rows as f64 * 1e9 / took as f64))
    }

    fn end_of(&self, key: &BucketKey) -> Result<i64> {
        let Some(info) = self.engine.bucket(key) else {
            return Ok(0);
        };
        let end = self.engine.snapshot(&[info.id]).time_range(0);
        Ok(end.map_or(0, |(_, max)| max + MINUTE_NANOS))
    }

    fn append_some(
        &self,
        key: &BucketKey,
        start: i64,
        rows: u64,
    ) -> std::result::Result<Vec<u64>, engine::Error> {
        let mut times = Vec::with_capacity(rows as usize);
        for row in 0..rows {
            let batch = one_bar(start + row as i64 * MINUTE_NANOS, 100.0 + row as f64 * 0.01);
            let mut commit = vec![(key.clone(), batch, Some(RowKind::Bar))];
            let began = Instant::now();
            self.engine
                .write(client_commit(&mut commit))?
                .wait_visible()?;
            times.push(nanos(began));
        }
        Ok(times)
    }

    fn read(&self, key: &str, scan: &Scan, repeat: Repeat) -> Result<Answer> {
        let (id, _) = self.bucket(key)?;
        let (times, rows) = repeat.time(|| self.scan(id, scan))?;
        Answer::timed(times).found(&rows)
    }

    fn scan(&self, id: BucketId, scan: &Scan) -> Result<ColumnBatch> {
        let rows = self.engine.snapshot(&[id]).scan(0, scan)?;
        touch(&rows);
        Ok(rows)
    }

    fn last_of_all(&self, keys: &Keys, repeat: Repeat) -> Result<Answer> {
        let (ids, schema) = self.buckets(keys)?;
        let (times, rows) = repeat.time(|| {
            let snapshot = self.engine.snapshot(&ids);
            let rows = (0..ids.len()).map(|index| snapshot.last(index));
            Ok(rows.collect::<std::result::Result<Vec<_>, _>>()?)
        })?;
        let mut all = BatchBuilder::new(schema, rows.len());
        for row in rows.iter().flatten() {
            all.append(row)?;
        }
        Answer::timed(times).found(&all.finish())
    }

    fn column(
        &self,
        keys: &Keys,
        column: &str,
        span: (i64, i64),
        repeat: Repeat,
    ) -> Result<Answer> {
        let (ids, schema) = self.buckets(keys)?;
        let position = schema.position(column);
        let position = position.ok_or_else(|| format!("no column {column}"))?;
        let scan = Scan {
            from: span.0,
            to: span.1,
            columns: Some(vec![position]),
            limit: None,
        };
        let (times, rows) = repeat.time(|| {
            let snapshot = self.engine.snapshot(&ids);
            let mut found = Vec::with_capacity(ids.len());
            for index in 0..ids.len() {
                let rows = snapshot.scan(index, &scan)?;
                touch(&rows);
                found.push(rows);
            }
            Ok(found)
        })?;
        let projected = Schema::new(vec![schema.columns()[position].clone()])?;
        let mut all = BatchBuilder::new(projected, rows.iter().map(ColumnBatch::rows).sum());
        for rows in &rows {
            all.append(rows)?;
        }
        Answer::timed(times).found(&all.finish())
    }

    fn aggregate(&self, key: &str, timeframe: &str, repeat: Repeat) -> Result<Answer> {
        let (id, schema) = self.bucket(key)?;
        let timeframe = Timeframe::parse(timeframe)?;
        let (times, rows) = repeat.time(|| {
            let rows = self.engine.snapshot(&[id]).scan(0, &Scan::all())?;
            let windows = Windows::of(rows.times(), timeframe, &self.options.zone);
            let mut columns = Vec::with_capacity(schema.len());
            for (def, column) in schema.columns().iter().zip(rows.columns()) {
                let how = match def.name.as_str() {
                    "Open" => Aggregation::First,
                    "High" => Aggregation::Max,
                    "Low" => Aggregation::Min,
                    "Volume" => Aggregation::Sum,
                    _ => Aggregation::Last,
                };
                columns.push(roll_up(column, &windows, how).column);
            }
            let times = Column::from_values(windows.starts);
            Ok(ColumnBatch::new(schema.clone(), times, columns)?)
        })?;
        Answer::timed(times).found(&rows)
    }

    fn asof(&self, trades: &str, quotes: &str, repeat: Repeat) -> Result<Answer> {
        let (trades, _) = self.bucket(trades)?;
        let (quotes, schema) = self.bucket(quotes)?;
        let wanted = ["Bid", "Ask"];
        let positions = wanted.iter().map(|name| schema.position(name));
        let positions = positions.collect::<Option<Vec<usize>>>();
        let of_quotes = Scan {
            columns: Some(positions.ok_or("quotes have no Bid and Ask")?),
            ..Scan::all()
        };
        let (times, rows) = repeat.time(|| {
            let snapshot = self.engine.snapshot(&[trades, quotes]);
            let trades = snapshot.scan(0, &Scan::all())?;
            let quotes = snapshot.scan(1, &of_quotes)?;
            asof::join(&trades, &quotes, &wanted)
        })?;
        Answer::timed(times).found(&rows)
    }

    fn copy(&self, key: &str, repeat: Repeat) -> Result<Answer> {
        let (id, _) = self.bucket(key)?;
        let rows = self.scan(id, &Scan::all())?;
        let source = rows.columns().iter().chain([rows.time_column()]);
        let source: Vec<Vec<u8>> = source.map(|column| column.bytes().to_vec()).collect();
        let (times, _) = repeat.time(|| {
            let copy: Vec<Vec<u8>> = source.clone();
            Ok(black_box(copy))
        })?;
        Ok(Answer::timed(times).with("rows", rows.rows()))
    }

    fn stats(&self) -> Result<Answer> {
        let status = self.engine.status();
        Ok(Answer::default()
            .with("segments", status.segments)
            .with("segment_bytes", status.segment_bytes)
            .with("wal_bytes", status.wal_bytes)
            .with("wal_syncs", status.wal_syncs)
            .with("tail_bytes", status.tail_bytes)
            .with("buckets", status.buckets)
            .with("rows_written", status.rows)
            .with("rss_kib", status_kib("VmRSS:"))
            .with("anonymous_kib", status_kib("RssAnon:")))
    }
}

fn client_commit(rows: &mut Vec<(BucketKey, ColumnBatch, Option<RowKind>)>) -> engine::Commit {
    let rows = rows.drain(..);
    engine::Commit {
        origin: engine::Origin::CLIENT,
        hops: 0,
        rows: rows
            .map(|(key, batch, create)| Rows { key, batch, create })
            .collect(),
        section: None,
    }
}

fn one_bar(time: i64, price: f64) -> ColumnBatch {
    let names = ["Open", "High", "Low", "Close", "Volume"];
    let defs = names.map(|name| ColumnDef::new(name, ColumnType::F64));
    let schema = Schema::new(defs.to_vec()).expect("the names differ");
    let columns = names.map(|_| Column::from_values(vec![price])).to_vec();
    ColumnBatch::new(schema, Column::from_values(vec![time]), columns)
        .expect("every column has one row")
}

/// Reads a byte of each 4 KiB, so that no page of the mapping goes unread: an answer that is not
/// in memory yet is no answer.
fn touch(rows: &ColumnBatch) {
    for column in rows.columns().iter().chain([rows.time_column()]) {
        let bytes = column.bytes();
        black_box(
            bytes
                .iter()
                .step_by(4096)
                .fold(0_u8, |sum, byte| sum ^ byte),
        );
    }
}
