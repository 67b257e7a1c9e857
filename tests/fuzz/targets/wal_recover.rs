#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("wal_recover").expect("it is listed").run)(data));
