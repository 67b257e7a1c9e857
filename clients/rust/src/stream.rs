//! A blocking subscriber of stream messages.

use std::time::Duration;

use bytes::Bytes;
use tungstenite::http::uri::InvalidUri;
use tungstenite::{ClientRequestBuilder, HandshakeError, WebSocket};

use crate::rpc::{Client, Error};
use crate::sql::Stop;
use crate::target::{Socket, Target};
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
    socket: WebSocket<Socket>,
}

impl Subscription {
    /// Connects to `host:port` or a [`Target`], and subscribes to patterns like `*/1Min/OHLCV`. Messages published
    /// after this returns are received.
    ///
    /// # Errors
    /// If the connection fails or a pattern is refused.
    pub fn open(target: impl Into<Target>, patterns: &[&str]) -> Result<Self, Error> {
        let target = target.into();
        let no_socket = |e: &dyn std::fmt::Display| Error::Reply(format!("no WebSocket: {e}"));
        let stream = target.connect(None)?;
        // The scheme says nothing here: the stream speaks TLS, or does not.
        let url = format!("ws://{}/ws", target.addr());
        let url = url.parse().map_err(|e: InvalidUri| no_socket(&e))?;
        let mut request = ClientRequestBuilder::new(url);
        if let Some(authorization) = target.authorization() {
            request = request.with_header("Authorization", authorization);
        }
        let (socket, _) = tungstenite::client(request, stream).map_err(|e| match e {
            HandshakeError::Failure(tungstenite::Error::Http(reply)) => {
                let text = reply.body().as_deref().map(String::from_utf8_lossy);
                let text = text.unwrap_or_default().trim().to_owned();
                Error::Status(reply.status().as_u16(), text)
            }
            other => no_socket(&other),
        })?;
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

    /// Subscribes to patterns at the server of a client.
    ///
    /// # Errors
    /// As [`Subscription::open`].
    pub fn of(client: &Client, patterns: &[&str]) -> Result<Self, Error> {
        Self::open(client.target().clone(), patterns)
    }

    /// What ends the subscription from another thread.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stop(&self) -> Result<Stop, Error> {
        Ok(Stop::new(self.socket.get_ref().tcp().try_clone()?))
    }

    /// How long [`Subscription::receive`] waits; `None` for ever.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        Ok(self.socket.get_ref().tcp().set_read_timeout(timeout)?)
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
