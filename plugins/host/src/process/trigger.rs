//! A trigger in a child. The events of a window travel at once; answers are taken in order.
//!
//! Whatever leaves the straight path (a fire that failed, effects that were refused, an event that
//! was passed over) is followed by a `StateReset`: what the child did ahead is dropped, and the rest
//! of the window is sent event by event.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use plugin_proto::v1;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::to_child::Message as To;
use plugin_sdk::{
    AnyTrigger, Cancel, CloseReason, Event, FireCtx, FireError, FireInfo, StateCalls,
};

use super::driver::{Door, Driver, Next, TICK, Unready};
use super::effects::{Fault, apply};
use crate::message;

const OK: i32 = 0;
const SKIP: i32 = 2;
const FATAL: i32 = 3;

pub(super) struct Proxy {
    driver: Driver,
    /// Sent and not fired yet, in order.
    ahead: VecDeque<Ahead>,
    /// Answers that came before their fire.
    answers: VecDeque<v1::Ack>,
}

/// An event that the child works on already.
struct Ahead {
    seq: u64,
    name: Name,
}

/// What tells the events of a window apart.
#[derive(PartialEq, Eq)]
struct Name {
    first: u64,
    last: u64,
    attempt: u32,
    of: u32,
    key: Vec<u8>,
    from: i64,
    rows: usize,
}

impl Name {
    fn of(info: &FireInfo, event: &Event<'_>) -> Self {
        let (of, key, from, rows) = match event {
            Event::Write(batch) => (1, batch.key.as_str().as_bytes(), 0, batch.rows.rows()),
            Event::Gap { key, from, .. } => (2, key.as_str().as_bytes(), *from, 0),
            Event::Deleted(key) => (3, key.as_str().as_bytes(), 0, 0),
            Event::Timer { key, due, .. } => (4, *key, *due, 0),
        };
        Self {
            first: info.first_lsn,
            last: info.last_lsn,
            attempt: info.attempt,
            of,
            key: key.to_vec(),
            from,
            rows,
        }
    }
}

impl Proxy {
    pub(super) fn new(driver: Driver) -> Self {
        Self {
            driver,
            ahead: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    fn send(&mut self, info: &FireInfo, event: &Event<'_>) -> u64 {
        let driver = &mut self.driver;
        let mut fire = message::fire(info, event, |kind, schema| driver.schema_id(kind, schema));
        fire.seq = driver.next_seq();
        fire.attempt = info.attempt;
        fire.epoch = driver.epoch();
        fire.flags = u32::from(info.is_replay);
        fire.deadline_ms = u32::try_from(time_of(info).as_millis()).unwrap_or(u32::MAX);
        let seq = fire.seq;
        self.driver.send(To::Fire(fire));
        seq
    }

    /// What was sent ahead is of no use any more.
    fn reset(&mut self, keep: bool) {
        self.ahead.clear();
        self.answers.clear();
        let epoch = self.driver.epoch();
        self.driver
            .send(To::StateReset(v1::StateReset { epoch, keep }));
    }

    /// The child is gone, with all it did ahead.
    fn lost(&mut self, why: &str) -> FireError {
        self.ahead.clear();
        self.answers.clear();
        self.driver.lost(why);
        FireError::Retry(format!("the plugin's process is gone: {why}"))
    }

    /// The number under which the child has the event, sent now if need be.
    fn seq_of(&mut self, info: &FireInfo, event: &Event<'_>) -> u64 {
        if let Some(first) = self.ahead.front() {
            if first.name == Name::of(info, event) {
                let seq = first.seq;
                self.ahead.pop_front();
                return seq;
            }
            // An event was passed over, but the child has seen it.
            self.reset(false);
        }
        self.send(info, event)
    }

    fn wait(
        &mut self,
        seq: u64,
        info: &FireInfo,
        ctx: &mut FireCtx<'_>,
    ) -> Result<v1::Ack, FireError> {
        if let Some(ack) = self.stashed(seq) {
            return Ok(ack);
        }
        let limit = time_of(info);
        let began = Instant::now();
        let mut is_cancelled = false;
        let mut ends: Option<Instant> = None;
        loop {
            let past = began.elapsed();
            let grace = self.driver.stop_time();
            if ends.is_some_and(|asked| asked.elapsed() >= grace) {
                return Err(self.lost(&format!("did not end within {grace:?}, killed")));
            }
            if past >= limit.saturating_mul(2) {
                return Err(self.lost(&format!("no answer within {past:.1?}, killed")));
            }
            let until = if past < limit {
                limit
            } else {
                limit.saturating_mul(2)
            };
            let time = TICK.min(until.saturating_sub(past));
            let mut door = Door::Fire(ctx.calls());
            match self.driver.next(seq, info.attempt, &mut door, time) {
                Next::Message(From::Ack(ack)) => {
                    if self.is_mine(&ack, seq, info.attempt) {
                        return Ok(ack);
                    }
                    self.stash(ack);
                }
                Next::Message(_) => self.driver.fence(),
                Next::Lost(why) => return Err(self.lost(&why)),
                Next::Quiet => {
                    let is_ending = door.is_cancelled();
                    if is_ending {
                        ends.get_or_insert_with(Instant::now);
                    }
                    let is_time = began.elapsed() >= limit || is_ending;
                    if is_time && !is_cancelled {
                        is_cancelled = true;
                        let epoch = self.driver.epoch();
                        self.driver.send(To::Cancel(v1::Cancel { epoch, seq }));
                    }
                }
            }
        }
    }

    fn is_mine(&self, ack: &v1::Ack, seq: u64, attempt: u32) -> bool {
        (ack.epoch, ack.seq, ack.attempt) == (self.driver.epoch(), seq, attempt)
    }

    fn stashed(&mut self, seq: u64) -> Option<v1::Ack> {
        let first = self.answers.front()?;
        if first.seq == seq {
            return self.answers.pop_front();
        }
        None
    }

    /// Keeps the answer to a fire that comes later; any other is too late.
    fn stash(&mut self, ack: v1::Ack) {
        let next = self.answers.len();
        let is_next = self
            .ahead
            .get(next)
            .is_some_and(|ahead| self.is_mine(&ack, ahead.seq, ahead.name.attempt));
        if is_next {
            self.answers.push_back(ack);
        } else {
            self.driver.fence();
        }
    }

    /// Makes the effects of an answer.
    fn take(&mut self, ack: v1::Ack, ctx: &mut FireCtx<'_>) -> Result<(), FireError> {
        if ack.code != OK {
            self.reset(true);
            return Err(match ack.code {
                SKIP => FireError::Skip(ack.message),
                FATAL => FireError::Fatal(ack.message),
                _ if ack.retry_after_ms > 0 => FireError::RetryAfter {
                    text: ack.message,
                    after: Duration::from_millis(u64::from(ack.retry_after_ms)),
                },
                _ => FireError::Retry(ack.message),
            });
        }
        match apply(ack.effects, &self.driver.received, ctx.calls()) {
            Ok(()) => Ok(()),
            Err(Fault::Refused(error)) => {
                self.reset(false);
                if error.code == plugin_sdk::Code::Unsupported {
                    self.driver.count_unsupported();
                }
                Err(error.into())
            }
            Err(Fault::Garbage(text)) => Err(self.lost(&format!("protocol: {text}"))),
        }
    }
}

/// The time an event has.
fn time_of(info: &FireInfo) -> Duration {
    let nanos = info.deadline.saturating_sub(info.now).max(0);
    Duration::from_nanos(nanos.unsigned_abs())
}

impl AnyTrigger for Proxy {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let info = ctx.info();
        if !self.driver.is_running() {
            self.ahead.clear();
            self.answers.clear();
            let ready = self.driver.ensure(&mut Door::Fire(ctx.calls()));
            ready.map_err(|unready| match unready {
                Unready::Broken(why) => FireError::Fatal(why),
                Unready::Cancelled => FireError::Retry("the server stops".into()),
            })?;
        }
        let seq = self.seq_of(&info, event);
        let ack = self.wait(seq, &info, ctx)?;
        self.take(ack, ctx)
    }

    fn ahead(&mut self, events: &mut dyn Iterator<Item = (FireInfo, Event<'_>)>) {
        if !self.driver.is_running() {
            return;
        }
        if !self.ahead.is_empty() {
            self.reset(false);
        }
        for (info, event) in events {
            let seq = self.send(&info, &event);
            let name = Name::of(&info, &event);
            self.ahead.push_back(Ahead { seq, name });
        }
    }

    fn tend(&mut self, state: &mut dyn StateCalls) -> Result<Option<Duration>, String> {
        if self.driver.is_running() {
            return Ok(None);
        }
        self.ahead.clear();
        self.answers.clear();
        self.driver.revive(&mut Door::Init(Some(state)))
    }

    fn forget(&mut self) {
        self.reset(false);
    }

    fn cancel(&self) -> Option<Cancel> {
        Some(self.driver.canceller())
    }

    fn close(&mut self, why: CloseReason) {
        self.driver.close(why);
    }
}
