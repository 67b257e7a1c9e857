//! `/ws`: subscribers of what plugins publish.
//!
//! The [`Hub`] takes a message and puts it into the queue of each subscriber that wants it; it never
//! waits. One task per connection empties its queue. A queue is bounded: when it is full only the
//! newest message of each key is kept, and if that does not help the subscriber is closed with 1013.

mod glob;
mod queue;
mod subscribe;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use model::BucketKey;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::auth::{Auth, Caller, Right};
use crate::config::Limits;
use crate::http::{App, Chunks, Reply, Session};
use crate::ws::{self, Fault, Received, Receiver, Sender};
use queue::Queue;
use subscribe::{Outcome, Patterns};

/// How often a ping is sent; a peer that is gone is found by it.
const PING_EVERY: Duration = Duration::from_secs(54);

/// Subscribers and what they want.
#[derive(Debug)]
pub struct Hub {
    /// Taken for writing only when somebody comes or goes.
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    limits: Limits,
}

impl Hub {
    /// A hub without subscribers.
    pub fn new(limits: &Limits) -> Self {
        Self {
            subscribers: RwLock::new(Vec::new()),
            limits: limits.clone(),
        }
    }

    /// How many subscribers are connected.
    pub fn connections(&self) -> usize {
        self.subscribers.read().len()
    }

    fn join(&self, caller: Caller) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber {
            wanted: Mutex::new(Wanted {
                caller,
                patterns: Patterns::default(),
                known: HashMap::new(),
            }),
            queue: Mutex::new(Queue::new(&self.limits)),
            filled: Notify::new(),
        });
        self.subscribers.write().push(subscriber.clone());
        subscriber
    }

    fn leave(&self, subscriber: &Arc<Subscriber>) {
        let mut subscribers = self.subscribers.write();
        subscribers.retain(|s| !Arc::ptr_eq(s, subscriber));
    }
}

impl plugin_host::Publisher for Hub {
    fn publish(&self, _instance: &str, stream: &str, payload: Bytes) {
        let mut key: Option<Arc<str>> = None;
        for subscriber in self.subscribers.read().iter() {
            if subscriber.wants(stream) {
                let key = key.get_or_insert_with(|| stream.into());
                subscriber.queue.lock().push(key, &payload);
                subscriber.filled.notify_one();
            }
        }
    }
}

/// One connection, as the hub sees it.
#[derive(Debug)]
struct Subscriber {
    wanted: Mutex<Wanted>,
    queue: Mutex<Queue>,
    filled: Notify,
}

/// The patterns, and what they said about keys seen before.
#[derive(Debug)]
struct Wanted {
    caller: Caller,
    patterns: Patterns,
    known: HashMap<Box<str>, bool>,
}

/// Keys whose answer is remembered; more are asked again each time.
const KNOWN_MAX: usize = 65_536;

/// A time that does not come.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

impl Subscriber {
    /// Takes other patterns, unless one of them is a key that the caller may not read. What `*` matches
    /// and he may not read is left out in silence.
    fn replace(&self, patterns: Patterns) -> Result<(), String> {
        let mut wanted = self.wanted.lock();
        if let Some(key) = patterns.keys().find(|key| !may_follow(&wanted.caller, key)) {
            return Err(wanted.caller.denied(Right::Read, key).to_string());
        }
        wanted.patterns = patterns;
        wanted.known = HashMap::new();
        Ok(())
    }

    /// The token may have been revoked or given other rights.
    fn ask_again(&self, auth: &Auth) -> Result<(), Fault> {
        let mut wanted = self.wanted.lock();
        let again = auth.again(&wanted.caller);
        wanted.caller =
            again.map_err(|_| Fault::Close(CloseCode::Policy, "the token is not good any more"))?;
        wanted.known = HashMap::new();
        Ok(())
    }

    fn time_left(&self) -> Instant {
        let left = self.wanted.lock().caller.time_left();
        Instant::now() + left.unwrap_or(NEVER).min(NEVER)
    }

    fn wants(&self, stream: &str) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.patterns.is_empty() {
            return false;
        }
        if let Some(known) = wanted.known.get(stream) {
            return *known;
        }
        let fits = wanted.patterns.matches(stream) && may_follow(&wanted.caller, stream);
        if wanted.known.len() < KNOWN_MAX {
            wanted.known.insert(stream.into(), fits);
        }
        fits
    }
}

/// Whether a caller may see what is published under a name. Names are keys of buckets, mostly; others
/// are for those who may read everything.
fn may_follow(caller: &Caller, stream: &str) -> bool {
    let may = || BucketKey::parse(stream).is_ok_and(|key| caller.may(Right::Read, &key));
    caller.sees_all() || may()
}

/// Answers a handshake; `None` if the request is none.
pub(crate) fn upgrade(
    app: &Arc<App>,
    mut request: Request<Incoming>,
    caller: Caller,
    mut session: Session,
) -> Option<Reply> {
    let headers = request.headers();
    let key = headers.get("sec-websocket-key")?;
    let version = headers.get("sec-websocket-version")?;
    if request.method() != Method::GET
        || !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
        || version != "13"
    {
        return None;
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
    let upgraded = hyper::upgrade::on(&mut request);
    let app = app.clone();
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (receiver, sender) = ws::split(upgraded, app.limits().ws_message_bytes);
            let subscriber = app.hub.join(caller);
            talk(&app, &subscriber, receiver, sender, &mut session.stopping).await;
            app.hub.leave(&subscriber);
        }
    });
    let mut reply = Response::new(Chunks::new(client::wire::Body::default()).into());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept);
    Some(reply)
}

fn lists(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    tokens.any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Serves one subscriber until it goes or has to go.
async fn talk(
    app: &App,
    subscriber: &Subscriber,
    mut receiver: Receiver,
    mut sender: Sender,
    stopping: &mut watch::Receiver<bool>,
) {
    let fault = loop_until_fault(app, subscriber, &mut receiver, &mut sender, stopping).await;
    if let Fault::Close(code, why) = fault {
        // If the peer does not take it, the connection ends all the same.
        let _ = sender.close(code, why).await;
    }
}

async fn loop_until_fault(
    app: &App,
    subscriber: &Subscriber,
    receiver: &mut Receiver,
    sender: &mut Sender,
    stopping: &mut watch::Receiver<bool>,
) -> Fault {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.reset();
    let mut tokens = app.auth.changes();
    let mut expiry = subscriber.time_left();
    loop {
        // Writing happens outside the select: a frame is sent whole or the connection ends.
        let done = tokio::select! {
            received = receiver.next() => match received {
                Ok(received) => on_received(app, subscriber, received, sender).await,
                Err(fault) => Err(fault),
            },
            () = subscriber.filled.notified() => flush(subscriber, sender).await,
            _ = ping.tick() => sender.ping().await,
            // The sender lives in `app`.
            _ = tokens.changed() => {
                let known = subscriber.ask_again(&app.auth);
                expiry = subscriber.time_left();
                known
            }
            () = tokio::time::sleep_until(expiry) => {
                let known = subscriber.ask_again(&app.auth);
                expiry = subscriber.time_left();
                known
            }
            // An error means that the server is gone, which is a stop as well.
            _ = stopping.changed() => Err(Fault::Close(CloseCode::Away, "the server stops")),
        };
        if let Err(fault) = done {
            return fault;
        }
    }
}

async fn on_received(
    app: &App,
    subscriber: &Subscriber,
    received: Received,
    sender: &mut Sender,
) -> Result<(), Fault> {
    match received {
        Received::Pong => Ok(()),
        Received::Ping(payload) => sender.pong(&payload).await,
        Received::Close => Err(Fault::Close(CloseCode::Normal, "")),
        Received::Message(message) => {
            match subscribe::read(&message, app.limits().streams_per_subscriber) {
                Outcome::Unchanged => sender.message(&message).await,
                // The echo leaves before any message for the new patterns: the queue is emptied by
                // this task alone.
                Outcome::Replace(patterns) => match subscriber.replace(patterns) {
                    Ok(()) => sender.message(&message).await,
                    Err(why) => sender.message(&subscribe::error_frame(&why)).await,
                },
                Outcome::Refused(why) => sender.message(&subscribe::error_frame(&why)).await,
            }
        }
    }
}

/// Sends what waits. Messages that come meanwhile wake the task again.
async fn flush(subscriber: &Subscriber, sender: &mut Sender) -> Result<(), Fault> {
    loop {
        let message = {
            let mut queue = subscriber.queue.lock();
            if queue.is_overrun() {
                return Err(Fault::Close(CloseCode::Again, "the subscriber is too slow"));
            }
            queue.pop()
        };
        match message {
            Some(message) => sender.message(&message).await?,
            None => return Ok(()),
        }
    }
}
