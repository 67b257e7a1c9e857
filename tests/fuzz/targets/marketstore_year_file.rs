#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("marketstore_year_file").expect("it is listed").run)(data));
