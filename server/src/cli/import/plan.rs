//! Which columns of a file become what.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, Schema};

use super::cast::cast;
use super::tables::Rules;
use arrow_batch::{BadValue, KEY_COLUMNS, is_text};

/// Names that are taken for the time, if the command line names none.
const TIME_NAMES: [&str; 5] = ["Epoch", "time", "timestamp", "datetime", "date"];

/// Name of the part of a time below a second, as MarketStore's clients have it.
const NANOSECONDS: &str = "Nanoseconds";

/// Positions of columns in a file, and what they become.
#[derive(Debug)]
pub(super) struct Plan {
    time: usize,
    nanoseconds: Option<usize>,
    keys: Option<[usize; 3]>,
    columns: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    at: usize,
    name: String,
    /// Or why it cannot be taken.
    ty: Result<ColumnType, String>,
}

/// Rows of one bucket in a record batch.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) key: BucketKey,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Range(Range<usize>),
    Scattered(Vec<u32>),
}

impl Plan {
    /// Maps columns. With `keyed`, three columns of texts named like a key's items are the key.
    pub(super) fn new(
        schema: &arrow_schema::Schema,
        rules: &Rules,
        keyed: bool,
    ) -> Result<Self, String> {
        let names = renamed(schema, &rules.columns)?;
        let find = |wanted: &str| {
            let exact = names.iter().position(|name| name == wanted);
            exact.or_else(|| names.iter().position(|n| n.eq_ignore_ascii_case(wanted)))
        };
        let ty = |at: usize| schema.field(at).data_type();
        let time = time_column(schema, &names, rules.time_column.as_deref())?;
        let nanoseconds = find(NANOSECONDS).filter(|at| matches!(ty(*at), DataType::Int32));
        let keys = KEY_COLUMNS.map(|name| names.iter().position(|n| n == name));
        let keys = match keys {
            [Some(a), Some(b), Some(c)] if keyed && [a, b, c].iter().all(|at| is_text(ty(*at))) => {
                Some([a, b, c])
            }
            _ => None,
        };
        let mut columns = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let is_key = keys.is_some_and(|keys| keys.contains(&at));
            if at == time || nanoseconds == Some(at) || is_key || name == "-" {
                continue;
            }
            columns.push(Source {
                at,
                name: name.clone(),
                ty: arrow_batch::column_type(ty(at), rules.values),
            });
        }
        match columns.is_empty() {
            true => Err("has no column beside the time".into()),
            false => Ok(Self {
                time,
                nanoseconds,
                keys,
                columns,
            }),
        }
    }

    /// Whether rows say which bucket they belong to.
    pub(super) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// The buckets of the rows of a batch: `key`, or as the columns say.
    pub(super) fn parts(
        &self,
        batch: &RecordBatch,
        key: Option<&BucketKey>,
        first_row: usize,
    ) -> Result<Vec<Part>, String> {
        let keys = match (key, self.keys) {
            (Some(key), _) => {
                let rows = Rows::Range(0..batch.num_rows());
                let key = key.clone();
                return Ok(vec![Part { key, rows }]);
            }
            (None, Some(keys)) => keys,
            (None, None) => return Err("which bucket? Say --key".into()),
        };
        let mut texts = keys.map(|at| arrow_batch::strings(batch.column(at)));
        let mut order: Vec<[&str; 3]> = Vec::new();
        let mut rows: HashMap<[&str; 3], Vec<u32>> = HashMap::new();
        for row in 0..batch.num_rows() {
            let mut items = [""; 3];
            for ((item, texts), name) in items.iter_mut().zip(&mut texts).zip(KEY_COLUMNS) {
                let text = texts.next().flatten();
                *item = text.ok_or_else(|| bad(name, first_row + row, "is missing"))?;
            }
            let of_key = rows.entry(items).or_insert_with(|| {
                order.push(items);
                Vec::new()
            });
            of_key.push(u32::try_from(row).map_err(|_| "has too large a batch".to_owned())?);
        }
        let mut parts = Vec::with_capacity(order.len());
        for items in order {
            let rows = rows.remove(&items).unwrap_or_default();
            parts.push(part(items, rows, first_row)?);
        }
        Ok(parts)
    }

    /// The rows of a part with the columns of the bucket, or of a new bucket.
    pub(super) fn rows(
        &self,
        batch: &RecordBatch,
        part: &Part,
        bucket: Option<Schema>,
        rules: &Rules,
        first_row: usize,
    ) -> Result<ColumnBatch, String> {
        let (batch, row_of): (RecordBatch, &dyn Fn(usize) -> usize) = match &part.rows {
            Rows::Range(rows) => (batch.slice(rows.start, rows.len()), &|row| {
                first_row + rows.start + row
            }),
            Rows::Scattered(_) => (batch.clone(), &|row| first_row + row),
        };
        let schema = match bucket {
            Some(schema) => schema,
            None => self.new_schema()?,
        };
        let times = self.times(&batch, rules, row_of)?;
        let mut columns = Vec::with_capacity(schema.len());
        for def in schema.columns() {
            let source = self.source(def)?;
            let refuse = |row, what: &str| bad(&source.name, row_of(row), what);
            let column = arrow_batch::column(batch.column(source.at), rules.values)
                .map_err(|BadValue { row, what }| refuse(row, &what))?;
            let column =
                cast(&column, def.ty, rules.lossy).map_err(|(row, what)| refuse(row, &what))?;
            columns.push(column);
        }
        let all = ColumnBatch::new(schema, times, columns).map_err(|error| error.to_string())?;
        Ok(match &part.rows {
            Rows::Range(_) => all,
            Rows::Scattered(rows) => all.take(rows),
        })
    }

    fn new_schema(&self) -> Result<Schema, String> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for source in &self.columns {
            match &source.ty {
                Ok(ty) => columns.push(ColumnDef::new(source.name.clone(), *ty)),
                Err(what) => return Err(unfit(&source.name, what)),
            }
        }
        Schema::new(columns).map_err(|error| error.to_string())
    }

    fn source(&self, def: &ColumnDef) -> Result<&Source, String> {
        let source = self.columns.iter().find(|source| source.name == def.name);
        let source = source.ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|s| s.name.as_str()).collect();
            format!(
                "the bucket has a column \"{}\", the file has {}; rename one with --columns \
                 SOURCE:{}",
                def.name,
                names.join(", "),
                def.name
            )
        })?;
        match &source.ty {
            Ok(_) => Ok(source),
            Err(what) => Err(unfit(&source.name, what)),
        }
    }

    fn times(
        &self,
        batch: &RecordBatch,
        rules: &Rules,
        row_of: &dyn Fn(usize) -> usize,
    ) -> Result<Column, String> {
        let name = |at: usize| batch.schema().field(at).name().clone();
        let refuse = |at, row, what: &str| bad(&name(at), row_of(row), what);
        let times = arrow_batch::times(batch.column(self.time), &rules.time)
            .map_err(|BadValue { row, what }| refuse(self.time, row, &what))?;
        let Some(at) = self.nanoseconds else {
            return Ok(times);
        };
        let nanos = arrow_batch::column(batch.column(at), rules.values)
            .map_err(|BadValue { row, what }| refuse(at, row, &what))?;
        let nanos: &[i32] = nanos.values().unwrap_or_default();
        let seconds: &[i64] = times.values().unwrap_or_default();
        let mut joined = Vec::with_capacity(seconds.len());
        for (row, (time, nanos)) in seconds.iter().zip(nanos).enumerate() {
            let nanos = i64::from(*nanos);
            if !(0..NANOS_PER_SECOND).contains(&nanos) {
                return Err(refuse(at, row, "is not from 0 to 999999999"));
            }
            joined.push(time + nanos);
        }
        Ok(Column::from_values(joined))
    }
}

fn part(items: [&str; 3], rows: Vec<u32>, first_row: usize) -> Result<Part, String> {
    let [symbol, timeframe, group] = items;
    let key = BucketKey::new(symbol, timeframe, group).map_err(|error| {
        let row = first_row + rows.first().map_or(0, |row| *row as usize);
        format!("row {row}: {error}")
    })?;
    let rows = match rows.as_slice() {
        [first, .., last] if (last - first) as usize + 1 == rows.len() => {
            Rows::Range(*first as usize..*last as usize + 1)
        }
        _ => Rows::Scattered(rows),
    };
    Ok(Part { key, rows })
}

fn bad(column: &str, row: usize, what: &str) -> String {
    format!("column \"{column}\", row {row}: {what}")
}

fn unfit(column: &str, what: &str) -> String {
    format!("column \"{column}\" {what}; --columns {column}:- leaves it out")
}

/// The names of the columns after `--columns`.
fn renamed(schema: &arrow_schema::Schema, columns: &[String]) -> Result<Vec<String>, String> {
    let originals: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut names: Vec<String> = originals.iter().map(|name| (*name).to_owned()).collect();
    for column in columns {
        let (source, target) = column
            .rsplit_once(':')
            .ok_or_else(|| format!("--columns: \"{column}\" is not SOURCE:TARGET"))?;
        let at = originals.iter().position(|name| *name == source);
        let at = at.ok_or_else(|| {
            format!(
                "--columns: there is no column \"{source}\"; the file has {}",
                originals.join(", ")
            )
        })?;
        names[at] = target.to_owned();
    }
    Ok(names)
}

fn time_column(
    schema: &arrow_schema::Schema,
    names: &[String],
    wanted: Option<&str>,
) -> Result<usize, String> {
    let list = || names.join(", ");
    let find = |wanted: &str| {
        let exact = names.iter().position(|name| name == wanted);
        exact.or_else(|| names.iter().position(|n| n.eq_ignore_ascii_case(wanted)))
    };
    if let Some(wanted) = wanted {
        return find(wanted).ok_or_else(|| {
            format!(
                "--time-column: there is no column \"{wanted}\"; the file has {}",
                list()
            )
        });
    }
    if let Some(at) = TIME_NAMES.into_iter().find_map(find) {
        return Ok(at);
    }
    let mut of_type =
        (0..names.len()).filter(|at| arrow_batch::is_time(schema.field(*at).data_type()));
    match (of_type.next(), of_type.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(format!(
            "no column looks like the time; name it with --time-column. The file has {}",
            list()
        )),
    }
}
