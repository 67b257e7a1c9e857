#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("plugin_manifest").expect("it is listed").run)(data));
