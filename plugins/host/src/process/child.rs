//! A process: started by a thread that lives as long as it does, ended with its whole group.

use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use plugin_sdk::Description;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::runtime::Runtime;

use super::Error;
use super::dir::PrivateDir;
use super::logs::Logs;
use super::program::{Limits, Program};

/// What a program started by hand answers with.
const BY_HAND: i32 = 64;

/// Longest manifest.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Variables of the server that a child may see.
const HANDED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The runtime that reads what children print.
pub(super) fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("plugin-logs")
            .enable_all()
            .build()
            .map_err(|error| {
                format!("cannot start the thread that reads the output of plugins: {error}")
            })
    });
    runtime.as_ref().map_err(|error| Error::new(error.clone()))
}

/// A process that was started, from any thread.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Whether it has been reaped: its number may then belong to another process.
    reaped: Mutex<bool>,
    /// Disconnected when it has been reaped.
    ended: Receiver<()>,
}

/// What belongs to a process and goes with it.
pub(super) struct Belongings {
    pub(super) dir: Option<PrivateDir>,
    /// Kept until the process has ended: port, registration.
    pub(super) held: Vec<Box<dyn Send>>,
    pub(super) logs: Arc<Logs>,
    /// Called when the process has ended, with how.
    pub(super) told: Box<dyn FnOnce(String) + Send>,
}

impl Process {
    /// Starts a program with a scrubbed environment in a process group of its own. The answer also
    /// has the lifeline: the process ends when it is dropped.
    pub(super) fn start(
        program: &Program,
        own_env: Vec<(&'static str, String)>,
        belongings: Belongings,
    ) -> Result<(Arc<Self>, ChildStdin), Error> {
        let mut command = command(program, own_env);
        command.process_group(0);
        let name = program.name();
        let limits = program.limits;
        let (report, started) = bounded(1);
        std::thread::Builder::new()
            .name("plugin-child".into())
            .spawn(move || keep(&mut command, limits, belongings, &report))
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        match started.recv() {
            Ok(Ok(process)) => Ok(process),
            Ok(Err(error)) => Err(Error::new(format!("{name}: {error}"))),
            Err(_) => Err(Error::new(format!("{name}: not started"))),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal to the process and all it has started.
    pub(super) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock();
        if !*reaped {
            // It may have ended this very moment.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Waits for its end; whether it came.
    pub(super) fn wait(&self, time: Duration) -> bool {
        matches!(
            self.ended.recv_timeout(time),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        )
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        *self.reaped.lock()
    }
}

type Started = Result<(Arc<Process>, ChildStdin), String>;

/// The thread of a process: its parent-death signal means the end of this thread.
fn keep(
    command: &mut Command,
    limits: Limits,
    mut belongings: Belongings,
    report: &Sender<Started>,
) {
    // Of this thread, and so of what it starts.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        tracing::warn!("no-new-privileges: {error}");
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = report.send(Err(format!("cannot be started: {error}")));
            return;
        }
    };
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (Some(pid), Some(stdin)) = (raw, child.stdin.take()) else {
        let _ = child.kill();
        let _ = child.wait();
        let _ = report.send(Err("has no process id".into()));
        return;
    };
    set_limits(pid, limits);
    follow_output(&mut child, &belongings.logs);
    let (alive, ended) = bounded(0);
    let process = Arc::new(Process {
        pid,
        reaped: Mutex::new(false),
        ended,
    });
    let _ = report.send(Ok((Arc::clone(&process), stdin)));
    // Not reaped yet: while the leader is a zombie, nobody else can get the number of its group.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), options).is_err_and(|e| e == rustix::io::Errno::INTR) {}
    let mut reaped = process.reaped.lock();
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait();
    *reaped = true;
    drop(reaped);
    belongings.dir = None;
    belongings.held.clear();
    (belongings.told)(status.map_or_else(|error| error.to_string(), describe_status));
    drop(alive);
}

fn command(program: &Program, own_env: Vec<(&'static str, String)>) -> Command {
    let mut command = Command::new(&program.file);
    command
        .args(&program.args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    for name in HANDED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // What the host says comes last: an entry cannot overrule it.
    command.envs(program.env.iter().map(|(name, value)| (name, value)));
    command.envs(own_env);
    command
}

/// From outside, so that a program cannot forget it.
fn set_limits(pid: Pid, limits: Limits) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, prlimit};
        let wanted = [
            (Resource::As, limits.memory),
            (Resource::Nofile, limits.nofile),
        ];
        for (resource, limit) in wanted {
            let rlimit = Rlimit {
                current: limit,
                maximum: limit,
            };
            if let (Some(limit), Err(error)) = (limit, prlimit(Some(pid), resource, rlimit)) {
                tracing::warn!("limit {limit} of {resource:?}: {error}");
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (pid, limits);
}

fn follow_output(child: &mut std::process::Child, logs: &Arc<Logs>) {
    use std::os::fd::OwnedFd;
    let outputs = [
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let Ok(runtime) = runtime() else { return };
    let _inside = runtime.enter();
    for output in outputs.into_iter().flatten() {
        match tokio::net::unix::pipe::Receiver::from_owned_fd(output) {
            Ok(stream) => drop(runtime.spawn(Arc::clone(logs).follow(stream))),
            Err(error) => tracing::warn!("output of a child: {error}"),
        }
    }
}

fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Runs a program by hand and reads the manifest it prints.
pub(super) fn describe(program: &Program) -> Result<Description, Error> {
    let name = program.name();
    let failed = |text: String| Error::new(format!("{name}: {text}"));
    let mut command = command(program, Vec::new());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let stdout = child.stdout.take();
    let (report, printed) = bounded(1);
    let reader = std::thread::Builder::new().name("plugin-describe".into());
    let reading = reader.spawn(move || {
        let mut text = String::new();
        let read = stdout.map(|out| out.take(MANIFEST_BYTES_MAX).read_to_string(&mut text));
        let _ = report.send(read.map(|read| read.map(|_| text)));
    });
    let printed = printed.recv_timeout(program.timing.start);
    if let Some(pid) = pid.filter(|_| printed.is_err() || reading.is_err()) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = wait_or_kill(&mut child, pid, program.timing.terminate);
    let code = status.map_err(|error| failed(error.to_string()))?.code();
    let text = match printed {
        Ok(Some(Ok(text))) => text,
        Ok(_) => return Err(failed("its output cannot be read".into())),
        Err(_) => {
            let time = program.timing.start;
            return Err(failed(format!("printed no manifest within {time:?}")));
        }
    };
    if code != Some(BY_HAND) {
        return Err(failed(
            "is no plugin: started by hand, a plugin prints its manifest and exits with 64".into(),
        ));
    }
    serde_json::from_str(text.trim()).map_err(|error| failed(format!("manifest: {error}")))
}

/// Its output has ended, so it should, too.
fn wait_or_kill(
    child: &mut std::process::Child,
    pid: Option<Pid>,
    time: Duration,
) -> std::io::Result<ExitStatus> {
    let until = std::time::Instant::now() + time;
    while std::time::Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait()
}
