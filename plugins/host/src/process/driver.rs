//! What the proxies of all kinds have in common: a child that is there when it is needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::to_child::Message as To;
use plugin_proto::{Received, Sent, v1};
use plugin_sdk::{
    Cancel, CloseReason, Code, HostCalls, Init, Kind, PluginError, Query, StandingState,
    StateCalls, WorkerCalls,
};
use tokio::sync::mpsc::UnboundedSender;
use tonic::Status;

use super::effects::{self, Fault};
use super::module::Core;
use super::serve::{Call, Inbound};
use super::session::{Session, Unstarted};

/// How often a wait looks whether it is to end.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// The calls that are open while a proxy waits.
pub(super) enum Door<'a> {
    /// An object is being made: it may read its state, if there is any.
    Init(Option<&'a mut (dyn StateCalls + 'a)>),
    Fire(&'a mut (dyn HostCalls + 'a)),
    Worker(&'a mut (dyn WorkerCalls + 'a)),
}

impl Door<'_> {
    fn host(&mut self) -> Option<&mut dyn HostCalls> {
        match self {
            Self::Init(_) => None,
            Self::Fire(host) => Some(&mut **host),
            Self::Worker(worker) => Some(worker.as_host()),
        }
    }

    pub(super) fn state(&mut self) -> Option<&mut dyn StateCalls> {
        match self {
            Self::Init(Some(state)) => Some(&mut **state),
            Self::Init(None) => None,
            Self::Fire(host) => host.state(),
            Self::Worker(worker) => worker.as_host().state(),
        }
    }

    pub(super) fn is_cancelled(&mut self) -> bool {
        self.host().is_some_and(|host| host.is_cancelled())
    }
}

/// Why there is no child to work with.
#[derive(Debug)]
pub(super) enum Unready {
    /// It will not be started any more.
    Broken(String),
    /// The wait was cut short.
    Cancelled,
}

/// What a wait for the child has brought.
pub(super) enum Next {
    Message(From),
    /// The child is gone, and why.
    Lost(String),
    /// Nothing yet.
    Quiet,
}

type Out = UnboundedSender<Result<v1::ToChild, Status>>;

/// A child of one instance, started again when it has ended.
pub(super) struct Driver {
    core: Arc<Core>,
    kind: Kind,
    config: String,
    pub(super) instance: String,
    zone: String,
    base_epoch: u64,
    session: Option<Session>,
    pub(super) received: Received,
    sent: Sent,
    /// Calls of fires that the host has not come to.
    later: Vec<Call>,
    seq: u64,
    /// The present child, for other threads that want it to end its work.
    out: Arc<Mutex<Option<(u64, Out)>>>,
    fenced: metrics::Counter,
}

impl Driver {
    /// Starts the child for the first time: what it refuses now, it will refuse always. One that
    /// crashes is started again, after a pause, when there is work or nothing else to do.
    pub(super) fn start(
        core: &Arc<Core>,
        kind: Kind,
        config: &serde_json::Value,
        init: &mut Init<'_>,
    ) -> Result<Self, PluginError> {
        let labels = [("instance", init.instance.to_owned())];
        let mut driver = Self {
            core: Arc::clone(core),
            kind,
            config: config.to_string(),
            instance: init.instance.to_owned(),
            zone: init.zone.name().to_owned(),
            base_epoch: init.epoch,
            session: None,
            received: Received::default(),
            sent: Sent::default(),
            later: Vec::new(),
            seq: 0,
            out: Arc::default(),
            fenced: metrics::counter!("mkts_plugin_fenced_total", &labels),
        };
        let state = init.state.store().map(|state| state as &mut dyn StateCalls);
        match driver.begin(&mut Door::Init(state)) {
            Ok(()) => {}
            Err(Unstarted::Crashed(why)) => driver.lost(&why),
            Err(Unstarted::Refused(error)) => {
                if let Some(session) = driver.session.take() {
                    session.kill();
                }
                return Err(error);
            }
        }
        Ok(driver)
    }

    fn begin(&mut self, door: &mut Door<'_>) -> Result<(), Unstarted> {
        let core = Arc::clone(&self.core);
        let standings = &core.standings;
        standings.set(&self.instance, StandingState::Starting, "", 0);
        let epoch = core.next_epoch(self.base_epoch);
        let session = Session::start(&core, &self.instance, epoch)?;
        let pid = session.pid();
        *self.out.lock() = Some((epoch, session.sender()));
        self.session = Some(session);
        (self.received, self.sent) = (Received::default(), Sent::default());
        let configure = self.configure(door, epoch);
        self.become_ready(configure, door)?;
        standings.set(&self.instance, StandingState::Running, "", pid);
        Ok(())
    }

    fn configure(&self, door: &mut Door<'_>, epoch: u64) -> v1::Configure {
        let mut configure = self.core.configure(self.kind, &self.instance, epoch);
        configure.config_json.clone_from(&self.config);
        configure.timezone.clone_from(&self.zone);
        super::configure::add_state(&mut configure, &self.core.description, door.state());
        configure
    }

    /// Sends the configuration and waits until the child is ready.
    fn become_ready(
        &mut self,
        configure: v1::Configure,
        door: &mut Door<'_>,
    ) -> Result<(), Unstarted> {
        self.send(To::Configure(configure));
        loop {
            let left = self.session.as_ref().map(Session::start_left);
            let left = left.unwrap_or_default();
            let time = self.core.program.timing.start;
            let name = self.core.program.name();
            match self.next(0, 1, door, left) {
                Next::Message(From::Ready(ready)) => {
                    let status = ready.status.unwrap_or_default();
                    if status.code != 0 {
                        let code = Code::of(status.code);
                        let error = PluginError::new(code, status.message);
                        return Err(Unstarted::Refused(error));
                    }
                    return Ok(());
                }
                Next::Message(_) => self.fence(),
                Next::Lost(why) => return Err(Unstarted::Crashed(format!("{name}: {why}"))),
                Next::Quiet if left.is_zero() => {
                    return Err(Unstarted::Crashed(format!(
                        "{name}: not ready within {time:?}"
                    )));
                }
                Next::Quiet => {}
            }
        }
    }

    /// Waits until there is a child that works. A child that ends while it is waited for is started
    /// again after a pause, until the breaker opens.
    pub(super) fn ensure(&mut self, door: &mut Door<'_>) -> Result<(), Unready> {
        if self.session.as_ref().is_some_and(Session::has_ended) {
            self.drain_ended();
        }
        while self.session.is_none() {
            if let Some(why) = self.core.broken(&self.instance) {
                let standings = &self.core.standings;
                standings.set(&self.instance, StandingState::Failed, &why, 0);
                return Err(Unready::Broken(why));
            }
            self.pause(door)?;
            self.begin_again(door);
        }
        Ok(())
    }

    fn begin_again(&mut self, door: &mut Door<'_>) {
        self.core.standings.restarted(&self.instance);
        match self.begin(door) {
            Ok(()) => {}
            Err(Unstarted::Crashed(why)) => self.lost(&why),
            Err(Unstarted::Refused(error)) => self.lost(&error.text),
        }
    }

    /// Starts a child that has ended while there was nothing to do, if its pause is over; otherwise,
    /// how long that still is.
    pub(super) fn revive(&mut self, door: &mut Door<'_>) -> Result<Option<Duration>, String> {
        if self.session.as_ref().is_some_and(Session::has_ended) {
            self.drain_ended();
        }
        if self.session.is_some() {
            return Ok(None);
        }
        if let Some(why) = self.core.broken(&self.instance) {
            let standings = &self.core.standings;
            standings.set(&self.instance, StandingState::Failed, &why, 0);
            return Err(why);
        }
        let left = self.core.pause(&self.instance);
        if left.is_zero() {
            self.begin_again(door);
        }
        Ok(Some(self.core.pause(&self.instance)).filter(|left| !left.is_zero()))
    }

    /// The process has ended while nobody waited for it: how, stands in the queue.
    fn drain_ended(&mut self) {
        let mut why = "ended".to_owned();
        while let Some(inbound) = self.session.as_ref().and_then(|s| s.receive(TICK)) {
            match inbound {
                Inbound::Closed(how) if why == "ended" => why = how,
                Inbound::Ended(how) => {
                    why = how;
                    break;
                }
                _ => {}
            }
        }
        self.lost(&why);
    }

    fn pause(&self, door: &mut Door<'_>) -> Result<(), Unready> {
        loop {
            let left = self.core.pause(&self.instance);
            if left.is_zero() {
                return Ok(());
            }
            if door.is_cancelled() {
                return Err(Unready::Cancelled);
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// The child is gone or must go; the next use starts another.
    pub(super) fn lost(&mut self, why: &str) {
        *self.out.lock() = None;
        self.later.clear();
        let session = self.session.take();
        let ran = session
            .as_ref()
            .map_or(Duration::ZERO, |s| s.began.elapsed());
        // Killed and waited for: its successor must not meet it.
        if let Some(session) = session {
            session.kill();
        }
        tracing::warn!(
            instance = &*self.instance,
            "the plugin's process is gone: {why}"
        );
        self.core.note_exit(&self.instance, ran, why);
        let standings = &self.core.standings;
        standings.set(&self.instance, StandingState::Backoff, why, 0);
    }

    /// Ends the child in an orderly way.
    pub(super) fn close(&mut self, why: CloseReason) {
        *self.out.lock() = None;
        self.later.clear();
        let reason = match why {
            CloseReason::Panic => 1,
            CloseReason::Again => 2,
            CloseReason::Reload => 3,
            _ => 0,
        };
        if let Some(session) = self.session.take() {
            session.stop(reason);
        }
        let standings = &self.core.standings;
        standings.set(&self.instance, StandingState::Stopped, "", 0);
        if why == CloseReason::Stop {
            self.core.forget_exits(&self.instance);
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.epoch)
    }

    pub(super) fn is_running(&self) -> bool {
        self.session.as_ref().is_some_and(|s| !s.has_ended())
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn send(&self, message: To) {
        if let Some(session) = &self.session {
            session.send(message);
        }
    }

    /// The number of a schema; it is sent if the child does not know it.
    pub(super) fn schema_id(&mut self, kind: model::RowKind, schema: &model::Schema) -> u32 {
        let (id, new) = self.sent.id(kind, schema);
        if let Some(message) = new {
            self.send(To::Schema(message));
        }
        id
    }

    /// How long a child may take to end once it was asked to.
    pub(super) fn stop_time(&self) -> Duration {
        self.core.program.timing.stop
    }

    /// Something of a newer SDK.
    pub(super) fn count_unsupported(&self) {
        let labels = [("instance", self.instance.clone())];
        metrics::counter!("mkts_plugin_unsupported_total", &labels).increment(1);
    }

    /// An answer that nobody waits for (any more).
    pub(super) fn fence(&self) {
        self.fenced.increment(1);
    }

    pub(super) fn canceller(&self) -> Cancel {
        let out = Arc::clone(&self.out);
        Arc::new(move || {
            if let Some((epoch, out)) = &*out.lock() {
                let cancel = v1::Cancel {
                    epoch: *epoch,
                    seq: 0,
                };
                let _ = out.send(Ok(v1::ToChild {
                    message: Some(To::Cancel(cancel)),
                }));
            }
        })
    }

    /// Waits for a message of the child; answers its calls meanwhile.
    pub(super) fn next(
        &mut self,
        seq: u64,
        attempt: u32,
        door: &mut Door<'_>,
        time: Duration,
    ) -> Next {
        let until = Instant::now() + time;
        for call in std::mem::take(&mut self.later) {
            self.answer(call, seq, attempt, door);
        }
        loop {
            let Some(session) = &self.session else {
                return Next::Lost("it was not started".into());
            };
            let left = until.saturating_duration_since(Instant::now());
            let Some(inbound) = session.receive(left) else {
                return Next::Quiet;
            };
            match inbound {
                Inbound::Message(From::Schema(schema), _) => {
                    if let Err(error) = self.received.add(&schema) {
                        return Next::Lost(format!("protocol: {error}"));
                    }
                }
                Inbound::Message(message, _) => return Next::Message(message),
                Inbound::Call(call) => self.answer(call, seq, attempt, door),
                Inbound::Refused(why) | Inbound::Closed(why) => {
                    return Next::Lost(self.why_ended(why));
                }
                Inbound::Ended(how) => return Next::Lost(how),
                Inbound::Hello(_) => {}
            }
        }
    }

    /// A session mostly ends because the process does, which says more.
    fn why_ended(&self, why: String) -> String {
        let session = self.session.as_ref();
        match session.and_then(|session| session.receive(TICK)) {
            Some(Inbound::Ended(how)) if why.starts_with("hung") => format!("{why}, {how}"),
            Some(Inbound::Ended(how)) => how,
            _ => why,
        }
    }

    /// Answers a call of the child if it belongs to what runs, keeps it if it belongs to a later
    /// fire, and refuses it if it is late.
    fn answer(&mut self, call: Call, seq: u64, attempt: u32, door: &mut Door<'_>) {
        let (epoch, of, tried) = match &call {
            Call::Query(call, _) => (call.epoch, call.seq, call.attempt),
            Call::Get(call, _) => (call.epoch, call.seq, call.attempt),
            Call::Scan(call, _) => (call.epoch, call.seq, call.attempt),
            Call::Commit(call, _) => (call.epoch, call.seq, attempt),
        };
        if epoch == self.epoch() && of > seq {
            self.later.push(call);
            return;
        }
        if (epoch, of, tried) == (self.epoch(), seq, attempt) {
            answer_now(call, door);
        } else {
            self.fence();
            refuse(call);
        }
    }
}

fn refuse(call: Call) {
    let (code, text) = (
        Code::Fenced as i32,
        "FENCED: this call is too late".to_owned(),
    );
    // Whoever asked may be gone already.
    match call {
        Call::Query(_, reply) => {
            let _ = reply.send(Err(PluginError::new(Code::Fenced, text)));
        }
        Call::Get(_, reply) => {
            let _ = reply.send(v1::StateGetAnswer {
                code,
                message: text,
                value: None,
            });
        }
        Call::Scan(_, reply) => {
            let _ = reply.send(v1::StateScanAnswer {
                code,
                message: text,
                entries: Vec::new(),
            });
        }
        Call::Commit(_, reply) => {
            let _ = reply.send(v1::CommitAnswer {
                code,
                message: text,
            });
        }
    }
}

fn answer_now(call: Call, door: &mut Door<'_>) {
    match call {
        Call::Query(request, reply) => drop(reply.send(query(&request, door))),
        Call::Get(request, reply) => {
            drop(reply.send(super::configure::state_get(&request, door.state())));
        }
        Call::Scan(request, reply) => {
            drop(reply.send(super::configure::state_scan(&request, door.state())));
        }
        Call::Commit(request, reply) => drop(reply.send(commit(request, door))),
    }
}

fn query(request: &v1::QueryRequest, door: &mut Door<'_>) -> super::serve::QueryResult {
    let Some(host) = door.host() else {
        return Err(PluginError::unsupported("queries"));
    };
    let key = match effects::key(&request.key) {
        Ok(key) => key,
        Err(Fault::Refused(error)) => return Err(error),
        Err(Fault::Garbage(text)) => return Err(PluginError::from(text)),
    };
    let names: Vec<&str> = request.columns.iter().map(String::as_str).collect();
    let rows = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let limit = match (request.limit, request.from_end) {
        (0, _) => None,
        (_, false) => Some(plugin_sdk::QueryLimit::First(rows)),
        (_, true) => Some(plugin_sdk::QueryLimit::Last(rows)),
    };
    let rows = host.query(&Query {
        key: &key,
        from: request.from_ns,
        to: request.to_ns,
        columns: (!names.is_empty()).then_some(&*names),
        limit,
    })?;
    // The answer's kind is of no use to a reader; a query does not know it.
    Ok(rows.map(|rows| (model::RowKind::Bar, rows)))
}

fn commit(request: v1::CommitRequest, door: &mut Door<'_>) -> v1::CommitAnswer {
    let done = match door {
        Door::Worker(worker) => commit_of(request, &mut **worker),
        _ => Err(PluginError::unsupported("commit")),
    };
    let (code, message) = match done {
        Ok(()) => (0, String::new()),
        Err(error) => (error.code as i32, error.text),
    };
    v1::CommitAnswer { code, message }
}

fn commit_of(request: v1::CommitRequest, worker: &mut dyn WorkerCalls) -> Result<(), PluginError> {
    let mut received = Received::default();
    for schema in &request.schemas {
        received
            .add(schema)
            .map_err(|error| PluginError::from(error.to_string()))?;
    }
    match effects::apply(request.effects, &received, worker.as_host()) {
        Ok(()) => worker.commit(),
        Err(Fault::Refused(error)) => Err(error),
        Err(Fault::Garbage(text)) => Err(PluginError::from(format!("protocol: {text}"))),
    }
}
