//! A background worker in a child.

use std::time::{Duration, Instant};

use plugin_proto::v1;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::to_child::Message as To;
use plugin_sdk::{AnyWorker, Cancel, CloseReason, Code, PluginError, WorkerCtx};

use super::driver::{Door, Driver, Next, TICK, Unready};
use super::effects::{Fault, apply};

/// How long a worker may go on after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Proxy {
    driver: Driver,
}

impl Proxy {
    pub(super) fn new(driver: Driver) -> Self {
        Self { driver }
    }

    fn wait(&mut self, seq: u64, ctx: &mut WorkerCtx<'_>) -> Result<v1::Ack, PluginError> {
        let mut asked: Option<Instant> = None;
        loop {
            let mut door = Door::Worker(ctx.calls());
            match self.driver.next(seq, 1, &mut door, TICK) {
                Next::Message(From::Ack(ack))
                    if (ack.epoch, ack.seq) == (self.driver.epoch(), seq) =>
                {
                    return Ok(ack);
                }
                Next::Message(_) => self.driver.fence(),
                Next::Lost(why) => return Err(self.lost(&why)),
                Next::Quiet => {}
            }
            if asked.is_some_and(|at| at.elapsed() >= GRACE) {
                return Err(self.lost(&format!("did not end within {GRACE:?}, killed")));
            }
            if asked.is_none() && ctx.is_cancelled() {
                asked = Some(Instant::now());
                let epoch = self.driver.epoch();
                self.driver.send(To::Cancel(v1::Cancel { epoch, seq }));
            }
        }
    }

    fn lost(&mut self, why: &str) -> PluginError {
        self.driver.lost(why);
        PluginError::from(format!("the plugin's process is gone: {why}"))
    }
}

/// The error of a driver that has no child.
pub(super) fn unready(unready: Unready) -> PluginError {
    match unready {
        Unready::Broken(why) => PluginError::from(why),
        Unready::Cancelled => PluginError::new(Code::Cancelled, "CANCELLED: the server stops"),
    }
}

impl AnyWorker for Proxy {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        self.driver
            .ensure(&mut Door::Worker(ctx.calls()))
            .map_err(unready)?;
        let seq = self.driver.next_seq();
        self.driver.send(To::Credit(v1::Credit {
            epoch: self.driver.epoch(),
            seq,
            run: true,
            ..v1::Credit::default()
        }));
        let ack = self.wait(seq, ctx)?;
        if ack.code != 0 {
            return Err(PluginError::new(Code::of(ack.code), ack.message));
        }
        match apply(ack.effects, &self.driver.received, ctx.calls().as_host()) {
            Ok(()) => Ok(()),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Garbage(text)) => Err(self.lost(&format!("protocol: {text}"))),
        }
    }

    fn cancel(&self) -> Option<Cancel> {
        Some(self.driver.canceller())
    }

    fn close(&mut self, why: CloseReason) {
        self.driver.close(why);
    }
}
