//! What software in the root VM may ask of the default extension and of the kernel itself.
//!
//! x86-64: `vmmcall` (AMD) or `vmcall` (Intel) with the number in RAX; the result comes back in RAX.
//! AArch64: `hvc #0` with the number in X0; the result comes back in X0. Arguments and further results are in RDI, RSI, RDX and
//! R10, or X1 to X4.

use super::SIGNATURE;
use super::table::constants;

constants! {
    /// Hypercalls.
    HYPERCALLS:
    /// Gives all processors back to the OS, or none. Result 0: they run on the bare machine. The OS's kernel alone may.
    HYPERCALL_STOP = SIGNATURE << 48 | 0x0001_0001;
    /// AArch64, argument 1 of [`HYPERCALL_STOP`], from firmware that launched at EL2 and runs at EL1 now: it can go on at EL2 behind
    /// the call, with its own tables, vectors and stack. It is the level's number. Without it such firmware is not given back.
    HYPERCALL_STOP_AT_EL2 = 2;
    /// Writes the exit counts of every processor to the log. The OS's kernel alone may.
    HYPERCALL_REPORT = SIGNATURE << 48 | 0x0001_0002;
    /// How many exits the calling processor has had, of all classes, this one included. The OS's kernel alone may.
    HYPERCALL_COUNT = SIGNATURE << 48 | 0x0001_0003;
    /// Writes a `MachineStatus` into the page at argument 1. Served by the kernel.
    HYPERCALL_STATUS = SIGNATURE << 48 | 0x0002_0001;
    /// Writes a `PpStatus` of the PP with the number in argument 2 into the page at argument 1. Served by the kernel.
    HYPERCALL_PP_STATUS = SIGNATURE << 48 | 0x0002_0002;
    /// Writes whole `LogRecord`s with their texts, from the cursor in argument 2 on, into the page at argument 1. Results: 1 bytes
    /// written, 2 the first one's cursor (a later one than was asked for where the log holds that no more), 3 the cursor to go on
    /// with, 4 the log's end. Served by the kernel.
    HYPERCALL_LOG = SIGNATURE << 48 | 0x0002_0003;
    /// Says which classes of the root VM's exits are traced from now on, a bit for each in argument 1; 0 for none. Results: 1 the
    /// classes before, 2 how many records each PP keeps. Served by the kernel.
    HYPERCALL_TRACE = SIGNATURE << 48 | 0x0002_0004;
    /// Writes `TraceRecord`s of the PP with the number in argument 2, from the cursor in argument 3 on, into the page at argument 1.
    /// Results: 1 records written, 2 the first one's cursor (a later one where that is overwritten), 3 the cursor to go on with, 4
    /// the trace's end. Served by the kernel.
    HYPERCALL_TRACE_READ = SIGNATURE << 48 | 0x0002_0005;
    /// The result of a hypercall that is not known or not allowed; on AArch64 also SMCCC's NOT_SUPPORTED.
    HYPERCALL_REFUSED = u64::MAX;
}

/// Bits 63:16 of the hypercalls that the kernel itself answers, for the root VM's kernel alone: the extension does not see them.
pub const HYPERCALLS_SERVED: u64 = HYPERCALL_STATUS >> 16;

/// First CPUID leaf of the hypervisor range.
pub const CPUID_SIGNATURE_LEAF: u32 = 0x4000_0000;

/// CPUID leaf with the ABI version (EAX) and the number of launched PPs (EBX).
pub const CPUID_VERSION_LEAF: u32 = 0x4000_0001;

/// EBX, ECX and EDX of [`CPUID_SIGNATURE_LEAF`]: `"PlinthPlinth"`.
pub const CPUID_SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"Plin"), u32::from_le_bytes(*b"thPl"), u32::from_le_bytes(*b"inth")];
