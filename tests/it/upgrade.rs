//! Stores of released formats open for ever: `data/format/v<n>/store.json.gz` has the files of a
//! small store as that version wrote them, its log not replayed yet, and what it answered.

use std::path::PathBuf;

use tests::oracle::golden::{Golden, make};
use tests::oracle::{State, life};

/// Opens the store, replaying its log, compares, and opens it once more after a checkpoint.
fn opens(golden: &Golden, name: &str) {
    let disk = golden.disk();
    for round in ["replayed", "opened again"] {
        let (engine, recovery) = life::open(&disk).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            recovery.quarantined.is_empty(),
            "{name}: {:?}",
            recovery.quarantined
        );
        if round == "replayed" {
            assert!(
                recovery.frames > 8,
                "{name}: only {} frames in its log",
                recovery.frames
            );
        }
        let found = State::read(&engine).unwrap_or_else(|e| panic!("{name}: {e}"));
        let difference = found.difference(&golden.state);
        assert_eq!(found, golden.state, "{name}, {round}: {difference}");
        engine.compact().unwrap_or_else(|e| panic!("{name}: {e}"));
        engine.close().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn upgrade_golden() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/format");
    for entry in std::fs::read_dir(&dir).into_iter().flatten() {
        let path = entry
            .expect("it can be listed")
            .path()
            .join("store.json.gz");
        let name = path.display().to_string();
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let golden = Golden::decode(&bytes);
        opens(
            &golden.unwrap_or_else(|| panic!("{name} is not a stored store")),
            &name,
        );
    }
}

/// What is written today comes back from such a file, and a difference is seen.
#[test]
fn todays_store_survives_its_golden_file() {
    let golden = make();
    let again = Golden::decode(&golden.encode()).expect("it was just written");
    assert_eq!((&again.files, &again.state), (&golden.files, &golden.state));
    opens(&again, "today");
    let rows: usize = golden.state.0.values().map(|table| table.rows.len()).sum();
    assert!(rows > 300 && golden.state.0.len() > 4, "{rows} rows");
}
