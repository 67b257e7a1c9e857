//! The port while the store opens.

use std::process;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::signals::Signals;
use super::store::Running;
use crate::cli::Failure;
use crate::socket::Socket;

/// Waits for the store. Meanwhile the port answers 503, so that a supervisor sees a server that
/// starts and not one that is dead.
pub(super) async fn while_recovering(
    opening: tokio::task::JoinHandle<Result<Running, Failure>>,
    listener: &TcpListener,
    tls: Option<TlsAcceptor>,
    signals: &mut Signals,
) -> Result<Running, Failure> {
    let since = Instant::now();
    tokio::pin!(opening);
    loop {
        tokio::select! {
            done = &mut opening => {
                return done.unwrap_or_else(|error| {
                    Err(Failure::new(format!("opening the store failed: {error}")))
                });
            }
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(answer_recovering(stream, tls.clone(), since));
                }
            }
            () = signals.stop() => {
                // Recovery can be cut at any point: the next one begins again.
                info!("stopped before the store was open");
                process::exit(0);
            }
        }
    }
}

async fn answer_recovering(stream: TcpStream, tls: Option<TlsAcceptor>, since: Instant) {
    let body = format!(
        "{{\"status\":\"recovering\",\"seconds\":{:.1}}}\n",
        since.elapsed().as_secs_f64()
    );
    let reply = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let talk = async {
        let time = Duration::from_secs(1);
        let Ok(mut stream) = Socket::open(stream, tls.as_ref(), time).await else {
            return;
        };
        // Closing with unread bytes would reset the connection before the reply arrives.
        let mut request = [0; 8192];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(reply.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    // Whoever does not read within a second asks again.
    let _ = tokio::time::timeout(Duration::from_secs(1), talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_answers_503_while_the_log_is_replayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, wait) = std::sync::mpsc::channel::<()>();
        let opening = tokio::task::spawn_blocking(move || {
            wait.recv().unwrap();
            Err(Failure::new("as far as this test goes"))
        });
        let asked = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /heartbeat HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            opened.send(()).unwrap();
            reply
        });
        let mut signals = Signals::new(false).unwrap();
        let done = while_recovering(opening, &listener, None, &mut signals).await;
        assert_eq!(done.err().unwrap().text, "as far as this test goes");
        let reply = asked.await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        assert!(reply.contains("\"status\":\"recovering\""), "{reply}");
    }
}
