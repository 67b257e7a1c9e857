#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("query_request").expect("it is listed").run)(data));
