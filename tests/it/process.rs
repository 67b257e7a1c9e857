//! A store in a process that really dies, on a real file system.
//!
//! A child (`storelife`) lives a random script and says what was acknowledged. It is ended at a
//! named point, or killed at a random moment, or finds its disk full, or its system calls failing;
//! then its directory is opened here and compared with the model, and the next child goes on.
//!
//! `MKTS_KILL_ROUNDS` more kills, `MKTS_SEED` repeats. What the machine does not allow (mounting,
//! tracing) is skipped with a reason.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use disk::failpoint::POINTS;
use engine::{Engine, NoHook, Options};
use tests::oracle::{State, Step, life, script};
use tests::rng::{Rng, seed_from_env};

/// Steps of one script: enough for merges.
const STEPS: usize = 150;

/// One store through the lives of several children.
struct Store {
    dir: PathBuf,
    seed: u64,
    script: Vec<Step>,
    /// The next step.
    next: usize,
    /// What may be found.
    states: Vec<State>,
    /// The same before the step under way.
    before: Vec<State>,
}

/// How a child ended.
#[derive(Debug, Default)]
struct End {
    /// It came to the end of its steps.
    finished: bool,
    acknowledged: usize,
    full: usize,
    /// Why it stopped by itself.
    stopped: Option<String>,
}

impl Store {
    fn new(dir: &Path, seed: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            seed,
            script: script::random(seed, STEPS),
            next: 0,
            states: vec![State::default()],
            before: Vec::new(),
        }
    }

    fn arguments(&self, to: usize) -> Vec<String> {
        let dir = self.dir.display().to_string();
        let numbers = [self.seed, self.next as u64, to as u64].map(|n| n.to_string());
        std::iter::once(dir).chain(numbers).collect()
    }

    fn child(&self, to: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_storelife"));
        command.args(self.arguments(to));
        command
    }

    /// Lets a child live and listens. It is killed once it began so many steps.
    fn live(&mut self, mut command: Command, kill_after: Option<u64>) -> End {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child: Child = command.spawn().expect("the child starts");
        let out = child.stdout.take().expect("it is piped");
        let mut end = End::default();
        let mut begun = 0;
        for line in BufReader::new(out).lines() {
            let line = line.expect("lines are text");
            let mut words = line.splitn(3, ' ');
            let word = words.next().unwrap_or_default();
            let index: Option<usize> = words.next().and_then(|word| word.parse().ok());
            match (word, index) {
                ("try", Some(index)) => {
                    begun += 1;
                    self.begin(index);
                    if kill_after.is_some_and(|after| begun > after) {
                        // It may have come to its end meanwhile.
                        let _ = child.kill();
                    }
                }
                ("ack", Some(index)) => {
                    end.acknowledged += 1;
                    self.states = std::mem::take(&mut self.before);
                    let step = &self.script[index];
                    self.states.iter_mut().for_each(|state| state.apply(step));
                }
                ("full", Some(index)) => {
                    end.full += 1;
                    self.refused(index);
                    self.told(words.next().and_then(|word| word.parse().ok()));
                }
                ("no", _) => self.states = std::mem::take(&mut self.before),
                ("end", _) => {
                    end.finished = line == "end";
                    end.stopped = (line != "end").then_some(line);
                }
                _ => {}
            }
        }
        let _ = child.wait();
        end
    }

    fn begin(&mut self, index: usize) {
        self.next = index + 1;
        self.before = self.states.clone();
        let step = &self.script[index];
        self.states = self.before.iter().flat_map(|s| s.outcomes(step)).collect();
        self.states.dedup();
    }

    /// For want of space: the step did not happen, but buckets may have been made for it.
    fn refused(&mut self, index: usize) {
        let step = &self.script[index];
        let before = self.before.iter().flat_map(|state| {
            if let Step::Burst(commits) = step {
                // A commit that fits goes on where one before it did not.
                return state.subsets(commits);
            }
            let mut outcomes = state.outcomes(step);
            outcomes.pop();
            outcomes
        });
        self.states = before.collect();
        self.states.dedup();
    }

    /// What the child says it has. Nothing is on its way after a refusal, so the rest is out: without
    /// this a full disk multiplies what is allowed with every step.
    fn told(&mut self, hash: Option<u64>) {
        let Some(hash) = hash else { return };
        self.states.retain(|state| state.hash() == hash);
        self.states.truncate(1);
        assert!(!self.states.is_empty(), "the child has what is not allowed");
    }

    /// Opens what the child left and compares.
    fn check(&mut self, context: &str) {
        let options = Options {
            merge: false,
            ..life::busy_options()
        };
        let context = format!("MKTS_SEED={} step {}: {context}", self.seed, self.next);
        let (engine, recovery) = Engine::open(&self.dir, options, Arc::new(NoHook))
            .unwrap_or_else(|e| panic!("{context}: {e}"));
        assert!(
            recovery.quarantined.is_empty(),
            "{context}: {:?}",
            recovery.quarantined
        );
        let found = State::read(&engine).unwrap_or_else(|e| panic!("{context}: {e}"));
        let last = self.states.last().expect("something is allowed");
        assert!(
            self.states.contains(&found),
            "{context}: {}",
            found.difference(last)
        );
        self.states = vec![found];
        engine.close().unwrap_or_else(|e| panic!("{context}: {e}"));
    }
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

/// Each named point ends the process once (`MKTS_FAIL_PASSES` times each): first where it is
/// reached first, then later ones. Points of the recovery are reached in a child after another.
#[test]
fn crash_failpoints() {
    for pass in 0..number("MKTS_FAIL_PASSES", 1) {
        for point in POINTS {
            let dir = scratch();
            let mut store = Store::new(dir.path(), 1 + pass);
            if point.starts_with("recover.") {
                let mut first = store.child(STEPS);
                first.env("MKTS_FAIL", "wal.after_sync:9");
                store.live(first, None);
            }
            let mut child = store.child(STEPS);
            child.env("MKTS_FAIL", format!("{point}:{}", 1 + pass * 3));
            let end = store.live(child, None);
            let reached = !end.finished && end.stopped.is_none();
            assert!(reached || pass > 0, "{point} is never reached: {end:?}");
            store.check(&format!("ended at {point}"));
            let end = store.live(store.child(STEPS.min(store.next + 30)), None);
            assert!(end.finished, "{point}: the store does not go on: {end:?}");
            store.check(&format!("after {point} and a life behind it"));
        }
    }
}

/// kill -9 at random moments, also during the recovery of the next child: while it checkpoints and
/// merges, which the busy options make it do all the time.
#[test]
fn crash_kill9_while_merging() {
    let seed = seed_from_env();
    let mut rng = Rng::new(seed);
    let mut acknowledged = 0;
    let rounds = number("MKTS_KILL_ROUNDS", 3);
    for round in 0..rounds {
        let dir = scratch();
        let mut store = Store::new(dir.path(), seed.wrapping_add(round));
        while store.next < STEPS {
            let end = store.live(store.child(STEPS), Some(rng.below(40)));
            acknowledged += end.acknowledged;
            if rng.chance(30) {
                // A child without steps only recovers: it is killed in the midst of that.
                let mut only_opens = store.child(store.next);
                let mut child = only_opens.stdout(Stdio::null()).spawn().expect("it starts");
                std::thread::sleep(std::time::Duration::from_micros(rng.below(8_000)));
                let _ = child.kill();
                let _ = child.wait();
            }
            store.check("killed");
        }
    }
    assert!(
        acknowledged as u64 > rounds * 20,
        "only {acknowledged} steps"
    );
}

/// A small file system of memory; `None` (and the reason printed) where nobody may mount.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(bytes: &str) -> Option<Self> {
        let dir = scratch();
        let options = format!("size={bytes},mode=0700");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let mounted = Command::new("mount")
            .args(arguments)
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("skipped: a tmpfs cannot be mounted: {}", why.trim());
                None
            }
            Err(error) => {
                println!("skipped: there is no mount: {error}");
                None
            }
        }
    }

    fn grow(&self, bytes: &str) {
        let options = format!("remount,size={bytes}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0.path())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the tmpfs grows"
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A disk that fills up: writes are refused in words, nothing acknowledged is lost, and when there
/// is space again all goes on.
#[test]
fn crash_enospc() {
    let Some(mount) = Mount::new("144k") else {
        return;
    };
    let dir = mount.0.path().join("store");
    std::fs::create_dir(&dir).expect("the tmpfs takes a directory");
    let mut store = Store::new(&dir, 5);
    let end = store.live(store.child(STEPS), None);
    assert!(end.full > 3, "the disk never got full: {end:?}");
    assert!(end.acknowledged > 3, "{end:?}");
    // More than a merge leaves free.
    mount.grow("2g");
    store.next = 0;
    store.check("on a full disk, which grew");
    let end = store.live(store.child(STEPS), None);
    assert!(end.finished && end.full == 0, "it does not go on: {end:?}");
    store.check("after the disk grew");
}

/// Every kind of system call that writes fails once in a real process, at its n-th call. `strace`
/// makes it fail: our calls go past the C library, where a preloaded one would not see them.
#[test]
fn crash_preload_errors() {
    let works = Command::new("strace")
        .args([
            "-qq",
            "-f",
            "-e",
            "trace=fdatasync",
            "-e",
            "inject=fdatasync:error=EIO:when=9999",
        ])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: strace is not here or may not trace");
        return;
    }
    let calls = [
        "pwrite64",
        "pwritev",
        "fdatasync",
        "fsync",
        "renameat",
        "openat2",
        "mmap",
    ];
    let mut stopped = 0;
    for call in calls {
        for when in (0..number("MKTS_FAIL_PASSES", 1)).flat_map(|n| [3 + 7 * n, 40 + 31 * n]) {
            let dir = scratch();
            let mut store = Store::new(dir.path(), 3);
            let error = if when % 2 == 0 { "ENOSPC" } else { "EIO" };
            let mut traced = Command::new("strace");
            let inject = format!("inject={call}:error={error}:when={when}");
            let quiet = format!("trace={call}");
            traced.args(["-qq", "-f", "-o", "/dev/null", "-e", &quiet, "-e", &inject]);
            traced
                .arg(env!("CARGO_BIN_EXE_storelife"))
                .args(store.arguments(60));
            let end = store.live(traced, None);
            stopped += u64::from(!end.finished);
            let context = format!("{call} number {when} failed with {error}: {end:?}");
            store.check(&context);
            let end = store.live(store.child(STEPS.min(store.next + 20)), None);
            assert!(end.finished, "{context}: the store does not go on: {end:?}");
            store.check(&context);
        }
    }
    assert!(stopped > 3, "only {stopped} faults stopped the store");
}
