//! Deliberate faults. The list never gets shorter: a bug that was found adds its line.

/// One change of one file, and the tests that must turn red.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    pub(super) file: &'static str,
    /// Must be there once.
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// Arguments of `cargo test`.
    pub(super) tests: &'static [&'static str],
}

const CRASH: &[&str] = &["-p", "tests", "--test", "it", "--", "sweep::crash"];
const FAIL: &[&str] = &["-p", "tests", "--test", "it", "--", "sweep::fail"];
const ROT: &[&str] = &["-p", "tests", "--test", "it", "--", "corrupt::"];
const WAL: &[&str] = &["-p", "wal"];

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "skip-sync",
        what: "a commit is acknowledged without its sync",
        file: "wal/src/commit.rs",
        from: "        current.file.sync_data()?;\n        let now",
        to: "        let now",
        tests: CRASH,
    },
    Fault {
        name: "ignore-failed-sync",
        what: "a failed sync is ignored",
        file: "wal/src/commit.rs",
        from: "        current.file.sync_data()?;\n        let now",
        to: "        let _ = current.file.sync_data();\n        let now",
        tests: FAIL,
    },
    Fault {
        name: "retry-sync",
        what: "a failed sync is tried again",
        file: "wal/src/commit.rs",
        from: "        current.file.sync_data()?;\n        let now",
        to: "        current.file.sync_data().or_else(|_| current.file.sync_data())?;\n        let now",
        tests: FAIL,
    },
    Fault {
        name: "skip-dir-sync",
        what: "a published file's directory is not synced",
        file: "disk/src/publish.rs",
        from: "    disk.sync_dir(path::split(target).0)?;\n",
        to: "",
        tests: CRASH,
    },
    Fault {
        name: "rename-before-sync",
        what: "a file gets its name before its bytes are durable",
        file: "disk/src/publish.rs",
        from: "    file.sync_all()?;\n",
        to: "",
        tests: CRASH,
    },
    Fault {
        name: "trust-manifest-name",
        what: "opening trusts the name of a MANIFEST that may not be durable",
        file: "engine/src/recover.rs",
        from: "    disk.sync_dir(\"\")?;\n",
        to: "",
        tests: CRASH,
    },
    Fault {
        name: "skip-make-durable",
        what: "recovery serves frames that are only in the page cache",
        file: "wal/src/recover.rs",
        from: "    replay.make_durable()?;\n",
        to: "",
        tests: CRASH,
    },
    Fault {
        name: "replay-everything",
        what: "replay begins below the checkpoint: ticks double",
        file: "engine/src/recover.rs",
        from: "store_id, options, from, &mut visit)?",
        to: "store_id, options, wal::Lsn::ZERO.min(from), &mut visit)?",
        tests: CRASH,
    },
    Fault {
        name: "foreign-frame",
        what: "a frame with another LSN is accepted",
        file: "wal/src/frame.rs",
        from: "if header.lsn != position || header.synced > position {",
        to: "if header.synced > position {",
        tests: WAL,
    },
    Fault {
        name: "payload-crc",
        what: "the checksum of a frame's rows is ignored",
        file: "wal/src/scan.rs",
        from: "if whole && crc32fast::hash(&self.window[start..end]) == header.payload_crc {",
        to: "if whole {",
        tests: ROT,
    },
    Fault {
        name: "page-crc",
        what: "the checksum of a page is ignored",
        file: "engine/src/segment/reader.rs",
        from: "            if crc32fast::hash(&bytes) != entry.crc {\n                return Err(self.damaged",
        to: "            if false {\n                return Err(self.damaged",
        tests: ROT,
    },
    Fault {
        name: "seal",
        what: "the checksum of MANIFEST and catalog is ignored",
        file: "engine/src/fields.rs",
        from: "(crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(body)",
        to: "(crc.len() == 4).then_some(body)",
        tests: ROT,
    },
    Fault {
        name: "table-crc",
        what: "the checksum of a page table is ignored",
        file: "engine/src/segment/directory.rs",
        from: "if crc32fast::hash(table) != chunk.table_crc {",
        to: "if false {",
        tests: ROT,
    },
    Fault {
        name: "write-after-poison",
        what: "writes and deletes go on after poison",
        file: "engine/src/engine.rs",
        from: "        self.store().poison.check()\n",
        to: "        Ok(())\n",
        tests: FAIL,
    },
    Fault {
        name: "mask-everything",
        what: "a delete also masks rows written after it",
        file: "engine/src/mask.rs",
        from: "last_lsn <= self.lsn && self.from <= max",
        to: "self.from <= max",
        tests: CRASH,
    },
    Fault {
        name: "mask-nothing",
        what: "a delete masks no rows in segments",
        file: "engine/src/mask.rs",
        from: "last_lsn <= self.lsn && self.from <= max",
        to: "last_lsn < Lsn(0) && self.from <= max",
        tests: CRASH,
    },
    Fault {
        name: "merge-order",
        what: "a merged segment takes the newest place, not that of its inputs",
        file: "engine/src/merge/mod.rs",
        from: "        next.segments.insert(first, new.entry.clone());",
        to: "        let _ = first;\n        next.segments.push(new.entry.clone());",
        tests: &["-p", "engine"],
    },
    Fault {
        name: "drop-row",
        what: "a row that comes alone is lost",
        file: "engine/src/store.rs",
        from: "            if section.rows() == 0 {",
        to: "            if section.rows() <= 1 {",
        tests: CRASH,
    },
    Fault {
        name: "path-items",
        what: "`..` is an item of a key",
        file: "model/src/key.rs",
        from: "\"..\"",
        to: "\"...\"",
        tests: &[
            "-p",
            "tests",
            "--test",
            "it",
            "--",
            "fuzz::fuzz_what_clients",
            "hostile::",
        ],
    },
];
