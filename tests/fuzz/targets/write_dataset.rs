#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("write_dataset").expect("it is listed").run)(data));
