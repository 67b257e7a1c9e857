//! What runs behind the doors: the store, and the plugins over it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, Options, Recovery};
use plugin_host::Host;
use plugin_sdk::BuiltIn;
use tracing::{info, warn};

use super::{DAMAGED, LOCKED, POISONED};
use crate::cli::Failure;
use crate::config::Config;
use crate::status;
use crate::stream::Hub;

/// What runs.
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) host: Host,
    pub(super) hub: Arc<Hub>,
}

/// Opens the store and starts the triggers. Blocking.
pub(super) fn open(config: &Config, builtins: Vec<BuiltIn>) -> Result<Running, Failure> {
    let begun = Instant::now();
    status::start_recorder();
    let hub = Arc::new(Hub::new(&config.limits));
    let host = Host::new(
        config.plugins.entries.clone(),
        config.plugins.modules(&builtins, &config.root_directory),
        config.timezone.clone(),
        hub.clone(),
    )
    .map_err(host_failure)?;
    crate::logs::hide(&host.secrets());
    let (engine, recovery) = Engine::open(&config.root_directory, options(config), host.hook())
        .map_err(|error| {
            let root = config.root_directory.display();
            let failure = engine_failure(&error);
            Failure {
                code: failure.code,
                text: format!("{root} cannot be opened: {}", failure.text),
            }
        })?;
    tell_recovery(&recovery);
    host.start(engine.clone()).map_err(host_failure)?;
    metrics::gauge!("alpaca_marketstore_startup_seconds").set(begun.elapsed().as_secs_f64());
    tell_instances(&host);
    Ok(Running { engine, host, hub })
}

pub(crate) fn options(config: &Config) -> Options {
    let mut options = Options {
        sync: config.sync,
        zone: config.timezone.clone(),
        frame_bytes_max: config.limits.frame_bytes,
        hops_max: config.limits.hops,
        merge: config.merge,
        ..Options::default()
    };
    if let Some(bytes) = config.tail_bytes_max {
        options.tail_bytes_max = bytes;
    }
    if let Some(bytes) = config.wal_bytes_max {
        options.wal_bytes_max = bytes;
    }
    if let Some(bytes) = config.wal_segment_bytes {
        options.wal_segment_bytes = bytes;
    }
    if let Some(bytes) = config.follow_bytes {
        options.follow_bytes = bytes;
    }
    options
}

pub(crate) fn engine_failure(error: &engine::Error) -> Failure {
    let code = match error {
        engine::Error::Locked(_) => LOCKED,
        engine::Error::Corrupt { .. } => DAMAGED,
        engine::Error::Poisoned(_) => POISONED,
        _ => 1,
    };
    Failure {
        code,
        text: error.to_string(),
    }
}

pub(crate) fn host_failure(error: plugin_host::Error) -> Failure {
    match error {
        plugin_host::Error::Engine(error) => engine_failure(&error),
        other => Failure::new(other.to_string()),
    }
}

fn tell_recovery(recovery: &Recovery) {
    info!(
        frames = recovery.frames,
        rows = recovery.rows,
        log_bytes = recovery.bytes,
        cut_bytes = recovery.cut_bytes,
        segments = recovery.segments,
        quarantined = recovery.quarantined.len(),
        seconds = recovery.duration.as_secs_f64(),
        "recovered: {} rows of {} commits replayed from the log",
        recovery.rows,
        recovery.frames
    );
    metrics::gauge!("mkts_recovery_seconds").set(recovery.duration.as_secs_f64());
    metrics::gauge!("mkts_recovery_frames").set(recovery.frames as f64);
    metrics::gauge!("mkts_recovery_cut_bytes").set(recovery.cut_bytes as f64);
    if recovery.cut_bytes > 0 {
        info!(
            "cut {} bytes off the end of the log: a write that was never acknowledged",
            recovery.cut_bytes
        );
    }
    for damage in &recovery.quarantined {
        warn!("damage was set aside: {damage}");
    }
}

/// How each instance stands.
fn tell_instances(host: &Host) {
    for instance in host.status() {
        // A short feed may have ended already.
        let is_well = instance.reason.is_empty() || instance.state == plugin_host::State::Stopped;
        if is_well {
            info!(
                instance = instance.id,
                place = instance.place,
                delivery = instance.delivery,
                "{} {}",
                instance.kind,
                instance.state
            );
        } else {
            warn!(
                instance = instance.id,
                place = instance.place,
                "{} {}: {}",
                instance.kind,
                instance.state,
                instance.reason
            );
        }
    }
}

/// Triggers catch up as far as time allows, then the store closes.
pub(super) fn close(running: &Running, grace: Duration) -> Result<(), Failure> {
    let Running { engine, host, .. } = running;
    if !host.drain(grace) {
        warn!("some triggers are behind; what is left fires after the next start");
    }
    host.stop();
    let closed = engine.close();
    if let Some(why) = engine.status().poisoned {
        return Err(Failure {
            code: POISONED,
            text: format!("the store stopped taking writes after a disk error: {why}"),
        });
    }
    closed.map_err(|error| engine_failure(&error))?;
    info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_the_store_has_its_exit_code() {
        let code = |error: engine::Error| engine_failure(&error).code;
        assert_eq!(code(engine::Error::Locked("x".into())), 3);
        assert_eq!(code(engine::Error::Poisoned("x".into())), 2);
        let (file, what) = ("a".into(), "b".into());
        assert_eq!(
            code(engine::Error::Corrupt {
                file,
                offset: 0,
                what
            }),
            4
        );
        assert_eq!(code(engine::Error::DiskFull("x".into())), 1);
    }
}
