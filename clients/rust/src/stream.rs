//! A blocking subscriber of stream messages.

use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use tungstenite::WebSocket;

use crate::rpc::Error;
use crate::wire::msgpack::{Reader, Writer};

/// One pushed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `AAPL/1Min/OHLCV`
    pub key: String,
    /// The column values, as MessagePack.
    pub data: Bytes,
}

/// An open subscription.
#[derive(Debug)]
pub struct Subscription {
    socket: WebSocket<TcpStream>,
}

impl Subscription {
    /// Connects to `host:port` and subscribes to patterns like `*/1Min/OHLCV`. Messages published
    /// after this returns are received.
    ///
    /// # Errors
    /// If the connection fails or a pattern is refused.
    pub fn open(addr: &str, patterns: &[&str]) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{addr}/ws");
        let (socket, _) = tungstenite::client(url, stream)
            .map_err(|e| Error::Reply(format!("no WebSocket: {e}")))?;
        let mut subscription = Self { socket };
        let mut writer = Writer::default();
        writer.map(1);
        writer.text("streams");
        writer.array(patterns.len());
        patterns.iter().for_each(|p| writer.text(p));
        let message = tungstenite::Message::Binary(Bytes::from(writer.out));
        subscription.socket.send(message).map_err(io)?;
        // The first frame is the echo of the request, or an error.
        let reply = subscription.frame()?;
        match text_field(&reply, "error") {
            Some(error) => Err(Error::Rpc(error)),
            None => Ok(subscription),
        }
    }

    /// How long [`Subscription::receive`] waits; `None` for ever.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        Ok(self.socket.get_ref().set_read_timeout(timeout)?)
    }

    /// The next message.
    ///
    /// # Errors
    /// If the connection ends or nothing comes in time.
    pub fn receive(&mut self) -> Result<Message, Error> {
        loop {
            let frame = self.frame()?;
            let Some(key) = text_field(&frame, "key") else {
                continue;
            };
            let data = raw_field(&frame, "data").unwrap_or_default();
            return Ok(Message { key, data });
        }
    }

    fn frame(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.socket.read().map_err(io)? {
                tungstenite::Message::Binary(bytes) => return Ok(bytes),
                tungstenite::Message::Text(text) => return Ok(text.into()),
                _ => {}
            }
        }
    }
}

fn io(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(error) => Error::Io(error),
        other => Error::Reply(other.to_string()),
    }
}

fn raw_field(map: &Bytes, name: &str) -> Option<Bytes> {
    let mut reader = Reader::new(map);
    for _ in 0..reader.map().ok()? {
        let found = reader.text().ok()? == name;
        let value = reader.raw().ok()?;
        if found {
            return Some(value);
        }
    }
    None
}

fn text_field(map: &Bytes, name: &str) -> Option<String> {
    let raw = raw_field(map, name)?;
    let text = Reader::new(&raw).text().ok()?;
    Some(text.to_owned())
}
