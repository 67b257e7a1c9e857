//! A source in a child.

use std::time::{Duration, Instant};

use plugin_proto::v1;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::to_child::Message as To;
use plugin_sdk::{AnySource, Cancel, CloseReason, Code, More, PluginError, Progress, SourceOut};

use super::driver::{Door, Driver, Next, TICK};
use super::effects::{Fault, key};
use super::worker::unready;

/// How long a feed may take to open, and how long a batch may take beyond its deadline before it is
/// asked to end; at twice the time the process is killed.
const PATIENCE: Duration = Duration::from_secs(5);
const OPEN: Duration = Duration::from_secs(60);

pub(super) struct Proxy {
    driver: Driver,
    progress: Option<Progress>,
}

impl Proxy {
    pub(super) fn new(driver: Driver) -> Self {
        Self {
            driver,
            progress: None,
        }
    }

    fn lost(&mut self, why: &str) -> PluginError {
        self.driver.lost(why);
        PluginError::from(format!("the plugin's process is gone: {why}"))
    }

    /// Waits for the answer to a credit; `is_over` says whether the source is to end.
    fn wait(
        &mut self,
        seq: u64,
        limit: Duration,
        patience: Duration,
        is_over: &dyn Fn() -> bool,
    ) -> Result<From, PluginError> {
        let began = Instant::now();
        let mut is_cancelled = false;
        loop {
            match self.driver.next(seq, 1, &mut Door::Init(None), TICK) {
                Next::Message(message) => {
                    let of = match &message {
                        From::Ack(ack) => (ack.epoch, ack.seq),
                        From::SourceBatch(batch) => (batch.epoch, batch.seq),
                        _ => (0, 0),
                    };
                    if of == (self.driver.epoch(), seq) {
                        return Ok(message);
                    }
                    self.driver.fence();
                }
                Next::Lost(why) => return Err(self.lost(&why)),
                Next::Quiet => {}
            }
            let past = began.elapsed();
            if past >= limit + patience.saturating_mul(2) {
                return Err(self.lost(&format!("no answer within {past:.1?}, killed")));
            }
            if !is_cancelled && (past >= limit + patience || is_over()) {
                is_cancelled = true;
                let epoch = self.driver.epoch();
                self.driver.send(To::Cancel(v1::Cancel { epoch, seq }));
            }
        }
    }

    fn fill(
        &mut self,
        batch: v1::SourceBatch,
        out: &mut SourceOut<'_>,
    ) -> Result<More, PluginError> {
        for write in batch.writes {
            let rows = self.driver.received.rows(write.schema_id, &write.rows);
            match (key(&write.key), rows) {
                (Ok(key), Ok((kind, rows))) => out.append(&key, kind, rows)?,
                (Err(Fault::Refused(error)), _) => return Err(error),
                (Err(Fault::Garbage(text)), _) => {
                    return Err(self.lost(&format!("protocol: {text}")));
                }
                (_, Err(error)) => return Err(self.lost(&format!("protocol: {error}"))),
            }
        }
        if let Some(token) = &batch.resume {
            out.set_resume(token)?;
        }
        self.progress = batch.progress.map(|share| Progress {
            share,
            text: batch.progress_text,
        });
        Ok(match (batch.end, batch.full) {
            (true, _) => More::End,
            (false, true) => More::Full,
            (false, false) => More::Timeout,
        })
    }
}

impl AnySource for Proxy {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        self.driver.ensure(&mut Door::Init(None)).map_err(unready)?;
        let seq = self.driver.next_seq();
        self.driver.send(To::Credit(v1::Credit {
            epoch: self.driver.epoch(),
            seq,
            open: Some(v1::credit::Open {
                params: params.to_owned(),
                resume: resume.map(|token| token.to_vec().into()),
            }),
            ..v1::Credit::default()
        }));
        match self.wait(seq, OPEN, PATIENCE, &|| false)? {
            From::Ack(ack) if ack.code == 0 => Ok(()),
            From::Ack(ack) => Err(PluginError::new(Code::of(ack.code), ack.message)),
            _ => Err(self.lost("protocol: no answer to open")),
        }
    }

    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        if !self.driver.is_running() {
            // Its feed is not open in another child: the host opens it anew.
            return Err(self.lost("ended"));
        }
        let seq = self.driver.next_seq();
        let (rows, bytes) = out.room();
        let limit = deadline.saturating_duration_since(Instant::now());
        self.driver.send(To::Credit(v1::Credit {
            epoch: self.driver.epoch(),
            seq,
            rows: rows as u64,
            bytes: bytes as u64,
            deadline_ms: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
            ..v1::Credit::default()
        }));
        match self.wait(seq, limit, PATIENCE, &|| out.is_cancelled())? {
            From::SourceBatch(batch) if batch.code == 0 => self.fill(batch, out),
            From::SourceBatch(batch) => Err(PluginError::new(Code::of(batch.code), batch.message)),
            _ => Err(self.lost("protocol: no batch")),
        }
    }

    fn progress(&mut self) -> Option<Progress> {
        self.progress.clone()
    }

    fn cancel(&self) -> Option<Cancel> {
        Some(self.driver.canceller())
    }

    fn close(&mut self, why: CloseReason) {
        self.driver.close(why);
    }
}
