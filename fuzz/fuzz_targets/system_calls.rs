//! libFuzzer's entry to the harness `system_calls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::system_calls(bytes));
