//! What every call passes: room for the bytes of its messages, and a clock.
//!
//! tonic reads a message whole before anybody looks at it. So that many large ones at once are refused
//! and not held, bytes take room of one budget as they come, until the call is answered. Whoever shows no
//! good token may send what needs none, which is small.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Request, Response};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::token_of;
use crate::http::App;
use crate::room::{Held, Room};

/// Room is taken in such pieces.
const ROOM_BYTES: u64 = 64 << 10;

/// Bytes that anybody may send.
const STRANGER_BYTES: u64 = 64 << 10;

/// Puts the gate before a service.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    app: Arc<App>,
    room: Room,
}

impl Gate {
    pub(super) fn new(app: Arc<App>) -> Self {
        let room = Room::new(app.limits().requests_bytes);
        Self { app, room }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        let gate = self.clone();
        Gated { gate, inner }
    }
}

/// A service behind the gate.
#[derive(Debug, Clone)]
pub(super) struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is called, its copy waits.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        let app = &self.gate.app;
        let time = app.limits().call_time;
        let token = token_of(request.headers());
        let held = Arc::<Mutex<Held>>::default();
        let is_known = app.auth.caller(token.as_deref()).is_ok();
        let request = request.map(|body| {
            Body::new(Counted {
                body,
                room: self.gate.room.clone(),
                held: Arc::clone(&held),
                came: 0,
                taken: 0,
                most: if is_known { u64::MAX } else { STRANGER_BYTES },
            })
        });
        Box::pin(async move {
            let answered = tokio::time::timeout(time, inner.call(request)).await;
            drop(held);
            answered.unwrap_or_else(|_| {
                metrics::counter!("mkts_rejected_total", "reason" => "call_time").increment(1);
                let seconds = time.as_secs_f64();
                let late = format!("the call took longer than {seconds} s (limits.call_time)");
                Ok(Status::deadline_exceeded(late).into_http())
            })
        })
    }
}

/// A body whose bytes take room.
struct Counted {
    body: Body,
    room: Room,
    /// Shared with the call: its messages are in memory until it is answered.
    held: Arc<Mutex<Held>>,
    came: u64,
    taken: u64,
    most: u64,
}

impl Counted {
    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        self.came += bytes as u64;
        if self.came > self.most {
            let text = format!(
                "a token is needed for a message of over {} bytes",
                self.most
            );
            return Err(Status::unauthenticated(text));
        }
        while self.taken < self.came {
            let Some(part) = self.room.take(ROOM_BYTES) else {
                metrics::counter!("mkts_rejected_total", "reason" => "requests").increment(1);
                return Err(Status::resource_exhausted(
                    "the messages under way together have more bytes than there is room for \
                     (limits.requests_bytes); try again later or send less at once",
                ));
            };
            self.held.lock().merge(part);
            self.taken += ROOM_BYTES;
        }
        Ok(())
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.count(data.len())
        {
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tonic::Code;

    use super::*;

    fn message(room: &Room, bytes: usize, most: u64) -> Counted {
        Counted {
            body: Body::new(Full::new(Bytes::from(vec![7; bytes]))),
            room: room.clone(),
            held: Arc::default(),
            came: 0,
            taken: 0,
            most,
        }
    }

    #[tokio::test]
    async fn messages_under_way_share_one_room() {
        let room = Room::new(4 * ROOM_BYTES);
        let first = message(&room, 3 * ROOM_BYTES as usize, u64::MAX);
        let held = Arc::clone(&first.held);
        assert_eq!(
            first.collect().await.unwrap().to_bytes().len() as u64,
            3 * ROOM_BYTES
        );
        // Read to its end, and not answered yet.
        let second = message(&room, 2 * ROOM_BYTES as usize, u64::MAX);
        let refused = second.collect().await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.message().contains("limits.requests_bytes"),
            "{refused}"
        );
        drop(held);
        let third = message(&room, 2 * ROOM_BYTES as usize, u64::MAX);
        assert!(third.collect().await.is_ok());
    }

    #[tokio::test]
    async fn a_stranger_sends_little() {
        let room = Room::new(4 * ROOM_BYTES);
        let small = message(&room, STRANGER_BYTES as usize, STRANGER_BYTES);
        assert!(small.collect().await.is_ok());
        let large = message(&room, STRANGER_BYTES as usize + 1, STRANGER_BYTES);
        let refused = large.collect().await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}
