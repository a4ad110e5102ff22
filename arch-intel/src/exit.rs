//! Exit reasons and what they mean everywhere (Intel SDM vol. 3D, appendix C).

use plinth_arch_x86::acpi_sleep::PortAccess;
use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Exit, ExitClass};

use crate::vmcs::field::{
    EXIT_EVENT, GUEST_RIGHTS, INTERRUPTIBILITY, PHYSICAL_ADDRESS, QUALIFICATION, VECTORING_EVENT,
};
use crate::vs::VmxVs;
use crate::{events, segments};

/// Basic exit reasons.
pub(crate) mod reason {
    pub(crate) const EXCEPTION_OR_NMI: u32 = 0;
    pub(crate) const INTERRUPT: u32 = 1;
    pub(crate) const TRIPLE_FAULT: u32 = 2;
    pub(crate) const INIT: u32 = 3;
    pub(crate) const INTERRUPT_WINDOW: u32 = 7;
    pub(crate) const NMI_WINDOW: u32 = 8;
    pub(crate) const TASK_SWITCH: u32 = 9;
    pub(crate) const CPUID: u32 = 10;
    pub(crate) const GETSEC: u32 = 11;
    pub(crate) const HLT: u32 = 12;
    pub(crate) const INVD: u32 = 13;
    pub(crate) const VMCALL: u32 = 18;
    pub(crate) const VMCLEAR: u32 = 19;
    pub(crate) const VMXON: u32 = 27;
    pub(crate) const CR_ACCESS: u32 = 28;
    pub(crate) const IO: u32 = 30;
    pub(crate) const RDMSR: u32 = 31;
    pub(crate) const WRMSR: u32 = 32;
    pub(crate) const EPT_VIOLATION: u32 = 48;
    pub(crate) const EPT_MISCONFIGURATION: u32 = 49;
    pub(crate) const INVEPT: u32 = 50;
    pub(crate) const TIMER: u32 = 52;
    pub(crate) const INVVPID: u32 = 53;
    pub(crate) const XSETBV: u32 = 55;
    /// Set beside the basic reason: the entry failed.
    pub(crate) const ENTRY_FAILURE: u32 = 1 << 31;
}

/// [`Exit::detail`] of processor control by an MSR; 0 is by the APIC's page.
pub(crate) const BY_MSR: u64 = 1;

/// The basic reason of an exit.
pub(crate) const fn basic(exit_reason: u32) -> u32 {
    exit_reason & 0xffff
}

/// Whether the exit was caused by an instruction, whose length the VMCS then holds.
#[inline]
pub(crate) const fn is_instruction(exit_reason: u32) -> bool {
    /// A set of basic reasons below 128, which is all there are.
    const fn set(reasons: &[u32]) -> u128 {
        let (mut bits, mut index) = (0, 0);
        while index < reasons.len() {
            bits |= 1 << reasons[index];
            index += 1;
        }
        bits
    }
    const FIRST: u32 = reason::CPUID;
    const LAST: u32 = reason::WRMSR;
    const OTHERS: u128 = set(&[36, 39, 40, 46, 47, 50, 51, 53, 54, 55, 57, 58, 59, 61, 63, 64, 67, 68]);
    // With the flag of a failed entry the number is far beyond the set.
    matches!(exit_reason, FIRST..=LAST) || exit_reason < u128::BITS && OTHERS >> exit_reason & 1 != 0
}

/// Whether class and number of such an exit say all: the hardware has no more to tell.
#[inline]
pub(crate) const fn is_told_by_class(exit_reason: u32) -> bool {
    matches!(exit_reason, reason::CPUID | reason::RDMSR | reason::WRMSR | reason::VMCALL)
}

/// The vector of the exception or NMI that exited.
pub(crate) fn event_vector(vs: &VmxVs) -> u32 {
    vs.with(|vmcs| vmcs.read(EXIT_EVENT)) & 0xff
}

/// Sorts the exit that has just happened, but for [accesses to MSRs](msr_access).
pub(crate) fn classify(vs: &VmxVs, exit_reason: u32) -> Exit {
    const DEBUG_VECTOR: u32 = 1;
    if exit_reason & reason::ENTRY_FAILURE != 0 {
        return Exit { class: ExitClass::EntryRefused, number: u64::from(basic(exit_reason)), detail: 0 };
    }
    match basic(exit_reason) {
        reason::CPUID => Exit::of(ExitClass::IdRead),
        reason::EPT_VIOLATION => violation(vs),
        reason::VMCALL => Exit { class: ExitClass::Hypercall, number: 0, detail: privilege(vs) },
        reason::IO => port_access(vs).exit(),
        reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID | reason::GETSEC => {
            Exit::of(ExitClass::Virtualization)
        }
        reason::EXCEPTION_OR_NMI if vs.is_stepping() && event_vector(vs) == DEBUG_VECTOR => {
            Exit::of(ExitClass::Reserved)
        }
        reason::INVD => Exit::of(ExitClass::Cache),
        reason::INTERRUPT => Exit::of(ExitClass::Interrupt),
        reason::HLT => Exit::of(ExitClass::Wait),
        // INIT by a command of the guest's never arrives here: this one is the chipset's way to restart.
        reason::TRIPLE_FAULT | reason::INIT => Exit::of(ExitClass::Shutdown),
        other => {
            let detail = vs.with(|vmcs| vmcs.read(QUALIFICATION));
            Exit { class: ExitClass::Other, number: u64::from(other), detail }
        }
    }
}

fn privilege(vs: &VmxVs) -> u64 {
    u64::from(vs.with(|vmcs| vmcs.read(GUEST_RIGHTS.nth(segments::SS))) >> 5 & 3)
}

/// Qualification: size less 1 in bits 2:0, bit 3 for IN, bit 4 for INS and OUTS, port in bits 31:16.
pub(crate) fn port_access(vs: &VmxVs) -> PortAccess {
    let qualification = vs.with(|vmcs| vmcs.read(QUALIFICATION));
    PortAccess {
        port: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        is_read: qualification & 8 != 0,
        is_string: qualification & 16 != 0,
    }
}

/// Qualification: bit 1 write, bit 2 fetch, bit 7 a linear address led here, bit 8 to the page itself and not to a table
/// on the way, bit 12 an IRET has ended the blocking of NMIs.
fn violation(vs: &VmxVs) -> Exit {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 2;
    const LINEAR: u64 = 1 << 7;
    const FINAL: u64 = 1 << 8;
    const NMI_UNBLOCKED: u64 = 1 << 12;
    let (info, address) = vs.with(|vmcs| {
        events::forget_step(vmcs);
        let info = vmcs.read(QUALIFICATION);
        if info & NMI_UNBLOCKED != 0 && vmcs.read(VECTORING_EVENT) >> 31 == 0 {
            // The IRET runs again.
            vmcs.write(INTERRUPTIBILITY, vmcs.read(INTERRUPTIBILITY) | events::BLOCKED_NMI);
        }
        (info, vmcs.read(PHYSICAL_ADDRESS))
    });
    let mut access = MemoryAccess::empty();
    access.set(MemoryAccess::WRITE, info & WRITE != 0);
    access.set(MemoryAccess::EXECUTE, info & FETCH != 0);
    access.set(MemoryAccess::PAGE_WALK, info & LINEAR != 0 && info & FINAL == 0);
    if access == MemoryAccess::WRITE && address & !0xFFF == vs.features.apic_page && vs.is_root {
        return Exit { class: ExitClass::Processor, number: address, detail: 0 };
    }
    Exit { class: ExitClass::Memory, number: address, detail: access.bits() }
}
