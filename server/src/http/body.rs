//! Bodies: requests are read with a limit and a clock, replies go out chunk by chunk.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use client::wire::Body;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::config::Limits;
use crate::room::{Held, Room};

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
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

/// Room is taken in such pieces.
const ROOM_BYTES: usize = 16 << 10;

/// Bodies of the greatest length that may be in memory together.
const BODIES_MAX: usize = 8;

/// The bytes that all bodies together may take.
pub(super) fn room(limits: &Limits) -> Room {
    Room::new(limits.request_body.saturating_mul(BODIES_MAX) as u64)
}

/// Reads a whole body; its part of the room is to be held as long as the body is. Only bytes that
/// have come take room: a length alone takes none. A body that finds no room is given up.
pub(super) async fn read(
    mut body: Incoming,
    limits: &Limits,
    room: &Room,
) -> Result<(Bytes, Held), ReadError> {
    let too_large = ReadError::TooLarge(limits.request_body);
    let hint = hyper::body::Body::size_hint(&body);
    let declared = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if declared > limits.request_body {
        return Err(too_large);
    }
    let mut bytes = BytesMut::with_capacity(declared.min(RESERVE_BYTES));
    let mut held = Held::default();
    let mut taken = 0;
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
        while taken < bytes.len() + data.len() {
            let piece = ROOM_BYTES.min(limits.request_body);
            held.merge(room.take(piece as u64).ok_or(ReadError::Full)?);
            taken += piece;
        }
        if bytes.capacity() - bytes.len() < data.len() {
            // Grow with what has come, up to what was declared.
            let wanted = (bytes.len() * 2).clamp(data.len(), declared.max(data.len()));
            bytes.reserve(wanted);
        }
        bytes.extend_from_slice(&data);
    }
}

/// Most bytes of a body that are read to be thrown away.
const DISCARD_BYTES_MAX: usize = 1 << 20;

/// Throws a body away. A client that is still sending would not read the answer; one that sends too
/// much is cut off.
pub(super) async fn discard(mut body: Incoming, limits: &Limits) {
    let mut bytes = 0;
    while bytes < DISCARD_BYTES_MAX {
        match tokio::time::timeout(limits.body_idle_time, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            // The end, a break, or a pause that is too long.
            _ => return,
        }
    }
}

/// The body of a reply.
#[cfg_attr(not(feature = "sql"), allow(dead_code))] // only results of SQL are streamed
#[derive(Debug)]
pub(crate) enum Out {
    /// Known as a whole.
    Chunks(Chunks),
    /// Made while it is sent.
    Stream(Pieces),
}

impl From<Chunks> for Out {
    fn from(chunks: Chunks) -> Self {
        Self::Chunks(chunks)
    }
}

/// A body ended before it was whole: the connection is closed without the mark of its end.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply could not be made to its end")
    }
}

impl std::error::Error for BrokenOff {}

/// A piece of a body that is made while it is sent.
#[cfg_attr(not(feature = "sql"), allow(dead_code))] // only results of SQL are streamed
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// The body is whole. A maker that goes away without saying so has failed.
    End,
}

/// A body that another thread makes, not faster than the peer takes it.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// Pieces made ahead of the peer.
#[cfg_attr(not(feature = "sql"), allow(dead_code))] // only results of SQL are streamed
const PIECES_AHEAD: usize = 2;

#[cfg_attr(not(feature = "sql"), allow(dead_code))] // only results of SQL are streamed
impl Pieces {
    /// A body, and where its pieces go.
    pub(crate) fn new() -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let ended = false;
        (sender, Self { pieces, ended })
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(BrokenOff))
            }
        })
    }
}

impl hyper::body::Body for Out {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Chunks(chunks) => Pin::new(chunks).poll_frame(cx),
            Self::Stream(pieces) => pieces
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Chunks(chunks) => chunks.is_end_stream(),
            Self::Stream(pieces) => pieces.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Chunks(chunks) => chunks.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
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

    /// Holds a part of a room until the last byte is written or the peer is gone. The connection
    /// takes chunks long before it can write them, so it is the last of them that holds.
    pub(crate) fn holding(self, held: Held) -> Self {
        let mut chunks: Vec<Bytes> = self.chunks.filter(|chunk| !chunk.is_empty()).collect();
        if let Some(last) = chunks.pop() {
            chunks.push(held.with(last));
        }
        Self {
            chunks: chunks.into_iter(),
            ..self
        }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
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
