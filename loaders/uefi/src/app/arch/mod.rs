//! What the loader does differently on each architecture. Both modules have the same items.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
mod cpu_protocol;
#[cfg(target_arch = "aarch64")]
mod name;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

/// A running Plinth.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Plinth {
    pub(crate) abi_version: u32,
    pub(crate) processors: u32,
}

/// What the kernel is told about the machine's devices.
#[derive(Clone, Copy)]
pub(crate) struct Devices {
    /// The console, in the launch contract's terms: kind and address.
    pub(crate) console: (u64, u64),
    /// The device tree's address; 0 for none.
    pub(crate) fdt: u64,
}
