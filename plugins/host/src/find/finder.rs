//! The rules: table, folders, lock, trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_sdk::{Description, Module};
use semver::Version;

use super::digest;
use super::files::{self, Candidate, Form, Scan};
use super::lock::Lock;
use super::near::nearest;
use super::package::{self, Package};
use super::search::{Modules, Search};
use super::want::{PROGRAM, Wanted, same_name, version};
use crate::entry::HostMode;

/// Modules that come with MarketStore.
const MARKETSTORE: [&str; 13] = [
    "ondiskagg",
    "stream",
    "gdaxfeeder",
    "polygon",
    "polyiex",
    "binancefeeder",
    "bitmexfeeder",
    "iex",
    "xignitefeeder",
    "slait",
    "alpaca",
    "alpacabkfeeder",
    "ice",
];

/// Names of other modules shown in an error.
const NEAR_MAX: usize = 8;

/// A module, and how it will run.
#[derive(Clone)]
pub struct Found {
    /// How it will run.
    pub how: How,
    /// What it says of itself; `None` if only a process that runs can say it.
    pub description: Option<Description>,
    /// Its version: of the manifest, else of the file's name.
    pub version: String,
    /// Its file, or the folder of its package; `None` if it is linked in.
    pub path: Option<PathBuf>,
    /// SHA-256 of the file that runs.
    pub sha256: Option<String>,
    /// Whether `plugins.lock` pins it.
    pub is_pinned: bool,
    /// What is odd about the folders.
    pub warnings: Vec<String>,
    /// What a manifest that is only known later must say.
    pub(super) promise: Promise,
}

/// How a module will run.
#[derive(Clone)]
pub enum How {
    /// Linked in.
    BuiltIn(Arc<dyn Module>),
    /// A library inside the server.
    Native(PathBuf),
    /// A library in a child that is the server's own program.
    Library(PathBuf),
    /// A program.
    Program {
        /// What is started: a path, or the name of an interpreter.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// Where it is started; `None` is the server's working directory.
        folder: Option<PathBuf>,
    },
}

impl How {
    /// `builtin`, `native` or `process`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BuiltIn(_) => HostMode::Builtin.name(),
            Self::Native(_) => HostMode::Native.name(),
            Self::Library(_) | Self::Program { .. } => HostMode::Process.name(),
        }
    }
}

impl std::fmt::Debug for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("how", &self.how)
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Why there is no module; the text is one line and names the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFound {
    /// It comes with MarketStore, but not with this build.
    Known(String),
    /// Nothing bears the name.
    Missing(String),
    /// It is there and will not be run.
    Refused(String),
}

impl NotFound {
    /// The text.
    pub fn text(&self) -> &str {
        match self {
            Self::Known(text) | Self::Missing(text) | Self::Refused(text) => text,
        }
    }
}

/// Reads what a file says of itself without running it.
pub(crate) type Describe = fn(&Path) -> Result<Description, Undescribed>;

/// Why a file says nothing of itself.
pub(crate) enum Undescribed {
    /// It has no manifest of ours: a script, a program in another language, a Go plugin.
    Absent(String),
    /// It has one that cannot be used.
    Wrong(String),
}

/// Looks for modules.
pub(crate) struct Finder<'m> {
    modules: &'m Modules,
    describe: Describe,
}

impl<'m> Finder<'m> {
    pub(crate) fn new(modules: &'m Modules) -> Self {
        Self::with(modules, super::describe)
    }

    pub(super) fn with(modules: &'m Modules, describe: Describe) -> Self {
        Self { modules, describe }
    }

    /// The module of an entry: `module:` and `host:` as written.
    pub(crate) fn find(&self, module: &str, host: Option<HostMode>) -> Result<Found, NotFound> {
        let wanted = Wanted::parse(module)
            .map_err(|why| NotFound::Refused(format!("module \"{module}\": {why}")))?;
        if wanted.is_path {
            return self.by_path(&wanted, host);
        }
        match host {
            Some(HostMode::Builtin) => self.in_table(&wanted),
            None if wanted.versions.is_none() && self.is_in_table(wanted.stem) => {
                self.in_table(&wanted)
            }
            _ => self.in_folders(&wanted, host),
        }
    }

    /// Whether a bare name is answered by the table alone.
    fn is_in_table(&self, stem: &str) -> bool {
        self.builtin(stem).is_some() || MARKETSTORE.contains(&stem)
    }

    fn builtin(&self, stem: &str) -> Option<&'m Arc<dyn Module>> {
        let mut builtins = self.modules.builtins.iter();
        builtins.find(|b| same_name(&b.description().name, stem))
    }

    fn in_table(&self, wanted: &Wanted<'_>) -> Result<Found, NotFound> {
        let (text, stem) = (wanted.text, wanted.stem);
        let Some(module) = self.builtin(stem) else {
            return Err(match MARKETSTORE.contains(&stem) {
                true => NotFound::Known(format!(
                    "\"{text}\" is a known MarketStore module, not included in this build"
                )),
                false => NotFound::Missing(format!(
                    "no built-in module \"{stem}\"; there are {}",
                    self.builtin_names()
                )),
            });
        };
        let description = module.description().clone();
        let fits = version(&description.version).is_some_and(|v| wanted.takes(&v));
        if wanted.versions.is_some() && !fits {
            return Err(NotFound::Refused(format!(
                "module \"{text}\": the built-in \"{stem}\" is version {}; leave \"host: builtin\" \
                 out to look for others",
                description.version
            )));
        }
        Ok(Found {
            how: How::BuiltIn(Arc::clone(module)),
            version: description.version.clone(),
            description: Some(description),
            path: None,
            sha256: None,
            is_pinned: false,
            warnings: Vec::new(),
            promise: Promise::default(),
        })
    }

    fn by_path(&self, wanted: &Wanted<'_>, host: Option<HostMode>) -> Result<Found, NotFound> {
        let text = wanted.text;
        if host == Some(HostMode::Builtin) {
            return Err(NotFound::Refused(format!(
                "module \"{text}\" is a path; a built-in module is named without one"
            )));
        }
        let search = &self.modules.search;
        let paths = wanted.paths([&search.folder, &search.working_dir]);
        let Some(path) = paths.iter().find(|path| path.exists()) else {
            let shown: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
            let shown = shown.join(" and no ");
            return Err(NotFound::Missing(format!(
                "module \"{text}\": there is no {shown}"
            )));
        };
        let candidate = files::at(path)
            .map_err(|why| NotFound::Refused(format!("module \"{text}\": {why}")))?;
        self.take(candidate, host, wanted, Vec::new())
    }

    fn in_folders(&self, wanted: &Wanted<'_>, host: Option<HostMode>) -> Result<Found, NotFound> {
        let folders = self.modules.search.folders();
        let mut scan = files::scan(folders.iter().map(|(folder, _)| *folder), wanted.stem);
        let fits = |c: &Candidate| {
            wanted.takes(&c.version) && (host != Some(HostMode::Native) || c.form != Form::Program)
        };
        match scan.candidates.iter().position(fits) {
            Some(at) => {
                let best = scan.candidates.swap_remove(at);
                self.take(best, host, wanted, scan.warnings)
            }
            None => Err(NotFound::Missing(self.missing(wanted, host, &scan))),
        }
    }

    /// Checks what will run, byte by byte but without running it.
    fn take(
        &self,
        candidate: Candidate,
        host: Option<HostMode>,
        wanted: &Wanted<'_>,
        warnings: Vec<String>,
    ) -> Result<Found, NotFound> {
        let refuse = |why: String| NotFound::Refused(format!("module \"{}\": {why}", wanted.text));
        let is_pinned = check_lock(&candidate.path).map_err(refuse)?;
        let package = match candidate.form {
            Form::Package => Some(Package::read(&candidate.path).map_err(refuse)?),
            _ => None,
        };
        let promise = Promise::of(&candidate, package.as_ref());
        let run = Run::of(&candidate, package).map_err(refuse)?;
        let description = self.describe_run(&run).map_err(refuse)?;
        if let Some(description) = &description {
            promise.check(run.file(), description).map_err(refuse)?;
        }
        let how = self
            .how(run, host, &candidate, description.as_ref())
            .map_err(refuse)?;
        let file = match &how {
            How::Native(file) | How::Library(file) => Some(file),
            How::Program {
                program,
                folder: None,
                ..
            } => Some(program),
            _ => None,
        };
        let sha256 = file.map(|file| digest::of_file(file)).transpose();
        let sha256 = sha256.map_err(|error| refuse(error.to_string()))?;
        Ok(Found {
            version: match &description {
                Some(description) => description.version.clone(),
                None => candidate.version.to_string(),
            },
            description,
            path: Some(candidate.path),
            sha256,
            is_pinned,
            warnings,
            promise,
            how,
        })
    }

    fn describe_run(&self, run: &Run) -> Result<Option<Description>, String> {
        let file = match run {
            Run::Library(file) => file,
            Run::Program {
                program,
                folder: None,
                ..
            } => program,
            Run::Program { .. } => return Ok(None),
        };
        let is_program = matches!(run, Run::Program { .. });
        match (self.describe)(file) {
            Ok(description) => Ok(Some(description)),
            // A program may be a script; it says what it is when it runs.
            Err(Undescribed::Absent(_)) if is_program => Ok(None),
            Err(Undescribed::Absent(why) | Undescribed::Wrong(why)) => Err(why),
        }
    }

    /// D3: what others built runs in a child, unless it is asked for and trusted.
    fn how(
        &self,
        run: Run,
        host: Option<HostMode>,
        candidate: &Candidate,
        description: Option<&Description>,
    ) -> Result<How, String> {
        let name = description.map_or(candidate.name.as_str(), |d| d.name.as_str());
        match (run, host) {
            (Run::Library(file), Some(HostMode::Native)) => {
                let trusted = &self.modules.search.trust_native;
                if trusted.iter().any(|t| same_name(t, name)) {
                    return Ok(How::Native(file));
                }
                Err(format!(
                    "host: native would run it inside the server; list it in mkts.yml, \
                     plugins: {{trust_native: [{name}]}}, or leave host out to run it in a process"
                ))
            }
            (Run::Program { program, .. }, Some(HostMode::Native)) => Err(format!(
                "{} is a program; it runs in a process only, leave host: native out",
                program.display()
            )),
            (Run::Library(file), _) => Ok(How::Library(file)),
            (
                Run::Program {
                    program,
                    args,
                    folder,
                },
                _,
            ) => Ok(How::Program {
                program,
                args,
                folder,
            }),
        }
    }

    fn missing(&self, wanted: &Wanted<'_>, host: Option<HostMode>, scan: &Scan) -> String {
        let stem = wanted.stem;
        let mut out = format!("no module \"{}\"", wanted.text);
        if !scan.candidates.is_empty() {
            let versions: Vec<String> = scan.candidates.iter().map(describe_candidate).collect();
            out.push_str(&format!(": none of {} will do", versions.join(", ")));
            if scan.candidates.iter().all(|c| !c.version.pre.is_empty()) {
                let newest = &scan.candidates[0].version;
                out.push_str(&format!(
                    " (a pre-release is only taken if asked for: {stem}@={newest})"
                ));
            }
        }
        out.push_str(&format!(
            "; looked for {stem}.so, lib{stem}.so, {stem}@vX.Y.Z.so, {PROGRAM}{stem} and \
             {stem}@vX.Y.Z/{} in {}",
            package::FILE,
            self.modules.search.shown()
        ));
        match self.builtin(stem) {
            Some(_) => {
                let key = if host.is_some() {
                    "host"
                } else {
                    "the version"
                };
                out.push_str(&format!(
                    "; leave {key} out to take the built-in \"{stem}\""
                ));
            }
            None => out.push_str(&format!("; built in are {}", self.builtin_names())),
        }
        let near = self.near(stem, scan);
        if !near.is_empty() {
            out.push_str(&format!("; did you mean {}?", near.join(" or ")));
        }
        for warning in &scan.warnings {
            out.push_str(&format!("; {warning}"));
        }
        out.push_str("; GOPATH is no longer searched");
        out
    }

    fn near<'s>(&'s self, stem: &str, scan: &'s Scan) -> Vec<&'s str> {
        let builtins = self.modules.builtins.iter();
        let builtins = builtins.map(|b| b.description().name.as_str());
        let mut known: Vec<&str> = builtins
            .chain(scan.others.iter().map(String::as_str))
            .collect();
        known.retain(|name| !same_name(name, stem));
        let mut near = Vec::new();
        while let Some(name) =
            nearest(stem, known.iter().copied()).filter(|_| near.len() < NEAR_MAX)
        {
            known.retain(|other| *other != name);
            near.push(name);
        }
        near
    }

    fn builtin_names(&self) -> String {
        let builtins = self.modules.builtins.iter();
        let names: Vec<&str> = builtins.map(|b| b.description().name.as_str()).collect();
        match names.is_empty() {
            true => "none".into(),
            false => names.join(", "),
        }
    }
}

impl Search {
    fn shown(&self) -> String {
        let folders = self.folders();
        let shown: Vec<String> = folders
            .iter()
            .map(|(folder, what)| format!("{} ({what})", folder.display()))
            .collect();
        let unset = self
            .plugin_dir
            .is_empty()
            .then(|| "no plugin_dir".to_owned());
        let shown: Vec<String> = unset.into_iter().chain(shown).collect();
        shown.join(", ")
    }
}

/// What a candidate starts.
enum Run {
    Library(PathBuf),
    Program {
        program: PathBuf,
        args: Vec<String>,
        folder: Option<PathBuf>,
    },
}

impl Run {
    fn of(candidate: &Candidate, package: Option<Package>) -> Result<Self, String> {
        let program = |program: PathBuf| Self::Program {
            program,
            args: Vec::new(),
            folder: None,
        };
        let path = candidate.path.clone();
        let Some(package) = package else {
            return Ok(match candidate.form {
                Form::Library => Self::Library(path),
                _ => program(path),
            });
        };
        package_is_named(&package, candidate)?;
        package.verify(&path)?;
        if let Some(library) = package.library(&path) {
            return Ok(Self::Library(library));
        }
        Ok(match (package.run, package.interpreter) {
            (Some(run), _) => program(path.join(run)),
            (None, interpreter) => Self::Program {
                program: interpreter
                    .expect("one of both is there: Package::check")
                    .into(),
                args: package.args,
                folder: Some(path),
            },
        })
    }

    fn file(&self) -> &Path {
        match self {
            Self::Library(file) => file,
            Self::Program { program, .. } => program,
        }
    }
}

fn package_is_named(package: &Package, candidate: &Candidate) -> Result<(), String> {
    let right = same_name(&package.name, &candidate.name)
        && (!candidate.is_versioned || package.version == candidate.version);
    right.then_some(()).ok_or_else(|| {
        format!(
            "{} holds {} {}; its folder must be called {}",
            candidate.path.display(),
            package.name,
            package.version,
            package.folder()
        )
    })
}

/// What a name promises of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// `None`: a path may name a program of any name.
    name: Option<String>,
    version: Option<Version>,
}

impl Promise {
    fn of(candidate: &Candidate, package: Option<&Package>) -> Self {
        let file = candidate
            .path
            .file_name()
            .map(|name| name.to_string_lossy());
        let is_named =
            candidate.form != Form::Program || file.is_some_and(|file| file.starts_with(PROGRAM));
        Self {
            name: is_named.then(|| candidate.name.clone()),
            version: match package {
                Some(package) => Some(package.version.clone()),
                None => candidate.is_versioned.then(|| candidate.version.clone()),
            },
        }
    }

    /// The manifest must say what the name says.
    pub(super) fn check(&self, file: &Path, description: &Description) -> Result<(), String> {
        let (file, says) = (file.display(), &description.name);
        if let Some(name) = self.name.as_ref().filter(|name| !same_name(name, says)) {
            return Err(format!(
                "{file} says it is \"{says}\", its name says \"{name}\"; rename it"
            ));
        }
        let Some(number) = version(&description.version) else {
            return Err(format!(
                "{file} says it is version \"{}\", which is none",
                description.version
            ));
        };
        match self.version.as_ref().filter(|version| **version != number) {
            Some(version) => Err(format!(
                "{file} says it is version {number}, its name says {version}; rename it"
            )),
            None => Ok(()),
        }
    }
}

/// Compares a module with the lock of its folder; whether it is pinned.
fn check_lock(path: &Path) -> Result<bool, String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(unit) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(false);
    };
    Lock::read(folder)?.check(folder, unit)
}

fn describe_candidate(candidate: &Candidate) -> String {
    let path = candidate.path.display();
    match (candidate.form, candidate.version == Version::new(0, 0, 0)) {
        (Form::Program, _) if !candidate.is_versioned => format!("{path} (a program, 0.0.0)"),
        (_, true) => format!("{path} (0.0.0)"),
        _ => path.to_string(),
    }
}
