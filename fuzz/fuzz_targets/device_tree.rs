//! libFuzzer's entry to the harness `device_tree`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::device_tree(bytes));
