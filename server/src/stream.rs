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
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::config::Limits;
use crate::http::{App, Chunks, Session};
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

    fn join(&self) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber {
            wanted: Mutex::default(),
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
#[derive(Debug, Default)]
struct Wanted {
    patterns: Patterns,
    known: HashMap<Box<str>, bool>,
}

/// Keys whose answer is remembered; more are asked again each time.
const KNOWN_MAX: usize = 65_536;

impl Subscriber {
    fn wants(&self, stream: &str) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.patterns.is_empty() {
            return false;
        }
        if let Some(known) = wanted.known.get(stream) {
            return *known;
        }
        let fits = wanted.patterns.matches(stream);
        if wanted.known.len() < KNOWN_MAX {
            wanted.known.insert(stream.into(), fits);
        }
        fits
    }
}

/// Answers a handshake; `None` if the request is none.
pub(crate) fn upgrade(
    app: &Arc<App>,
    mut request: Request<Incoming>,
    mut session: Session,
) -> Option<Response<Chunks>> {
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
            let (receiver, sender) = ws::split(upgraded, app.limits.ws_message_bytes);
            let subscriber = app.hub.join();
            talk(&app, &subscriber, receiver, sender, &mut session.stopping).await;
            app.hub.leave(&subscriber);
        }
    });
    let mut reply = Response::new(Chunks::new(client::wire::Body::default()));
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
    loop {
        // Writing happens outside the select: a frame is sent whole or the connection ends.
        let done = tokio::select! {
            received = receiver.next() => match received {
                Ok(received) => on_received(app, subscriber, received, sender).await,
                Err(fault) => Err(fault),
            },
            () = subscriber.filled.notified() => flush(subscriber, sender).await,
            _ = ping.tick() => sender.ping().await,
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
            match subscribe::read(&message, app.limits.streams_per_subscriber) {
                Outcome::Unchanged => sender.message(&message).await,
                // The echo leaves before any message for the new patterns: the queue is emptied by
                // this task alone.
                Outcome::Replace(patterns) => {
                    *subscriber.wanted.lock() = Wanted {
                        patterns,
                        known: HashMap::new(),
                    };
                    sender.message(&message).await
                }
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
