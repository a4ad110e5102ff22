//! libFuzzer's entry to the harness `page_table`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::page_table(bytes));
