//! What brings rows in: bulk loads and commits of one row.

use std::time::Instant;

use engine::Rows;
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::answer::Answer;
use crate::request::{How, Table};
use crate::session::{Open, nanos};
use crate::{Result, load};

/// Bytes of rows in one commit: well below the largest frame.
const COMMIT_BYTES: usize = 16 << 20;

const MINUTE_NANOS: i64 = 60 * model::NANOS_PER_SECOND;

impl Open {
    pub(super) fn ingest(&self, table: &Table, how: How) -> Result<Answer> {
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

    pub(super) fn fill(&self, table: &Table, later: i64) -> Result<Answer> {
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
    pub(super) fn append(&self, key: &str, rows: u64, writers: u64) -> Result<Answer> {
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
