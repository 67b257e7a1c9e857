#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("segment_open_and_scan").expect("it is listed").run)(data));
