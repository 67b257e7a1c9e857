//! The last rows of many buckets at once are those of each bucket.

use disk::SimDisk;
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use super::{MINUTE, batch, key, open, write};

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
