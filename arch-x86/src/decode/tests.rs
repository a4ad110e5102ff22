//! Real encodings, and any bytes at all.

extern crate std;

mod exit;
mod mmio;
