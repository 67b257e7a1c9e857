//! Statements with the clauses, from text to rows, over tables in memory.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

const SECOND: i64 = 1_000_000_000;

#[derive(Debug)]
struct Planner;

#[async_trait::async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn datafusion::catalog::Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(super::extension_planners());
        planner.create_physical_plan(plan, session).await
    }
}

fn table(rows: &[(&str, i64, f64)], value: &str) -> Arc<MemTable> {
    let symbols = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let times = rows.iter().map(|row| row.1 * SECOND);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let values = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
    let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.2 as i64));
    let columns: [(&str, ArrayRef); 4] = [
        ("symbol", Arc::new(symbols)),
        ("Epoch", Arc::new(times)),
        (value, Arc::new(values)),
        ("Size", Arc::new(counts)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    // Two partitions.
    let half = batch.num_rows() / 2;
    let parts = vec![
        vec![batch.slice(0, half)],
        vec![batch.slice(half, batch.num_rows() - half)],
    ];
    Arc::new(MemTable::try_new(batch.schema(), parts).unwrap())
}

fn context() -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false);
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features();
    let builder = super::register(builder).with_query_planner(Arc::new(Planner));
    let context = SessionContext::new_with_state(builder.build());
    let trades = [
        ("A", 10, 1.0),
        ("A", 20, 2.0),
        ("A", 47, 3.0),
        ("B", 12, 4.0),
        ("B", 20, 5.0),
        ("C", 9, 6.0),
    ];
    let quotes = [
        ("A", 8, 0.1),
        ("A", 20, 0.2),
        ("A", 20, 0.3),
        ("A", 46, 0.4),
        ("B", 13, 0.5),
        ("B", 30, 0.6),
    ];
    context
        .register_table("trades", table(&trades, "Price"))
        .unwrap();
    context
        .register_table("quotes", table(&quotes, "Bid"))
        .unwrap();
    context
}

fn parsed(text: &str) -> Result<Statement, String> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = super::rewrite_tokens(tokens.unwrap()).map_err(|error| error.message)?;
    let parser = DFParserBuilder::new(tokens).build();
    let mut statements = parser
        .unwrap()
        .parse_statements()
        .map_err(|error| error.to_string())?;
    let mut statement = statements.pop_front().unwrap();
    let inner = match &mut statement {
        Statement::Statement(inner) => inner,
        Statement::Explain(explain) => match explain.statement.as_mut() {
            Statement::Statement(inner) => inner,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    super::rewrite(inner).map_err(|error| error.message)?;
    Ok(statement)
}

async fn batches(text: &str) -> Result<Vec<RecordBatch>, String> {
    let context = context();
    let statement = parsed(text)?;
    let run = async {
        let plan = context.state().statement_to_plan(statement).await?;
        context.execute_logical_plan(plan).await?.collect().await
    };
    run.await.map_err(|error| error.to_string())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

/// The rows as text: one a line, values with spaces between, times as seconds.
fn rows(text: &str) -> Vec<String> {
    let batches = runtime()
        .block_on(batches(text))
        .unwrap_or_else(|error| panic!("{text}\n{error}"));
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    let lines = lines.map(|line| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        let cells = cells.map(|cell| match cell.strip_prefix("1970-01-01T00:") {
            Some(time) => time.trim_end_matches('Z'),
            None if cell.is_empty() => "NULL",
            None => cell,
        });
        cells.collect::<Vec<&str>>().join(" ")
    });
    lines.collect()
}

fn error(text: &str) -> String {
    match runtime().block_on(batches(text)) {
        Ok(batches) => panic!("{text} gave {} batches", batches.len()),
        Err(error) => error,
    }
}

const BACKWARD: [&str; 6] = [
    "A 00:10 0.1",
    "A 00:20 0.3",
    "A 00:47 0.4",
    "B 00:12 NULL",
    "B 00:20 0.5",
    "C 00:09 NULL",
];

#[test]
fn asof_is_written_as_in_other_systems() {
    let select = "SELECT t.symbol, t.Epoch, q.Bid FROM trades t";
    let order = "ORDER BY t.symbol, t.Epoch";
    for join in [
        "ASOF JOIN quotes q MATCH_CONDITION (t.Epoch >= q.Epoch) ON t.symbol = q.symbol",
        "ASOF LEFT JOIN quotes q ON t.symbol = q.symbol AND t.Epoch >= q.Epoch",
        "ASOF LEFT OUTER JOIN quotes AS q ON q.Epoch <= t.Epoch AND q.symbol = t.symbol",
        "ASOF LEFT JOIN quotes q USING (symbol, Epoch)",
        "ASOF JOIN quotes q ON (symbol)",
        "ASOF JOIN quotes q MATCH_CONDITION (t.Epoch >= q.Epoch) USING (symbol)",
    ] {
        assert_eq!(
            rows(&format!("{select} {join} {order}")),
            BACKWARD,
            "{join}"
        );
    }
    let matched: Vec<&str> = BACKWARD
        .into_iter()
        .filter(|row| !row.ends_with("NULL"))
        .collect();
    for join in [
        "ASOF JOIN quotes q ON t.symbol = q.symbol AND t.Epoch >= q.Epoch",
        "asof inner join quotes q MATCH_CONDITION (t.Epoch >= q.Epoch) ON t.symbol = q.symbol",
    ] {
        assert_eq!(rows(&format!("{select} {join} {order}")), matched, "{join}");
    }
}

#[test]
fn asof_looks_in_every_direction() {
    let select = "SELECT t.symbol, t.Epoch, q.Bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION";
    let rest = "ON t.symbol = q.symbol ORDER BY t.symbol, t.Epoch";
    let found = |condition: &str| rows(&format!("{select} ({condition}) {rest}"));
    let values = |found: Vec<String>| {
        let values = found
            .iter()
            .map(|row| row.rsplit(' ').next().unwrap().to_owned());
        values.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(
        values(found("t.Epoch > q.Epoch")),
        "0.1 0.1 0.4 NULL 0.5 NULL"
    );
    assert_eq!(
        values(found("t.Epoch <= q.Epoch")),
        "0.2 0.2 NULL 0.5 0.6 NULL"
    );
    assert_eq!(
        values(found("q.Epoch > t.Epoch")),
        "0.2 0.4 NULL 0.5 0.6 NULL"
    );
    assert_eq!(
        values(found("nearest(t.Epoch, q.Epoch)")),
        "0.1 0.3 0.4 0.5 0.5 NULL"
    );
}

#[test]
fn asof_tolerance_is_written_in_any_of_four_ways() {
    let select = "SELECT t.symbol, t.Epoch, q.Bid FROM trades t ASOF LEFT JOIN quotes q";
    let expected = [
        "A 00:10 0.1",
        "A 00:20 0.3",
        "A 00:47 0.4",
        "B 00:12 NULL",
        "B 00:20 NULL",
        "C 00:09 NULL",
    ];
    for condition in [
        "ON t.symbol = q.symbol AND t.Epoch >= q.Epoch TOLERANCE INTERVAL '2 seconds'",
        "ON (symbol) TOLERANCE 2s",
        "MATCH_CONDITION (t.Epoch >= q.Epoch AND t.Epoch - q.Epoch <= INTERVAL '2' SECOND) ON t.symbol = q.symbol",
        "ON t.symbol = q.symbol AND t.Epoch >= q.Epoch AND q.Epoch >= t.Epoch - INTERVAL '2 seconds'",
        "MATCH_CONDITION (t.Epoch >= q.Epoch) USING (symbol) TOLERANCE '2 seconds'",
    ] {
        let text = format!("{select} {condition} ORDER BY t.symbol, t.Epoch");
        assert_eq!(rows(&text), expected, "{condition}");
    }
    // The end is within, a nanosecond less is not.
    let text = format!(
        "{select} ON (symbol) TOLERANCE 1999999999ns WHERE t.Epoch < '1970-01-01T00:00:11Z' ORDER BY 1"
    );
    assert_eq!(rows(&text), ["A 00:10 NULL", "C 00:09 NULL"]);
}

#[test]
fn asof_goes_with_other_joins_filters_and_queries() {
    let three = "SELECT t.symbol, t.Epoch, q.Bid, u.Price FROM trades t ASOF JOIN quotes q ON (symbol) \
                 JOIN trades u ON u.symbol = t.symbol AND u.Epoch = t.Epoch WHERE q.Bid > 0.3 ORDER BY 1, 2";
    assert_eq!(rows(three), ["A 00:47 0.4 3.0", "B 00:20 0.5 5.0"]);
    let nested = "SELECT symbol, count(*) AS n, sum(Bid) AS s FROM (SELECT t.symbol, q.Bid FROM trades t ASOF LEFT \
                  JOIN quotes q USING (symbol, Epoch)) GROUP BY symbol ORDER BY symbol";
    assert_eq!(rows(nested), ["A 3 0.8", "B 2 0.5", "C 1 NULL"]);
    let cte = "WITH q AS (SELECT * FROM quotes WHERE Bid <> 0.3) SELECT t.Epoch, q.Bid FROM trades t \
               ASOF JOIN q ON (symbol) WHERE t.symbol = 'A' ORDER BY 1";
    assert_eq!(rows(cte), ["00:10 0.1", "00:20 0.2", "00:47 0.4"]);
    let without_keys = "SELECT t.Epoch, q.symbol, q.Bid FROM trades t ASOF JOIN quotes q ON t.Epoch > q.Epoch \
                        WHERE t.symbol = 'B' ORDER BY 1";
    assert_eq!(rows(without_keys), ["00:12 A 0.1", "00:20 B 0.5"]);
    let chained = "SELECT t.Epoch, q.Bid, r.Bid FROM trades t ASOF JOIN quotes q ON (symbol) ASOF LEFT JOIN quotes r \
                   ON r.symbol = t.symbol AND t.Epoch < r.Epoch WHERE t.symbol = 'A' ORDER BY 1";
    assert_eq!(
        rows(chained),
        ["00:10 0.1 0.2", "00:20 0.3 0.4", "00:47 0.4 NULL"]
    );
}

#[test]
fn filters_on_the_left_reach_both_sides() {
    let text = "EXPLAIN SELECT t.Price, q.Bid FROM trades t ASOF JOIN quotes q ON (symbol) \
                WHERE t.symbol = 'A' AND t.Epoch <= '1970-01-01T00:00:30Z' AND q.Bid > 0.1";
    let plan = rows(text).join("\n");
    for part in [
        "Filter: q.Bid > Float64(0.1)",
        "t.symbol = Utf8(\"A\")",
        "q.symbol = Utf8(\"A\")",
        "q.Epoch <= TimestampNanosecond(30000000000",
    ] {
        assert!(
            plan.contains(part)
                || plan.contains(&part.replace("t.", "trades.").replace("q.", "quotes.")),
            "{part} in\n{plan}"
        );
    }
    let (join, filter) = (
        plan.find("AsofJoin"),
        plan.find("trades.symbol = Utf8(\"A\")"),
    );
    assert!(join.is_some() && filter > join, "{plan}");
}

#[test]
fn asof_errors_say_what_to_write() {
    let join = "SELECT 1 FROM trades t ASOF JOIN quotes q";
    for (condition, expected) in [
        (
            "ON t.symbol = q.symbol OR t.Epoch >= q.Epoch",
            "cannot be a part of an ASOF join",
        ),
        (
            "ON t.Epoch >= q.Epoch AND t.Price > q.Bid",
            "compares times once",
        ),
        (
            "ON t.symbol >= q.symbol",
            "compares times or whole numbers, not Utf8 with Utf8",
        ),
        ("ON t.Epoch <> q.Epoch", "cannot be a part of an ASOF join"),
        (
            "ON (symbol) TOLERANCE soon",
            "TOLERANCE takes a length of time",
        ),
        (
            "ON (symbol) TOLERANCE INTERVAL '1 month'",
            "is no tolerance",
        ),
        (
            "ON t.Epoch >= q.Epoch AND t.Epoch - q.Epoch < INTERVAL '2 seconds'",
            "includes its end",
        ),
        (
            "ON t.Epoch >= q.Epoch AND t.Price = 3",
            "cannot be a part of an ASOF join",
        ),
        (
            "MATCH_CONDITION t.Epoch >= q.Epoch",
            "a parenthesis is missing",
        ),
    ] {
        let found = error(&format!("{join} {condition}"));
        assert!(found.contains(expected), "{condition}: {found}");
    }
    let found = error("SELECT 1 FROM trades t ASOF RIGHT JOIN quotes q ON (symbol)");
    assert!(found.contains("swap the tables"), "{found}");
    let found = error("SELECT 1 FROM trades t GLOBAL LEFT JOIN quotes q ON t.symbol = q.symbol");
    assert!(found.contains("GLOBAL joins are not supported"), "{found}");
}

#[test]
fn latest_is_the_last_row_of_each_key() {
    let all = ["A 00:47 3.0", "B 00:20 5.0", "C 00:09 6.0"];
    for clause in [
        "LATEST BY symbol",
        "LATEST ON Epoch PARTITION BY symbol",
        "latest by trades.symbol",
        "LATEST BY symbol, timeless",
    ] {
        let from = match clause.contains("timeless") {
            true => "(SELECT *, 1 AS timeless FROM trades)",
            false => "trades",
        };
        let text = format!("SELECT symbol, Epoch, Price FROM {from} {clause} ORDER BY symbol");
        assert_eq!(rows(&text), all, "{clause}");
    }
    let before = "SELECT symbol, Price FROM trades WHERE Price < 3 OR symbol = 'B' LATEST BY symbol ORDER BY symbol";
    assert_eq!(rows(before), ["A 2.0", "B 5.0"]);
    let after = "SELECT symbol, Price FROM trades LATEST BY symbol WHERE Price < 3 OR symbol = 'B' ORDER BY symbol";
    assert_eq!(rows(after), ["B 5.0"]);
    let grouped = "SELECT count(*) AS n, max(Price) AS m FROM trades LATEST BY symbol";
    assert_eq!(rows(grouped), ["3 6.0"]);
    let joined = "SELECT t.symbol, t.Epoch, q.Bid FROM trades t ASOF JOIN quotes q ON (symbol) LATEST ON t.Epoch \
                  PARTITION BY t.symbol ORDER BY 1";
    assert_eq!(rows(joined), ["A 00:47 0.4", "B 00:20 0.5", "C 00:09 NULL"]);
    // Of equal times the row stored last.
    let ties = "SELECT Bid FROM quotes WHERE symbol = 'A' AND Epoch <= '1970-01-01T00:00:20Z' LATEST BY symbol";
    assert_eq!(rows(ties), ["0.3"]);
    let alias = "SELECT latest.Price FROM trades t JOIN trades latest ON t.Epoch = latest.Epoch AND \
                 t.symbol = latest.symbol WHERE t.Price = 4";
    assert_eq!(rows(alias), ["4.0"]);
    assert!(rows("SELECT * FROM trades WHERE Price > 100 LATEST BY symbol").is_empty());
    let found = error("SELECT * FROM trades LATEST BY nothing");
    assert!(found.contains("nothing"), "{found}");
    let found = error("SELECT symbol FROM trades GROUP BY symbol LATEST BY symbol");
    assert!(found.contains("LATEST comes once"), "{found}");
}

#[test]
fn fill_adds_the_missing_buckets() {
    let select = "SELECT symbol, date_bin(INTERVAL '10 seconds', Epoch) AS t, sum(Price) AS p, sum(Size) AS n \
                  FROM trades WHERE symbol <> 'C'";
    let fill = |fill: &str| {
        rows(&format!(
            "{select} GROUP BY symbol, t {fill} ORDER BY symbol, t"
        ))
    };
    let b = ["B 00:10 4.0 4", "B 00:20 5.0 5"];
    let with = |gap: [&'static str; 1]| {
        [
            &["A 00:10 1.0 1", "A 00:20 2.0 2"],
            &gap[..],
            &["A 00:40 3.0 3"],
            &b,
        ]
        .concat()
    };
    assert_eq!(
        fill("FILL (none)"),
        [&["A 00:10 1.0 1", "A 00:20 2.0 2", "A 00:40 3.0 3"][..], &b].concat()
    );
    assert_eq!(fill("FILL(null)"), with(["A 00:30 NULL NULL"]));
    assert_eq!(fill("fill(prev)"), with(["A 00:30 2.0 2"]));
    // Whole numbers are rounded.
    assert_eq!(fill("FILL(linear)"), with(["A 00:30 2.5 3"]));
    assert_eq!(fill("FILL(0)"), with(["A 00:30 0.0 0"]));
    assert_eq!(fill("FILL(-1.5, prev)"), with(["A 00:30 -1.5 2"]));
    assert_eq!(
        fill("HAVING sum(Price) > 1 OR symbol = 'B' FILL(prev)"),
        [
            "A 00:20 2.0 2",
            "A 00:30 2.0 2",
            "A 00:40 3.0 3",
            b[0],
            b[1]
        ]
    );
    let one = "SELECT date_bin(INTERVAL '10 seconds', Epoch), max(Price) FROM trades GROUP BY 1 FILL(prev) LIMIT 9";
    assert_eq!(
        rows(one),
        [
            "00:00 6.0",
            "00:10 4.0",
            "00:20 5.0",
            "00:30 5.0",
            "00:40 3.0"
        ]
    );
}

#[test]
fn long_gaps_come_in_batches() {
    let text = "SELECT count(*) AS n, max(t) AS t, sum(p) AS p FROM (SELECT date_bin(INTERVAL '1 millisecond', Epoch) \
                AS t, sum(Price) AS p FROM trades WHERE symbol = 'A' GROUP BY t FILL(prev))";
    // 10 s of 1.0, 27 s of 2.0, the last bucket of 3.0.
    assert_eq!(rows(text), ["37001 00:47 64003.0"]);
}

#[test]
fn fill_errors_say_what_to_write() {
    for (text, expected) in [
        (
            "SELECT sum(Price) FROM trades FILL(prev)",
            "FILL needs GROUP BY with a time bucket",
        ),
        (
            "SELECT symbol, sum(Price) FROM trades GROUP BY symbol FILL(prev)",
            "needs a time bucket",
        ),
        (
            "SELECT date_bin(INTERVAL '1 second', Epoch) AS t, sum(Price) FROM trades GROUP BY t, symbol FILL(prev)",
            "symbol is missing",
        ),
        (
            "SELECT date_bin(INTERVAL '1 second', Epoch) AS t, sum(Price) FROM trades GROUP BY t FILL(prev, null)",
            "2 values for 1 columns",
        ),
        (
            "SELECT date_bin(INTERVAL '1 second', Epoch) AS t, max(symbol) FROM trades GROUP BY t FILL(linear)",
            "needs numbers",
        ),
        (
            "SELECT date_bin(INTERVAL '1 second', Epoch) AS t, max(Price) FROM trades GROUP BY t FILL(next)",
            "FILL takes none, null, prev, linear or a number",
        ),
        (
            "SELECT date_bin(INTERVAL '1 second', Epoch) AS t, max(Price) FROM trades GROUP BY t FILL(prev) HAVING 1 = 1",
            "FILL comes after HAVING",
        ),
    ] {
        let found = error(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn statements_without_clauses_stay_as_they_are() {
    let text = "SELECT a, fill FROM b WHERE latest > 1 -- ASOF\nGROUP BY fill(a), latest";
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .unwrap();
    assert_eq!(super::rewrite_tokens(tokens.clone()).unwrap(), tokens);
    let mut statement = parsed("SELECT 1 FROM a JOIN b ON a.x = b.x").unwrap();
    let before = statement.to_string();
    if let Statement::Statement(inner) = &mut statement {
        super::rewrite(inner).unwrap();
    }
    assert_eq!(statement.to_string(), before);
}
