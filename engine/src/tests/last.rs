//! The last rows of many buckets at once are those of each bucket.

use disk::SimDisk;
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use super::{MINUTE, batch, commit, key, open, rows, write};

#[test]
fn last_rows_of_many_buckets_are_those_of_each() {
    let disk = SimDisk::new(3);
    let engine = open(&disk);
    let narrow = |value: f32| {
        let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F32)]).unwrap();
        let price = vec![Column::from_values(vec![value])];
        ColumnBatch::new(schema, Column::from_values(vec![7 * MINUTE]), price).unwrap()
    };
    let names: Vec<String> = (0..9).map(|i| format!("S{i}/1Min/X")).collect();
    for (value, name) in (0..).zip(&names) {
        let rows = match value % 3 {
            2 => narrow(value as f32),
            _ => batch(&[MINUTE, (2 + i64::from(value)) * MINUTE], value * 10),
        };
        write(&engine, name, RowKind::Bar, rows).unwrap();
        if value == 4 {
            engine.checkpoint().unwrap();
        }
    }
    let ids = names
        .iter()
        .map(|name| engine.bucket(&key(name)).unwrap().id);
    // One of them is left without a row.
    let range = crate::DeleteRange {
        key: key(&names[3]),
        from: i64::MIN,
        to: i64::MAX,
    };
    engine.delete(&[range]).unwrap();
    let ids: Vec<_> = ids.collect();
    let snapshot = engine.snapshot(&ids);
    let groups = snapshot.last_rows().unwrap();
    assert_eq!(groups.len(), 2);
    let mut seen: Vec<crate::BucketId> = Vec::new();
    for group in &groups {
        assert!(group.buckets.is_sorted());
        assert_eq!(group.buckets.len(), group.rows.rows());
        for (row, bucket) in group.buckets.iter().enumerate() {
            let single = snapshot.last(snapshot.position(*bucket).unwrap()).unwrap();
            assert_eq!(single, Some(group.rows.slice(row..row + 1)));
        }
        seen.extend(&group.buckets);
    }
    seen.sort_unstable();
    let all = snapshot.buckets().iter().map(|info| info.id);
    let expected: Vec<_> = all.enumerate().filter(|(at, _)| *at != 3).collect();
    assert_eq!(seen, expected.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    let again = engine.last_rows(&ids).unwrap();
    assert_eq!(again.len(), 2);
    for (one, other) in groups.iter().zip(&again) {
        assert_eq!((&one.buckets, &one.rows), (&other.buckets, &other.rows));
    }
}

/// More buckets than are gathered in one go, with a value of every size, from pages and from tails.
#[test]
fn last_rows_of_every_size_of_value_come_back() {
    let disk = SimDisk::new(4);
    let engine = open(&disk);
    let schema = |shift: usize| {
        let types = (0..ColumnType::ALL.len()).map(|i| ColumnType::ALL[(i + shift) % 11]);
        let defs = types.map(|ty| ColumnDef::new(ty.name(), ty));
        Schema::new(defs.collect()).unwrap()
    };
    let names: Vec<String> = (0..700).map(|i| format!("S{i}/1Min/X")).collect();
    let row = |index: usize| {
        // Two schemas in turn, each with a value at every alignment.
        let schema = schema(index % 2 * 5);
        let column = |(at, def): (usize, &ColumnDef)| {
            let bytes = (0..def.ty.size()).map(|byte| (index * 31 + at * 7 + byte) as u8);
            Column::new(def.ty, bytes.collect::<Vec<u8>>().into()).unwrap()
        };
        let columns = schema.columns().iter().enumerate().map(column).collect();
        let time = Column::from_values(vec![index as i64 * MINUTE]);
        ColumnBatch::new(schema, time, columns).unwrap()
    };
    let load = |indexes: std::ops::Range<usize>| {
        let all = indexes.map(|i| rows(&names[i], RowKind::Bar, row(i)));
        engine.write(commit(all.collect())).unwrap().wait().unwrap();
    };
    load(0..400);
    engine.checkpoint().unwrap();
    load(400..700);
    let infos = names.iter().map(|name| engine.bucket(&key(name)).unwrap());
    let ids: Vec<_> = infos.map(|info| info.id).collect();
    let groups = engine.last_rows(&ids).unwrap();
    assert_eq!(groups.len(), 2);
    for (parity, group) in groups.iter().enumerate() {
        assert_eq!(group.buckets.len(), 350);
        for (at, bucket) in group.buckets.iter().enumerate() {
            let index = 2 * at + parity;
            assert_eq!(*bucket, ids[index]);
            assert_eq!(group.rows.slice(at..at + 1), row(index));
        }
    }
}

#[test]
fn buckets_of_equal_columns_share_them() {
    let disk = SimDisk::new(5);
    let engine = open(&disk);
    for name in ["A/1Min/X", "B/1Min/X"] {
        write(&engine, name, RowKind::Bar, batch(&[MINUTE], 1)).unwrap();
    }
    let share = |engine: &crate::Engine| {
        let infos = ["A/1Min/X", "B/1Min/X"].map(|name| engine.bucket(&key(name)).unwrap());
        std::ptr::eq(infos[0].schema.columns(), infos[1].schema.columns())
    };
    assert!(share(&engine));
    engine.close().unwrap();
    // From the catalog file too.
    assert!(share(&open(&disk)));
}
