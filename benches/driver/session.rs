//! Requests on an open store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::{BucketId, Engine, Limit, NoHook, Options, Scan};
use model::{BucketKey, Schema};

use crate::Result;
use crate::answer::{Answer, status_kib};
use crate::request::{Keys, Request, StoreOptions};

/// The store, once opened.
#[derive(Debug, Default)]
pub(crate) struct Session {
    open: Option<Open>,
}

#[derive(Debug)]
pub(crate) struct Open {
    dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) engine: Engine,
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

pub(crate) fn nanos(since: Instant) -> u64 {
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
            Request::Sql {
                text,
                threads,
                repeat,
            } => self.sql(&text, threads, repeat),
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

    pub(crate) fn bucket(&self, key: &str) -> Result<(BucketId, Schema)> {
        let key = BucketKey::parse(key)?;
        let info = self.engine.bucket(&key);
        let info = info.ok_or_else(|| format!("no bucket {key}"))?;
        Ok((info.id, info.schema.clone()))
    }

    pub(crate) fn buckets(&self, keys: &Keys) -> Result<(Vec<BucketId>, Schema)> {
        let mut ids = Vec::new();
        let mut schema = None;
        for name in keys.names() {
            let (id, found) = self.bucket(&name)?;
            ids.push(id);
            schema = Some(found);
        }
        Ok((ids, schema.ok_or("no bucket is asked for")?))
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
