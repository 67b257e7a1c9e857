//! I23: no child outlives its server.

use std::io::Read as _;

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group};

/// Ends this process group when the server has gone: its end of the lifeline closes with it, however
/// it ends. The parent-death signal is for a lifeline that some other process has inherited.
pub(super) fn watch_parent() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("no parent-death signal: {error}");
    }
    let lifeline = std::thread::Builder::new().name("lifeline".into());
    let started = lifeline.spawn(|| {
        let mut bytes = [0; 64];
        // Nothing is ever written; whatever ends the reading ends us.
        while std::io::stdin().read(&mut bytes).is_ok_and(|n| n > 0) {}
        end_group();
    });
    if let Err(error) = started {
        eprintln!("no lifeline: {error}");
        std::process::exit(1);
    }
}

/// Ends this process and all it has started.
pub(super) fn end_group() -> ! {
    // A group of somebody else, a shell's for one, is not ours to end.
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    std::process::exit(1);
}
