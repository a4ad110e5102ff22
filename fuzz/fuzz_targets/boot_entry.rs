//! libFuzzer's entry to the harness `boot_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plinth_fuzz_harness::boot_entry(bytes));
