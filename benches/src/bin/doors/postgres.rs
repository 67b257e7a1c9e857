//! As much of a PostgreSQL client as a measurement needs: the simple protocol, rows counted.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use super::Result;

/// Version 3.0 of the protocol.
const PROTOCOL: i32 = 196_608;

/// A connection.
pub(crate) struct Postgres {
    reader: BufReader<TcpStream>,
}

impl Postgres {
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let parameters = b"user\0bench\0database\0mkts\0\0";
        let length = i32::try_from(8 + parameters.len())?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&PROTOCOL.to_be_bytes())?;
        stream.write_all(parameters)?;
        let mut this = Self {
            reader: BufReader::new(stream),
        };
        this.until_ready()?;
        Ok(this)
    }

    /// The number of rows of a statement.
    pub(crate) fn query(&mut self, sql: &str) -> Result<usize> {
        let mut message = vec![b'Q'];
        message.extend(i32::try_from(5 + sql.len())?.to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.reader.get_mut().write_all(&message)?;
        self.until_ready()
    }

    /// Reads up to `ReadyForQuery` and counts `DataRow`.
    fn until_ready(&mut self) -> Result<usize> {
        let mut rows = 0;
        let mut failure = None;
        loop {
            let mut head = [0; 5];
            self.reader.read_exact(&mut head)?;
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; usize::try_from(length - 4)?];
            self.reader.read_exact(&mut body)?;
            match head[0] {
                b'D' => rows += 1,
                b'E' => failure = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => break,
                _ => {}
            }
        }
        match failure {
            None => Ok(rows),
            Some(text) => Err(text.into()),
        }
    }
}
