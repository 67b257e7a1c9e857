#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| (tests::fuzz::named("rpc_answer").expect("it is listed").run)(data));
