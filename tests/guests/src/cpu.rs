//! Instructions that tests are about.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};

use crate::probe;
use crate::trap::Fault;

/// EFER and its bits SCE, LME and SVME (AMD64 APM vol. 2, 3.1.7).
pub const EFER: u32 = 0xC000_0080;
/// System-call extensions.
pub const EFER_SCE: u64 = 1 << 0;
/// Long mode.
pub const EFER_LME: u64 = 1 << 8;
/// The virtualization extension.
pub const EFER_SVME: u64 = 1 << 12;
/// VM_CR and VM_HSAVE_PA (AMD64 APM vol. 2, 15.30).
pub const VM_CR: u32 = 0xC001_0114;
/// The host save area's address.
pub const VM_HSAVE_PA: u32 = 0xC001_0117;
/// CR4.OSXSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;

/// EAX, EBX, ECX and EDX of a CPUID leaf.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let words = __cpuid_count(leaf, subleaf);
    [words.eax, words.ebx, words.ecx, words.edx]
}

/// Whether the processor runs AMD's instructions.
pub fn is_amd() -> bool {
    let [_, ebx, ecx, edx] = cpuid(0, 0);
    let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
    matches!(vendor.as_flattened(), b"AuthenticAMD" | b"HygonGenuine")
}

/// Reads an MSR.
///
/// # Errors
/// The fault that it raises.
pub fn read_msr(number: u32) -> Result<u64, Fault> {
    let (low, high): (u64, u64);
    // SAFETY: Reading an MSR changes nothing; a fault is caught.
    let fault = unsafe {
        probe!("rdmsr"; in("ecx") number, inout("rax") u64::MAX => low, inout("rdx") u64::MAX => high)
    };
    match fault {
        Some(fault) => Err(fault),
        // The upper halves are zero, so whole registers are put together.
        None => Ok(high << 32 | low),
    }
}

/// Writes an MSR.
///
/// # Errors
/// The fault that it raises.
///
/// # Safety
/// The machine goes on with that value in it.
pub unsafe fn write_msr(number: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: The caller answers for the value; a fault is caught.
    let fault =
        unsafe { probe!("wrmsr"; in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32) };
    fault.map_or(Ok(()), Err)
}

/// Reads an extended control register.
pub fn read_xcr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reading it changes nothing; callers have set CR4.OSXSAVE.
    unsafe { asm!("xgetbv", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an extended control register.
///
/// # Errors
/// The fault that it raises.
///
/// # Safety
/// The machine goes on with that value in it.
pub unsafe fn write_xcr(number: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: The caller answers for the value; a fault is caught.
    let fault =
        unsafe { probe!("xsetbv"; in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32) };
    fault.map_or(Ok(()), Err)
}

/// CR4.
pub fn read_cr4() -> u64 {
    let value;
    // SAFETY: Reading CR4 changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes CR4.
///
/// # Safety
/// The machine goes on with that value in it.
pub unsafe fn write_cr4(value: u64) {
    // SAFETY: The caller answers for the value.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// RFLAGS.
pub fn flags() -> u64 {
    let value;
    // SAFETY: The flags are read by way of the stack, which is left as it was.
    unsafe { asm!("pushfq", "pop {}", out(reg) value) }
    value
}

/// Waits for an interrupt, with interrupts on.
pub fn halt() {
    // SAFETY: The firmware's handlers, or this application's, serve the interrupt that ends it.
    unsafe { asm!("sti", "hlt", options(nomem, nostack)) }
}

/// The time-stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: The instruction is on every processor of 64 bits.
    unsafe { _rdtsc() }
}

/// Lets some time pass: `ticks` of the time-stamp counter.
pub fn pause(duration: u64) {
    let start = ticks();
    while ticks().wrapping_sub(start) < duration {
        core::hint::spin_loop();
    }
}

/// Runs `work` with interrupts off.
pub fn without_interrupts<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: Interrupts are on in a UEFI application, and are again after the work.
    unsafe { asm!("cli", options(nomem, nostack)) }
    let result = work();
    // SAFETY: As above.
    unsafe { asm!("sti", options(nomem, nostack)) }
    result
}
