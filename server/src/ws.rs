//! WebSocket frames (RFC 6455), server side. Text frames may carry any bytes: clients send
//! MessagePack in them.

use std::io::{self, Cursor};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Longest frame of a client.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// How long one frame may take to leave: whoever reads slower is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// What came from the client.
#[derive(Debug)]
pub(crate) enum Received {
    /// A text or binary message.
    Message(Bytes),
    /// A ping, to be answered with its payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The client closes.
    Close,
}

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection broke or ended.
    Gone,
    /// The client broke the protocol or a limit; it is told with this code.
    Close(CloseCode, &'static str),
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

type Stream = TokioIo<Upgraded>;

/// Both halves of a connection.
pub(crate) fn split(upgraded: Upgraded, message_bytes_max: usize) -> (Receiver, Sender) {
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let receiver = Receiver {
        stream: read,
        bytes: BytesMut::new(),
        message: None,
        message_bytes_max,
    };
    (receiver, Sender { stream: write })
}

/// Reads messages.
pub(crate) struct Receiver<S = ReadHalf<Stream>> {
    stream: S,
    bytes: BytesMut,
    /// Fragments so far of a message under way.
    message: Option<BytesMut>,
    message_bytes_max: usize,
}

impl Receiver {
    /// The next message. Giving up waiting loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Received, Fault> {
        loop {
            if let Some(received) = self.parse()? {
                return Ok(received);
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(Fault::Gone);
            }
        }
    }
}

impl<S> Receiver<S> {
    /// A message from the bytes that are there.
    fn parse(&mut self) -> Result<Option<Received>, Fault> {
        while let Some((header, payload)) = self.frame()? {
            match header.opcode {
                OpCode::Control(Control::Close) => return Ok(Some(Received::Close)),
                OpCode::Control(Control::Ping) => {
                    return Ok(Some(Received::Ping(payload.freeze())));
                }
                OpCode::Control(Control::Pong) => return Ok(Some(Received::Pong)),
                OpCode::Data(Data::Text | Data::Binary) if self.message.is_none() => {
                    self.message = Some(payload);
                }
                OpCode::Data(Data::Continue) => match &mut self.message {
                    Some(message) => message.extend_from_slice(&payload),
                    None => return Err(protocol("a fragment of no message")),
                },
                _ => return Err(protocol("an unexpected frame")),
            }
            let length = self.message.as_ref().map_or(0, BytesMut::len);
            if length > self.message_bytes_max {
                return Err(Fault::Close(CloseCode::Size, "the message is too long"));
            }
            if header.is_final {
                return Ok(self.message.take().map(|m| Received::Message(m.freeze())));
            }
        }
        Ok(None)
    }

    /// One frame from the bytes that are there, unmasked.
    fn frame(&mut self) -> Result<Option<(FrameHeader, BytesMut)>, Fault> {
        let mut cursor = Cursor::new(&self.bytes[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| protocol("a bad frame header"))?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        let start = usize::try_from(cursor.position()).expect("a header is a few bytes");
        let is_control = matches!(header.opcode, OpCode::Control(_));
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol("reserved bits are set"));
        }
        if is_control && (length > 125 || !header.is_final) {
            return Err(protocol("a control frame is too long or cut"));
        }
        let Some(mask) = header.mask else {
            return Err(protocol("a frame of a client is masked"));
        };
        let length = match usize::try_from(length) {
            Ok(length) if length <= FRAME_BYTES_MAX => length,
            _ => return Err(Fault::Close(CloseCode::Size, "the frame is too long")),
        };
        if self.bytes.len() < start + length {
            return Ok(None);
        }
        self.bytes.advance(start);
        let mut payload = self.bytes.split_to(length);
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        Ok(Some((header, payload)))
    }
}

/// For fuzzing: what a client's bytes, arriving in pieces, are read as.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8], piece: usize) -> usize {
    let mut receiver = Receiver {
        stream: (),
        bytes: BytesMut::new(),
        message: None,
        message_bytes_max: 4 * FRAME_BYTES_MAX,
    };
    let mut messages = 0;
    for arrived in bytes.chunks(piece.max(1)) {
        receiver.bytes.extend_from_slice(arrived);
        loop {
            match receiver.parse() {
                Ok(Some(_)) => messages += 1,
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

fn protocol(why: &'static str) -> Fault {
    Fault::Close(CloseCode::Protocol, why)
}

/// Writes messages.
pub(crate) struct Sender {
    stream: WriteHalf<Stream>,
}

impl Sender {
    /// A binary message.
    pub(crate) async fn message(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.send(OpCode::Data(Data::Binary), payload).await
    }

    /// The answer to a ping.
    pub(crate) async fn pong(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.send(OpCode::Control(Control::Pong), payload).await
    }

    /// A ping without payload.
    pub(crate) async fn ping(&mut self) -> Result<(), Fault> {
        self.send(OpCode::Control(Control::Ping), &[]).await
    }

    /// The last frame, then the end of the stream.
    pub(crate) async fn close(&mut self, code: CloseCode, why: &str) -> Result<(), Fault> {
        let code = u16::from(code).to_be_bytes();
        let payload = [&code[..], why.as_bytes()].concat();
        self.send(OpCode::Control(Control::Close), &payload).await?;
        Ok(self.stream.shutdown().await?)
    }

    async fn send(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), Fault> {
        let header = FrameHeader {
            is_final: true,
            rsv1: false,
            rsv2: false,
            rsv3: false,
            opcode,
            mask: None,
        };
        let mut frame = Vec::with_capacity(payload.len() + 10);
        header
            .format(payload.len() as u64, &mut frame)
            .map_err(|_| Fault::Gone)?;
        frame.extend_from_slice(payload);
        let written = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_TIME, written).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Fault::Gone),
        }
    }
}
