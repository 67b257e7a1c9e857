#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("plugin_section").expect("it is listed").run)(data));
