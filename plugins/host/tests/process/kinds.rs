//! Workers and sources in a child.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_sdk::{
    BgWorker, CloseReason, Code, FireInfo, HostCalls, Init, Kind, Level, Manifest, More, Plugin,
    PluginError, Progress, Query, Source, SourceCalls, SourceOut, State, StateCalls, WorkerCalls,
    WorkerCtx,
};
use serde_json::json;

use crate::support::{FakeHost, program, rows};

/// Commits three times, then waits to be cancelled.
pub(crate) struct Ticker;

impl Plugin for Ticker {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        state_version: 2,
        ..Manifest::new("ticker", "1.0.0")
    };
    fn new(_config: Self::Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
    fn migrate(from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        let old = state.get("old")?.unwrap_or_default();
        state.delete("old")?;
        state.put("new", old)?;
        state.incr("from", i64::from(from)).map(drop)
    }
}

impl BgWorker for Ticker {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        let key = BucketKey::parse("OUT/1Min/T").unwrap();
        for number in 0..3 {
            ctx.call().write(&key, RowKind::Tick, rows(&[number]))?;
            ctx.call().state().incr("total", 1)?;
            ctx.commit()?;
        }
        let refused = ctx.call().state().put("total", b"x").unwrap_err();
        ctx.call()
            .publish("code", format!("{:?}", refused.code).into());
        while ctx.sleep(Duration::from_secs(3600)) {}
        ctx.call().state().incr("total", 10)?;
        Ok(())
    }
}

/// Counts from its token on, ten a batch, up to 25.
pub(crate) struct Numbers(i64);

impl Plugin for Numbers {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest::new("numbers", "1.0.0");
    fn new(_config: Self::Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self(0))
    }
}

impl Source for Numbers {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        if params != "params" {
            return Err(PluginError::new(Code::NotFound, "NOT_FOUND: no such feed"));
        }
        let text = resume.map_or("0".into(), String::from_utf8_lossy);
        self.0 = text.parse().map_err(|_| "no number")?;
        Ok(())
    }
    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        _deadline: Instant,
    ) -> Result<More, PluginError> {
        let key = BucketKey::parse("OUT/1Min/T").unwrap();
        let end = (self.0 + i64::try_from(out.room().0).unwrap_or(0)).min(25);
        out.append(
            &key,
            RowKind::Tick,
            rows(&(self.0..end).collect::<Vec<_>>()),
        )?;
        self.0 = end;
        out.set_resume(end.to_string().as_bytes())?;
        Ok(if end == 25 { More::End } else { More::Full })
    }
    fn progress(&mut self) -> Option<Progress> {
        Some(Progress {
            share: self.0 as f64 / 25.0,
            text: format!("{} of 25", self.0),
        })
    }
}

/// Counts commits; says stop after the third.
struct FakeWorker {
    host: FakeHost,
    commits: u32,
}

impl HostCalls for FakeWorker {
    fn info(&self) -> FireInfo {
        self.host.info()
    }
    fn write(&mut self, k: &BucketKey, kind: RowKind, r: ColumnBatch) -> Result<(), PluginError> {
        self.host.write(k, kind, r)
    }
    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        self.host.query(query)
    }
    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.host.set_timer(key, due, payload)
    }
    fn cancel_timer(&mut self, key: &[u8]) {
        self.host.cancel_timer(key);
    }
    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.host.publish(stream, payload);
    }
    fn log(&mut self, level: Level, text: &str) {
        self.host.log(level, text);
    }
    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        self.host.state()
    }
    fn is_cancelled(&self) -> bool {
        self.commits >= 3
    }
}

impl WorkerCalls for FakeWorker {
    fn commit(&mut self) -> Result<(), PluginError> {
        self.commits += 1;
        Ok(())
    }
    fn sleep(&mut self, _time: Duration) -> bool {
        false
    }
    fn as_host(&mut self) -> &mut dyn HostCalls {
        self
    }
}

#[test]
fn a_worker_commits_and_ends_when_it_is_cancelled() {
    let mut program = program("ticker");
    program.description = Some(Ticker::MANIFEST.describe(Kind::BgWorker));
    let module = plugin_host::process::module(program).unwrap();
    let zone = model::Zone::utc();
    let mut worker = module
        .worker(&json!({}), &mut Init::new("w", 1, &zone))
        .unwrap();
    let mut calls = FakeWorker {
        host: FakeHost::new(),
        commits: 0,
    };
    worker.run(&mut WorkerCtx::new(&mut calls)).unwrap();
    assert_eq!(calls.commits, 3);
    // The last ten came with its end.
    assert_eq!(calls.host.state.counter_of("total"), 13);
    assert_eq!(calls.host.said("code"), ["Type"]);
    worker.close(CloseReason::Stop);
}

#[test]
fn state_of_an_older_version_is_brought_forward() {
    let mut program = program("ticker");
    program.description = Some(Ticker::MANIFEST.describe(Kind::BgWorker));
    let module = plugin_host::process::module(program).unwrap();
    let mut state = FakeHost::new().state;
    state.put(b"old", b"value").unwrap();
    module.migrate(1, &mut State::new(&mut state)).unwrap();
    assert_eq!(state.get(b"old"), Ok(None));
    assert_eq!(state.get(b"new"), Ok(Some(Bytes::from_static(b"value"))));
    assert_eq!(state.counter_of("from"), 1);
}

#[derive(Default)]
struct Batch {
    times: Vec<i64>,
    token: Vec<u8>,
}

impl SourceCalls for Batch {
    fn append(&mut self, _: &BucketKey, _: RowKind, rows: ColumnBatch) -> Result<(), PluginError> {
        self.times.extend(rows.times());
        Ok(())
    }
    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        self.token = token.to_vec();
        Ok(())
    }
    fn room(&self) -> (usize, usize) {
        (10 - self.times.len(), 1 << 20)
    }
    fn is_cancelled(&self) -> bool {
        false
    }
    fn log(&mut self, _level: Level, _text: &str) {}
}

#[test]
fn a_source_goes_on_behind_its_token() {
    let mut program = program("numbers");
    program.description = Some(Numbers::MANIFEST.describe(Kind::Source));
    let module = plugin_host::process::module(program).unwrap();
    let zone = model::Zone::utc();
    let mut source = module
        .source(&json!({}), &mut Init::new("s", 1, &zone))
        .unwrap();
    let error = source.open("other", None).unwrap_err();
    assert_eq!(
        (error.code, &*error.text),
        (Code::NotFound, "NOT_FOUND: no such feed")
    );
    source.open("params", Some(b"8")).unwrap();
    let mut all = Vec::new();
    loop {
        let mut batch = Batch::default();
        let deadline = Instant::now() + Duration::from_secs(5);
        let more = source
            .next_batch(&mut SourceOut::new(&mut batch), deadline)
            .unwrap();
        all.extend(batch.times);
        let progress = source.progress().unwrap();
        assert_eq!(
            progress.text.as_bytes(),
            [&batch.token[..], b" of 25"].concat()
        );
        if more == More::End {
            break;
        }
    }
    assert_eq!(all, (8..25).collect::<Vec<_>>());
    source.close(CloseReason::Stop);
}
