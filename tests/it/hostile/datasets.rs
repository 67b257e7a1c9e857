//! Datasets whose parts do not fit.

use super::build::{buffers, create_params, good, set, three, times, write_params};
use super::cases::Case;
use super::cases::Expect::{self, AnyError, Naming};
use rmpv::Value;
use tests::wire::{map, request};

/// Datasets whose parts do not fit.
pub(super) fn datasets() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, expect: Expect, change: &dyn Fn(Value) -> Value| {
        let body = request("Write", write_params("EVIL/1Min/X", change));
        cases.push(Case::msgpack(&format!("dataset: {name}"), body, expect));
    };
    let texts = |list: &[&str]| Value::Array(list.iter().map(|t| Value::from(*t)).collect());
    let key = "EVIL/1Min/X";
    add("nothing in it", AnyError, &|_| map(vec![]));
    add("not a map", AnyError, &|_| 5.into());
    add("nil", AnyError, &|_| Value::Nil);
    add("a name missing", AnyError, &|d| {
        set(d, "names", texts(&["Epoch"]))
    });
    add("a name too many", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", "V", "W"]))
    });
    add("a type missing", AnyError, &|d| {
        set(d, "types", texts(&["i8"]))
    });
    add("no names", AnyError, &|d| set(d, "names", Value::Nil));
    add("no types", AnyError, &|d| set(d, "types", Value::Nil));
    add("no data", AnyError, &|d| set(d, "data", Value::Nil));
    add("no columns at all", AnyError, &|d| {
        set(
            set(set(d, "names", texts(&[])), "types", texts(&[])),
            "data",
            texts(&[]),
        )
    });
    add("a column missing", AnyError, &|d| {
        set(d, "data", buffers(&[16]))
    });
    add("a column too many", AnyError, &|d| {
        set(d, "data", buffers(&[16, 8, 8]))
    });
    add("a column one byte short", AnyError, &|d| {
        set(d, "data", buffers(&[16, 7]))
    });
    add("a column one byte long", AnyError, &|d| {
        set(d, "data", buffers(&[17, 8]))
    });
    add("a column empty", AnyError, &|d| {
        set(d, "data", buffers(&[16, 0]))
    });
    add("a column too long by rows", AnyError, &|d| {
        set(d, "data", buffers(&[16, 12]))
    });
    add("data of numbers", AnyError, &|d| {
        set(d, "data", Value::Array(vec![1.into(), 2.into()]))
    });
    add("no Epoch", Naming("Epoch"), &|d| {
        set(d, "names", texts(&["Time", "V"]))
    });
    add("Epoch in small letters", Naming("Epoch"), &|d| {
        set(d, "names", texts(&["epoch", "V"]))
    });
    add("two Epochs", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", "Epoch"]))
    });
    add("Epoch i4", Naming("Epoch"), &|d| {
        set(
            set(d, "types", texts(&["i4", "f4"])),
            "data",
            buffers(&[8, 8]),
        )
    });
    add("Epoch f8", Naming("Epoch"), &|d| {
        set(d, "types", texts(&["f8", "f4"]))
    });
    add("double column", AnyError, &|d| {
        three(d, &["Epoch", "V", "V"])
    });
    add("empty column name", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", ""]))
    });
    add("column name with NUL", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", "V\0"]))
    });
    add("column name with newline", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", "V\n"]))
    });
    add("endless column name", AnyError, &|d| {
        set(d, "names", texts(&["Epoch", &"V".repeat(256)]))
    });
    for code in [
        "", "f2", "b1", "S8", "U8", "M8", "c16", "O", "i3", "f44", "<f4;", "F4", "V4",
    ] {
        add(&format!("type {code:?}"), Naming("type"), &|d| {
            set(d, "types", texts(&["i8", code]))
        });
    }
    let slice = |n: i64| map(vec![(key, n.into())]);
    add("slice begins below 0", AnyError, &|d| {
        set(d, "startindex", slice(-1))
    });
    add("slice of -1 rows", AnyError, &|d| {
        set(d, "lengths", slice(-1))
    });
    add("slice beyond the data", AnyError, &|d| {
        set(d, "startindex", slice(1))
    });
    add("slice longer than the data", AnyError, &|d| {
        set(d, "lengths", slice(3))
    });
    add("slice of endless rows", AnyError, &|d| {
        set(d, "lengths", slice(i64::MAX))
    });
    add("slice that overflows", AnyError, &|d| {
        set(
            set(d, "startindex", slice(i64::MAX)),
            "lengths",
            slice(i64::MAX),
        )
    });
    add("slice of other keys", AnyError, &|d| {
        set(d, "lengths", map(vec![("EVIL/1Min/Y", 2.into())]))
    });
    add("no slices", AnyError, &|d| {
        set(set(d, "startindex", map(vec![])), "lengths", map(vec![]))
    });
    add("startindex nil", AnyError, &|d| {
        set(d, "startindex", Value::Nil)
    });
    add("lengths nil", AnyError, &|d| set(d, "lengths", Value::Nil));
    add("startindex is a list", AnyError, &|d| {
        set(d, "startindex", Value::Array(vec![0.into()]))
    });
    add("slices of text", AnyError, &|d| {
        set(d, "lengths", map(vec![(key, "2".into())]))
    });
    for (what, epoch) in [
        ("before 1678", -9_214_646_401i64),
        ("after 2261", 9_214_646_400),
        ("in milliseconds", 1_583_159_400_000),
        ("in nanoseconds", 1_583_159_400_000_000_000),
        ("at the smallest number", i64::MIN),
        ("at the largest number", i64::MAX),
    ] {
        add(&format!("a time {what}"), AnyError, &|d| {
            let times: Vec<u8> = [1_583_159_400, epoch]
                .iter()
                .flat_map(|t| t.to_le_bytes())
                .collect();
            set(
                d,
                "data",
                Value::Array(vec![Value::Binary(times), Value::Binary(vec![0; 8])]),
            )
        });
    }
    add("one good and one bad key", AnyError, &|d| {
        let both =
            |a: i64, b: i64| map(vec![("EVIL2/1Min/X", a.into()), ("../1Min/evil", b.into())]);
        set(set(d, "startindex", both(0, 1)), "lengths", both(1, 1))
    });
    add("too many columns", AnyError, &|d| {
        let names: Vec<String> = (0..1100).map(|i| format!("C{i}")).collect();
        let names = || std::iter::once("Epoch").chain(names.iter().map(String::as_str));
        let types = std::iter::once("i8").chain(names().skip(1).map(|_| "f4"));
        let data = std::iter::once(16)
            .chain(names().skip(1).map(|_| 8))
            .collect::<Vec<_>>();
        let d = set(d, "names", Value::Array(names().map(Value::from).collect()));
        set(
            set(d, "types", Value::Array(types.map(Value::from).collect())),
            "data",
            buffers(&data),
        )
    });
    for nanos in [-1i32, 1_000_000_000, i32::MIN, i32::MAX] {
        let change = |d: Value| {
            let d = three(d, &["Epoch", "V", "Nanoseconds"]);
            let d = set(d, "types", texts(&["i8", "f4", "i4"]));
            let nanos = [0, nanos].iter().flat_map(|n| n.to_le_bytes()).collect();
            set(
                d,
                "data",
                Value::Array(vec![
                    times(),
                    Value::Binary(vec![0; 8]),
                    Value::Binary(nanos),
                ]),
            )
        };
        let entry = map(vec![
            ("dataset", change(good())),
            ("is_variable_length", true.into()),
        ]);
        let body = request("Write", map(vec![("requests", Value::Array(vec![entry]))]));
        cases.push(Case::msgpack(
            &format!("tick with {nanos} nanoseconds"),
            body,
            Naming("nano"),
        ));
    }
    // The good bucket must refuse rows of another shape.
    for (what, names, types, sizes) in [
        (
            "a column missing",
            &["Epoch", "Open"][..],
            &["i8", "f4"][..],
            &[16, 8][..],
        ),
        (
            "a column too many",
            &["Epoch", "Open", "Volume", "X"],
            &["i8", "f4", "i4", "f4"],
            &[16, 8, 8, 8],
        ),
        (
            "other columns",
            &["Epoch", "Open", "Price"],
            &["i8", "f4", "f4"],
            &[16, 8, 8],
        ),
        (
            "text for a number",
            &["Epoch", "Open", "Volume"],
            &["i8", "f4", "U16"],
            &[16, 8, 128],
        ),
    ] {
        let change = |d: Value| {
            let d = set(set(d, "names", texts(names)), "types", texts(types));
            let mut data = buffers(sizes);
            if let Value::Array(list) = &mut data {
                list[0] = times();
            }
            set(d, "data", data)
        };
        let body = request("Write", write_params("GOOD/1Min/OHLCV", change));
        cases.push(Case::msgpack(
            &format!("to the good bucket: {what}"),
            body,
            AnyError,
        ));
    }
    for (what, types, names) in [
        ("unknown type", &["f3"][..], &["V"][..]),
        ("types missing", &[], &["V"]),
        ("names missing", &["f4"], &[]),
        ("double name", &["f4", "f4"], &["V", "V"]),
        ("empty name", &["f4"], &[""]),
    ] {
        let key = "EVIL/1Min/X:Symbol/Timeframe/AttributeGroup";
        let body = request("Create", create_params(key, types, names));
        cases.push(Case::msgpack(&format!("create: {what}"), body, AnyError));
    }
    cases
}
