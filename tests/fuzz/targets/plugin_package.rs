#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("plugin_package").expect("it is listed").run)(data));
