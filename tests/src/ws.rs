//! A WebSocket subscriber that shows frames as they came.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::{Error, Message, WebSocket};

/// A data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Binary or text.
    pub binary: bool,
    /// Payload.
    pub data: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Socket(WebSocket<TcpStream>);

impl Socket {
    /// Opens `path` on the server.
    pub fn open(addr: SocketAddr, path: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let url = format!("ws://{addr}{path}");
        let (socket, _) = tungstenite::client(url, stream).map_err(|e| e.to_string())?;
        Ok(Self(socket))
    }

    /// Sends one frame.
    pub fn send(&mut self, binary: bool, data: &[u8]) -> Result<(), String> {
        let message = if binary {
            Message::binary(data.to_vec())
        } else {
            Message::text(String::from_utf8(data.to_vec()).map_err(|e| e.to_string())?)
        };
        self.0.send(message).map_err(|e| e.to_string())
    }

    /// The next data frame, or `None` if none comes within `limit`.
    pub fn receive(&mut self, limit: Duration) -> Result<Option<Frame>, String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.0
                .get_ref()
                .set_read_timeout(Some(left))
                .map_err(|e| e.to_string())?;
            match self.0.read() {
                Ok(Message::Binary(data)) => {
                    return Ok(Some(Frame {
                        binary: true,
                        data: data.to_vec(),
                    }));
                }
                Ok(Message::Text(text)) => {
                    return Ok(Some(Frame {
                        binary: false,
                        data: text.as_bytes().to_vec(),
                    }));
                }
                Ok(Message::Close(frame)) => return Err(format!("closed: {frame:?}")),
                Ok(_) => {}
                Err(Error::Io(e))
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Says goodbye.
    pub fn close(mut self) -> Result<(), String> {
        self.0.close(None).map_err(|e| e.to_string())?;
        loop {
            match self.0.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}
