#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("msgpack_value").expect("it is listed").run)(data));
