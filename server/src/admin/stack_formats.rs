//! Stacks and how often each was met, as the tools read them that show such.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::call::File;

/// A stack that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stack {
    pub(super) thread: String,
    /// The innermost first.
    pub(super) frames: Vec<Frame>,
    pub(super) count: u64,
}

/// A function on a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// A line for each stack, outermost first, with the thread's name in front: what `flamegraph.pl`,
/// inferno and speedscope read.
fn lines(stacks: &[Stack]) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for stack in stacks {
        // A semicolon parts frames.
        let frames = stack.frames.iter().rev().map(|frame| frame.name.as_str());
        let names = std::iter::once(stack.thread.as_str()).chain(frames);
        let names: Vec<String> = names.map(|name| name.replace(';', ",")).collect();
        *counts.entry(names.join(";")).or_default() += stack.count;
    }
    let lines = counts
        .iter()
        .map(|(names, count)| format!("{names} {count}"));
    lines.collect()
}

/// Folded stacks.
pub(super) fn folded(stacks: &[Stack], _hertz: u64) -> Result<File, String> {
    let mut text = String::new();
    for line in lines(stacks) {
        let _ = writeln!(text, "{line}");
    }
    Ok(File {
        kind: "text/plain; charset=utf-8",
        body: text.into(),
    })
}

/// A picture for a browser.
pub(super) fn flamegraph(stacks: &[Stack], hertz: u64) -> Result<File, String> {
    let kind = "image/svg+xml";
    let lines = lines(stacks);
    if lines.is_empty() {
        let body = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"600\" height=\"40\">\
                    <text x=\"10\" y=\"25\">no thread ran while stacks were sampled</text></svg>\n";
        let body = body.into();
        return Ok(File { kind, body });
    }
    let mut options = pprof::flamegraph::Options::default();
    options.title = format!("mkts {}: processor time", env!("CARGO_PKG_VERSION"));
    options.count_name = format!("samples of 1/{hertz} s");
    let mut svg = Vec::new();
    let lines = lines.iter().map(String::as_str);
    pprof::flamegraph::from_lines(&mut options, lines, &mut svg).map_err(|e| e.to_string())?;
    Ok(File {
        kind,
        body: svg.into(),
    })
}

/// The format of `go tool pprof`: profile.proto, compressed.
pub(super) fn pprof(stacks: &[Stack], hertz: u64) -> Result<File, String> {
    let message = Builder::default().build(stacks, hertz).encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let body = gzip.write_all(&message).and_then(|()| gzip.finish());
    Ok(File {
        kind: "application/octet-stream",
        body: body.map_err(|error| error.to_string())?.into(),
    })
}

/// Of google/pprof's profile.proto, what is used here.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Strings, functions and places stand in tables; the first string is empty, ids begin at 1.
#[derive(Default)]
struct Builder {
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<(u64, u32), u64>,
    profile: Profile,
}

impl Builder {
    fn build(mut self, stacks: &[Stack], hertz: u64) -> Profile {
        self.string("");
        let samples = ValueType {
            kind: self.string("samples"),
            unit: self.string("count"),
        };
        let time = ValueType {
            kind: self.string("cpu"),
            unit: self.string("nanoseconds"),
        };
        let period = i64::try_from(1_000_000_000 / hertz.max(1)).unwrap_or(i64::MAX);
        let key = self.string("thread");
        for stack in stacks {
            let count = i64::try_from(stack.count).unwrap_or(i64::MAX);
            let location_id = stack.frames.iter().map(|f| self.location(f)).collect();
            let str = self.string(&stack.thread);
            self.profile.sample.push(Sample {
                location_id,
                value: vec![count, count.saturating_mul(period)],
                label: vec![Label { key, str }],
            });
        }
        self.profile.sample_type = vec![samples, time];
        self.profile.period_type = Some(time);
        self.profile.period = period;
        self.profile
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let table = &mut self.profile.string_table;
        let at = i64::try_from(table.len()).unwrap_or(0);
        table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        let (name, filename) = (self.string(&frame.name), self.string(&frame.file));
        let functions = &mut self.profile.function;
        let function_id = *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(Function { id, name, filename });
            id
        });
        let locations = &mut self.profile.location;
        let place = self.locations.entry((function_id, frame.line));
        *place.or_insert_with(|| {
            let id = locations.len() as u64 + 1;
            let line = i64::from(frame.line);
            let line = vec![Line { function_id, line }];
            locations.push(Location { id, line });
            id
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn stacks() -> Vec<Stack> {
        let frame = |name: &str, line| Frame {
            name: name.into(),
            file: "a.rs".into(),
            line,
        };
        let stack = |thread: &str, frames, count| Stack {
            thread: thread.into(),
            frames,
            count,
        };
        vec![
            stack(
                "mkts-io",
                vec![frame("inner", 3), frame("a<[u8; 4]>", 1)],
                2,
            ),
            stack(
                "mkts-io",
                vec![frame("inner", 9), frame("a<[u8; 4]>", 1)],
                1,
            ),
            stack("merge", vec![], 4),
        ]
    }

    fn text(file: &File) -> String {
        String::from_utf8(file.body.to_vec()).unwrap()
    }

    #[test]
    fn folded_lines_begin_with_the_thread_and_end_with_the_count() {
        let file = folded(&stacks(), 99).unwrap();
        assert_eq!(text(&file), "merge 4\nmkts-io;a<[u8, 4]>;inner 3\n");
    }

    #[test]
    fn a_flamegraph_is_a_picture_also_of_nothing() {
        let svg = text(&flamegraph(&stacks(), 99).unwrap());
        assert!(svg.contains("<svg") && svg.contains("inner"), "{svg}");
        assert!(text(&flamegraph(&[], 99).unwrap()).contains("no thread ran"));
    }

    #[test]
    fn pprof_reads_back() {
        let file = pprof(&stacks(), 100).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*file.body)
            .read_to_end(&mut bytes)
            .unwrap();
        let profile = Profile::decode(&*bytes).unwrap();
        assert_eq!(profile.string_table[0], "");
        assert_eq!((profile.function.len(), profile.location.len()), (2, 3));
        let text = |at: i64| &*profile.string_table[usize::try_from(at).unwrap()];
        let [a, b, c] = &profile.sample[..] else {
            panic!("three stacks");
        };
        assert_eq!(
            (&a.value, &c.value),
            (&vec![2, 20_000_000], &vec![4, 40_000_000])
        );
        assert_eq!(text(c.label[0].str), "merge");
        assert_eq!(a.location_id[1], b.location_id[1]);
        let inner = &profile.location[usize::try_from(b.location_id[0]).unwrap() - 1];
        let function = &profile.function[usize::try_from(inner.line[0].function_id).unwrap() - 1];
        assert_eq!((text(function.name), inner.line[0].line), ("inner", 9));
    }
}
