//! Modules in files and packages: a stranger's bytes.

use std::fs;
use std::io::Write as _;

use plugin_host::native;

/// The manifest section of a library.
const SECTION: &str = ".mkts.manifest";

const JSON: &str = "{\"name\":\"a\",\"version\":\"1.0.0\",\"kind\":\"trigger\",\"abi\":[1,0],\
                    \"entry\":\"mkts_plugin_v1_a\"}";

/// The bytes as a whole library, and as the section of a good one.
pub(super) fn manifest(input: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder of a test");
    let file = dir.path().join("a.so");
    for bytes in [input.to_vec(), library(input)] {
        fs::write(&file, &bytes).expect("a file of a test");
        if let Err(error) = native::describe(&file) {
            assert!(!error.to_string().contains('\n'), "one line: {error}");
        }
    }
}

/// The bytes as a package: it is installed, or nothing is left of it.
pub(super) fn package(input: &[u8]) {
    for bytes in [input.to_vec(), packed(input)] {
        let dir = tempfile::tempdir().expect("a folder of a test");
        let file = dir.path().join("a.mkplug");
        let plugins = dir.path().join("plugins");
        fs::write(&file, &bytes).expect("a file of a test");
        let done = plugin_host::install(&file, None, &plugins);
        let inside: Vec<_> = fs::read_dir(&plugins)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        match done {
            Ok(installed) => assert!(installed.path.starts_with(&plugins)),
            Err(_) => assert!(inside.is_empty(), "{inside:?}"),
        }
        let beside = fs::read_dir(dir.path())
            .expect("the folder of a test")
            .count();
        assert!(beside <= 2, "nothing beside the plugin folder");
    }
}

pub(super) fn seeds(name: &str) -> Vec<Vec<u8>> {
    let section = section(JSON.as_bytes());
    match name {
        "plugin_manifest" => vec![library(&section), section, library(b"")],
        _ => {
            let text = "name = \"a\"\nversion = \"1.0.0\"\ninterpreter = \"python3\"\n";
            let good = tar(&[("plugin.toml", text.as_bytes())]);
            let out = tar(&[("plugin.toml", text.as_bytes()), ("../out", b"x")]);
            vec![packed(&good), good, out]
        }
    }
}

fn section(json: &[u8]) -> Vec<u8> {
    let mut out = b"MKTSPLG1".to_vec();
    out.extend((json.len() as u32).to_le_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(json);
    out.extend(crc.sum().to_le_bytes());
    out.extend(json);
    out
}

/// The smallest shared library that has the section: a header, two sections, their table.
fn library(section: &[u8]) -> Vec<u8> {
    let names = format!("\0{SECTION}\0.shstrtab\0");
    let names_at = 64 + section.len();
    let table_at = names_at + names.len();
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    // A shared library, of this processor, version 1, no entry, no segments.
    out.extend([3u16.to_le_bytes(), machine.to_le_bytes()].concat());
    out.extend(1u32.to_le_bytes());
    out.extend([0u64, 0, table_at as u64].map(u64::to_le_bytes).concat());
    out.extend(0u32.to_le_bytes());
    out.extend([64u16, 0, 0, 64, 3, 2].map(u16::to_le_bytes).concat());
    out.extend(section);
    out.extend(names.as_bytes());
    out.extend([0; 64]);
    let second = 1 + SECTION.len() as u32 + 1;
    for (name, kind, at, length) in [
        (1u32, 1u32, 64, section.len()),
        (second, 3, names_at, names.len()),
    ] {
        out.extend([name, kind].map(u32::to_le_bytes).concat());
        let words = [0, 0, at as u64, length as u64, 0, 1, 0];
        out.extend(words.map(u64::to_le_bytes).concat());
    }
    out
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations of something that is refused at once would prove nothing.
    #[test]
    fn the_seeds_are_good() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.so");
        fs::write(&file, &seeds("plugin_manifest")[0]).unwrap();
        assert_eq!(native::describe(&file).unwrap().version, "1.0.0");
        fs::write(&file, &seeds("plugin_package")[0]).unwrap();
        plugin_host::install(&file, None, dir.path()).unwrap();
    }
}
