#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("bucket_key_and_pattern").expect("it is listed").run)(data));
