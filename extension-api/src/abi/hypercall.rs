//! What software in the root VM may ask of the default extension and of the kernel's own fallback.
//!
//! x86-64: `vmmcall` (AMD) or `vmcall` (Intel) with the number in RAX; the result comes back in RAX.
//! AArch64: `hvc #0` with the number in X0; the result comes back in X0.

use super::SIGNATURE;
use super::table::constants;

constants! {
    /// Hypercalls.
    HYPERCALLS:
    /// Gives all processors back to the OS, or none. Result 0: they run on the bare machine. The OS's kernel alone may.
    HYPERCALL_STOP = SIGNATURE << 48 | 0x0001_0001;
    /// Writes the exit counts of every processor to the log. The OS's kernel alone may.
    HYPERCALL_REPORT = SIGNATURE << 48 | 0x0001_0002;
    /// How many exits the calling processor has had, of all classes, this one included. The OS's kernel alone may.
    HYPERCALL_COUNT = SIGNATURE << 48 | 0x0001_0003;
    /// The result of a hypercall that is not known or not allowed; on AArch64 also SMCCC's NOT_SUPPORTED.
    HYPERCALL_REFUSED = u64::MAX;
}

/// First CPUID leaf of the hypervisor range.
pub const CPUID_SIGNATURE_LEAF: u32 = 0x4000_0000;

/// CPUID leaf with the ABI version (EAX) and the number of launched PPs (EBX).
pub const CPUID_VERSION_LEAF: u32 = 0x4000_0001;

/// EBX, ECX and EDX of [`CPUID_SIGNATURE_LEAF`]: `"PlinthPlinth"`.
pub const CPUID_SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"Plin"), u32::from_le_bytes(*b"thPl"), u32::from_le_bytes(*b"inth")];
