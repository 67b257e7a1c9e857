//! Control files of MarketStore's CSV loader.

use super::{place, run, session};

const TICKS: &str =
    "\\create TEST/1Min/TICK:Symbol/Timeframe/AttributeGroup Bid,Ask/float32 variable\n";

/// Runs a session that loads `csv` with `control` into a bucket of ticks and shows all of it as CSV.
fn loaded(csv: &str, control: &str, code: i32) -> (String, String) {
    let dir = place();
    std::fs::write(dir.path().join("t.csv"), csv).expect("a file");
    std::fs::write(dir.path().join("t.yml"), control).expect("a file");
    let script = format!(
        "{TICKS}\\load TEST/1Min/TICK t.csv t.yml\n\\o out.csv\n\\show TEST/1Min/TICK 1970-01-01\n"
    );
    let said = session(dir.path(), &script).failed(code);
    let rows = std::fs::read_to_string(dir.path().join("out.csv")).expect("\\o wrote it");
    (rows, said)
}

#[test]
fn ticks_with_microseconds_behind_their_times() {
    let control = "firstRowHasColumnNames: true\ntimeFormat: \"20060102 15:04:05\"\n\
                   timeZone: \"UTC\"\n";
    let csv = "Epoch, Bid, Ask\n20161230 21:38:02 390000,1.05185,1.05198\n\
               19700102 21:37:57 140000,1.05185,1.05197\n\
               20161230 21:37:57 140000,1.05185,1.05197\n";
    let (rows, _) = loaded(csv, control, 0);
    // MarketStore reads 139999992 ns back; rows need not come in order.
    assert_eq!(
        rows,
        "1970-01-02 21:37:57.14 +0000 UTC,1.05185,1.05197\n\
         2016-12-30 21:37:57.14 +0000 UTC,1.05185,1.05197\n\
         2016-12-30 21:38:02.39 +0000 UTC,1.05185,1.05198\n"
    );
}

#[test]
fn names_zone_and_format_come_from_the_control_file() {
    let control = "firstRowHasColumnNames: false\ntimeFormat: \"20060102 15:04:05\"\n\
                   timeZone: \"US/Eastern\" # a comment\n\ncolumnNameMap: [Epoch, Bid, Ask]\n";
    let (rows, _) = loaded("20161230 21:37:57 140000,1.5,2.5\n", control, 0);
    assert_eq!(rows, "2016-12-31 02:37:57.14 +0000 UTC,1.5,2.5\n");
    let stamps = "timeFormat: timestamp\ntimeZone: \"\"\ncolumnNameMap: [epoch, ASK, bid, Note]\n";
    let (rows, _) = loaded("1483133877.140000001,2.5,1.5,x\n", stamps, 0);
    assert_eq!(rows, "2016-12-30 21:37:57.140000001 +0000 UTC,1.5,2.5\n");
}

#[test]
fn date_and_time_may_be_two_columns() {
    let control = "timeFormat: \"01/02/2006 15:04:05\"\n\
                   columnNameMap: [Bid, Epoch-date, Epoch-time, Ask]\n";
    let (rows, _) = loaded("1.5,12/30/2016,21:37:57,2.5\n", control, 0);
    assert_eq!(rows, "2016-12-30 21:37:57 +0000 UTC,1.5,2.5\n");
    // The layout without a control file's word for it, over a header.
    let header = "firstRowHasColumnNames: true\n";
    let csv = "Epoch-date,Epoch-time,Bid,Ask\n12/30/2016,9:37:57 PM,1.5,2.5\n";
    assert_eq!(loaded(csv, header, 0).0, rows);
}

#[test]
fn a_malformed_line_is_named_and_the_rest_loaded() {
    let control = "firstRowHasColumnNames: true\ntimeFormat: timestamp\n";
    let csv =
        "Epoch,Bid,Ask\n1483133877,1,2\n1483133878,1\nlater,1,2\n1483133880,x,2\n1483133881,5,6\n";
    let (rows, said) = loaded(csv, control, 1);
    assert_eq!(rows.lines().count(), 2, "{rows}");
    for part in [
        "t.csv:3: 2 fields, wanted 3",
        "t.csv:4: time \"later\"",
        "t.csv:5: Bid: \"x\" is not a number",
        "3 lines were rejected",
    ] {
        assert!(said.contains(part), "{part}\n---\n{said}");
    }
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_loaded() {
    for (csv, control, part) in [
        (
            "1,2,3\n",
            "timeFormat: timestamp\n",
            "not enough info to map DB column names to csv file",
        ),
        (
            "a,b,c\n1,2,3\n",
            "firstRowHasColumnNames: true\n",
            "Unable to find a matching csv column for \"Epoch\"",
        ),
        (
            "1,2,3\n",
            "columnNameMap: [Epoch, Bid, Other]\n",
            "Unable to find a matching csv column for \"Ask\": unable to match all csv file columns",
        ),
        (
            "1,2\n",
            "columnNameMap: [Epoch, Bid, Ask]\n",
            "columnNameMap has 3 names, the file has 2",
        ),
        (
            "1,2\n",
            "columnNameMap: {a: b}\n",
            "t.yml: columnNameMap is no list of names",
        ),
        ("1,2\n", "timeZone: Mars/Base\n", "t.yml:"),
    ] {
        let (rows, said) = loaded(csv, control, 1);
        assert!(said.contains(part), "{part}\n---\n{said}");
        assert_eq!(rows, "", "{part}");
    }
    let none = session(place().path(), "\\load NO/1Min/X t.csv t.yml\n").failed(1);
    assert!(none.contains("error finding existing bucket"), "{none}");
}

#[test]
fn the_command_takes_control_files_and_makes_the_bucket() {
    let dir = place();
    let control = "firstRowHasColumnNames: true\ntimeFormat: \"2006-01-02 15:04\"\n\
                   timeZone: America/New_York\ncolumnNameMap: [\"\", o, \"\"]\n";
    std::fs::write(dir.path().join("c.yml"), control).expect("a file");
    std::fs::write(
        dir.path().join("c.csv"),
        "Epoch,Open,Flag\n2020-01-02 09:30,1.5,true\n2020-01-02 09:31,2.5,F\n",
    )
    .expect("a file");
    let load = [
        "load",
        "c.csv",
        "A/1Min/X",
        "--dir",
        "store",
        "--control",
        "c.yml",
    ];
    let types = ["--types", "Flag=i1", "--json"];
    let out = run(dir.path(), &[&load[..], &types[..]].concat()).good();
    assert!(out.contains("\"rows\":2"), "{out}");
    let rows = run(
        dir.path(),
        &["query", "A/1Min/X", "--dir", "store", "--format", "csv"],
    );
    assert_eq!(
        rows.good(),
        "Epoch,o,Flag\n2020-01-02T14:30:00Z,1.5,1\n2020-01-02T14:31:00Z,2.5,0\n"
    );
    let both = [&load[..], &["--time-zone", "UTC"]].concat();
    let said = run(dir.path(), &both).failed(1);
    assert!(said.contains("--control"), "{said}");
}
