#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("json_rpc").expect("it is listed").run)(data));
