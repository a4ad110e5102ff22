//! One function for each thing that meets bytes nobody vouches for: it must bear any, and what it accepts must be
//! sound. `fuzz/fuzz_targets/` hands them to libFuzzer; `tests/` runs them on a fixed set of bytes, on stable Rust, in
//! every `cargo test`.

pub mod acpi;
mod instructions;
mod page_table;
mod readers;
mod system_calls;

pub use acpi::acpi;
pub use instructions::instructions;
pub use page_table::page_table;
pub use readers::{boot_entry, config, device_tree, elf, linux, multiboot2};
pub use system_calls::system_calls;

/// What takes the bytes.
pub type Harness = fn(&[u8]);

/// Every harness by the name of its fuzz target.
pub const ALL: &[(&str, Harness)] = &[
    ("acpi", acpi),
    ("boot_entry", boot_entry),
    ("config", config),
    ("device_tree", device_tree),
    ("elf", elf),
    ("instructions", instructions),
    ("linux", linux),
    ("multiboot2", multiboot2),
    ("page_table", page_table),
    ("system_calls", system_calls),
];

/// The bytes of an input, taken from the front; zeroes once there are no more.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }
}
