//! From `module:` to code: the table of built-in plugins by stem, then what is known of the name.
//!
//! The table comes first, so that a Go `ondiskagg.so` left over from MarketStore is never touched.
//! Modules in files (native, process) join here as further answers of [`resolve`].

use std::sync::Arc;

use plugin_sdk::Module;

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

/// What a module name leads to.
pub(crate) enum Resolved {
    BuiltIn(Arc<dyn Module>),
    /// Comes with MarketStore, but not with this build.
    Known,
    Unknown,
}

pub(crate) fn resolve(module: &str, builtins: &[Arc<dyn Module>]) -> Resolved {
    let stem = stem(module);
    // A path names a file and nothing else.
    let bare = !module.contains('/');
    match builtins.iter().find(|b| b.description().name == stem) {
        Some(builtin) if bare => Resolved::BuiltIn(Arc::clone(builtin)),
        _ if bare && MARKETSTORE.contains(&stem) => Resolved::Known,
        _ => Resolved::Unknown,
    }
}

/// Why a module is missing, as one line.
pub(crate) fn missing_text(
    module: &str,
    resolved: &Resolved,
    builtins: &[Arc<dyn Module>],
) -> String {
    match resolved {
        Resolved::Known => {
            format!("\"{module}\" is a known MarketStore module, not included in this build")
        }
        _ if module.contains('/') => format!(
            "module \"{module}\" is a path; this build runs built-in modules only: {}",
            names(builtins)
        ),
        _ => format!(
            "no module \"{module}\": looked for a built-in module \"{}\"; there are {}",
            stem(module),
            names(builtins)
        ),
    }
}

fn names(builtins: &[Arc<dyn Module>]) -> String {
    let names: Vec<&str> = builtins
        .iter()
        .map(|b| b.description().name.as_str())
        .collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The name without folder, extension and `lib`.
pub(crate) fn stem(module: &str) -> &str {
    let file = module.rsplit('/').next().unwrap_or(module);
    let bare = ["so", "dylib", "dll"]
        .iter()
        .find_map(|extension| file.strip_suffix(extension)?.strip_suffix('.'))
        .unwrap_or(file);
    // `library` stays itself when nothing would be left of a name.
    bare.strip_prefix("lib")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_has_no_folder_extension_or_lib() {
        for (module, expected) in [
            ("ondiskagg.so", "ondiskagg"),
            ("ondiskagg", "ondiskagg"),
            ("libondiskagg.so", "ondiskagg"),
            ("/opt/bin/libx.dylib", "x"),
            ("lib", "lib"),
            ("a.b.so", "a.b"),
        ] {
            assert_eq!(stem(module), expected);
        }
    }

    #[test]
    fn names_of_marketstore_are_told_apart_from_unknown_ones() {
        let known = resolve("gdaxfeeder.so", &[]);
        assert!(matches!(known, Resolved::Known));
        assert_eq!(
            missing_text("gdaxfeeder.so", &known, &[]),
            "\"gdaxfeeder.so\" is a known MarketStore module, not included in this build"
        );
        let unknown = resolve("mine.so", &[]);
        assert!(matches!(unknown, Resolved::Unknown));
        assert!(missing_text("mine.so", &unknown, &[]).contains("built-in module \"mine\""));
    }
}
