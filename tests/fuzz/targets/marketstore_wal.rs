#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("marketstore_wal").expect("it is listed").run)(data));
