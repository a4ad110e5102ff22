//! Refused VM entries, in words: which check of the guest's state fails (Intel SDM vol. 3C, "Checks on Guest State").

use crate::current::Current;
use crate::features::Features;
use crate::field::{
    ACTIVITY, ENTRY_CONTROLS, ENTRY_EVENT, GUEST_CR0, GUEST_CR3, GUEST_CR4, GUEST_DR7, GUEST_EFER,
    GUEST_RFLAGS, GUEST_RIGHTS, GUEST_RIP, INTERRUPTIBILITY, LINK_POINTER, PENDING_DEBUG,
};
use crate::segments::{CS, SS, TR};

/// What a VM-instruction error number means (Intel SDM vol. 3C, "VM Instruction Error Numbers").
pub(crate) const fn instruction_error(number: u32) -> &'static str {
    match number {
        0 => "there is no current VMCS",
        4 => "VMLAUNCH with a VMCS that is launched already",
        5 => "VMRESUME with a VMCS that is not launched",
        6 => "VMRESUME after VMXOFF",
        7 => "a control field is invalid",
        8 => "a host-state field is invalid",
        11 => "the VMCS has another revision",
        12 => "a field that this processor lacks",
        13 => "a write to a read-only field",
        26 => "events are blocked by MOV SS",
        28 => "an invalid operand of INVEPT or INVVPID",
        _ => "see the manual's table of VM-instruction errors",
    }
}

/// What the basic reason of a failed entry means.
pub(crate) const fn entry_reason(basic: u32) -> &'static str {
    match basic {
        33 => "invalid guest state",
        34 => "an MSR could not be loaded",
        41 => "machine check",
        _ => "unknown",
    }
}

/// One check: what is wrong if it is true.
type Check = (bool, &'static str);

/// Logs every check of the guest's state that fails.
pub(crate) fn explain(vmcs: &Current, features: &Features) {
    let found = control_registers(vmcs, features)
        .into_iter()
        .chain(segments(vmcs))
        .chain(activity(vmcs))
        .filter(|(wrong, _)| *wrong)
        .inspect(|(_, what)| log::error!("VM entry: {what}"))
        .count();
    if found == 0 {
        log::error!("VM entry: none of the checks that Plinth repeats fails; it is one of the others");
    }
}

fn control_registers(vmcs: &Current, features: &Features) -> [Check; 10] {
    const PG: u64 = 1 << 31;
    const PAE: u64 = 1 << 5;
    const LME: u64 = 1 << 8;
    const LMA: u64 = 1 << 10;
    const LONG_MODE: u32 = 1 << 9;
    let (cr0, cr3, cr4) = (vmcs.read(GUEST_CR0), vmcs.read(GUEST_CR3), vmcs.read(GUEST_CR4));
    let (efer, flags) = (vmcs.read(GUEST_EFER), vmcs.read(GUEST_RFLAGS));
    let long = vmcs.read(ENTRY_CONTROLS) & LONG_MODE != 0;
    [
        (cr0 & features.guest_cr0_must() != features.guest_cr0_must(), "CR0 lacks a bit that VMX insists on"),
        (cr0 & !features.cr0_may != 0, "CR0 has a bit that VMX forbids"),
        (cr0 & PG != 0 && cr0 & 1 == 0, "CR0 has PG without PE"),
        (cr4 & features.cr4_must != features.cr4_must, "CR4 lacks a bit that VMX insists on"),
        (cr4 & !features.cr4_may != 0, "CR4 has a bit that this processor lacks"),
        (long && (cr0 & PG == 0 || cr4 & PAE == 0), "long mode without CR0.PG and CR4.PAE"),
        (
            cr3 >> features.physical_bits.max(36) >> 12 != 0 && cr3 >> 52 != 0,
            "CR3 is beyond the address space",
        ),
        (long != (efer & LMA != 0), "EFER.LMA does not match the entry control"),
        (
            cr0 & PG != 0 && (efer & LMA != 0) != (efer & LME != 0),
            "EFER.LMA and EFER.LME differ under paging",
        ),
        (flags & 2 == 0 || flags >> 22 != 0 || flags & 0x8028 != 0, "RFLAGS has a reserved bit wrong"),
    ]
}

fn segments(vmcs: &Current) -> [Check; 7] {
    const UNUSABLE: u32 = 1 << 16;
    const PRESENT: u32 = 1 << 7;
    const LONG: u32 = 1 << 13;
    const DEFAULT_32: u32 = 1 << 14;
    const LMA: u64 = 1 << 10;
    let rights = |index| vmcs.read(GUEST_RIGHTS.nth(index));
    let (cs, ss, tr) = (rights(CS), rights(SS), rights(TR));
    let long = vmcs.read(GUEST_EFER) & LMA != 0;
    let rip = vmcs.read(GUEST_RIP);
    [
        (cs & UNUSABLE != 0 || cs & PRESENT == 0, "CS is unusable"),
        (!matches!(cs & 15, 3 | 9 | 11 | 13 | 15), "CS is no accessed code segment"),
        (long && cs & LONG != 0 && cs & DEFAULT_32 != 0, "CS has both L and D"),
        (ss & UNUSABLE == 0 && !matches!(ss & 15, 3 | 7), "SS is no writable data segment"),
        (tr & UNUSABLE != 0 || tr & PRESENT == 0, "TR is unusable"),
        (tr & 15 != 11 && (long || tr & 15 != 3), "TR is no busy TSS"),
        ((!long || cs & LONG == 0) && rip >> 32 != 0, "RIP is beyond 4 GiB outside 64-bit mode"),
    ]
}

fn activity(vmcs: &Current) -> [Check; 5] {
    let (state, blocked) = (vmcs.read(ACTIVITY), vmcs.read(INTERRUPTIBILITY));
    let event = vmcs.read(ENTRY_EVENT) >> 31 != 0;
    [
        (state > 3, "the activity state is unknown"),
        (blocked & 3 == 3, "blocked by STI and by MOV SS at once"),
        (event && state == 3, "an event for a processor that waits for a startup IPI"),
        (vmcs.read(LINK_POINTER) != u64::MAX, "the VMCS link pointer is set"),
        (
            vmcs.read(PENDING_DEBUG) & !0x1_500F != 0 || vmcs.read(GUEST_DR7) >> 32 != 0,
            "a debug field has reserved bits",
        ),
    ]
}
