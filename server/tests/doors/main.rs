//! The doors of a server in this process: a real store in a temporary directory, real sockets.

// Tests: a panic is how they fail.
#![allow(clippy::unwrap_used)]

mod http;
mod rpc;
mod stream;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use engine::{Engine, Options};
use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, Schema, Zone,
};
use plugin_host::Host;
use server::config::Limits;
use server::http::{App, serve};
use server::stream::Hub;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A server that ends with the value.
struct Door {
    app: Arc<App>,
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Door {
    fn open() -> Self {
        Self::with(Limits::default(), &[])
    }

    fn with(limits: Limits, origins: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hub = Arc::new(Hub::new(&limits));
        let host = Host::new(Vec::new(), Vec::new(), Zone::utc(), hub.clone()).unwrap();
        let (engine, _) = Engine::open(dir.path(), Options::default(), host.hook()).unwrap();
        host.start(engine.clone()).unwrap();
        let origins = origins.iter().map(|o| (*o).to_owned()).collect();
        let app = App::with(engine, host, hub, Zone::utc(), limits, origins);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(app.clone(), listener, async {
            let _ = stopped.await;
        });
        let ended = Some(runtime.spawn(serving));
        Self {
            app,
            addr,
            stop: Some(stop),
            ended,
            runtime,
            _dir: dir,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.addr.to_string())
    }

    /// Stops serving and waits for the end.
    fn close(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(ended) = self.ended.take() {
            self.runtime.block_on(ended).unwrap().unwrap();
        }
    }

    /// Sends bytes on a new connection and reads until the server closes it or a whole reply with
    /// its `content-length` is there.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_reply(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.app.host.stop();
        let _ = self.app.engine.close();
    }
}

fn read_reply(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&reply).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            if length.is_some_and(|l| body.len() >= l.parse::<usize>().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(n) => reply.extend_from_slice(&buffer[..n]),
        }
    }
}

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

/// Minutes from 2020-03-02 14:30 on; prices count up.
fn bars(rows: usize) -> ColumnBatch {
    let times = (0..rows as i64).map(|i| (1_583_159_400 + i * 60) * NANOS_PER_SECOND);
    batch(times.collect())
}

fn batch(times: Vec<i64>) -> ColumnBatch {
    let defs = [("Open", ColumnType::F32), ("Volume", ColumnType::I32)];
    let schema = Schema::new(defs.map(|(n, t)| ColumnDef::new(n, t)).to_vec()).unwrap();
    let open = (0..times.len()).map(|i| i as f32).collect::<Vec<_>>();
    let volume = (0..times.len()).map(|i| i as i32).collect::<Vec<_>>();
    let columns = vec![Column::from_values(open), Column::from_values(volume)];
    ColumnBatch::new(schema, Column::from_values(times), columns).unwrap()
}
