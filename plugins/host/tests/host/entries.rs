//! Entries that are wrong, double, moved, or not there.

use std::sync::Arc;

use disk::sim::SimDisk;
use engine::Lsn;
use model::Zone;
use plugin_host::{Entry, Host, Match, State, check};
use plugin_sdk::Delivery;

use crate::support::{Messages, builtins, copy_to, open, options, probe, try_open};

fn unnamed(on: &str) -> Entry {
    Entry {
        name: None,
        ..probe("", on, |_, _| Ok(()))
    }
}

#[test]
fn check_names_place_and_fix() {
    let bad_config = Entry {
        config: serde_json::json!({ "act": "text" }),
        ..unnamed("*/1Min/*")
    };
    let refused = Entry {
        config: serde_json::json!({ "act": 0 }),
        ..unnamed("*/1H/*")
    };
    let no_regex = Entry {
        match_mode: Match::MarketStore,
        ..unnamed("(")
    };
    let entries = [
        Entry::trigger("nothing.so"),
        Entry::bgworker("gdaxfeeder.so"),
        Entry {
            required: true,
            ..Entry::bgworker("polygon.so")
        },
        Entry::trigger("/opt/probe.so"),
        Entry::bgworker("probe"),
        unnamed("*/1Min"),
        no_regex,
        bad_config,
        refused,
        unnamed("*/1Min/OHLCV/*.bin"),
        unnamed("*/1Min/OHLCV"),
        Entry {
            name: Some("a/b".into()),
            ..unnamed("A/**")
        },
    ];
    let entries: Vec<Entry> = (1..)
        .zip(entries)
        .map(|(line, entry)| Entry {
            place: format!("mkts.yml:{line}"),
            ..entry
        })
        .collect();
    let found: Vec<String> = check(&entries, &builtins().into(), &Zone::utc())
        .iter()
        .map(|p| format!("{} {} {}", p.place, p.fatal, p.message))
        .collect();
    let expected = [
        "mkts.yml:1 true no module \"nothing.so\"; looked for nothing.so, libnothing.so, ",
        "mkts.yml:2 false \"gdaxfeeder.so\" is a known MarketStore module, not included in this build",
        "mkts.yml:3 true \"polygon.so\" is a known MarketStore module, not included in this build",
        "mkts.yml:4 true module \"/opt/probe.so\": there is no /opt/probe.so",
        "mkts.yml:5 true \"probe\" is a trigger, move the entry to \"triggers:\"",
        "mkts.yml:6 true on: pattern \"*/1Min\": it has 2 parts",
        "mkts.yml:7 true on: \"(\" is no regular expression",
        "mkts.yml:8 true config.act: invalid type: string \"text\", expected usize",
        "mkts.yml:9 true config: no such act",
        "mkts.yml:10 false on: the fourth part",
        "mkts.yml:12 true name \"a/b\": use 1 to 200 bytes",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn what_cannot_run_says_why_and_keeps_nobody_else_from_running() {
    let entries = vec![
        Entry::bgworker("ice.so"),
        unnamed("*/1Min"),
        probe("good", "A/**", copy_to("OUT/1Min/T")),
        Entry {
            enabled: Some(false),
            ..unnamed("B/**")
        },
    ];
    let store = open(&SimDisk::new(1), entries);
    store.write("A/1Min/T", &[1]);
    store.drain();
    let states: Vec<State> = store.host.status().iter().map(|s| s.state).collect();
    let expected = [
        State::Missing,
        State::Failed,
        State::Running,
        State::Disabled,
    ];
    assert_eq!(states, expected);
    assert!(store.host.status()[0].reason.contains("not included"));
    assert_eq!(store.host.status()[2].version, "1.2.3");
    assert_eq!(store.times("OUT/1Min/T"), [1]);
}

#[test]
fn a_required_entry_that_cannot_run_refuses_the_start() {
    let entry = Entry {
        required: true,
        place: "mkts.yml:7".into(),
        ..Entry::trigger("nothing")
    };
    let error = Host::new(
        vec![entry],
        builtins(),
        Zone::utc(),
        Arc::new(Messages::default()),
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.starts_with("mkts.yml:7: required instance \"nothing-"),
        "{text}"
    );
}

#[test]
fn ids_come_from_module_and_on_never_from_the_place() {
    let ids = |entries: Vec<Entry>| -> Vec<(String, State)> {
        let messages = Arc::new(Messages::default());
        let host = Host::new(entries, builtins(), Zone::utc(), messages).unwrap();
        host.status().into_iter().map(|s| (s.id, s.state)).collect()
    };
    let (a, b) = (unnamed("A/**"), unnamed("B/**"));
    let there = ids(vec![a.clone(), b.clone()]);
    let mut back = ids(vec![
        b,
        Entry {
            module: "libprobe".into(),
            ..a.clone()
        },
    ]);
    back.reverse();
    assert_eq!(there, back);
    assert!(there[0].0.starts_with("probe-") && there[0].0.len() == "probe-01234567".len());
    // The same again with another config gets a longer id, with the same config it is refused.
    let other = unnamed("A/**");
    let twice = ids(vec![a.clone(), other, a]);
    assert!(twice[1].0.starts_with(&twice[0].0));
    assert_eq!(twice[1].0.len(), twice[0].0.len() + 9);
    assert_eq!(twice[1].1, State::Resolved);
    assert_eq!(twice[2].1, State::Failed);
}

/// Neither the order of the entries nor a checkpoint in between moves a cursor.
#[test]
fn entries_in_another_order_keep_their_cursors() {
    let disk = SimDisk::new(2);
    let a = probe("a", "A/**", copy_to("OUTA/1Min/T"));
    let b = Entry {
        delivery: Some(Delivery::Durable),
        ..probe("b", "A/**", copy_to("OUTB/1Min/T"))
    };
    let store = open(&disk, vec![a.clone(), b.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    store.close();
    let store = open(&disk, vec![b.clone(), a.clone()]);
    store.write("A/1Min/T", &[2]);
    store.drain();
    assert_eq!(store.times("OUTA/1Min/T"), [1, 2]);
    assert_eq!(store.times("OUTB/1Min/T"), [1, 2]);
    store.close();
    // Away for a while, its cursor is kept.
    let store = open(&disk, vec![b.clone()]);
    store.write("A/1Min/T", &[3]);
    store.drain();
    store.close();
    let store = open(&disk, vec![a, b]);
    store.drain();
    assert_eq!(store.times("OUTA/1Min/T"), [1, 2, 3]);
    assert_eq!(store.times("OUTB/1Min/T"), [1, 2, 3]);
}

/// A damaged file of cursors is named; nothing is guessed.
#[test]
fn a_damaged_file_of_cursors_refuses_the_start() {
    let disk = SimDisk::new(3);
    let entry = probe("a", "A/**", copy_to("OUT/1Min/T"));
    let store = open(&disk, vec![entry.clone()]);
    store.host.hook().checkpoint(Lsn(u64::MAX)).unwrap();
    store.close();
    disk.rot("plugins/_instances", |bytes| bytes[30] ^= 4)
        .unwrap();
    let error = try_open(&disk, vec![entry], options()).err().unwrap();
    assert!(
        error.contains("plugins/_instances is damaged at byte"),
        "{error}"
    );
}
