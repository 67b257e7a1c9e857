//! HTTP/1.1 over one kept-alive connection, posting exact bytes.
//!
//! Nothing is retried: a test that kills the server must see the failure of the very request
//! that was under way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer may take; reached only by a server that hangs.
const HANG: Duration = Duration::from_secs(60);

/// One reply as received.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, values as sent.
    pub headers: Vec<(String, String)>,
    /// Body with any transfer encoding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> &str {
        self.header("content-type")
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client with at most one open connection.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    conn: Option<BufReader<TcpStream>>,
    /// Shown with every request of [`Client::send`].
    token: Option<String>,
}

impl Client {
    /// A client of the server at `addr`; connects on first use.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            conn: None,
            token: None,
        }
    }

    /// Shows a token.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Posts `body` to `/rpc` as MessagePack.
    pub fn rpc(&mut self, body: &[u8]) -> io::Result<Response> {
        self.send("POST", "/rpc", Some("application/x-msgpack"), body)
    }

    /// Sends one request and reads its reply.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        if let Some(kind) = content_type {
            head.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes, method == "HEAD")
    }

    /// Sends `bytes` as they are and reads one reply; `head` says that it has no body.
    pub fn raw(&mut self, bytes: &[u8], head: bool) -> io::Result<Response> {
        let result = self.exchange(bytes, head);
        let closes = |r: &Response| {
            r.header("connection")
                .is_some_and(|v| v.eq_ignore_ascii_case("close"))
        };
        if result.as_ref().map_or(true, closes) {
            self.conn = None;
        }
        result
    }

    fn exchange(&mut self, bytes: &[u8], head: bool) -> io::Result<Response> {
        if self.conn.is_none() {
            let stream = TcpStream::connect(self.addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HANG))?;
            stream.set_write_timeout(Some(HANG))?;
            self.conn = Some(BufReader::with_capacity(1 << 16, stream));
        }
        let conn = self.conn.as_mut().expect("connected above");
        // A server may refuse by the headers alone and stop reading; its reply counts then.
        let sent = conn.get_mut().write_all(bytes);
        match read_reply(conn, head) {
            Ok(reply) => Ok(reply),
            Err(e) => Err(sent.err().unwrap_or(e)),
        }
    }
}

fn read_reply(conn: &mut BufReader<TcpStream>, head: bool) -> io::Result<Response> {
    loop {
        let status = read_line(conn)?;
        let code = status
            .split(' ')
            .nth(1)
            .and_then(|c| c.parse::<u16>().ok())
            .ok_or_else(|| bad(format!("no status in {status:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(conn)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad(format!("no header in {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
        if code == 100 {
            continue;
        }
        let mut reply = Response {
            status: code,
            headers,
            body: Vec::new(),
        };
        if !head && code != 204 && code != 304 {
            reply.body = read_body(conn, &reply)?;
        }
        return Ok(reply);
    }
}

fn read_body(conn: &mut BufReader<TcpStream>, reply: &Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if reply
        .header("transfer-encoding")
        .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line = read_line(conn)?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|e| bad(format!("chunk size {line:?}: {e}")))?;
            let start = body.len();
            body.resize(start + size, 0);
            conn.read_exact(&mut body[start..])?;
            read_line(conn)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match reply.header("content-length") {
        Some(length) => {
            let length = length
                .parse()
                .map_err(|e| bad(format!("content-length: {e}")))?;
            body.resize(length, 0);
            conn.read_exact(&mut body)?;
        }
        None => {
            conn.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

fn read_line(conn: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    if conn.read_until(b'\n', &mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed without a reply",
        ));
    }
    while line.last().is_some_and(|b| *b == b'\n' || *b == b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|e| bad(e.to_string()))
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
