//! What a file says of itself, read without running any of it.

use std::path::Path;

use object::{Architecture, BinaryFormat, Object as _, ObjectKind, ObjectSection as _};
use plugin_abi::{ENTRY_PREFIX, MAGIC, MAJOR, MINOR, SECTION, SECTION_MACOS};
use plugin_sdk::Description;

use super::error::{LoadError, Refusal};

/// Largest file that is looked at.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Sections that only the Go linker makes.
const GO_SECTIONS: [&str; 3] = [".go.buildinfo", "__go_buildinfo", ".note.go.buildid"];

/// Where the JSON begins.
const HEAD_BYTES: usize = 16;

/// Reads the manifest of a module in a file.
///
/// # Errors
/// If it is no module, or one that this host cannot run; nothing of it has run.
pub fn describe(file: &Path) -> Result<Description, LoadError> {
    let bytes = read(file).map_err(|why| why.of(file))?;
    Manifest::of(&bytes, file)
        .map(|manifest| manifest.description)
        .map_err(|why| why.of(file))
}

/// The bytes of a file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Refusal> {
    let failed = |error: std::io::Error| Refusal::Read(error.to_string());
    let about = std::fs::metadata(file).map_err(failed)?;
    if !about.is_file() {
        return Err(Refusal::NoLibrary("it is no regular file".into()));
    }
    if about.len() > FILE_BYTES_MAX {
        let text = format!("{} bytes, the limit is {FILE_BYTES_MAX}", about.len());
        return Err(Refusal::NoLibrary(text));
    }
    std::fs::read(file).map_err(failed)
}

/// The manifest section of a library.
pub(super) struct Manifest {
    pub(super) description: Description,
    /// As it stands there.
    pub(super) json: Vec<u8>,
}

impl Manifest {
    /// Reads and checks it; `file` is for its name.
    pub(super) fn of(bytes: &[u8], file: &Path) -> Result<Self, Refusal> {
        let library = object::File::parse(bytes)
            .map_err(|error| Refusal::NoLibrary(error.to_string().to_lowercase()))?;
        let has = |name: &&str| library.section_by_name(name).is_some();
        if GO_SECTIONS.iter().any(has) {
            return Err(Refusal::Go);
        }
        check_system(&library)?;
        let section = [SECTION, SECTION_MACOS]
            .iter()
            .find_map(|name| library.section_by_name(name))
            .ok_or(Refusal::NoManifest)?;
        let section = section
            .data()
            .map_err(|error| Refusal::Manifest(error.to_string()))?;
        let json = json_of(section)?;
        let description: Description = serde_json::from_slice(json)
            .map_err(|error| Refusal::Manifest(format!("its JSON: {error}")))?;
        check_abi(&description)?;
        check_name(&description, file)?;
        Ok(Self {
            description,
            json: json.into(),
        })
    }
}

fn check_system(library: &object::File<'_>) -> Result<(), Refusal> {
    let (format, system) = match std::env::consts::OS {
        "macos" => (BinaryFormat::MachO, "macOS"),
        _ => (BinaryFormat::Elf, "Linux"),
    };
    let processor = match std::env::consts::ARCH {
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::X86_64,
    };
    if (library.format(), library.architecture()) != (format, processor) || !library.is_64() {
        let found = match library.format() {
            BinaryFormat::MachO => "macOS",
            _ => "Linux",
        };
        return Err(Refusal::Foreign {
            found: format!("{found} {:?}", library.architecture()),
            expected: format!("{system} {processor:?}"),
        });
    }
    match library.kind() {
        ObjectKind::Dynamic => Ok(()),
        other => Err(Refusal::NoLibrary(format!("its kind is {other:?}"))),
    }
}

/// The JSON in a section: magic, length, checksum, JSON, perhaps zeros.
fn json_of(section: &[u8]) -> Result<&[u8], Refusal> {
    let bad = |text: String| Err(Refusal::Manifest(text));
    let number = |at: usize| {
        let bytes = section.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let (Some(length), Some(crc)) = (number(8), number(12)) else {
        return bad(format!("{} bytes are no manifest", section.len()));
    };
    if section[..8] != MAGIC {
        return bad("it does not begin with MKTSPLG1".into());
    }
    let rest = &section[HEAD_BYTES..];
    let Some((json, behind)) = rest.split_at_checked(length as usize) else {
        return bad(format!(
            "its length is {length}, but {} bytes follow",
            rest.len()
        ));
    };
    let found = crc32fast::hash(json);
    if found != crc {
        return bad(format!(
            "its checksum is {crc:#010x}, that of its {length} bytes of JSON is {found:#010x}"
        ));
    }
    if behind.windows(8).any(|bytes| bytes == MAGIC) {
        return bad("it has two plugins; build one library for each".into());
    }
    Ok(json)
}

fn check_abi(description: &Description) -> Result<(), Refusal> {
    let wanted = description.abi;
    if wanted[0] != MAJOR || wanted[1] > MINOR {
        return Err(Refusal::Abi { wanted });
    }
    let name = description.name.replace('-', "_");
    let expected = format!("{ENTRY_PREFIX}{name}");
    if description.entry != expected {
        return Err(Refusal::Manifest(format!(
            "entry \"{}\", it must be \"{expected}\"",
            description.entry
        )));
    }
    Ok(())
}

/// `libNAME.so`, `NAME.so`, `NAME@v1.2.3.so`; `-` and `_` are one, as in the names of Rust crates.
fn check_name(description: &Description, file: &Path) -> Result<(), Refusal> {
    let shown = file.file_name().map(|name| name.to_string_lossy());
    let shown = shown.unwrap_or_default();
    let name = crate::find::stem(&shown);
    let version = shown.split_once('@').map(|(_, rest)| {
        let version = [".so", ".dylib"]
            .iter()
            .find_map(|end| rest.strip_suffix(end));
        version.unwrap_or(rest).trim_start_matches('v')
    });
    let same = |text: &str| text.replace('-', "_");
    if same(name) != same(&description.name) {
        return Err(Refusal::Name {
            says: format!("\"{}\"", description.name),
            name: format!("\"{name}\""),
        });
    }
    match version {
        Some(version) if version != description.version => Err(Refusal::Name {
            says: format!("version {}", description.version),
            name: version.into(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(json: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(json.as_bytes()).to_le_bytes());
        bytes.extend(json.as_bytes());
        bytes
    }

    #[test]
    fn a_damaged_section_is_refused_and_never_read_past_its_end() {
        let good = section("{\"name\":\"a\"}");
        assert_eq!(json_of(&good).unwrap(), b"{\"name\":\"a\"}");
        for length in 0..good.len() {
            assert!(json_of(&good[..length]).is_err(), "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(json_of(&bad).is_err(), "byte {at}");
        }
        let two = [good.clone(), good.clone()].concat();
        let text = json_of(&two).unwrap_err().to_string();
        assert!(text.contains("two plugins"), "{text}");
        let padded = [good, vec![0; 7]].concat();
        assert!(json_of(&padded).is_ok());
    }

    #[test]
    fn name_and_version_are_those_of_the_file() {
        let description = Description {
            version: "1.2.3".into(),
            ..plugin_sdk::Manifest::new("my-plugin", "1.2.3").describe(plugin_sdk::Kind::Trigger)
        };
        for (file, fits) in [
            ("my-plugin.so", true),
            ("/opt/libmy_plugin.so", true),
            ("my-plugin@v1.2.3.so", true),
            ("my-plugin@1.2.3.so", true),
            ("my-plugin@1.2.4.so", false),
            ("other.so", false),
        ] {
            let checked = check_name(&description, Path::new(file));
            assert_eq!(checked.is_ok(), fits, "{file}: {checked:?}");
        }
    }
}
