//! A server with tokens, and what a call to it came to.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Error, Target};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, Schema};
use serde_json::Value;
use server::auth::Token;
use tempfile::TempDir;

pub(crate) const MKTS: &str = env!("CARGO_BIN_EXE_mkts");
/// A hang, not a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server on its own directory; killed when dropped.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    /// If the configuration opens that door.
    pub(crate) postgres: Option<String>,
}

/// Tokens of a test, by the name of their file.
pub(crate) const TOKENS: [(&str, &str); 6] = [
    ("reader", r#""right":"read""#),
    ("writer", r#""right":"write""#),
    ("admin", r#""right":"admin""#),
    ("apples", r#""right":"write","keys":["AAPL/**"]"#),
    ("peeker", r#""right":"read","keys":["AAPL/**"]"#),
    ("old", r#""right":"admin","expires":"2001-01-01T00:00:00Z""#),
];

impl Site {
    pub(crate) fn new(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("root_directory: data\nlisten_port: 0\ngrpc_listen_port: 0\n{config}");
        fs::write(dir.path().join("mkts.yml"), config).unwrap();
        prepare(dir.path());
        let ready = dir.path().join("ready");
        let mut child = Command::new(MKTS)
            .args(["start", "--ready-file", "ready"])
            .current_dir(dir.path())
            .env_remove("MKTS_LOG")
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let ready: Value = loop {
            if let Ok(text) = fs::read(&ready) {
                break serde_json::from_slice(&text).unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        };
        let address = |door: &str| ready[door].as_str().unwrap().to_owned();
        let postgres = ready["postgres"].as_str().map(str::to_owned);
        Self {
            dir,
            child,
            http: address("http"),
            grpc: address("grpc"),
            postgres,
        }
    }

    /// With [`TOKENS`].
    pub(crate) fn guarded(config: &str) -> Self {
        Self::new(
            &format!("auth: {{tokens_file: tokens}}\n{config}"),
            write_tokens,
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn token(&self, name: &str) -> Option<String> {
        match name {
            "none" => None,
            "wrong" => Some("mkts_wrong".into()),
            name => Some(fs::read_to_string(self.path(name)).unwrap()),
        }
    }

    pub(crate) fn target(&self, token: &str) -> Target {
        Target::new(self.http.as_str()).token(self.token(token))
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(self.target(token))
    }

    /// A command about this server, as that caller.
    pub(crate) fn mkts(&self, token: &str, args: &[&str]) -> Output {
        let mut command = Command::new(MKTS);
        command.args(args).current_dir(self.dir.path());
        command.args(["--url", &format!("http://{}", self.http)]);
        match self.token(token) {
            Some(token) => command.env("MKTS_TOKEN", token),
            None => command.env_remove("MKTS_TOKEN"),
        };
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn reload(&self) -> (Option<i32>, String) {
        let done = self.mkts("admin", &["reload"]);
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).unwrap())
    }

    /// Sends a body of any media type; the reply's status and text.
    pub(crate) fn post(&self, token: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        self.send(
            token,
            "POST",
            path,
            &format!("Content-Type: {kind}\r\n"),
            body,
        )
    }

    /// Sends a request with these header lines.
    pub(crate) fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String) {
        let shown = match self.token(token) {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{shown}{headers}Content-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.http,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8_lossy(&reply);
        let (head, text) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.to_owned())
    }

    /// Takes a token out of the file; the server has not read it yet.
    pub(crate) fn revoke(&self, name: &str) {
        let tokens = self.path("tokens");
        let text = fs::read_to_string(&tokens).unwrap();
        let line = format!("\"name\":\"{name}\"");
        let left = text.lines().filter(|l| !l.contains(&line));
        let left: String = left.map(|l| format!("{l}\n")).collect();
        write_private(&tokens, &left);
    }

    /// Leaves a token of all keys only some; the server has not read it yet.
    pub(crate) fn narrow(&self, name: &str, keys: &str) {
        let tokens = self.path("tokens");
        let text = fs::read_to_string(&tokens).unwrap();
        let line = format!("\"name\":\"{name}\"");
        assert!(text.contains(&line), "{text}");
        let narrowed = format!("{line},\"keys\":[\"{keys}\"]");
        write_private(&tokens, &text.replace(&line, &narrowed));
    }

    pub(crate) fn configure(&self, from: &str, to: &str) {
        let file = self.path("mkts.yml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    pub(crate) fn wait_for_log(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(self.path("log")).unwrap().contains(what) {
            assert!(Instant::now() < deadline, "{what} is never logged");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn write_tokens(dir: &Path) {
    let lines = TOKENS.map(|(name, rest)| {
        let token = Token::new().unwrap();
        fs::write(dir.join(name), token.text()).unwrap();
        format!(
            "{{\"name\":\"{name}\",\"hash\":\"{}\",{rest}}}\n",
            token.hash()
        )
    });
    write_private(&dir.join("tokens"), &lines.concat());
}

pub(crate) fn write_private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

pub(crate) fn table(text: &str) -> (BucketKey, ColumnBatch) {
    let schema = Schema::new(vec![ColumnDef::new("Open", ColumnType::F64)]).unwrap();
    let columns = vec![Column::from_values(vec![1.0, 2.0])];
    (
        key(text),
        ColumnBatch::new(
            schema,
            Column::from_values(vec![0_i64, 60_000_000_000]),
            columns,
        )
        .unwrap(),
    )
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// 401, UNAUTHENTICATED.
    Unknown,
    /// The right is missing.
    Denied,
}
pub(crate) use End::{Denied, Done, Unknown};

pub(crate) fn end<T: std::fmt::Debug>(result: Result<T, Error>) -> End {
    match result {
        Ok(_) => Done,
        Err(Error::Status(401, text)) if text.contains("token") => Unknown,
        Err(Error::Rpc(text)) if text.contains("has no right to ") => Denied,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn http_end((status, text): (u16, String)) -> End {
    match status {
        200 => Done,
        401 if text.contains("token") => Unknown,
        403 if text.contains("has no right to admin") => Denied,
        _ => panic!("{status} {text}"),
    }
}

/// Each caller, and what comes of reads, writes and steering.
pub(crate) const CALLERS: [(&str, [End; 3]); 6] = [
    ("none", [Unknown; 3]),
    ("wrong", [Unknown; 3]),
    ("old", [Unknown; 3]),
    ("reader", [Done, Denied, Denied]),
    ("writer", [Done, Done, Denied]),
    ("admin", [Done, Done, Done]),
];
