//! Cursors: a statement whose rows are fetched bit by bit. They go forward only, as rows are not kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, stream};
use parking_lot::Mutex;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;

use super::errors::user;
use super::portal::Running;
use super::values;

/// Cursors of one session. Each holds a running statement.
const CURSORS_MAX: usize = 16;

/// Rows that become messages in one go: a moment on the threads of sockets.
const ROWS_AT_ONCE: usize = 1024;

/// What DECLARE says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) query: String,
    /// Rows are sent in binary.
    pub(super) binary: bool,
    /// It lives beyond its transaction.
    pub(super) hold: bool,
}

/// Which rows come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// So many, or all.
    Forward(Option<u64>),
    /// The one with this number, from 1.
    Absolute(u64),
    /// The one so many further on.
    Relative(u64),
}

/// What FETCH or MOVE says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) name: String,
    pub(super) by: By,
    /// MOVE: the rows are left out.
    pub(super) leaves_out: bool,
}

struct Cursor {
    /// `None` after the last row.
    running: Option<Running>,
    schema: SchemaRef,
    /// What was read and not yet fetched.
    rest: Option<RecordBatch>,
    /// Rows fetched so far.
    position: u64,
    binary: bool,
    hold: bool,
}

type Map = Arc<Mutex<BTreeMap<String, Cursor>>>;

/// The cursors of a session, by name. One that is being read is not among them.
#[derive(Default)]
pub(super) struct Cursors(Map);

impl Cursors {
    /// Refuses a name that is taken, and too many.
    pub(super) fn may_declare(&self, name: &str) -> PgWireResult<()> {
        let cursors = self.0.lock();
        if cursors.contains_key(name) {
            return Err(user("42P03", format!("cursor \"{name}\" already exists")));
        }
        if cursors.len() >= CURSORS_MAX {
            let what = format!("{CURSORS_MAX} cursors are open, the most there may be: CLOSE one");
            return Err(user("53400", what));
        }
        Ok(())
    }

    /// Keeps a statement that has begun.
    pub(super) fn declare(&self, declared: &Declared, schema: SchemaRef, running: Running) {
        let cursor = Cursor {
            running: Some(running),
            schema,
            rest: None,
            position: 0,
            binary: declared.binary,
            hold: declared.hold,
        };
        self.0.lock().insert(declared.name.clone(), cursor);
    }

    /// The columns of a cursor, and whether it is in binary.
    pub(super) fn schema(&self, name: &str) -> Option<(SchemaRef, bool)> {
        let cursors = self.0.lock();
        let cursor = cursors.get(name)?;
        Some((cursor.schema.clone(), cursor.binary))
    }

    /// Ends a cursor, or all; whether there was one.
    pub(super) fn close(&self, name: Option<&str>) -> bool {
        let mut cursors = self.0.lock();
        match name {
            Some(name) => cursors.remove(name).is_some(),
            None => {
                cursors.clear();
                true
            }
        }
    }

    /// Ends those that were declared without HOLD.
    pub(super) fn end_of_transaction(&self) {
        self.0.lock().retain(|_, cursor| cursor.hold);
    }

    /// The next rows of a cursor.
    pub(super) async fn fetch(&self, fetch: &Fetch, format: &Format) -> PgWireResult<Response> {
        let missing = || user("34000", format!("cursor \"{}\" does not exist", fetch.name));
        let mut cursor = self.0.lock().remove(&fetch.name).ok_or_else(missing)?;
        let count = match cursor.before(fetch.by) {
            Ok((skipped, count)) => {
                // A cursor that fails is gone: its statement ended.
                cursor.skip(skipped).await?;
                count
            }
            Err(error) => {
                self.0.lock().insert(fetch.name.clone(), cursor);
                return Err(error);
            }
        };
        if fetch.leaves_out {
            let moved = cursor.skip(count.unwrap_or(u64::MAX)).await?;
            self.0.lock().insert(fetch.name.clone(), cursor);
            let moved = usize::try_from(moved).unwrap_or(usize::MAX);
            return Ok(Response::Execution(Tag::new("MOVE").with_rows(moved)));
        }
        let fields = match cursor.binary {
            true => values::fields(&cursor.schema, &Format::UnifiedBinary),
            false => values::fields(&cursor.schema, format),
        };
        let fields = Arc::new(fields);
        let reading = Reading {
            home: self.0.clone(),
            name: fetch.name.clone(),
            cursor: Some(cursor),
            left: count.unwrap_or(u64::MAX),
            fields: fields.clone(),
        };
        let mut response = QueryResponse::new(fields, reading.rows());
        response.set_command_tag("FETCH");
        Ok(Response::Query(response))
    }
}

impl Cursor {
    /// Rows to leave out, and rows to give then.
    fn before(&self, by: By) -> PgWireResult<(u64, Option<u64>)> {
        let backward = || user("55000", "cursors go forward only, their rows are not kept");
        match by {
            By::Forward(count) => Ok((0, count)),
            By::Absolute(row) if row > self.position => Ok((row - self.position - 1, Some(1))),
            By::Relative(rows) if rows > 0 => Ok((rows - 1, Some(1))),
            By::Absolute(_) | By::Relative(_) => Err(backward()),
        }
    }

    /// At most so many rows; `None` at the end.
    async fn next(&mut self, most: u64) -> PgWireResult<Option<RecordBatch>> {
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(ROWS_AT_ONCE);
        loop {
            if let Some(rest) = self.rest.take().filter(|rest| rest.num_rows() > 0) {
                let now = most.min(rest.num_rows());
                self.rest = Some(rest.slice(now, rest.num_rows() - now));
                self.position += now as u64;
                return Ok(Some(rest.slice(0, now)));
            }
            let Some(running) = &mut self.running else {
                return Ok(None);
            };
            match running.next().await {
                Some(batch) => self.rest = Some(batch?),
                None => self.running = None,
            }
        }
    }

    /// Leaves out rows; how many there were.
    async fn skip(&mut self, rows: u64) -> PgWireResult<u64> {
        let mut left = rows;
        while left > 0 {
            match self.next(left).await? {
                Some(batch) => left -= batch.num_rows() as u64,
                None => break,
            }
        }
        Ok(rows - left)
    }
}

/// A cursor while its rows are sent. It goes home when they are; if the client goes away, it ends.
struct Reading {
    home: Map,
    name: String,
    cursor: Option<Cursor>,
    left: u64,
    fields: Arc<Vec<FieldInfo>>,
}

impl Reading {
    fn rows(self) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
        let pieces = stream::unfold(self, |mut reading| async {
            let piece = reading.piece().await?;
            Some((piece, reading))
        });
        futures::StreamExt::flat_map(pieces, |piece| match piece {
            Ok(rows) => stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err::<DataRow, PgWireError>(error)]),
        })
    }

    async fn piece(&mut self) -> Option<PgWireResult<Vec<DataRow>>> {
        let cursor = self.cursor.as_mut()?;
        let next = match self.left {
            0 => Ok(None),
            left => cursor.next(left).await,
        };
        match next {
            Ok(Some(batch)) => {
                self.left -= batch.num_rows() as u64;
                Some(Ok(values::rows(&batch, &self.fields)))
            }
            Ok(None) => {
                let cursor = self.cursor.take()?;
                self.home.lock().insert(self.name.clone(), cursor);
                None
            }
            Err(error) => {
                self.cursor = None;
                Some(Err(error))
            }
        }
    }
}

/// `DECLARE name [options] CURSOR [WITH HOLD] FOR query`, its words and its text behind FOR.
pub(super) fn declared(words: &[String], query: &str) -> Result<Declared, &'static str> {
    const WANTED: &str = "DECLARE name CURSOR FOR query is wanted";
    let [_, name, options @ ..] = words else {
        return Err(WANTED);
    };
    let mut declared = Declared {
        name: folded(name),
        query: query.to_owned(),
        binary: false,
        hold: false,
    };
    let options: Vec<String> = options.iter().map(|word| word.to_uppercase()).collect();
    let mut before = "";
    for option in &options {
        match (before, option.as_str()) {
            ("NO", "SCROLL") | (_, "INSENSITIVE" | "ASENSITIVE" | "CURSOR" | "NO") => {}
            (_, "SCROLL") => return Err("cursors go forward only: leave SCROLL out"),
            (_, "WITH" | "WITHOUT") => {}
            (_, "BINARY") => declared.binary = true,
            (before, "HOLD") => declared.hold = before == "WITH",
            _ => return Err(WANTED),
        }
        before = option.as_str();
    }
    match options.iter().any(|option| option == "CURSOR") && !query.trim().is_empty() {
        true => Ok(declared),
        false => Err(WANTED),
    }
}

/// `FETCH [direction] [FROM | IN] name`, and the same of MOVE.
pub(super) fn fetched(words: &[String]) -> Result<Fetch, &'static str> {
    const WANTED: &str =
        "FETCH [NEXT | n | ALL | FORWARD n | ABSOLUTE n | RELATIVE n] FROM name is wanted";
    const BACKWARD: &str = "cursors go forward only, their rows are not kept";
    let [verb, direction @ .., name] = words else {
        return Err(WANTED);
    };
    let direction: Vec<String> = direction.iter().map(|word| word.to_uppercase()).collect();
    let direction: Vec<&str> = direction
        .iter()
        .map(String::as_str)
        .filter(|word| !matches!(*word, "FROM" | "IN"))
        .collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| WANTED);
    let by = match direction[..] {
        [] | ["NEXT" | "FORWARD"] => By::Forward(Some(1)),
        ["ALL"] | ["FORWARD", "ALL"] => By::Forward(None),
        ["FIRST"] => By::Absolute(1),
        ["PRIOR" | "LAST" | "BACKWARD" | "-", ..] | [_, "-", ..] => return Err(BACKWARD),
        [count] | ["FORWARD", count] => By::Forward(Some(number(count)?)),
        ["ABSOLUTE", row] => By::Absolute(number(row)?),
        ["RELATIVE", rows] => By::Relative(number(rows)?),
        _ => return Err(WANTED),
    };
    Ok(Fetch {
        name: folded(name),
        by,
        leaves_out: verb.eq_ignore_ascii_case("MOVE"),
    })
}

/// A name as it counts: in small letters unless it stands in quotes.
pub(super) fn folded(name: &str) -> String {
    match name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    {
        Some(inside) => inside.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn directions_are_understood() {
        for (text, by) in [
            ("FETCH c", By::Forward(Some(1))),
            ("FETCH NEXT FROM c", By::Forward(Some(1))),
            ("FETCH 10 IN c", By::Forward(Some(10))),
            ("fetch forward 10 from c", By::Forward(Some(10))),
            ("FETCH FORWARD ALL FROM c", By::Forward(None)),
            ("MOVE ALL c", By::Forward(None)),
            ("MOVE ABSOLUTE 5 FROM c", By::Absolute(5)),
        ] {
            let fetch = fetched(&words(text)).unwrap();
            assert_eq!((fetch.by, fetch.name.as_str()), (by, "c"), "{text}");
            assert_eq!(fetch.leaves_out, text.starts_with("MOVE"));
        }
        for bad in [
            "FETCH",
            "FETCH PRIOR FROM c",
            "FETCH - 1 FROM c",
            "FETCH many FROM c",
        ] {
            assert!(fetched(&words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_is_declared_with_its_options() {
        let found = declared(
            &words("DECLARE \"My\" BINARY NO SCROLL CURSOR WITH HOLD"),
            "SELECT 1",
        );
        let wanted = Declared {
            name: "My".to_owned(),
            query: "SELECT 1".to_owned(),
            binary: true,
            hold: true,
        };
        assert_eq!(found, Ok(wanted));
        assert!(
            !declared(&words("DECLARE C CURSOR WITHOUT HOLD"), "x")
                .unwrap()
                .hold
        );
        assert_eq!(declared(&words("DECLARE C CURSOR"), "x").unwrap().name, "c");
        for bad in [
            "DECLARE",
            "DECLARE c",
            "DECLARE c SCROLL CURSOR",
            "DECLARE c TABLE",
        ] {
            assert!(declared(&words(bad), "x").is_err(), "{bad}");
        }
    }
}
