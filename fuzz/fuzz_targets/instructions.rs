//! libFuzzer's entry to the harness `instructions`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::instructions(bytes));
