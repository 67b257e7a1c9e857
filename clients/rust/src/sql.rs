//! SQL over `POST /sql`: the result streams, and another thread may stop it.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::rpc::{Client, Error, bad, read_head, read_line};
use crate::target::Socket;

/// Most bytes of an error's text.
const ERROR_BYTES_MAX: u64 = 1 << 16;

/// Ends a statement or a subscription from another thread: the server notices and stops its work.
#[derive(Debug)]
pub struct Stop(TcpStream);

impl Stop {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Cuts the connection. Whoever reads the result gets an error.
    pub fn stop(&self) {
        // Already closed is as good.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The result of a statement, as bytes of the format that was asked for.
#[derive(Debug)]
pub struct Answer {
    from: BufReader<Socket>,
    body: Body,
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Bytes of the length said at the beginning.
    Length(u64),
    /// Bytes of this chunk; more chunks follow.
    Chunk(u64),
    Done,
}

impl Client {
    /// Runs a statement on a connection of its own and waits for its result to begin, however long
    /// that takes. `accept` is a media type: `text/csv`, `application/vnd.apache.arrow.stream`.
    /// `begun` gets what stops the statement.
    ///
    /// # Errors
    /// If the connection fails; [`Error::Status`] with the server's JSON if it refuses.
    pub fn sql(
        &self,
        statement: &str,
        accept: &str,
        begun: &mut dyn FnMut(Stop),
    ) -> Result<Answer, Error> {
        let mut from = self.connect()?;
        from.get_ref().tcp().set_read_timeout(None)?;
        begun(Stop(from.get_ref().tcp().try_clone()?));
        let mut head = self.head("POST", "/sql", "text/plain; charset=utf-8");
        head.push_str(&format!(
            "Accept: {accept}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{statement}",
            statement.len()
        ));
        let sent = from.get_mut().write_all(head.as_bytes());
        // A server that refuses by the headers answers and stops reading: the answer counts.
        let (status, headers) = match read_head(&mut from) {
            Ok(head) => head,
            Err(error) => return Err(sent.err().unwrap_or(error).into()),
        };
        let value = |name: &str| headers.iter().find(|h| h.0 == name).map(|h| h.1.as_str());
        let body = match (value("transfer-encoding"), value("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => {
                Body::Chunk(next_chunk(&mut from)?)
            }
            (_, Some(length)) => {
                let length = length.parse();
                Body::Length(length.map_err(|e| bad(format!("content-length: {e}")))?)
            }
            _ => return Err(bad("the reply has neither length nor chunks".into()).into()),
        };
        let mut answer = Answer { from, body };
        if let Body::Chunk(0) = answer.body {
            answer.body = Body::Done;
        }
        if status == 200 {
            return Ok(answer);
        }
        let mut text = Vec::new();
        answer.take(ERROR_BYTES_MAX).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Err(Error::Status(status, text))
    }
}

impl Read for Answer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = match self.body {
            Body::Length(left) | Body::Chunk(left) => left,
            Body::Done => 0,
        };
        if left == 0 || out.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let read = self.from.read(&mut out[..most])?;
        if read == 0 {
            return Err(cut());
        }
        let left = left - read as u64;
        self.body = match self.body {
            Body::Chunk(_) if left > 0 => Body::Chunk(left),
            Body::Chunk(_) => {
                // The end of a line ends a chunk.
                read_line(&mut self.from).map_err(|_| cut())?;
                match next_chunk(&mut self.from)? {
                    0 => Body::Done,
                    length => Body::Chunk(length),
                }
            }
            _ => Body::Length(left),
        };
        Ok(read)
    }
}

fn next_chunk(from: &mut BufReader<Socket>) -> io::Result<u64> {
    let line = read_line(from).map_err(|_| cut())?;
    let digits = line.split(';').next().unwrap_or("").trim();
    u64::from_str_radix(digits, 16).map_err(|_| bad(format!("\"{line}\" is no length of a chunk")))
}

/// Rows are missing: a result whose end was not seen is none.
fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server ended the result in the middle; its log says why",
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a client makes of a reply, sent byte for byte.
    fn answered(reply: &str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(listener.local_addr().unwrap().to_string());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"SELECT 1") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                stream.write_all(reply.as_bytes()).unwrap();
            });
            let mut answer = client
                .sql("SELECT 1", "text/csv", &mut |_| {})
                .map_err(|error| error.to_string())?;
            let mut text = String::new();
            answer
                .read_to_string(&mut text)
                .map_err(|e| e.to_string())?;
            Ok(text)
        })
    }

    #[test]
    fn chunks_are_put_together_and_a_cut_is_seen() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = format!("{head}3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n");
        assert_eq!(answered(&whole), Ok("abc0123456789".into()));
        for cut in [
            format!("{head}3\r\nabc\r\n"),
            format!("{head}3\r\nab"),
            format!("{head}3\r\nabc"),
        ] {
            let error = answered(&cut).unwrap_err();
            assert!(error.contains("in the middle"), "{error}");
        }
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answered(plain), Ok("abc".into()));
        let refused = "HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\n{\"a\"}";
        assert_eq!(
            answered(refused),
            Err("the server answered 400: {\"a\"}".into())
        );
    }
}
