//! libFuzzer's entry to the harness `multiboot2`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::multiboot2(bytes));
