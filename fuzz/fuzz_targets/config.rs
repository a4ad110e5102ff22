//! libFuzzer's entry to the harness `config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::config(bytes));
