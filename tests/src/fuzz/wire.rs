//! What clients send.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use client::wire::msgpack::Reader;
use client::wire::{Call, Codec, Dataset, Request, parse_type, parse_type_or_word, write_code};
use disk::{ManualClock, SimDisk};
use engine::{Engine, Options};
use model::Zone;
use server::config::Limits;
use server::http::App;

const REQUESTS_MAX: usize = 1024;

/// Any value: skipped, taken raw, read as each kind.
pub(super) fn msgpack_value(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut whole = Reader::new(&bytes);
    if whole.clone().skip().is_ok() {
        let raw = whole.raw().expect("what can be skipped can be taken");
        assert_eq!(raw.len(), whole.position(), "a value ends where it ends");
    }
    let reader = || Reader::new(&bytes);
    let _ = (
        reader().nil(),
        reader().bool(),
        reader().int(),
        reader().float(),
    );
    let _ = (reader().text().map(str::len), reader().bytes());
    for count in [reader().array(), reader().map()].into_iter().flatten() {
        assert!(
            count <= data.len(),
            "a count is compared with the bytes there"
        );
    }
}

/// An envelope and its parameters, in both codecs. An error must be an answer that can be sent.
pub(super) fn json_rpc(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    for codec in [Codec::Json, Codec::MsgPack] {
        let (id, error) = match Call::decode(codec, &bytes) {
            Err(refused) => refused,
            Ok(call) => match call.request(REQUESTS_MAX) {
                Ok(_) => continue,
                Err(error) => (call.id, error),
            },
        };
        let answer = error.encode(codec, &id).concat();
        assert!(
            answer.len() < 4096 + 4 * data.len(),
            "an error repeats too much"
        );
    }
}

/// A dataset, into tables, and what is read is within what was sent.
pub(super) fn write_dataset(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(dataset) = Dataset::read(&mut Reader::new(&bytes)) {
        tables(&dataset);
    }
    if let Ok(call) = Call::decode(Codec::MsgPack, &bytes)
        && let Ok(Request::Write(requests)) = call.request(REQUESTS_MAX)
    {
        requests.iter().for_each(|request| tables(&request.dataset));
    }
}

fn tables(dataset: &Dataset) {
    let sent: usize = dataset.data.iter().map(Bytes::len).sum();
    for join in [false, true] {
        for (_, batch) in dataset.tables(join).into_iter().flatten() {
            // Nanoseconds are joined into eight bytes of time.
            assert!(
                batch.bytes() <= 2 * sent,
                "a table is larger than what was sent"
            );
            assert!(
                batch
                    .columns()
                    .iter()
                    .all(|column| column.len() == batch.rows())
            );
        }
    }
}

/// The parameters of a query, behind an envelope that is right.
pub(super) fn query_request(data: &[u8]) {
    for method in ["Query", "GetInfo", "Create", "Destroy", "ListSymbols"] {
        let call = Call {
            id: Bytes::from_static(b"\x01"),
            method: format!("DataService.{method}"),
            params: Bytes::copy_from_slice(data),
        };
        let _ = call.request(REQUESTS_MAX);
    }
}

/// A type code; those that are known are written as they are read.
pub(super) fn numpy_types(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = parse_type_or_word(text);
    if let Some(ty) = parse_type(text) {
        assert_eq!(parse_type(write_code(ty)), Some(ty));
    }
}

/// WebSocket frames that arrive in pieces: the pieces make no difference.
pub(super) fn ws_frames(data: &[u8]) {
    let whole = server::fuzz::ws_frames(data, data.len());
    let (one, few) = (
        server::fuzz::ws_frames(data, 1),
        server::fuzz::ws_frames(data, 7),
    );
    assert_eq!((one, few), (whole, whole));
}

/// A body against a server with a store: always an answer, and the server goes on.
pub(super) fn rpc_answer(data: &[u8]) {
    static APP: OnceLock<Arc<App>> = OnceLock::new();
    let app = APP.get_or_init(app);
    let bytes = Bytes::copy_from_slice(data);
    for codec in [Codec::Json, Codec::MsgPack] {
        let answer = server::rpc::answer(app, &server::auth::Caller::anyone(), codec, &bytes)
            .body
            .concat();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            !text.contains("internal error"),
            "a method panicked: {text}"
        );
    }
    // Inputs may make buckets for ever; the store need not keep them.
    let buckets = app.engine.buckets();
    if buckets.len() > 500 {
        let keys: Vec<_> = buckets.iter().map(|bucket| bucket.key.clone()).collect();
        app.engine
            .drop_buckets(&keys)
            .expect("buckets can be dropped");
    }
}

fn app() -> Arc<App> {
    let limits = Limits::default();
    let hub = Arc::new(server::stream::Hub::new(&limits));
    let host = plugin_host::Host::new(Vec::new(), Vec::new(), Zone::utc(), hub.clone());
    let host = host.expect("no entries are right");
    let options = Options {
        wal_segment_bytes: 1 << 20,
        frame_bytes_max: 256 << 10,
        ..Options::default()
    };
    let disk = Arc::new(SimDisk::new(1));
    let clock = Arc::new(ManualClock::new(0));
    let (engine, _) = Engine::open_on(disk, clock, options, host.hook()).expect("an empty disk");
    host.start(engine.clone())
        .expect("there is nothing to start");
    App::with(engine, host, hub, Zone::utc(), limits, Vec::new())
}
