#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("ws_frames").expect("it is listed").run)(data));
