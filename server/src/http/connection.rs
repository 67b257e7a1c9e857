//! One connection: its place among the others, its clock, its end.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{App, Session};
use crate::socket::Socket;

/// Bytes of request line and headers.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Bytes read at once from a socket: a bulk write is read in few calls.
const BUFFER_BYTES: usize = 512 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 100;

/// How long a peer may take no byte of a reply: the reply's memory is held as long.
const UNREAD_TIME: Duration = Duration::from_secs(60);

/// How often the clock of a connection is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Starts a connection, if there is room for it.
pub(super) fn start(
    app: &Arc<App>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: IpAddr,
    stopping: watch::Receiver<bool>,
) {
    let Ok(place) = app.connections.clone().try_acquire_owned() else {
        metrics::counter!("mkts_rejected_total", "reason" => "connections").increment(1);
        tokio::spawn(refuse(stream));
        return;
    };
    let session = Session {
        stopping,
        peer,
        _place: Arc::new(place),
    };
    let app = app.clone();
    tokio::spawn(async move {
        let time = app.limits().header_time;
        // A peer that cannot shake hands is its own affair.
        if let Ok(socket) = Socket::open(stream, tls.as_ref(), time).await {
            run(app, socket, peer, session).await;
        }
    });
}

async fn refuse(mut stream: TcpStream) {
    let reply = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
        content-length: 45\r\nconnection: close\r\n\r\n\
        too many connections (limits.connections)   \n";
    // Whoever does not take the answer within a second goes without.
    let _ = tokio::time::timeout(TICK, stream.write_all(reply)).await;
}

async fn run(app: Arc<App>, stream: Socket, peer: IpAddr, session: Session) {
    let clock = Arc::new(Clock::new());
    let limit = app.limits().header_time;
    let slow_heads = app.slow_heads.clone();
    let io = TokioIo::new(Clocked {
        stream,
        clock: clock.clone(),
    });
    let mut stopping = session.stopping.clone();
    let service = {
        let clock = clock.clone();
        service_fn(move |request| {
            clock.set(Phase::Busy);
            let answer = super::handle(app.clone(), request, session.clone());
            let clock = clock.clone();
            async move {
                let answer = answer.await;
                clock.set(Phase::Idle);
                answer
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The clock below tells a slow head from a kept-alive connection that rests.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut tick = tokio::time::interval(TICK);
    let mut slow_head = None;
    loop {
        tokio::select! {
            // A connection that breaks is the peer's affair.
            _ = connection.as_mut() => return,
            _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
            _ = tick.tick() => {
                if !clock.head_is_older_than(TICK) {
                    slow_head = None;
                } else if slow_head.is_none() {
                    slow_head = slow_heads.enter(peer);
                }
                let slow = if clock.head_is_older_than(limit) {
                    "head"
                } else if clock.head_is_older_than(TICK) && slow_head.is_none() {
                    "slow heads of one peer"
                } else if clock.peer_reads_nothing() {
                    "unread"
                } else {
                    continue;
                };
                metrics::counter!("mkts_rejected_total", "reason" => slow).increment(1);
                return;
            }
        }
    }
}

/// What a connection is doing.
enum Phase {
    /// Between requests, for as long as the peer likes.
    Idle,
    /// The head of a request is coming.
    Head,
    /// A request is being answered.
    Busy,
}

/// Since when the head of a request has been coming.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// 0 idle, 1 busy, else milliseconds from `start` plus 2.
    state: AtomicU64,
    /// Milliseconds from `start` plus 1 since when no byte could be written; 0 if they can.
    stuck: AtomicU64,
}

impl Clock {
    /// The first request must come as quickly as any.
    fn new() -> Self {
        Self {
            start: Instant::now(),
            state: AtomicU64::new(2),
            stuck: AtomicU64::new(0),
        }
    }

    fn set(&self, phase: Phase) {
        let state = match phase {
            Phase::Idle => 0,
            Phase::Busy => 1,
            Phase::Head => 2 + self.millis(),
        };
        self.state.store(state, Relaxed);
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        match written {
            Poll::Ready(_) => self.stuck.store(0, Relaxed),
            Poll::Pending if self.stuck.load(Relaxed) == 0 => {
                self.stuck.store(self.millis() + 1, Relaxed);
            }
            Poll::Pending => {}
        }
    }

    fn peer_reads_nothing(&self) -> bool {
        match self.stuck.load(Relaxed) {
            0 => false,
            since => self.start.elapsed() > Duration::from_millis(since - 1) + UNREAD_TIME,
        }
    }

    fn bytes_came(&self) {
        if self.state.load(Relaxed) == 0 {
            self.set(Phase::Head);
        }
    }

    fn head_is_older_than(&self, limit: Duration) -> bool {
        match self.state.load(Relaxed) {
            0 | 1 => false,
            state => self.start.elapsed() > Duration::from_millis(state - 2) + limit,
        }
    }
}

/// A stream that tells its clock of bytes.
struct Clocked {
    stream: Socket,
    clock: Arc<Clock>,
}

impl AsyncRead for Clocked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.clock.bytes_came();
        }
        done
    }
}

impl AsyncWrite for Clocked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.clock.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.clock.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
