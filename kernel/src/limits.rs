//! How many of each thing there can be at the most.

use plinth_extension_api::abi;

/// The most physical processors.
pub const MAX_PPS: usize = abi::MAX_PPS as usize;
/// The most VMs, the root VM included.
pub const MAX_VMS: usize = abi::MAX_VMS as usize;
/// The most VPs of all VMs.
pub const MAX_VPS: usize = abi::MAX_VPS as usize;
/// The most VSs of all VPs.
pub const MAX_VSS: usize = abi::MAX_VSS as usize;

/// Pages in the kernel's stack of a PP, above its guard page.
pub const KERNEL_STACK_PAGES: usize = 16;
