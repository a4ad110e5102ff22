//! x86-64: CPUID, RDRAND, COM1, and processors that all run already.

use super::{Devices, Plinth};
use crate::app::error::Error;
use crate::app::memory::Pages;
use crate::app::running::NOT_RUNNING;
use core::arch::asm;
use core::arch::x86_64::{__cpuid, _rdrand64_step, _rdtsc};
use plinth_launch::image::Machine;
use plinth_launch::{CONSOLE_16550_PORT, Entry, LaunchInfo, Range};
use uefi::{CStr16, cstr16};

/// What images are built for.
pub(crate) const MACHINE: Machine = Machine::X86_64;
/// The file that a removable medium is started from (UEFI specification, "Removable Media Boot Behavior").
pub(crate) const REMOVABLE: &CStr16 = cstr16!("\\EFI\\BOOT\\BOOTX64.EFI");
/// The reservation lies below this address, so that page tables in it can be loaded from 32-bit mode when
/// a processor starts.
pub(crate) const RESERVATION_BELOW: u64 = (4 << 30) - 1;
/// The loader launches every processor: the firmware has started them all.
pub(crate) const LAUNCHES_ALL: bool = true;

/// The I/O port of COM1, where every PC has its first serial port if it has one.
const COM1: u64 = 0x3f8;

/// A page below 1 MiB for starting processors.
pub(crate) fn low_page() -> Result<Option<Pages>, Error> {
    Pages::low().map(Some)
}

/// The kernel finds all but the console by itself.
pub(crate) fn devices() -> Result<Devices, Error> {
    Ok(Devices { console: (CONSOLE_16550_PORT, COM1), fdt: 0 })
}

/// Firmware without the protocol for it forbids no execution.
pub(crate) fn allow_execution(_: Range) {}

/// Caches are coherent with instruction fetches.
pub(crate) fn publish(_: Range) {}

/// CPUID tells of a launched Plinth, and no more once it is stopped.
pub(crate) fn launched() {}

/// The same.
pub(crate) fn stopped() {}

/// A processor is in the kernel only while it is launched.
pub(crate) const fn may_hold_processors() -> bool {
    false
}

/// Enters the kernel on this processor.
///
/// # Safety
/// `entry` and `info` are as the launch contract says.
pub(crate) unsafe fn enter(entry: Entry, info: *const LaunchInfo, pp: u64) -> u64 {
    // SAFETY: forwarded to the caller.
    unsafe { entry(info, pp) }
}

/// The first hypervisor leaf: EBX, ECX, EDX hold the signature.
const SIGNATURE_LEAF: u32 = 0x4000_0000;
const SIGNATURE: &[u8; 12] = b"PlinthPlinth";
/// EAX: the ABI's version. EBX: how many processors are launched.
const STATUS_LEAF: u32 = 0x4000_0001;
/// RAX of the hypercall that promotes the processor it is executed on; it returns 0 on the bare processor.
const STOP: u64 = 0x504c_0000_0001_0001;

/// Looks below this processor.
pub(crate) fn detect() -> Option<Plinth> {
    let leaf = __cpuid(SIGNATURE_LEAF);
    let words = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    if words.as_flattened() != SIGNATURE {
        return None;
    }
    let status = __cpuid(STATUS_LEAF);
    Some(Plinth { abi_version: status.eax, processors: status.ebx })
}

/// Promotes this processor: 0 when it runs bare again, [`NOT_RUNNING`] if it did already.
pub(crate) fn stop_this_processor() -> u64 {
    if detect().is_none() {
        return NOT_RUNNING;
    }
    // SAFETY: CPUID just said that Plinth is below, so the instruction is a hypercall and no #UD. The hypercall keeps every
    // register but RAX; it touches no memory of this application.
    unsafe { if is_intel() { vmcall(STOP) } else { vmmcall(STOP) } }
}

/// Whether the processor knows VMCALL and not VMMCALL (CPUID function 0, the vendor).
fn is_intel() -> bool {
    let leaf = __cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// # Safety
/// There must be a Plinth that answers VMMCALL.
unsafe fn vmmcall(call: u64) -> u64 {
    let result;
    // SAFETY: The caller's promise; and see `stop_this_processor` for what the hypercall keeps.
    unsafe { asm!("vmmcall", inout("rax") call => result) };
    result
}

/// # Safety
/// There must be a Plinth that answers VMCALL.
unsafe fn vmcall(call: u64) -> u64 {
    let result;
    // SAFETY: The caller's promise; and see `stop_this_processor` for what the hypercall keeps.
    unsafe { asm!("vmcall", inout("rax") call => result) };
    result
}

/// Bits that only differ from boot to boot, where there are no random ones: good enough to place an
/// image, for nothing else.
pub(crate) fn jitter() -> u64 {
    // SAFETY: RDTSC is part of every x86-64 processor, and firmware runs at CPL 0, where CR4.TSD does not forbid it.
    let ticks = unsafe { _rdtsc() };
    // The low bits vary most: a multiplication by the golden ratio's fraction carries them to the high ones.
    ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Four random words of the processor's; `None` if it has none.
pub(crate) fn random() -> Option<[u64; 4]> {
    // AMD64 Architecture Programmer's Manual volume 3, CPUID function 1, ECX bit 30; Intel SDM the same.
    const RDRAND: u32 = 1 << 30;
    if __cpuid(1).ecx & RDRAND == 0 {
        return None;
    }
    let mut out = [0; 4];
    for word in &mut out {
        // SAFETY: CPUID just said that the instruction is there.
        *word = unsafe { draw() }?;
    }
    Some(out)
}

/// One word, with the ten attempts that the processor's manual recommends.
///
/// # Safety
/// The processor must have RDRAND.
#[target_feature(enable = "rdrand")]
fn draw() -> Option<u64> {
    let mut word = 0;
    (0..10).any(|_| _rdrand64_step(&mut word) == 1).then_some(word)
}
