#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("dead_letters").expect("it is listed").run)(data));
