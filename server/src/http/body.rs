//! Bodies: requests are read with a limit and a clock, replies go out chunk by chunk.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use client::wire::Body;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Over this many bytes.
    TooLarge(usize),
    /// No byte for too long.
    TooSlow,
    /// The connection or its framing broke.
    Broken,
    /// All bodies under way together take as much memory as they may.
    Full,
}

/// Most bytes reserved for a body before any of it has come: a length alone reserves no more.
const RESERVE_BYTES: usize = 64 << 10;

/// Bodies of the greatest length that may be in memory together.
const BODIES_MAX: usize = 8;

/// The bytes that all bodies together may take.
pub(super) fn room(limits: &Limits) -> Arc<Semaphore> {
    let bytes = limits.request_body.saturating_mul(BODIES_MAX);
    Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)))
}

/// A body, and its part of the room, to be held as long as the body is.
pub(super) type Held = (Bytes, Option<OwnedSemaphorePermit>);

/// Reads a whole body. Only bytes that have come take room: a length alone takes none. A body that
/// finds no room is given up, because bodies that wait for each other would wait for ever.
pub(super) async fn read(
    mut body: Incoming,
    limits: &Limits,
    room: &Arc<Semaphore>,
) -> Result<Held, ReadError> {
    let too_large = ReadError::TooLarge(limits.request_body);
    let hint = hyper::body::Body::size_hint(&body);
    let declared = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if declared > limits.request_body {
        return Err(too_large);
    }
    let mut bytes = BytesMut::with_capacity(declared.min(RESERVE_BYTES));
    let mut held: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = tokio::time::timeout(limits.body_idle_time, body.frame());
        let frame = match frame.await {
            Err(_) => return Err(ReadError::TooSlow),
            Ok(None) => return Ok((bytes.freeze(), held)),
            Ok(Some(frame)) => frame.map_err(|_| ReadError::Broken)?,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limits.request_body {
            return Err(too_large);
        }
        let size = u32::try_from(data.len()).map_err(|_| ReadError::Full)?;
        let taken = room.clone().try_acquire_many_owned(size);
        let taken = taken.map_err(|_| ReadError::Full)?;
        match &mut held {
            Some(held) => held.merge(taken),
            None => held = Some(taken),
        }
        if bytes.capacity() - bytes.len() < data.len() {
            // Grow with what has come, up to what was declared.
            let wanted = (bytes.len() * 2).clamp(data.len(), declared.max(data.len()));
            bytes.reserve(wanted);
        }
        bytes.extend_from_slice(&data);
    }
}

/// A reply that hands its chunks to the socket as they are.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl Chunks {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            left: body.len() as u64,
            chunks: body.into_chunks().into_iter(),
        }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.find(|chunk| !chunk.is_empty());
        if let Some(chunk) = &chunk {
            self.left -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
