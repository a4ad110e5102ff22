//! The structure a loader fills in.

/// `"PLINTHLI"`, little endian: the first field of every [`LaunchInfo`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"PLINTHLI");

/// The version of this layout. A kernel refuses any other.
pub const VERSION: u32 = 2;

/// The longest command line that a kernel looks at, in bytes.
pub const COMMAND_LINE_MAX: u64 = 4096;

/// How many kernel image segments a [`LaunchInfo`] has room for.
pub const MAX_SEGMENTS: usize = 8;

/// How much of its caller's stack the kernel image's entry point uses on x86-64, the return address included, in bytes.
pub const CALLER_STACK: usize = 256;

/// The signature of the kernel image's ELF entry point.
///
/// On x86-64 the System V calling convention, whatever the loader's own is. The argument is the address of
/// a [`LaunchInfo`] that outlives the launch of the last processor; `pp` counts the calls: 0 for
/// the boot processor, then 1, 2, … The result is a [`crate::LaunchStatus`] in its raw form.
///
/// The processor is in 64-bit mode at privilege level 0, with all memory identity mapped. Of the caller's stack the call uses
/// [`CALLER_STACK`] bytes, and only while the caller's page tables are loaded: that stack may be mapped anywhere. With
/// control-flow enforcement on (CR4.CET), the entry point may be called by pointer: it begins with ENDBR64.
#[cfg(target_arch = "x86_64")]
pub type Entry = unsafe extern "sysv64" fn(info: *const LaunchInfo, pp: u64) -> u64;

/// The signature of the kernel image's ELF entry point: AAPCS64, otherwise as on x86-64.
#[cfg(target_arch = "aarch64")]
pub type Entry = unsafe extern "C" fn(info: *const LaunchInfo, pp: u64) -> u64;

/// A range of system-physical memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The length in bytes; 0 for a range that is not there.
    pub size: u64,
}

/// One segment of the kernel image as it was loaded. Page aligned; no segment is both writable and executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Where it lies; the kernel runs identity mapped, so this is its virtual address too.
    pub range: Range,
    /// [`SEGMENT_WRITE`] and [`SEGMENT_EXECUTE`].
    pub flags: u64,
}

/// The segment may be written.
pub const SEGMENT_WRITE: u64 = 1 << 0;
/// The segment may be executed.
pub const SEGMENT_EXECUTE: u64 = 1 << 1;

/// What a loader tells the kernel. See the crate documentation for the protocol.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LaunchInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Length of this structure in bytes.
    pub size: u32,
    /// All memory given to the hypervisor: contiguous, 2 MiB aligned, never used by the OS.
    pub reservation: Range,
    /// The loaded kernel image, at the start of the reservation.
    pub kernel_segments: [Segment; MAX_SEGMENTS],
    /// How many of `kernel_segments` are used.
    pub kernel_segment_count: u64,
    /// The part of the reservation that is the kernel's to hand out: page aligned, zeroed or not.
    pub pool: Range,
    /// The extension's ELF file, inside the reservation, not inside the pool.
    pub extension: Range,
    /// One page below 1 MiB for starting processors in real mode (x86): the hypervisor's for ever, as the reservation is;
    /// empty where not needed.
    pub low_page: Range,
    /// End of the highest memory or device range in the machine's memory map, in bytes.
    pub memory_end: u64,
    /// Address of the ACPI RSDP; 0 where there is none.
    pub acpi_rsdp: u64,
    /// Address of the flattened device tree; 0 where there is none.
    pub fdt: u64,
    /// How many processors the loader is going to call the entry on. If it is the boot processor alone, the others run
    /// nothing that is needed, and the kernel brings them up when the root VM starts them: on x86 it finds them by
    /// `acpi_rsdp` and needs `low_page` and a reservation below 4 GiB. With [`ORIGIN_EL1`], those that the OS runs on: the others
    /// are off, and come when the root VM starts them.
    pub pp_count: u64,
    /// [`crate::CONSOLE_NONE`] or [`crate::CONSOLE_16550_PORT`] ….
    pub console_kind: u64,
    /// The console's I/O port or MMIO address.
    pub console_base: u64,
    /// 0 off, 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub log_level: u64,
    /// Random bits, where the loader has any; zeroes where it has none.
    pub entropy: [u64; 4],
    /// The kernel's command line: UTF-8, not terminated.
    pub command_line: Range,
    /// Where the caller runs: [`ORIGIN_PRIVILEGED`] or [`ORIGIN_EL1`].
    pub origin: u64,
    /// AArch64, with [`ORIGIN_EL1`]: page tables for EL2 that map all of `reservation` and `log`, the console and the interrupt
    /// controller at their own addresses, in the form of TTBR0_EL2 for 48-bit addresses and 4 KiB pages, with AttrIndx 0 for
    /// memory and 1 for devices: [`crate::el2_tables`]. The first call runs on them: it comes with the MMU off. 0 otherwise.
    pub tables: u64,
    /// Memory of the OS's, page aligned, outside the reservation, that outlives the hypervisor. The kernel copies its log
    /// there and never reads it: `LogCopy` of the ABI and the ring behind it, 68 KiB, so that it is at least as large. Empty where
    /// there is none.
    pub log: Range,
}

/// The caller runs at the level that the hypervisor takes (x86: CPL 0; AArch64: EL2). Its own state becomes the root VM's.
pub const ORIGIN_PRIVILEGED: u64 = 0;
/// AArch64: an OS at EL1 has come to EL2 by its hypervisor stub, with the MMU off. The OS becomes the root VM, behind its
/// HVC: at ELR_EL2, with SPSR_EL2 and 0 in X0. Its EL1 registers are as they are.
pub const ORIGIN_EL1: u64 = 1;

impl LaunchInfo {
    /// Whether this is the contract of this version, as far as its head says.
    pub fn is_current(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION && self.size as usize == size_of::<Self>()
    }
}

const _: () = assert!(
    core::mem::size_of::<LaunchInfo>() == 16 + 16 + MAX_SEGMENTS * 24 + 8 + 48 + 7 * 8 + 32 + 16 + 32
);
