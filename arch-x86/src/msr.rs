//! Model-specific registers, with a fault turned into an error.

use core::arch::naked_asm;

use plinth_hal::HostFault;

/// Names of the MSRs that Plinth itself uses (AMD APM vol. 2, appendix A; Intel SDM vol. 4).
pub mod index {
    /// Local APIC base and mode.
    pub const APIC_BASE: u32 = 0x1B;
    /// Features that the firmware enables and locks (Intel).
    pub const FEATURE_CONTROL: u32 = 0x3A;
    /// What speculation may do.
    pub const SPEC_CTRL: u32 = 0x48;
    /// Commands to the branch predictors: IBPB.
    pub const PREDICTOR_COMMAND: u32 = 0x49;
    /// Commands to the caches: flush the first level's data.
    pub const FLUSH_COMMAND: u32 = 0x10B;
    /// What a processor is not open to, among other things (Intel).
    pub const ARCH_CAPABILITIES: u32 = 0x10A;
    /// SYSENTER's code segment.
    pub const SYSENTER_CS: u32 = 0x174;
    /// SYSENTER's stack.
    pub const SYSENTER_ESP: u32 = 0x175;
    /// SYSENTER's entry.
    pub const SYSENTER_EIP: u32 = 0x176;
    /// Debug control.
    pub const DEBUG_CONTROL: u32 = 0x1D9;
    /// Page attribute table.
    pub const PAT: u32 = 0x277;
    /// When the local APIC's timer comes, in its deadline mode.
    pub const TSC_DEADLINE: u32 = 0x6E0;
    /// Interrupt command register in x2APIC mode.
    pub const X2APIC_ICR: u32 = 0x830;
    /// The first of the local APIC's registers in x2APIC mode.
    pub const X2APIC_FIRST: u32 = 0x800;
    /// Local vector of the pin LINT0 in x2APIC mode.
    pub const X2APIC_LINT0: u32 = 0x835;
    /// Extended feature enables.
    pub const EFER: u32 = 0xC000_0080;
    /// Selectors of SYSCALL and SYSRET.
    pub const STAR: u32 = 0xC000_0081;
    /// Entry of SYSCALL in 64-bit mode.
    pub const LSTAR: u32 = 0xC000_0082;
    /// Entry of SYSCALL in compatibility mode.
    pub const CSTAR: u32 = 0xC000_0083;
    /// RFLAGS bits that SYSCALL clears.
    pub const SFMASK: u32 = 0xC000_0084;
    /// Base of FS.
    pub const FS_BASE: u32 = 0xC000_0100;
    /// Base of GS.
    pub const GS_BASE: u32 = 0xC000_0101;
    /// The base that SWAPGS brings in.
    pub const KERNEL_GS_BASE: u32 = 0xC000_0102;
}

/// Reads an MSR that is known to exist.
///
/// # Safety
/// The processor has the MSR.
#[inline]
pub unsafe fn read(register: u32) -> u64 {
    // SAFETY: it exists, says the caller; reading changes nothing.
    unsafe { x86_64::registers::model_specific::Msr::new(register).read() }
}

/// Writes an MSR that is known to exist.
///
/// # Safety
/// The processor has the MSR and takes the value, and what that changes breaks nothing.
#[inline]
pub unsafe fn write(register: u32, value: u64) {
    // SAFETY: forwarded to the caller.
    unsafe { x86_64::registers::model_specific::Msr::new(register).write(value) }
}

/// Reads an MSR that may not exist. The kernel's IDT must be loaded.
///
/// # Errors
/// [`HostFault`] where the processor raises #GP.
pub fn read_guarded(register: u32) -> Result<u64, HostFault> {
    let mut value = 0;
    // SAFETY: a fault ends in the fix-up; reading an MSR has no effect on memory.
    let failed = unsafe { guarded_read(register, &mut value) };
    if failed { Err(HostFault) } else { Ok(value) }
}

/// Writes an MSR that may not exist or not take the value. The kernel's IDT must be loaded.
///
/// # Errors
/// [`HostFault`] where the processor raises #GP.
///
/// # Safety
/// What the write changes, if it succeeds, breaks nothing.
pub unsafe fn write_guarded(register: u32, value: u64) -> Result<(), HostFault> {
    // SAFETY: a fault ends in the fix-up; the effect is the caller's to answer for.
    let failed = unsafe { guarded_write(register, value) };
    if failed { Err(HostFault) } else { Ok(()) }
}

/// Writes an extended control register; the processor checks number and value. The kernel's IDT must be loaded.
///
/// # Errors
/// [`HostFault`] where the processor raises #GP.
///
/// # Safety
/// CR4.OSXSAVE is set, and nothing but guests uses what XCR0 enables.
pub unsafe fn write_xcr_guarded(register: u32, value: u64) -> Result<(), HostFault> {
    // SAFETY: a fault ends in the fix-up; the effect is the caller's to answer for.
    let failed = unsafe { guarded_xsetbv(register, value) };
    if failed { Err(HostFault) } else { Ok(()) }
}

#[unsafe(naked)]
unsafe extern "sysv64" fn guarded_xsetbv(register: u32, value: u64) -> bool {
    naked_asm!(
        "mov ecx, edi",
        "mov eax, esi",
        "mov rdx, rsi",
        "shr rdx, 32",
        ".globl plinth_guarded_xsetbv",
        "plinth_guarded_xsetbv: xsetbv",
        "xor eax, eax",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn guarded_read(register: u32, value: &mut u64) -> bool {
    naked_asm!(
        "mov ecx, edi",
        ".globl plinth_guarded_read",
        "plinth_guarded_read: rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rsi], rax",
        "xor eax, eax",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn guarded_write(register: u32, value: u64) -> bool {
    naked_asm!(
        "mov ecx, edi",
        "mov eax, esi",
        "mov rdx, rsi",
        "shr rdx, 32",
        ".globl plinth_guarded_write",
        "plinth_guarded_write: wrmsr",
        "xor eax, eax",
        "ret",
        ".globl plinth_guarded_fixup",
        "plinth_guarded_fixup: mov eax, 1",
        "ret",
    )
}

unsafe extern "C" {
    static plinth_guarded_read: u8;
    static plinth_guarded_write: u8;
    static plinth_guarded_xsetbv: u8;
    static plinth_guarded_fixup: u8;
}

/// Where to go on after a fault at `rip`, if that is a guarded access.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let guarded = [
        &raw const plinth_guarded_read as u64,
        &raw const plinth_guarded_write as u64,
        &raw const plinth_guarded_xsetbv as u64,
    ];
    guarded.contains(&rip).then_some(&raw const plinth_guarded_fixup as u64)
}
