//! Not drawn but gone through: every crash, every torn write, every failing call of one life.
//!
//! A scripted life of a small store runs once on a disk that keeps its state before each call.
//! Then every state is crashed in every way and opened again, and what is found is compared with
//! what is allowed there: every acknowledged step, and the one under way whole or not at all (a
//! write that makes a bucket may leave the empty bucket). Opened stores must also go on: a probe
//! row is written, and it and everything else is there after one more power cut.
//!
//! | test | goes through |
//! |---|---|
//! | `sim_crash_everywhere` | death and power cut before and after each call |
//! | `sim_death_then_power_cut_on_a_full_disk` | what a reader saw when nothing could be saved |
//! | `sim_torn_and_reordered` | each unsynced change kept, lost, alone, cut at each sector; all pairs in both orders |
//! | `sim_double_crash` | a crash at each call of each recovery, as deep as `MKTS_SWEEP_DEPTH` (2) |
//! | `sim_error_everywhere` | each call and each read failing with each error |
//! | `sim_fsync_lies` | each sync failing once and reporting success ever after |
//!
//! `MKTS_SWEEP_SCRIPTS=n` adds n random lives.

mod crash;
mod fail;
mod life;

use tests::oracle::{Step, script};

/// The scripts to sweep, with their names.
fn scripts() -> Vec<(String, Vec<Step>)> {
    let random = number("MKTS_SWEEP_SCRIPTS", 0);
    let mut scripts = vec![("the scripted life".to_owned(), script::life())];
    let random = (0..random).map(|seed| (format!("random life {seed}"), script::random(seed, 60)));
    scripts.extend(random);
    scripts
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}
