//! What a test asks a [`Harness`], and what it demands of the answers.

use std::fmt::Write as _;
use std::time::Duration;

use model::ColumnBatch;
use plugin_host::{DeadLetter, InstanceStatus};
use plugin_sdk::StateValue;
use serde::de::DeserializeOwned;

use crate::bench::{Message, printable};
use crate::harness::Harness;
use crate::logs::{self, LogLine};
use crate::table::{Table, lines, parse_key};
use crate::watch::Fire;

impl<T> Harness<T> {
    /// The rows of a bucket; `None` if there is no such bucket.
    #[track_caller]
    pub fn rows(&mut self, key: &str) -> Option<ColumnBatch> {
        let bucket = parse_key(key);
        let bucket = self.must("rows", bucket);
        let found = self.bench.rows(&bucket);
        self.must("rows", found)
    }

    /// A bucket has these rows and no others: times, columns, types, values.
    #[track_caller]
    pub fn assert_rows(&mut self, key: &str, wanted: Table) -> &mut Self {
        let Some(found) = self.rows(key) else {
            let there = self.bench.keys().unwrap_or_default();
            self.fail(&format!("there is no bucket {key}; there are {there:?}"));
        };
        let wanted = wanted.batch();
        if found.schema() != wanted.schema() {
            self.fail(&format!(
                "{key} has the columns {:?}, wanted are {:?}",
                found.schema(),
                wanted.schema()
            ));
        }
        if let Some(text) = difference(&lines(&wanted), &lines(&found)) {
            self.fail(&format!("the rows of {key} differ:\n{text}"));
        }
        self
    }

    /// Nothing was written to a bucket.
    #[track_caller]
    pub fn assert_no_rows(&mut self, key: &str) -> &mut Self {
        if let Some(found) = self.rows(key).filter(|rows| !rows.is_empty()) {
            let text = lines(&found).join("\n  ");
            self.fail(&format!("{key} has rows, none are wanted:\n  {text}"));
        }
        self
    }

    /// A value of the state.
    #[track_caller]
    pub fn state(&mut self, key: impl AsRef<[u8]>) -> Option<StateValue> {
        self.state_of("", key)
    }

    /// A value of the state that belongs to a bucket (`state_scope: key`).
    #[track_caller]
    pub fn state_of(&mut self, bucket: &str, key: impl AsRef<[u8]>) -> Option<StateValue> {
        let all = self.bench.state();
        let all = self.must("state", all);
        let mut found = all
            .into_iter()
            .filter(|(of, name, _)| of == bucket && name == key.as_ref());
        found.next().map(|(_, _, value)| value)
    }

    /// A value of the state that was set with `put_as`.
    #[track_caller]
    pub fn state_as<V: DeserializeOwned>(&mut self, key: impl AsRef<[u8]>) -> Option<V> {
        let key = key.as_ref();
        match self.state(key)? {
            StateValue::Bytes(bytes) => match rmp_serde::from_slice(&bytes) {
                Ok(value) => Some(value),
                Err(why) => self.fail(&format!("state \"{}\": {why}", printable(key))),
            },
            StateValue::Counter(count) => self.fail(&format!(
                "state \"{}\" is the counter {count}, not a value",
                printable(key)
            )),
        }
    }

    /// A counter of the state has this sum; one that is not there has 0.
    #[track_caller]
    pub fn assert_counter(&mut self, key: impl AsRef<[u8]>, wanted: i64) -> &mut Self {
        let key = key.as_ref();
        let found = match self.state(key) {
            Some(StateValue::Counter(count)) => count,
            None => 0,
            Some(StateValue::Bytes(_)) => {
                self.fail(&format!("state \"{}\" is no counter", printable(key)))
            }
        };
        if found != wanted {
            let key = printable(key);
            self.fail(&format!("counter \"{key}\" is {found}, wanted is {wanted}"));
        }
        self
    }

    /// A key of the state has these bytes.
    #[track_caller]
    pub fn assert_state(&mut self, key: impl AsRef<[u8]>, wanted: impl AsRef<[u8]>) -> &mut Self {
        let key = key.as_ref();
        let wanted = printable(wanted.as_ref());
        let found = match self.state(key) {
            Some(StateValue::Bytes(bytes)) => printable(&bytes),
            Some(StateValue::Counter(count)) => format!("the counter {count}"),
            None => "nothing".into(),
        };
        if found != wanted {
            let key = printable(key);
            self.fail(&format!("state \"{key}\" is {found}, wanted is {wanted}"));
        }
        self
    }

    /// Nothing is kept under this key.
    #[track_caller]
    pub fn assert_no_state(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        let key = key.as_ref();
        if let Some(found) = self.state(key) {
            let key = printable(key);
            self.fail(&format!("state \"{key}\" is {found:?}, wanted is nothing"));
        }
        self
    }

    /// Everything that was published, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.bench.messages()
    }

    /// The messages of a stream are these.
    #[track_caller]
    pub fn assert_messages<M: AsRef<[u8]>>(&mut self, stream: &str, wanted: &[M]) -> &mut Self {
        let wanted: Vec<String> = wanted.iter().map(|one| printable(one.as_ref())).collect();
        let all = self.messages().into_iter();
        let found = all.filter(|message| message.stream == stream);
        let found: Vec<String> = found.map(|message| printable(&message.payload)).collect();
        if let Some(text) = difference(&wanted, &found) {
            self.fail(&format!("the messages of \"{stream}\" differ:\n{text}"));
        }
        self
    }

    /// Lines of the log that name the instance: the plugin's, and the host's about it.
    pub fn logs(&self) -> Vec<LogLine> {
        logs::of(&self.bench.id)
    }

    /// A line of the log has this text in it. Lines of a plugin in another process may come later.
    #[track_caller]
    pub fn assert_log(&mut self, text: &str) -> &mut Self {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !self.logs().iter().any(|line| line.text.contains(text)) {
            if std::time::Instant::now() >= end {
                self.fail(&format!("no line of the log has \"{text}\""));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self
    }

    /// Events that were given up.
    #[track_caller]
    pub fn dead_letters(&mut self) -> Vec<DeadLetter> {
        let all = self.bench.letters();
        self.must("dead letters", all)
    }

    /// No event was given up.
    #[track_caller]
    pub fn assert_no_dead_letters(&mut self) -> &mut Self {
        let all = self.dead_letters();
        if !all.is_empty() {
            let texts: Vec<_> = all.iter().map(|letter| &letter.message).collect();
            self.fail(&format!("events were given up: {texts:?}"));
        }
        self
    }

    /// One event was given up, with this text in its last error.
    #[track_caller]
    pub fn assert_dead_letter(&mut self, text: &str) -> &mut Self {
        let all = self.dead_letters();
        if all.len() != 1 || !all[0].message.contains(text) {
            let texts: Vec<_> = all.iter().map(|letter| &letter.message).collect();
            self.fail(&format!(
                "one dead letter with \"{text}\" is wanted, there are {texts:?}"
            ));
        }
        self
    }

    /// Everything below this position has fired.
    #[track_caller]
    pub fn cursor(&mut self) -> u64 {
        self.status().cursor
    }

    /// Everything that was fed has fired, and is behind the cursor.
    #[track_caller]
    pub fn assert_caught_up(&mut self) -> &mut Self {
        let status = self.status();
        if status.lag_bytes != 0 {
            self.fail(&format!("{} bytes of log have not fired", status.lag_bytes));
        }
        self
    }

    /// So many timers are pending.
    #[track_caller]
    pub fn assert_timers(&mut self, wanted: u64) -> &mut Self {
        let found = self.status().timers;
        if found != wanted {
            self.fail(&format!("{found} timers are pending, wanted are {wanted}"));
        }
        self
    }

    /// What `mkts plugin list` shows.
    #[track_caller]
    pub fn status(&mut self) -> InstanceStatus {
        let done = self.bench.start();
        self.must("start", done);
        let status = self.bench.status();
        self.must("status", status)
    }

    /// Every call of `fire` so far, over all restarts.
    pub fn fires(&self) -> Vec<Fire> {
        self.bench.fires()
    }

    /// Wall clock of the server (ns).
    pub fn now(&self) -> i64 {
        self.bench.now()
    }

    /// The host, for what has no method here.
    #[track_caller]
    pub fn host(&mut self) -> plugin_host::Host {
        let host = self.bench.host();
        self.must("start", host)
    }
}

/// Where two lists of lines differ, with what is around the first difference; `None` if they do not.
pub(crate) fn difference(wanted: &[String], found: &[String]) -> Option<String> {
    /// Lines shown around the first difference.
    const AROUND: usize = 4;
    let longest = wanted.len().max(found.len());
    let at = (0..longest).find(|at| wanted.get(*at) != found.get(*at))?;
    let mut out = format!(
        "  {} wanted, {} found, line {} is the first that differs",
        wanted.len(),
        found.len(),
        at + 1
    );
    let range = at.saturating_sub(AROUND)..(at + AROUND + 1).min(longest);
    for row in range {
        let (w, f) = (wanted.get(row), found.get(row));
        if w == f {
            // Writing to a String cannot fail.
            let _ = write!(out, "\n    {}", w.map_or("", String::as_str));
            continue;
        }
        if let Some(line) = w {
            let _ = write!(out, "\n  - {line}");
        }
        if let Some(line) = f {
            let _ = write!(out, "\n  + {line}");
        }
    }
    Some(out)
}
