//! The join against one that looks at every pair of rows.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::{ExecutionPlan, collect};
use proptest::prelude::*;
use proptest::sample::Index;

use super::exec::AsofExec;
use super::sorted::Terms;
use super::{Direction, Rule};

/// Key, time, and its number: so that rows of the same time are told apart.
type Row = (Option<u8>, Option<i64>, i64);

fn schema(nullable: bool) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("time", time, true),
        Field::new("number", DataType::Int64, nullable),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: StringArray = rows
        .iter()
        .map(|row| row.0.map(|key| format!("K{key}")))
        .collect();
    let times: TimestampNanosecondArray = rows.iter().map(|row| row.1).collect();
    let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(numbers),
    ];
    RecordBatch::try_new(schema(false), columns).unwrap()
}

/// As a scan has them: by key and time, NULLs last, cut into batches and partitions. Also the order
/// of the rows: of equal ones those of the first partition are first.
fn input(
    mut rows: Vec<Row>,
    keyed: bool,
    cuts: &[Index],
    partitions: usize,
) -> (Arc<dyn ExecutionPlan>, Vec<Row>) {
    sort(&mut rows, keyed);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
    ends.push(rows.len());
    ends.sort_unstable();
    let mut parts = vec![Vec::new(); partitions];
    let mut ordered = vec![Vec::new(); partitions];
    let mut start = 0;
    for (index, end) in ends.into_iter().enumerate() {
        parts[index % partitions].push(batch(&rows[start..end]));
        ordered[index % partitions].extend_from_slice(&rows[start..end]);
        start = end;
    }
    let mut ordered = ordered.concat();
    sort(&mut ordered, keyed);
    (
        MemorySourceConfig::try_new_exec(&parts, schema(false), None).unwrap(),
        ordered,
    )
}

fn sort(rows: &mut [Row], keyed: bool) {
    let last = |value: Option<i64>| (value.is_none(), value);
    rows.sort_by_key(|row| {
        let key = if keyed {
            last(row.0.map(i64::from))
        } else {
            (false, None)
        };
        (key, last(row.1))
    });
}

fn terms(keyed: bool) -> Terms {
    let column =
        |name: &str, index| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(name, index)) };
    Terms {
        keys: if keyed {
            vec![column("key", 0)]
        } else {
            Vec::new()
        },
        time: column("time", 1),
    }
}

fn joined(sides: [Arc<dyn ExecutionPlan>; 2], keyed: bool, rule: Rule) -> Vec<(i64, Option<i64>)> {
    let fields = [schema(false), schema(true)];
    let fields = fields
        .iter()
        .flat_map(|schema| schema.fields().iter().cloned());
    let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let exec = AsofExec::new(sides, [terms(keyed), terms(keyed)], rule, &output);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let batches = runtime
        .block_on(collect(Arc::new(exec), Arc::new(TaskContext::default())))
        .unwrap();
    let all = concat_batches(&output, &batches).unwrap();
    let (left, right) = (all.column(2), all.column(5));
    let (left, right) = (
        left.as_primitive::<Int64Type>(),
        right.as_primitive::<Int64Type>(),
    );
    left.iter().map(Option::unwrap).zip(right.iter()).collect()
}

/// For each row of the left, all rows of the right.
fn model(left: &[Row], right: &[Row], keyed: bool, rule: Rule) -> Vec<(i64, Option<i64>)> {
    let find = |row: &Row| {
        let time = row.1?;
        let same = right
            .iter()
            .filter(|other| !keyed || (row.0.is_some() && other.0 == row.0));
        let timed = same.filter_map(|other| Some((other.1?, other.2)));
        let timed: Vec<(i64, i64)> = timed.collect();
        let behind = timed
            .iter()
            .filter(|o| o.0 < time || (o.0 == time && !rule.strict));
        let behind = behind.max_by_key(|other| other.0);
        let ahead = timed
            .iter()
            .filter(|o| o.0 > time || (o.0 == time && !rule.strict));
        let ahead = ahead.min_by_key(|other| other.0);
        let found = match rule.direction {
            Direction::Backward => behind,
            Direction::Forward => ahead,
            Direction::Nearest => match (behind, ahead) {
                (Some(b), Some(a)) if a.0 - time < time - b.0 => Some(a),
                (Some(b), _) => Some(b),
                (None, ahead) => ahead,
            },
        };
        found
            .filter(|o| rule.tolerance.is_none_or(|most| (o.0 - time).abs() <= most))
            .map(|o| o.1)
    };
    let rows = left.iter().map(|row| (row.2, find(row)));
    rows.filter(|row| rule.outer || row.1.is_some()).collect()
}

fn rows(most: usize, span: i64) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.9, 0..4_u8),
        prop::option::weighted(0.95, 0..span),
    );
    prop::collection::vec(row, 0..most).prop_map(|rows| {
        rows.into_iter()
            .zip(0..)
            .map(|((key, time), number)| (key, time, number))
            .collect()
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let direction = prop_oneof![
        Just(Direction::Backward),
        Just(Direction::Forward),
        Just(Direction::Nearest)
    ];
    (
        direction,
        any::<bool>(),
        prop::option::of(0..20_i64),
        any::<bool>(),
    )
        .prop_map(|(direction, strict, tolerance, outer)| Rule {
            direction,
            strict: strict && direction != Direction::Nearest,
            tolerance,
            outer,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("MKTS_ASOF_CASES").map_or(400, |cases| cases.parse().unwrap())
    ))]

    #[test]
    fn a_join_is_what_looking_at_every_pair_gives(
        left in rows(60, 50),
        right in rows(120, 50),
        keyed in any::<bool>(),
        rule in rule(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        partitions in 1..4_usize,
    ) {
        let (left, left_rows) = input(left, keyed, &cuts, partitions);
        let (right, right_rows) = input(right, keyed, &cuts, partitions);
        let expected = model(&left_rows, &right_rows, keyed, rule);
        prop_assert_eq!(joined([left, right], keyed, rule), expected);
    }
}

#[test]
fn batches_of_the_right_are_let_go() {
    // One row on the left after a thousand batches of the right, and one in their middle.
    let right: Vec<Row> = (0..50_000)
        .map(|time| (Some(1), Some(time), time))
        .collect();
    let cuts = right.chunks(50).map(batch).collect();
    let right = MemorySourceConfig::try_new_exec(&[cuts], schema(false), None).unwrap();
    let left = vec![(Some(1), Some(25_000), 0), (Some(1), Some(70_000), 1)];
    let rule = Rule {
        direction: Direction::Backward,
        strict: false,
        tolerance: None,
        outer: true,
    };
    let found = joined([input(left, true, &[], 1).0, right], true, rule);
    assert_eq!(found, [(0, Some(25_000)), (1, Some(49_999))]);
}
