#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("timeframe").expect("it is listed").run)(data));
