//! `mkts_plugin.h` is the tables of this crate, and a C compiler agrees on every byte of them (T1).
//!
//! `MKTS_WRITE_HEADER=1 cargo test -p plugin-abi` writes the header anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // test files are no files of a store

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use plugin_abi::{CONSTANTS, Call, Field, TABLES, Table};

const HEAD: &str = include_str!("header_head.h");
const TAIL: &str = include_str!("header_tail.h");

fn header_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/mkts_plugin.h")
}

/// A type as C writes it, with the space before a name.
fn c_type(ty: &str) -> String {
    let ty = ty.replace(' ', "");
    for (prefix, qualifier) in [("*const", "const "), ("*mut", "")] {
        if let Some(inner) = ty.strip_prefix(prefix) {
            return match inner {
                // Bytes are written as text in C.
                "u8" => format!("{qualifier}char *"),
                inner => format!("{qualifier}{}*", c_type(inner)),
            };
        }
    }
    match ty.as_str() {
        "u16" | "u32" | "u64" => format!("uint{}_t ", &ty[1..]),
        "i32" | "i64" => format!("int{}_t ", &ty[1..]),
        "f64" => "double ".into(),
        "c_void" => "void ".into(),
        "" => "void ".into(),
        "Option<ScanRow>" => "mkts_scan_row ".into(),
        "Option<QueryRows>" => "mkts_query_rows ".into(),
        _ => {
            let known = TABLES.iter().find(|table| {
                let name = table.name.trim_start_matches("mkts_").replace('_', "");
                name == ty.to_lowercase()
            });
            let known = known.unwrap_or_else(|| panic!("no C type for {ty}"));
            format!("{} ", known.name)
        }
    }
}

/// A member's name in C; `type` is a word of Rust.
fn c_name(name: &str) -> &str {
    if name == "ty" { "type" } else { name }
}

fn comment(out: &mut String, indent: &str, doc: &[&str]) {
    for (at, line) in doc.iter().enumerate() {
        let open = if at == 0 { "/*" } else { " *" };
        let close = if at + 1 == doc.len() { " */" } else { "" };
        writeln!(out, "{indent}{open}{}{close}", line.replace('`', "'")).unwrap();
    }
}

fn signature(call: &Call) -> String {
    let arguments: Vec<String> = call
        .arguments
        .iter()
        .map(|(name, ty)| format!("{}{name}", c_type(ty)))
        .collect();
    let arguments = match arguments.is_empty() {
        true => "void".into(),
        false => arguments.join(", "),
    };
    format!("{}(*{})({arguments});", c_type(call.answer), call.name)
}

fn members(out: &mut String, table: &Table) {
    for Field { name, doc, ty, .. } in table.fields {
        comment(out, "    ", doc);
        writeln!(out, "    {}{};", c_type(ty), c_name(name)).unwrap();
    }
    for call in table.calls {
        comment(out, "    ", call.doc);
        writeln!(out, "    {}", signature(call)).unwrap();
    }
}

fn header() -> String {
    let mut out = HEAD.to_owned();
    for constant in CONSTANTS {
        comment(&mut out, "", constant.doc);
        let unsigned = if constant.value < 0 || constant.value > 0xffff {
            format!("({})", constant.value)
        } else {
            constant.value.to_string()
        };
        writeln!(out, "#define MKTS_{} {unsigned}", constant.name).unwrap();
    }
    writeln!(out).unwrap();
    for table in TABLES {
        writeln!(out, "typedef struct {0} {0};", table.name).unwrap();
    }
    out.push_str(
        "\n/* Takes one key of a scan; anything but 0 ends it. 'kind' is one of the MKTS_STATE_\n \
         * numbers, which says whether 'bytes' or 'counter' has the value. */\n\
         typedef int32_t (*mkts_scan_row)(void *user, mkts_str key, uint32_t kind, mkts_str bytes, \
         int64_t counter);\n\
         /* Takes the rows of a query, lent for the call. */\n\
         typedef int32_t (*mkts_query_rows)(void *user, const mkts_batch *batch);\n",
    );
    for table in TABLES {
        out.push('\n');
        comment(&mut out, "", table.doc);
        writeln!(out, "struct {} {{ /* {} bytes */", table.name, table.size).unwrap();
        members(&mut out, table);
        out.push_str("};\n");
    }
    out + TAIL
}

#[test]
fn the_header_is_written_from_the_tables() {
    let expected = header();
    if std::env::var_os("MKTS_WRITE_HEADER").is_some() {
        std::fs::write(header_path(), &expected).unwrap();
    }
    let found = std::fs::read_to_string(header_path()).unwrap();
    let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        found == expected,
        "include/mkts_plugin.h is old: run MKTS_WRITE_HEADER=1 cargo test -p plugin-abi; {differs:?}"
    );
}

/// The numbers of the border: a struct may grow at its end when it has a `size`, never change.
#[test]
fn sizes_are_those_that_were_promised() {
    let promised = [
        ("mkts_str", 16),
        ("mkts_buf", 32),
        ("mkts_status", 48),
        ("mkts_col", 32),
        ("mkts_batch", 48),
        ("mkts_event", 104),
        // 48 bytes and the time zone.
        ("mkts_init", 64),
        ("mkts_source_out", 40),
    ];
    for (name, size) in promised {
        let table = TABLES.iter().find(|table| table.name == name).unwrap();
        assert_eq!(table.size, size, "{name}");
    }
}

/// What the C compiler says, as `name value` lines.
fn probe() -> String {
    let mut source = String::from(
        "#include <stdio.h>\n#include \"mkts_plugin.h\"\n\
         /* The types of the callbacks, as Rust has them. */\n\
         static int32_t scan(void *u, mkts_str k, uint32_t n, mkts_str b, int64_t c) {\n\
         (void)u; (void)k; (void)n; (void)b; (void)c; return 0; }\n\
         static mkts_scan_row probe_scan = scan;\n\
         int main(void) {\n(void)probe_scan;\n",
    );
    for table in TABLES {
        writeln!(source, "printf(\"{0} %zu\\n\", sizeof({0}));", table.name).unwrap();
        let fields = table.fields.iter().map(|field| c_name(field.name));
        for member in fields.chain(table.calls.iter().map(|call| call.name)) {
            writeln!(
                source,
                "printf(\"{0}.{member} %zu %zu\\n\", offsetof({0}, {member}), sizeof((({0} *)0)->{member}));",
                table.name
            )
            .unwrap();
        }
    }
    for constant in CONSTANTS {
        writeln!(
            source,
            "printf(\"MKTS_{0} %lld\\n\", (long long)MKTS_{0});",
            constant.name
        )
        .unwrap();
    }
    source + "return 0; }\n"
}

/// The same from Rust.
fn expected() -> String {
    let mut out = String::new();
    for table in TABLES {
        writeln!(out, "{} {}", table.name, table.size).unwrap();
        let mut offsets: Vec<(&str, usize)> = table
            .fields
            .iter()
            .map(|field| (c_name(field.name), field.offset))
            .collect();
        offsets.extend(table.calls.iter().map(|call| (call.name, call.offset)));
        for (at, (member, offset)) in offsets.iter().enumerate() {
            // No struct has a hole, so a member's size is the distance to the next.
            let end = offsets.get(at + 1).map_or(table.size, |next| next.1);
            writeln!(out, "{}.{member} {offset} {}", table.name, end - offset).unwrap();
        }
    }
    for constant in CONSTANTS {
        writeln!(out, "MKTS_{} {}", constant.name, constant.value).unwrap();
    }
    out
}

#[test]
fn a_c_compiler_sees_the_same_layout() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&source, probe()).unwrap();
    let include = header_path();
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(include.parent().unwrap())
        .arg("-o")
        .args([&program, &source])
        .output();
    let built = match built {
        Ok(built) => built,
        Err(error) => {
            eprintln!("SKIPPED: no C compiler \"cc\" to compare with: {error}");
            return;
        }
    };
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let output = Command::new(&program).output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.lines().count() > 150, "{found}");
    assert_eq!(found, expected());
}
