//! Bodies recorded from clients and servers of MarketStore: read as they are, and read after every
//! byte of them was changed or cut off, which must give an answer or an error and nothing else.

// Tests: a panic is how they fail.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use client::wire::msgpack::Reader;
use client::wire::{
    Call, Codec, ColumnData, Dataset, DatasetReply, NANOSECONDS, Reply, Request, epochs,
    nanos_of_second, reply_code,
};
use model::NANOS_PER_SECOND;

fn unhex(text: &str) -> Bytes {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn lines(file: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = file.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| l.split(' ').collect())
}

fn requests() -> Vec<(&'static str, Codec, Bytes)> {
    let parse = |fields: Vec<&'static str>| {
        let codec = match fields[1] {
            "json" => Codec::Json,
            _ => Codec::MsgPack,
        };
        (fields[0], codec, unhex(fields[2]))
    };
    lines(include_str!("requests.txt")).map(parse).collect()
}

fn request(name: &str) -> Request {
    let all = requests();
    let (_, codec, body) = all.iter().find(|r| r.0 == name).unwrap();
    Call::decode(*codec, body).unwrap().request(1024).unwrap()
}

#[test]
fn requests_of_clients_are_understood() {
    match request("write_fixed") {
        Request::Write(writes) => {
            let tables = writes[0].dataset.tables(false).unwrap();
            assert_eq!(tables[0].0, "VEC/1Min/OHLCV");
            assert_eq!(tables[0].1.rows(), 3);
            let names = tables[0]
                .1
                .schema()
                .columns()
                .iter()
                .map(|c| c.name.as_str());
            assert_eq!(
                names.collect::<Vec<_>>(),
                ["Open", "High", "Low", "Close", "Volume"]
            );
        }
        other => panic!("{other:?}"),
    }
    match request("write_variable") {
        Request::Write(writes) => {
            assert!(writes[0].is_variable_length);
            let tables = writes[0].dataset.tables(true).unwrap();
            assert!(tables[0].1.column(NANOSECONDS).is_none());
            assert!(
                tables[0]
                    .1
                    .times()
                    .iter()
                    .any(|t| t % NANOS_PER_SECOND != 0)
            );
        }
        other => panic!("{other:?}"),
    }
    match request("json_write") {
        Request::Write(writes) => {
            let tables = writes[0].dataset.tables(false).unwrap();
            let open = tables[0].1.column("Open").unwrap();
            assert_eq!(open.values::<f32>(), Some(&[1.5, 2.5][..]));
        }
        other => panic!("{other:?}"),
    }
    match request("query_two_requests") {
        Request::Query(queries) => assert_eq!(queries.len(), 2),
        other => panic!("{other:?}"),
    }
    match request("json_codec_3") {
        Request::Query(queries) => assert_eq!(queries[0].destination, "J/1Min/OHLCV"),
        other => panic!("{other:?}"),
    }
    match request("admin_3") {
        Request::Create(creates) => {
            assert_eq!(creates[0].column_types.len(), 6);
            assert_eq!(creates[0].row_type, "fixed");
        }
        other => panic!("{other:?}"),
    }
    match request("admin_8") {
        Request::GetInfo(infos) => assert_eq!(infos[0].key, "C1/1Min/OHLCV"),
        other => panic!("{other:?}"),
    }
}

/// Reads a body as far as it can be read.
fn read(codec: Codec, body: &Bytes) -> bool {
    let Ok(call) = Call::decode(codec, body) else {
        return false;
    };
    match call.request(1024) {
        Ok(Request::Write(writes)) => writes
            .iter()
            .all(|w| w.dataset.tables(true).is_ok() && w.dataset.tables(false).is_ok()),
        other => other.is_ok(),
    }
}

#[test]
fn every_changed_byte_gives_a_value_or_an_error() {
    let (mut good, mut bad) = (0, 0);
    for (_, codec, body) in requests() {
        for at in 0..body.len() {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = body.to_vec();
                changed[at] ^= change;
                match read(codec, &changed.into()) {
                    true => good += 1,
                    false => bad += 1,
                }
            }
            // Lengths and types at their extremes.
            for byte in [0xc1, 0xc6, 0xdb, 0xdd, 0xdf, 0xc9, 0xcf, 0x00, 0xff] {
                let mut changed = body.to_vec();
                changed[at] = byte;
                let _ = read(codec, &changed.into());
            }
        }
    }
    assert!(good > 100 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn no_cut_body_is_taken_for_a_whole_one() {
    for (name, codec, body) in requests() {
        assert!(read(codec, &body), "{name}");
        for len in 0..body.len() {
            assert!(
                Call::decode(codec, &body.slice(..len)).is_err(),
                "{name} cut at {len}"
            );
        }
    }
}

/// A field on the way down a reply.
fn field(map: &Bytes, name: &str) -> Bytes {
    let mut reader = Reader::new(map);
    let entries = reader.map().unwrap();
    for _ in 0..entries {
        let found = reader.text().unwrap() == name;
        let value = reader.raw().unwrap();
        if found {
            return value;
        }
    }
    panic!("no {name}");
}

#[test]
fn a_recorded_reply_decoded_and_encoded_again_is_the_same_bytes() {
    for fields in lines(include_str!("replies.txt")) {
        let (name, reply) = (fields[0], unhex(fields[1]));
        let result = field(&reply, "result");
        let responses = field(&result, "responses");
        let mut reader = Reader::new(&responses);
        assert_eq!(reader.array(), Ok(1), "{name}");
        let dataset = field(&reader.raw().unwrap(), "result");
        let dataset = Dataset::read(&mut Reader::new(&dataset)).unwrap();
        let is_tick = dataset.names.iter().any(|n| n == NANOSECONDS);
        let mut tables = dataset.tables(is_tick).unwrap();
        let start = |key: &str| dataset.startindex.iter().find(|s| s.0 == key).unwrap().1;
        tables.sort_by_key(|t| start(t.0));
        let schema = tables[0].1.schema().clone();
        let columns = 1 + schema.len() + usize::from(is_tick);
        let mut again = DatasetReply {
            types: vec!["i8".into()],
            names: vec!["Epoch".into()],
            data: vec![ColumnData::default(); columns],
            ..DatasetReply::default()
        };
        for def in schema.columns() {
            again.types.push(reply_code(def.ty).into());
            again.names.push(def.name.clone());
        }
        if is_tick {
            again.types.push("i4".into());
            again.names.push(NANOSECONDS.into());
        }
        for (key, batch) in &tables {
            again.data[0].push(epochs(batch.times()).bytes());
            for (at, column) in batch.columns().iter().enumerate() {
                again.data[at + 1].push(column.bytes());
            }
            if is_tick {
                again.data[columns - 1].push(nanos_of_second(batch.times()).bytes());
            }
            again
                .slices
                .push(((*key).to_owned(), again.length, batch.rows()));
            again.length += batch.rows();
        }
        // Maps are sent in any order; take that of the recording.
        let order: Vec<&str> = dataset.startindex.iter().map(|s| s.0.as_str()).collect();
        again
            .slices
            .sort_by_key(|s| order.iter().position(|k| *k == s.0));
        let again = Reply::Query {
            responses: vec![again],
            version: String::new(),
            timezone: "UTC".into(),
        };
        let bytes = again
            .encode(Codec::MsgPack, &Bytes::from_static(b"\xa11"))
            .concat();
        let same_order = dataset.lengths.iter().map(|s| s.0.as_str()).eq(order);
        if same_order {
            assert_eq!(bytes, reply, "{name}");
        } else {
            assert_eq!(bytes.len(), reply.len(), "{name}");
        }
    }
}
