//! T8 to T10, T12: which file wins, and what is refused. A library of these tests is a text file with
//! its manifest as JSON, read by [`describe`]: nothing here needs a compiler.
#![allow(clippy::disallowed_methods)] // files of a test

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use plugin_sdk::Description;
use tempfile::TempDir;

use super::finder::{Finder, Found, How, NotFound, Undescribed};
use super::install::{install_with, installed, remove};
use super::search::{Modules, Search};
use super::{digest, lock};
use crate::entry::HostMode;

fn describe(file: &Path) -> Result<Description, Undescribed> {
    let text = fs::read(file).map_err(|error| Undescribed::Wrong(error.to_string()))?;
    serde_json::from_slice(&text)
        .map_err(|_| Undescribed::Absent(format!("{}: no plugin", file.display())))
}

fn manifest(name: &str, version: &str) -> String {
    format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"kind\":\"trigger\"}}")
}

struct Place {
    dir: TempDir,
    modules: Modules,
}

impl Place {
    /// Two plugin folders, a search path and a working directory.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["one", "two", "path", "work", "conf"] {
            fs::create_dir(at(name)).unwrap();
        }
        let search = Search {
            folder: at("conf"),
            plugin_dir: vec![at("one"), at("two"), at("not-there")],
            plugin_path: vec![at("path")],
            working_dir: at("work"),
            trust_native: vec!["fast".into()],
            root: at("store"),
        };
        let modules = Modules::new(&[builtin()], search);
        Self { dir, modules }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn library(&self, file: &str, name: &str, version: &str) -> PathBuf {
        self.file(file, &manifest(name, version))
    }

    fn file(&self, file: &str, text: &str) -> PathBuf {
        let path = self.at(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, file: &str, mode: u32) -> PathBuf {
        let path = self.file(file, "#!/bin/sh\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn find(&self, module: &str) -> Result<Found, NotFound> {
        self.find_in(module, None)
    }

    fn find_in(&self, module: &str, host: Option<HostMode>) -> Result<Found, NotFound> {
        Finder::with(&self.modules, describe).find(module, host)
    }

    /// The path found, below the test's folder.
    fn path(&self, module: &str) -> String {
        let found = self.find(module).unwrap_or_else(|e| panic!("{}", e.text()));
        let path = found.path.unwrap();
        let path = path.strip_prefix(self.dir.path()).unwrap();
        path.display().to_string()
    }

    fn refusal(&self, module: &str) -> String {
        match self.find(module) {
            Err(NotFound::Refused(text)) => text,
            other => panic!("{module}: {other:?}"),
        }
    }

    fn missing(&self, module: &str) -> String {
        match self.find(module) {
            Err(NotFound::Missing(text)) => text,
            other => panic!("{module}: {other:?}"),
        }
    }
}

struct Linked;

impl plugin_sdk::Plugin for Linked {
    type Config = serde_json::Value;
    const MANIFEST: plugin_sdk::Manifest = plugin_sdk::Manifest::new("ondiskagg", "1.0.0");
    fn new(
        _: serde_json::Value,
        _: &mut plugin_sdk::Init<'_>,
    ) -> Result<Self, plugin_sdk::PluginError> {
        Ok(Self)
    }
}

impl plugin_sdk::Trigger for Linked {
    fn fire(
        &mut self,
        _: &mut plugin_sdk::FireCtx<'_>,
        _: &plugin_sdk::Event<'_>,
    ) -> Result<(), plugin_sdk::FireError> {
        Ok(())
    }
}

fn builtin() -> plugin_sdk::BuiltIn {
    plugin_sdk::BuiltIn::trigger::<Linked>()
}

/// T8: versions are numbers, and the folder decides only between equal ones.
#[test]
fn the_highest_version_over_all_folders_wins() {
    let place = Place::new();
    place.library("one/alerts@v1.9.0.so", "alerts", "1.9.0");
    assert_eq!(place.path("alerts"), "one/alerts@v1.9.0.so");
    place.library("path/alerts@v1.10.0.so", "alerts", "1.10.0");
    assert_eq!(place.path("alerts"), "path/alerts@v1.10.0.so");
    place.library("two/libalerts@1.10.0.so", "alerts", "1.10.0");
    assert_eq!(place.path("alerts"), "two/libalerts@1.10.0.so");
    // A pre-release is newer, and not asked for.
    place.library("one/alerts@v2.0.0-rc.1.so", "alerts", "2.0.0-rc.1");
    assert_eq!(place.path("alerts"), "two/libalerts@1.10.0.so");
    place.program("work/mkts-plugin-alerts@v3.0.0", 0o755);
    assert_eq!(place.path("alerts.so"), "work/mkts-plugin-alerts@v3.0.0");
}

/// T9: constraints, pre-releases, names that say no version, `lib`.
#[test]
fn constraints_choose_and_odd_names_are_told() {
    let place = Place::new();
    for version in ["1.2.3", "1.4.0", "2.0.0", "2.1.0-rc.1"] {
        place.library(&format!("one/alerts@v{version}.so"), "alerts", version);
    }
    for (module, version) in [
        ("alerts@^1.2", "1.4.0"),
        ("alerts@=1.2.3", "1.2.3"),
        ("alerts@v1.2.3.so", "1.2.3"),
        ("libalerts.so@^1", "1.4.0"),
        ("alerts", "2.0.0"),
        ("alerts@=2.1.0-rc.1", "2.1.0-rc.1"),
    ] {
        assert_eq!(place.find(module).unwrap().version, version, "{module}");
    }
    place.file("two/alerts@latest.so", "x");
    place.program("two/mkts-plugin-alerts", 0o644);
    let warnings = place.find("alerts").unwrap().warnings.join("; ");
    assert!(warnings.contains("\"latest\" is no version"), "{warnings}");
    assert!(warnings.contains("not executable (chmod +x)"), "{warnings}");
    let text = place.missing("alerts@^3");
    assert!(
        text.contains("none of ") && text.contains("alerts@v2.0.0.so"),
        "{text}"
    );
    place.library("one/early@v0.1.0-a.so", "early", "0.1.0-a");
    let text = place.missing("early");
    assert!(
        text.contains("only taken if asked for: early@=0.1.0-a"),
        "{text}"
    );
    assert!(place.refusal("alerts@new").contains("names no versions"));
    // No version is 0.0.0, and cargo writes _ for -.
    place.library("one/libtwo_words.so", "two-words", "7.0.0");
    assert_eq!(place.find("two-words").unwrap().version, "7.0.0");
    place.library("two/two-words@v0.0.1.so", "two-words", "0.0.1");
    assert_eq!(place.path("two-words"), "two/two-words@v0.0.1.so");
}

/// T10: a file left over from MarketStore is never touched.
#[test]
fn the_table_comes_first() {
    let place = Place::new();
    place.file("one/ondiskagg.so", "\u{ff} Go buildinf: not even read");
    place.file("work/gdaxfeeder.so", "x");
    for module in ["ondiskagg.so", "ondiskagg", "libondiskagg.so"] {
        let found = place.find(module).unwrap();
        assert!(matches!(found.how, How::BuiltIn(_)), "{module}");
        assert_eq!(found.how.name(), "builtin");
    }
    assert_eq!(
        place.find("gdaxfeeder.so").unwrap_err(),
        NotFound::Known(
            "\"gdaxfeeder.so\" is a known MarketStore module, not included in this build".into()
        )
    );
    // A version or a host asks for a file.
    place.library("one/ondiskagg@v9.0.0.so", "ondiskagg", "9.0.0");
    let by_version = place.find("ondiskagg@^9").unwrap();
    assert_eq!(by_version.how.name(), "process");
    let by_host = place.find_in("ondiskagg", Some(HostMode::Process)).unwrap();
    assert_eq!(by_host.version, "9.0.0");
    let table = Some(HostMode::Builtin);
    assert!(place.find_in("ondiskagg@^1", table).is_ok());
    let wrong = place.find_in("ondiskagg@^2", table).unwrap_err();
    assert!(wrong.text().contains("is version 1.0.0"), "{wrong:?}");
    let none = place.find_in("alerts", table).unwrap_err();
    assert!(none.text().contains("there are ondiskagg"), "{none:?}");
}

#[test]
fn a_path_is_that_file_only() {
    let place = Place::new();
    let file = place.library("else/any@v1.0.0.so", "any", "1.0.0");
    assert_eq!(place.path(file.to_str().unwrap()), "else/any@v1.0.0.so");
    place.library("work/sub/rel.so", "rel", "1.0.0");
    assert_eq!(place.path("sub/rel.so"), "work/sub/rel.so");
    place.library("conf/sub/rel.so", "rel", "2.0.0");
    assert_eq!(place.path("sub/rel.so"), "conf/sub/rel.so");
    let program = place.program("else/run-me", 0o755);
    let found = place.find(program.to_str().unwrap()).unwrap();
    assert!(matches!(found.how, How::Program { .. }), "{found:?}");
    let text = place.missing("sub/none.so");
    assert!(text.contains("conf/sub/none.so and no "), "{text}");
    assert!(text.contains("work/sub/none.so"), "{text}");
    let plain = place.program("else/notes", 0o644);
    let text = place.refusal(plain.to_str().unwrap());
    assert!(text.contains("not executable"), "{text}");
    let folder = place.refusal(place.at("else").to_str().unwrap());
    assert!(folder.contains("has no plugin.toml"), "{folder}");
}

#[test]
fn a_missing_module_names_every_folder_and_near_names() {
    let place = Place::new();
    place.library("one/alerts.so", "alerts", "1.0.0");
    let text = place.missing("alrets.so");
    for part in [
        "no module \"alrets.so\"",
        "alrets.so, libalrets.so, alrets@vX.Y.Z.so, mkts-plugin-alrets and alrets@vX.Y.Z/plugin.toml",
        "one (plugin_dir)",
        "not-there (plugin_dir)",
        "path (MKTS_PLUGIN_PATH)",
        "work (working directory)",
        "built in are ondiskagg",
        "did you mean alerts?",
        "GOPATH is no longer searched",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\n'), "{text}");
    let own = place
        .find_in("ondiskagg", Some(HostMode::Process))
        .unwrap_err();
    let part = "leave host out to take the built-in \"ondiskagg\"";
    assert!(own.text().contains(part), "{own:?}");
}

/// D3: a stranger's library runs in a child, unless it is asked for and trusted.
#[test]
fn only_trusted_modules_run_inside_the_server() {
    let place = Place::new();
    place.library("one/fast.so", "fast", "1.0.0");
    place.library("one/slow.so", "slow", "1.0.0");
    place.program("one/mkts-plugin-prog", 0o755);
    let how = |module, host| place.find_in(module, host).map(|found| found.how.name());
    let native = Some(HostMode::Native);
    assert_eq!(how("fast", None), Ok("process"));
    assert_eq!(how("fast", Some(HostMode::Process)), Ok("process"));
    assert_eq!(how("fast", native), Ok("native"));
    let text = how("slow", native).unwrap_err().text().to_owned();
    assert!(text.contains("plugins: {trust_native: [slow]}"), "{text}");
    // A program is no candidate for the server's inside.
    let text = how("prog", native).unwrap_err().text().to_owned();
    assert!(text.contains("no module \"prog\""), "{text}");
    let path = place.at("one/mkts-plugin-prog");
    let text = how(path.to_str().unwrap(), native).unwrap_err();
    assert!(text.text().contains("runs in a process only"), "{text:?}");
}

#[test]
fn a_manifest_that_says_otherwise_is_refused() {
    let place = Place::new();
    place.library("one/alerts.so", "alarms", "1.0.0");
    let text = place.refusal("alerts");
    assert!(
        text.contains("says it is \"alarms\", its name says \"alerts\""),
        "{text}"
    );
    place.library("one/b@v1.0.0.so", "b", "1.0.1");
    assert!(
        place
            .refusal("b")
            .contains("version 1.0.1, its name says 1.0.0")
    );
    place.library("one/c.so", "c", "one");
    assert!(
        place
            .refusal("c")
            .contains("version \"one\", which is none")
    );
    place.file("one/d.so", "nothing");
    let text = place.refusal("d");
    assert!(text.contains("one/d.so: no plugin"), "{text}");
}

/// A tar.gz; every header is as the test says, however wrong.
fn archive(place: &Place, name: &str, entries: &[(&str, tar::EntryType, &str)]) -> PathBuf {
    let path = place.at(name);
    let gzip = flate2::write::GzEncoder::new(
        fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gzip);
    for (name, kind, text) in entries {
        let mut header = tar::Header::new_ustar();
        // `set_path` would refuse the names that have to be refused by the reader.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        let is_file = *kind == tar::EntryType::Regular;
        header.set_size(if is_file { text.len() as u64 } else { 0 });
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_cksum();
        let body = if is_file { text.as_bytes() } else { b"" };
        tar.append(&header, body).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    path
}

fn sum(text: &str) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("x");
    fs::write(&file, text).unwrap();
    digest::of_file(&file).unwrap()
}

fn toml(name: &str, version: &str, run: &str, files: &[(&str, &str)]) -> String {
    let files: String = files
        .iter()
        .map(|(name, text)| format!("\"{name}\" = \"{}\"\n", sum(text)))
        .collect();
    format!("name = \"{name}\"\nversion = \"{version}\"\nrun = \"{run}\"\n[files]\n{files}")
}

/// A good package with one library.
fn package(place: &Place, file: &str, version: &str) -> PathBuf {
    let library = manifest("alerts", version);
    let files = [("lib/alerts.so", library.as_str())];
    let toml = toml("alerts", version, "lib/alerts.so", &files);
    let file_kind = tar::EntryType::Regular;
    archive(
        place,
        file,
        &[
            ("./", tar::EntryType::Directory, ""),
            ("./plugin.toml", file_kind, &toml),
            ("./lib/", tar::EntryType::Directory, ""),
            ("./lib/alerts.so", file_kind, &library),
        ],
    )
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_package_is_installed_pinned_found_and_removed() {
    let place = Place::new();
    let one = place.at("one");
    let file = package(&place, "a.mkplug", "1.4.0");
    let wrong = install_with(&file, Some(&"0".repeat(64)), &one, describe).unwrap_err();
    assert!(wrong.contains("its sha256 is "), "{wrong}");
    let right = digest::of_file(&file).unwrap();
    let done = install_with(&file, Some(&right), &one, describe).unwrap();
    assert_eq!(done.path, one.join("alerts@v1.4.0"));
    assert!(!done.was_there);
    assert_eq!(names(&one), ["alerts@v1.4.0", "plugins.lock"]);
    let found = place.find("alerts").unwrap();
    assert!(found.is_pinned);
    assert_eq!(found.version, "1.4.0");
    let library = one.join("alerts@v1.4.0/lib/alerts.so");
    let mode = fs::metadata(&library).unwrap().permissions().mode();
    assert_eq!(mode & 0o7000, 0, "no set-user-id bits");
    assert!(install_with(&file, None, &one, describe).unwrap().was_there);
    // A second version beside it; the name alone no longer says which one to remove.
    let newer = package(&place, "b.mkplug", "1.5.0");
    install_with(&newer, None, &one, describe).unwrap();
    assert_eq!(place.find("alerts").unwrap().version, "1.5.0");
    let both = installed("alerts", &one).unwrap_err();
    assert!(both.contains("name one, like alerts@=1.5.0"), "{both}");
    remove("alerts@=1.5.0", &one).unwrap();
    assert_eq!(names(&one), ["alerts@v1.4.0", "plugins.lock"]);
    assert_eq!(place.find("alerts").unwrap().version, "1.4.0");
    remove("alerts", &one).unwrap();
    assert_eq!(names(&one), ["plugins.lock"]);
    let left = fs::read_to_string(one.join("plugins.lock")).unwrap();
    assert!(!left.contains("alerts"), "{left}");
    assert!(
        remove("alerts", &one)
            .unwrap_err()
            .contains("no module \"alerts\"")
    );
}

/// T12: what an archive may not hold; nothing of it stays.
#[test]
fn packages_that_reach_out_or_lie_are_refused() {
    use tar::EntryType::{Char, Directory, Fifo, Link, Regular, Symlink};
    let place = Place::new();
    let one = place.at("one");
    let library = manifest("alerts", "1.0.0");
    let good = toml("alerts", "1.0.0", "a.so", &[("a.so", &library)]);
    let toml_entry = ("plugin.toml", Regular, good.as_str());
    let lib_entry = ("a.so", Regular, library.as_str());
    let lying = toml("alerts", "1.0.0", "a.so", &[("a.so", "other bytes")]);
    let renamed = toml("alarms", "1.0.0", "a.so", &[("a.so", &library)]);
    for (entry, part) in [
        (("../evil", Regular, "x"), "leads out of its folder"),
        (("a/../../evil", Regular, "x"), "leads out of its folder"),
        (("/etc/evil", Regular, "x"), "an absolute name"),
        (("..", Directory, ""), "leads out of its folder"),
        (("evil", Symlink, "/etc/passwd"), "a link"),
        (("evil", Link, "a.so"), "a link"),
        (("evil", Char, ""), "a device"),
        (("evil", Fifo, ""), "a device"),
        (("evil\u{7}", Regular, "x"), "use letters"),
        (("extra", Regular, "x"), "\"extra\" is not in plugin.toml"),
        (("a.so", Regular, "x"), "file \"a.so\""),
    ] {
        let file = archive(&place, "bad.mkplug", &[toml_entry, lib_entry, entry]);
        let error = install_with(&file, None, &one, describe).unwrap_err();
        assert!(error.contains(part), "{entry:?}: {error}");
        assert!(error.contains("bad.mkplug: "), "{error}");
        assert_eq!(names(&one), Vec::<String>::new(), "{entry:?}");
        assert!(!place.at("evil").exists());
    }
    for (entries, part) in [
        (
            vec![("plugin.toml", Regular, lying.as_str()), lib_entry],
            "its sha256 is ",
        ),
        (vec![toml_entry], "\"a.so\" of plugin.toml is missing"),
        (vec![lib_entry], "there is no plugin.toml"),
        (
            vec![("plugin.toml", Regular, renamed.as_str()), lib_entry],
            "says it is \"alerts\"",
        ),
        (
            vec![("plugin.toml", Regular, "name ="), lib_entry],
            "plugin.toml:1",
        ),
    ] {
        let file = archive(&place, "bad.mkplug", &entries);
        let error = install_with(&file, None, &one, describe).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert_eq!(names(&one), Vec::<String>::new());
    }
    let cut = place.at("cut.mkplug");
    let bytes = fs::read(package(&place, "whole.mkplug", "1.0.0")).unwrap();
    for end in [2, 10, bytes.len() / 2, bytes.len() - 9] {
        fs::write(&cut, &bytes[..end]).unwrap();
        assert!(install_with(&cut, None, &one, describe).is_err(), "{end}");
        assert_eq!(names(&one), Vec::<String>::new());
    }
}

/// A changed file is refused at load: by the lock, and by the package's own digests.
#[test]
fn what_is_pinned_is_checked_at_every_load() {
    let place = Place::new();
    let one = place.at("one");
    install_with(&package(&place, "a.mkplug", "1.0.0"), None, &one, describe).unwrap();
    let library = one.join("alerts@v1.0.0/lib/alerts.so");
    let before = fs::read(&library).unwrap();
    fs::write(&library, manifest("alerts", "1.0.0") + " ").unwrap();
    let text = place.refusal("alerts");
    assert!(text.contains("plugins.lock pins "), "{text}");
    assert!(text.contains(&library.display().to_string()), "{text}");
    let other = install_with(&package(&place, "a.mkplug", "1.0.0"), None, &one, describe);
    assert!(
        other
            .unwrap_err()
            .contains("is there already, with other bytes")
    );
    // Without a lock the package still knows its digests.
    fs::remove_file(one.join(lock::FILE)).unwrap();
    let text = place.refusal("alerts");
    assert!(text.contains("plugin.toml says "), "{text}");
    fs::write(&library, before).unwrap();
    assert!(!place.find("alerts").unwrap().is_pinned);
    fs::write(one.join(lock::FILE), "version = 9").unwrap();
    let text = place.refusal("alerts");
    assert!(text.contains("version 9, this build reads 1"), "{text}");
}

#[test]
fn a_library_is_installed_under_its_own_version() {
    let place = Place::new();
    let (one, file) = (
        place.at("one"),
        place.library("built/libfast.so", "fast", "2.1.0"),
    );
    let done = install_with(&file, None, &one, describe).unwrap();
    assert_eq!(done.path, one.join("fast@v2.1.0.so"));
    assert!(place.find("fast").unwrap().is_pinned);
    fs::write(one.join("fast@v2.1.0.so"), manifest("fast", "2.1.0") + "\n").unwrap();
    assert!(place.refusal("fast").contains("plugins.lock pins"));
    let script = place.program("built/mkts-plugin-script", 0o755);
    let text = install_with(&script, None, &one, describe).unwrap_err();
    assert!(
        text.contains("put it into a package with plugin.toml"),
        "{text}"
    );
}

/// What a call that was killed left behind is cleared, and never found.
#[test]
fn half_an_install_is_no_module() {
    let place = Place::new();
    let one = place.at("one");
    place.library("one/.install-77/alerts@v9.0.0.so", "alerts", "9.0.0");
    place.library("one/.remove-78/x.so", "x", "9.0.0");
    assert!(place.missing("alerts").contains("no module"));
    install_with(&package(&place, "a.mkplug", "1.0.0"), None, &one, describe).unwrap();
    assert_eq!(names(&one), ["alerts@v1.0.0", "plugins.lock"]);
}

#[test]
fn an_interpreter_is_started_in_its_package() {
    let place = Place::new();
    let text = "name = \"py\"\nversion = \"1.0.0\"\ninterpreter = \"python3\"\n\
                args = [\"-m\", \"mkts.plugin\", \"py:Py\"]\n";
    place.file("one/py@v1.0.0/plugin.toml", text);
    let found = place.find("py").unwrap();
    let How::Program {
        program,
        args,
        folder,
    } = found.how
    else {
        panic!("a program");
    };
    assert_eq!(program, Path::new("python3"));
    assert_eq!(args, ["-m", "mkts.plugin", "py:Py"]);
    assert_eq!(folder.unwrap(), place.at("one/py@v1.0.0"));
    assert_eq!(found.version, "1.0.0");
    fs::rename(place.at("one/py@v1.0.0"), place.at("one/py@v1.1.0")).unwrap();
    let error = place.refusal("py");
    assert!(
        error.contains("its folder must be called py@v1.0.0"),
        "{error}"
    );
}
