//! Methods over a real store.

use std::io::{Read, Write};

use client::wire::msgpack::Writer;
use client::wire::{Call, Codec, Request};
use client::{Client, Error, Query};
use engine::{Origin, Rows};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use server::config::Limits;

use crate::{Door, bars, batch, key};

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Rpc(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_come_back_as_they_were_written() {
    let door = Door::open();
    let mut client = door.client();
    let ticks = batch(vec![
        1_583_159_400_000_000_007,
        1_583_159_400_000_000_007,
        1_583_159_401_000_000_000,
    ]);
    client
        .write(
            &[(key("A/1Min/X"), bars(100)), (key("B/1Min/X"), bars(7))],
            RowKind::Bar,
        )
        .unwrap();
    client
        .write(&[(key("A/1Sec/T"), ticks.clone())], RowKind::Tick)
        .unwrap();
    let tables = client.query(&Query::of("*/1Min/X")).unwrap();
    assert_eq!(tables.len(), 2);
    for table in tables {
        let rows = if table.key.symbol() == "A" { 100 } else { 7 };
        assert_eq!(table.batch, bars(rows));
    }
    assert_eq!(
        client.query(&Query::of("A/1Sec/T")).unwrap()[0].batch,
        ticks
    );
    let some = Query::of("A/1Min/X").columns(&["Volume"]).first(3);
    let some = client.query(&some).unwrap().remove(0).batch;
    assert_eq!(some.columns()[0].values::<i32>(), Some(&[0, 1, 2][..]));
    assert_eq!(client.symbols().unwrap(), ["A", "B"]);
    assert_eq!(
        client.buckets().unwrap(),
        ["A/1Min/X", "A/1Sec/T", "B/1Min/X"]
    );
    let info = client.get_info(&key("A/1Sec/T")).unwrap();
    assert_eq!(
        (info.kind, info.latest_year, info.columns.len()),
        (RowKind::Tick, 2020, 2)
    );
}

#[test]
fn ranges_of_bars_are_slots_and_of_ticks_nanoseconds() {
    let door = Door::open();
    let mut client = door.client();
    let start = bars(1).times()[0];
    client
        .write(&[(key("A/1Min/X"), bars(10))], RowKind::Bar)
        .unwrap();
    client
        .write(
            &[(key("A/1Sec/T"), batch(vec![start, start + 1, start + 2]))],
            RowKind::Tick,
        )
        .unwrap();
    let mut rows = |destination: &str, from: i64, to: i64| {
        let query = Query::of(destination).from(from).to(to);
        client.query(&query).unwrap()[0].batch.rows()
    };
    assert_eq!(
        rows("A/1Min/X", start + 59_000_000_000, start + 61_000_000_000),
        2
    );
    assert_eq!(
        rows("A/1Min/X", start + 60_000_000_000, start + 60_000_000_000),
        1
    );
    assert_eq!(rows("A/1Min/X", start + 9_000_000_000, start), 1);
    assert_eq!(rows("A/1Min/X", start + 60_000_000_000, start), 0);
    assert_eq!(rows("A/1Sec/T", start + 1, start + 1), 1);
    assert_eq!(rows("A/1Sec/T", start + 1, start + 2), 2);
    assert_eq!(rows("A/1Sec/T", start + 3, i64::MAX), 0);
}

#[test]
fn missing_timeframes_are_read_from_those_that_divide_them() {
    let door = Door::open();
    let mut client = door.client();
    client
        .write(
            &[(key("A/5Min/X"), bars(1)), (key("A/7Min/X"), bars(1))],
            RowKind::Bar,
        )
        .unwrap();
    let fives: Vec<i64> = (0..10)
        .map(|i| (1_583_159_400 + i * 300) * 1_000_000_000)
        .collect();
    client
        .write(&[(key("A/5Min/X"), batch(fives))], RowKind::Bar)
        .unwrap();
    let mut table = |query: Query| client.query(&query).map(|mut t| t.remove(0));
    let read = table(Query::of("A/10Min/X").last(2)).unwrap();
    assert_eq!((read.key.as_str(), read.batch.rows()), ("A/5Min/X", 4));
    // There is a bucket of exactly this one, which is not among those re-mapped to.
    assert_eq!(
        table(Query::of("A/7Min/X")).unwrap().key.as_str(),
        "A/7Min/X"
    );
    let none = refused(table(Query::of("A/1H/X")));
    assert_eq!(none, "no files returned from query parse");
    assert!(
        refused(table(Query::of("A/xyz/X"))).starts_with("timeframe not found in TimeBucketKey=")
    );
    assert!(refused(table(Query::of("A/1M/X"))).contains("1M"));
}

#[test]
fn symbols_of_one_query_have_the_same_columns() {
    let door = Door::open();
    let mut client = door.client();
    let other = |ty: ColumnType| {
        let defs = vec![
            ColumnDef::new("Open", ty),
            ColumnDef::new("Volume", ColumnType::I32),
        ];
        let ours = bars(1);
        let columns = ours
            .columns()
            .iter()
            .zip(&defs)
            .map(|(c, d)| c.cast(d.ty).unwrap());
        ColumnBatch::new(
            Schema::new(defs.clone()).unwrap(),
            ours.time_column().clone(),
            columns.collect(),
        )
        .unwrap()
    };
    client
        .write(
            &[
                (key("A/1Min/X"), bars(1)),
                (key("B/1Min/X"), other(ColumnType::F64)),
            ],
            RowKind::Bar,
        )
        .unwrap();
    let text = refused(client.query(&Query::of("A,B/1Min/X")));
    assert!(
        text.starts_with("symbols in a query must have the same data type"),
        "{text}"
    );
    assert!(text.contains("B/1Min/X") && text.contains("Open"), "{text}");
    let both = client
        .query(&Query::of("A,B,C/1Min/X").columns(&["Volume"]))
        .unwrap();
    assert_eq!(both.len(), 2);
}

#[test]
fn the_last_row_of_many_symbols_is_the_newest_of_each() {
    let door = Door::open();
    let mut client = door.client();
    let tables: Vec<_> = (0..200)
        .map(|i| (key(&format!("S{i}/1Min/X")), bars(i + 1)))
        .collect();
    client.write(&tables, RowKind::Bar).unwrap();
    let last = client.query(&Query::of("*/1Min/X").last(1)).unwrap();
    assert_eq!(last.len(), 200);
    for table in last {
        let rows: usize = table.key.symbol()[1..].parse().unwrap();
        assert_eq!(table.batch, bars(rows + 1).slice(rows..rows + 1));
    }
}

#[test]
fn results_over_a_limit_are_refused_and_the_limit_is_named() {
    let limits = Limits {
        result_rows: 50,
        result_bytes: 2000,
        requests_per_call: 3,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut client = door.client();
    client
        .write(
            &[
                (key("A/1Min/X"), bars(1000)),
                (key("B/1Min/X"), bars(30)),
                (key("C/1Min/X"), bars(30)),
            ],
            RowKind::Bar,
        )
        .unwrap();
    assert!(refused(client.query(&Query::of("A/1Min/X"))).contains("limit_record_count"));
    assert!(refused(client.query(&Query::of("B,C/1Min/X"))).contains("limits.result_rows"));
    assert!(
        refused(client.query(&Query::of("A/1Min/X").last(900))).contains("limits.result_bytes")
    );
    assert_eq!(
        client.query(&Query::of("A/1Min/X").last(60)).unwrap()[0]
            .batch
            .rows(),
        60
    );
    let mut many = Writer::default();
    many.map(3);
    for (name, value) in [("jsonrpc", "2.0"), ("method", "DataService.GetInfo")] {
        many.text(name);
        many.text(value);
    }
    many.text("params");
    many.map(1);
    many.text("requests");
    many.array(4);
    (0..4).for_each(|_| many.map(0));
    let reply = client.call_raw(&many.out).unwrap();
    assert!(String::from_utf8_lossy(&reply).contains("the limit is 3"));
}

#[test]
fn results_under_way_share_their_memory() {
    let limits = Limits {
        results_bytes: 24 << 20,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut client = door.client();
    // 16 bytes a row in a reply: 18 MiB, more than sockets take up by themselves.
    let rows = 1_200_000;
    client
        .write(&[(key("A/1Min/X"), bars(rows))], RowKind::Bar)
        .unwrap();
    let body = br#"{"jsonrpc":"2.0","method":"DataService.Query","id":1,
        "params":{"requests":[{"destination":"A/1Min/X"}]}}"#;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut idle = door.connect();
    idle.write_all(head.as_bytes()).unwrap();
    idle.write_all(body).unwrap();
    // The first bytes of the reply: it is being sent, and nobody reads on.
    idle.read_exact(&mut [0; 12]).unwrap();
    let error = refused(client.query(&Query::of("A/1Min/X").last(rows)));
    assert!(error.contains("limits.results_bytes"), "{error}");
    assert_eq!(
        client.query(&Query::of("A/1Min/X").last(9)).unwrap()[0]
            .batch
            .rows(),
        9
    );
    drop(idle);
    // Given back once the server has seen the end of the connection.
    let found = loop {
        match client.query(&Query::of("A/1Min/X").last(rows)) {
            Ok(found) => break found,
            Err(Error::Rpc(error)) if error.contains("limits.results_bytes") => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(found[0].batch.rows(), rows);
}

#[test]
fn what_is_no_sql_and_no_function_is_said() {
    let door = Door::open();
    let mut client = door.client();
    client
        .write(&[(key("A/1Min/X"), bars(1))], RowKind::Bar)
        .unwrap();
    for (field, text) in [
        ("sql_statement", "Expected: an SQL statement, found: nosuch"),
        ("functions", "nosuch"),
    ] {
        let mut writer = Writer::default();
        writer.map(3);
        for (name, value) in [("jsonrpc", "2.0"), ("method", "DataService.Query")] {
            writer.text(name);
            writer.text(value);
        }
        writer.text("params");
        writer.map(1);
        writer.text("requests");
        writer.array(1);
        writer.map(3);
        writer.text("is_sqlstatement");
        writer.bool(field == "sql_statement");
        writer.text("destination");
        writer.text("A/1Min/X");
        writer.text(field);
        if field == "functions" {
            writer.array(1);
        }
        writer.text("nosuch()");
        let reply = client.call_raw(&writer.out).unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(reply.contains(text), "{reply}");
    }
}

/// A request of JSON, in the words of older clients.
fn json(door: &Door, body: &str) -> String {
    door.raw(
        format!(
            "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )
}

#[test]
fn every_dialect_of_create_makes_the_bucket_it_asks_for() {
    let door = Door::open();
    let mut client = door.client();
    let columns = "\"column_names\":[\"Epoch\",\"Open\"],\"column_types\":[\"i8\",\"f4\"]";
    for (name, rest, kind) in [
        (
            "A/1Min/X:Symbol/Timeframe/AttributeGroup",
            columns.to_owned(),
            RowKind::Bar,
        ),
        (
            "B/1Min/X:Symbol/Timeframe/AttributeGroup",
            format!("{columns},\"is_variable_length\":true"),
            RowKind::Tick,
        ),
        (
            "C/1Min/X:Symbol/Timeframe/AttributeGroup",
            format!("{columns},\"row_type\":\"variable\""),
            RowKind::Tick,
        ),
        (
            "D/1Min/X:Symbol/Timeframe/AttributeGroup",
            format!("{columns},\"row_type\":\"fixed\""),
            RowKind::Bar,
        ),
        (
            "E/1Min/X",
            "\"data_shapes\":\"Epoch/int64:Open/float32\",\"row_type\":\"variable\"".to_owned(),
            RowKind::Tick,
        ),
    ] {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"DataService.Create\",\"params\":\
             {{\"requests\":[{{\"key\":\"{name}\",{rest}}}]}}}}"
        );
        let reply = json(&door, &body);
        assert!(reply.contains("\"Error\":\"\""), "{reply}");
        let info = client.get_info(&key(name)).unwrap();
        assert_eq!(info.kind, kind, "{name}");
        assert_eq!(info.columns, [ColumnDef::new("Open", ColumnType::F32)]);
        assert!(json(&door, &body).contains("Can not overwrite file"));
    }
}

#[test]
fn destroy_takes_whole_items_and_changes_nothing_when_refused() {
    let door = Door::open();
    let mut client = door.client();
    let keys = ["A/1Min/X", "A/1Min/Y", "A/5Min/X", "AB/1Min/X", "B/1Min/X"];
    let tables = keys.map(|k| (key(k), bars(1)));
    client.write(&tables, RowKind::Bar).unwrap();
    for bad in [
        "",
        "*",
        "A/*",
        "*/1Min/X",
        "A/",
        "/",
        "A/1Min/",
        "A/1Min/X/Y",
        "..",
        "A/../X",
        "A,B/1Min/X",
        "C",
        "A/1H",
    ] {
        assert!(
            refused(client.destroy(bad)).starts_with("removal of catalog entry failed"),
            "{bad}"
        );
    }
    assert_eq!(client.buckets().unwrap(), keys);
    client.destroy("A/1Min").unwrap();
    assert_eq!(
        client.buckets().unwrap(),
        ["A/5Min/X", "AB/1Min/X", "B/1Min/X"]
    );
    client.destroy("A").unwrap();
    client
        .destroy("B/1Min/X:Symbol/Timeframe/AttributeGroup")
        .unwrap();
    assert_eq!(client.buckets().unwrap(), ["AB/1Min/X"]);
    assert_eq!(
        refused(client.destroy("B/1Min/X")),
        "removal of catalog entry failed: Unable to find level item: B in directory"
    );
}

#[test]
fn a_request_with_one_bad_bucket_stores_nothing_and_others_go_on() {
    let door = Door::open();
    let mut client = door.client();
    client
        .write(&[(key("A/1Min/X"), bars(1))], RowKind::Bar)
        .unwrap();
    // Two columns where the bucket has two others; the good bucket of the same request is lost too.
    let defs = vec![ColumnDef::new("P", ColumnType::F32)];
    let price = Column::from_values(vec![1.0_f32]);
    let bad = ColumnBatch::new(
        Schema::new(defs).unwrap(),
        bars(1).time_column().clone(),
        vec![price],
    )
    .unwrap();
    let tables = [
        (key("N/1Min/X"), bad.clone()),
        (key("A/1Min/X"), bad),
        (key("M/1Min/X"), bars(2)),
    ];
    let text = refused(client.write(&tables, RowKind::Bar));
    assert_eq!(
        text,
        "unable to match data columns ([{Epoch INT64} {P FLOAT32}]) to bucket columns \
         ([{Epoch INT64} {Open FLOAT32} {Volume INT32}])"
    );
    assert_eq!(client.buckets().unwrap(), ["A/1Min/X", "M/1Min/X"]);
}

#[test]
fn the_body_of_a_write_is_one_commit() {
    let door = Door::open();
    let before = door.app.engine.status().commits;
    let tables: Vec<_> = (0..50)
        .map(|i| (key(&format!("S{i}/1Min/X")), bars(3)))
        .collect();
    // Made beforehand: defining a bucket is a commit of its own.
    for (key, batch) in &tables {
        let schema = batch.schema().clone();
        door.app
            .engine
            .create_bucket(key, RowKind::Bar, schema)
            .unwrap();
    }
    let defined = door.app.engine.status().commits;
    door.client().write(&tables, RowKind::Bar).unwrap();
    assert_eq!(
        door.app.engine.status().commits,
        defined + 1,
        "{before} before"
    );
    // And the same through the store itself, for comparison.
    let rows = tables.iter().map(|(key, batch)| Rows {
        key: key.clone(),
        batch: batch.clone(),
        create: None,
    });
    let commit = engine::Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: rows.collect(),
        section: None,
    };
    door.app
        .engine
        .write(commit)
        .unwrap()
        .wait_visible()
        .unwrap();
    assert_eq!(door.app.engine.status().commits, defined + 2);
}

#[test]
fn the_bodies_of_the_client_are_those_the_server_reads() {
    let body = Client::write_request(&[(key("A/1Min/X"), bars(3))], RowKind::Tick);
    match Call::decode(Codec::MsgPack, &body)
        .unwrap()
        .request(1)
        .unwrap()
    {
        Request::Write(writes) => {
            assert!(writes[0].is_variable_length);
            assert_eq!(writes[0].dataset.tables(true).unwrap()[0].1, bars(3));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn deletes_and_alters_answer_each_request() {
    let door = Door::open();
    let mut client = door.client();
    client
        .write(&[(key("A/1Min/X"), bars(10))], RowKind::Bar)
        .unwrap();
    let start = bars(1).times()[0] / 1_000_000_000;
    let call = |method: &str, requests: &str| {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"DataService.{method}\",\
             \"params\":{{\"requests\":[{requests}]}}}}"
        );
        json(&door, &body)
    };
    let one = format!(
        "{{\"key\":\"A/1Min/X\",\"epoch_start\":{start},\"epoch_end\":{}",
        start + 60
    );
    let dry = call(
        "Delete",
        &format!("{one},\"dry_run\":true}},{{\"key\":\"B/1Min/X\",\"epoch_end\":5}}"),
    );
    assert!(
        dry.contains("{\"Key\":\"A/1Min/X\",\"Rows\":2,\"Error\":\"\"}"),
        "{dry}"
    );
    assert!(
        dry.contains("{\"Key\":\"B/1Min/X\",\"Rows\":0,\"Error\":\"no bucket B/1Min/X\"}"),
        "{dry}"
    );
    assert!(
        call("Delete", "{\"key\":\"A/1Min/X\"}").contains("epoch_start and epoch_end are missing")
    );
    let rows = |client: &mut client::Client| {
        client.query(&Query::of("A/1Min/X")).unwrap()[0]
            .batch
            .rows()
    };
    assert_eq!(rows(&mut client), 10);
    assert!(call("Delete", &format!("{one}}}")).contains("\"Rows\":2"));
    assert_eq!(rows(&mut client), 8);
    let altered = call(
        "Alter",
        "{\"key\":\"A/1Min/X\",\"add\":[{\"name\":\"New\",\"type\":\"f8\"}]},\
         {\"key\":\"A/1Min/X\",\"add\":[{\"name\":\"Y\",\"type\":\"f9\"}]},{\"key\":\"A/1Min/X\"}",
    );
    assert!(
        altered.contains("\"Version\":2,\"Error\":\"\""),
        "{altered}"
    );
    assert!(altered.contains("unexpected data type:f9"), "{altered}");
    assert!(altered.contains("nothing to change"), "{altered}");
    let batch = &client.query(&Query::of("A/1Min/X")).unwrap()[0].batch;
    assert!(batch.column("New").unwrap().values::<f64>().unwrap()[0].is_nan());
}
