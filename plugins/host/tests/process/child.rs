//! The plugin in the child; `CHILD` in its environment chooses which.

use std::time::Duration;

use bytes::Bytes;
use model::ColumnType;
use plugin_sdk::{
    Event, FireCtx, FireError, Health, Init, Level, Manifest, Plugin, PluginError, Query, Trigger,
    serve,
};
use serde::Deserialize;

/// Serves what `CHILD` names; does not return.
pub(crate) fn main() {
    let code = match std::env::var("CHILD").as_deref() {
        Ok("probe") => serve::trigger::<Probe>(),
        Ok("ticker") => serve::bgworker::<crate::kinds::Ticker>(),
        Ok("numbers") => serve::source::<crate::kinds::Numbers>(),
        Ok("server") => crate::guard::server(),
        Ok(other) => crate::raw::main(other),
        other => panic!("no child {other:?}"),
    };
    // As from main, but out of the middle of a test.
    let failed = code != std::process::ExitCode::SUCCESS;
    std::process::exit(i32::from(failed));
}

/// Does what its config, and for some things the event, asks for.
pub(crate) struct Probe {
    config: Config,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What it does when it is made: `panic`, `sleep`, `refuse`.
    made: String,
    /// With `made: once`: a file that says it was made before.
    marker: String,
    /// What it does in a fire that matches `at`: see `Probe::act`.
    act: String,
    /// First LSN of the fire that `act` is for; 0 for every fire.
    at: u64,
    /// Only in the first attempt.
    once: bool,
}

impl Plugin for Probe {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        metrics: &["seen"],
        ..Manifest::new("probe", "1.0.0")
    };

    fn new(config: Config, init: &mut Init<'_>) -> Result<Self, PluginError> {
        match config.made.as_str() {
            "panic" => panic!("made to panic"),
            "sleep" => std::thread::sleep(Duration::from_secs(3600)),
            "once" if std::fs::metadata(&config.marker).is_err() => {
                std::fs::create_dir(&config.marker).unwrap();
                std::process::abort();
            }
            "refuse" => return Err(PluginError::from("it does not want to")),
            "read" => {
                let found = init.state.counter("total")?;
                eprintln!("total {found}");
            }
            _ => {}
        }
        Ok(Self { config })
    }
}

impl Probe {
    fn act(&self, ctx: &mut FireCtx<'_>) -> Result<(), FireError> {
        match self.config.act.as_str() {
            "fail" => return Err(FireError::Retry("told to fail".into())),
            "later" => {
                return Err(FireError::RetryAfter {
                    text: "told to wait".into(),
                    after: Duration::from_millis(1500),
                });
            }
            "skip" => return Err(FireError::Skip("told to skip".into())),
            "fatal" => return Err(FireError::Fatal("told to end".into())),
            "panic" => panic!("told to panic"),
            "kill" => {
                let pid = rustix::process::getpid();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            "wait" => {
                while !ctx.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Err(FireError::Retry("cancelled".into()));
            }
            "hang" => std::thread::sleep(Duration::from_secs(3600)),
            "stop" => {
                // As if the machine had no time for us: no heartbeat any more.
                let pid = std::process::id().to_string();
                let stopped = std::process::Command::new("kill")
                    .args(["-STOP", &pid])
                    .status();
                // The signal may have met another thread, which then stops this one.
                std::thread::sleep(Duration::from_secs(1));
                return Err(FireError::Fatal(format!("{stopped:?}")));
            }
            "flood" => {
                let line = "x".repeat(200_000);
                for number in 0..crate::support::rounds(5) * 1000 {
                    println!("{number}");
                }
                eprintln!("{line}");
                ctx.log(Level::Warn, &line);
            }
            "environment" => {
                let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
                names.sort();
                ctx.publish("environment", names.join(" ").into());
            }
            "limits" => {
                let files = std::fs::read_to_string("/proc/self/limits").unwrap();
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                ctx.publish("limits", format!("{files}{status}").into());
            }
            "metric" => {
                ctx.count("seen", 2.5);
                ctx.count("seen", 2.5);
                ctx.count("unnamed", 1.0);
                ctx.health(Health::Degraded, "half of it");
            }
            "port" => {
                let port = std::env::var("MKTS_PLUGIN_METRICS_PORT").unwrap();
                ctx.publish("port", port.into());
            }
            // Nobody waits for it: whoever ends this process must end it, too.
            #[allow(clippy::zombie_processes)]
            "grandchild" => {
                let child = std::process::Command::new("sleep")
                    .arg("3600")
                    .spawn()
                    .unwrap();
                ctx.publish("pid", child.id().to_string().into());
            }
            other => assert!(other.is_empty(), "no act {other:?}"),
        }
        Ok(())
    }
}

impl Trigger for Probe {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let info = ctx.info();
        let total = ctx.state().incr("total", 1)?;
        ctx.state().put("last", info.first_lsn.to_le_bytes())?;
        let is_at = self.config.at == 0 || self.config.at == info.first_lsn;
        if is_at && (!self.config.once || info.attempt == 1) {
            self.act(ctx)?;
        }
        match event {
            Event::Write(batch) => {
                assert_eq!(batch.rows.schema().columns()[0].ty, ColumnType::I64);
                let out = model::BucketKey::parse("OUT/1Min/T").unwrap();
                ctx.write(&out, batch.kind, batch.rows.clone())?;
                let found = ctx.query(&Query {
                    key: batch.key,
                    from: i64::MIN,
                    to: i64::MAX,
                    columns: None,
                    limit: None,
                })?;
                let found = found.map_or(0, |rows| rows.rows());
                let text = format!("{total} rows {} found {found}", batch.rows.rows());
                ctx.publish("fires", text.into());
            }
            Event::Gap { key, from, to } => {
                ctx.publish("fires", format!("{total} gap {key} {from} {to}").into());
            }
            Event::Deleted(key) => ctx.publish("fires", format!("{total} deleted {key}").into()),
            Event::Timer { key, due, payload } => {
                ctx.cancel_timer(key);
                ctx.set_timer(b"next", due + 1, payload)?;
                let text = format!("{total} timer {due}");
                ctx.publish("fires", text.into());
            }
        }
        ctx.log(Level::Debug, "fired");
        ctx.publish("payload", Bytes::from_static(b"\0\xff"));
        Ok(())
    }
}
