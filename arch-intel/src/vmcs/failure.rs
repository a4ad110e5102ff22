//! Refused VM entries, in words: which check of the guest's state fails (Intel SDM vol. 3C, "Checks on Guest State").

use crate::features::Features;
use crate::segments::{CS, SS, TR};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    ACTIVITY, ENTRY_CONTROLS, ENTRY_EVENT, GUEST_CR0, GUEST_CR3, GUEST_CR4, GUEST_DR7, GUEST_EFER,
    GUEST_RFLAGS, GUEST_RIGHTS, GUEST_RIP, INTERRUPTIBILITY, LINK_POINTER, PENDING_DEBUG,
};

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

/// What the processor demands of the control registers.
struct Limits {
    cr0_must: u64,
    cr0_may: u64,
    cr4_must: u64,
    cr4_may: u64,
    /// The width of physical addresses, in bits.
    physical_bits: u8,
}

/// The guest's state, as far as the checks look at it.
struct State {
    /// The control "IA-32e mode guest".
    long: bool,
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    rflags: u64,
    rip: u64,
    dr7: u64,
    /// The access rights of segments.
    cs: u32,
    ss: u32,
    tr: u32,
    activity: u32,
    interruptibility: u32,
    /// Whether the entry delivers an event.
    event: bool,
    link: u64,
    pending_debug: u64,
}

impl Limits {
    fn of(features: &Features) -> Self {
        Self {
            cr0_must: features.guest_cr0_must(),
            cr0_may: features.cr0_may,
            cr4_must: features.cr4_must,
            cr4_may: features.cr4_may,
            physical_bits: features.physical_bits,
        }
    }
}

impl State {
    fn read(vmcs: &Current) -> Self {
        const LONG_MODE: u32 = 1 << 9;
        let rights = |index| vmcs.read(GUEST_RIGHTS.nth(index));
        Self {
            long: vmcs.read(ENTRY_CONTROLS) & LONG_MODE != 0,
            cr0: vmcs.read(GUEST_CR0),
            cr3: vmcs.read(GUEST_CR3),
            cr4: vmcs.read(GUEST_CR4),
            efer: vmcs.read(GUEST_EFER),
            rflags: vmcs.read(GUEST_RFLAGS),
            rip: vmcs.read(GUEST_RIP),
            dr7: vmcs.read(GUEST_DR7),
            cs: rights(CS),
            ss: rights(SS),
            tr: rights(TR),
            activity: vmcs.read(ACTIVITY),
            interruptibility: vmcs.read(INTERRUPTIBILITY),
            event: vmcs.read(ENTRY_EVENT) >> 31 != 0,
            link: vmcs.read(LINK_POINTER),
            pending_debug: vmcs.read(PENDING_DEBUG),
        }
    }

    /// What is wrong with the state.
    fn wrong(&self, limits: &Limits) -> impl Iterator<Item = &'static str> + use<> {
        let checks = self.control_registers(limits).into_iter().chain(self.segments()).chain(self.activity());
        checks.filter(|(wrong, _)| *wrong).map(|(_, what)| what)
    }

    fn control_registers(&self, limits: &Limits) -> [Check; 10] {
        const PG: u64 = 1 << 31;
        const PAE: u64 = 1 << 5;
        const LME: u64 = 1 << 8;
        const LMA: u64 = 1 << 10;
        let (long, cr0, cr4, efer) = (self.long, self.cr0, self.cr4, self.efer);
        [
            (cr0 & limits.cr0_must != limits.cr0_must, "CR0 lacks a bit that VMX insists on"),
            (cr0 & !limits.cr0_may != 0, "CR0 has a bit that VMX forbids"),
            (cr0 & PG != 0 && cr0 & 1 == 0, "CR0 has PG without PE"),
            (cr4 & limits.cr4_must != limits.cr4_must, "CR4 lacks a bit that VMX insists on"),
            (cr4 & !limits.cr4_may != 0, "CR4 has a bit that this processor lacks"),
            (long && (cr0 & PG == 0 || cr4 & PAE == 0), "long mode without CR0.PG and CR4.PAE"),
            (self.cr3.unbounded_shr(limits.physical_bits.into()) != 0, "CR3 is beyond the address space"),
            (long != (efer & LMA != 0), "EFER.LMA does not match the entry control"),
            (
                cr0 & PG != 0 && (efer & LMA != 0) != (efer & LME != 0),
                "EFER.LMA and EFER.LME differ under paging",
            ),
            (
                self.rflags & 2 == 0 || self.rflags >> 22 != 0 || self.rflags & 0x8028 != 0,
                "RFLAGS has a reserved bit wrong",
            ),
        ]
    }

    fn segments(&self) -> [Check; 7] {
        const UNUSABLE: u32 = 1 << 16;
        const PRESENT: u32 = 1 << 7;
        const LONG: u32 = 1 << 13;
        const DEFAULT_32: u32 = 1 << 14;
        let (cs, ss, tr) = (self.cs, self.ss, self.tr);
        let long = self.long;
        [
            (cs & UNUSABLE != 0 || cs & PRESENT == 0, "CS is unusable"),
            (!matches!(cs & 15, 3 | 9 | 11 | 13 | 15), "CS is no accessed code segment"),
            (long && cs & LONG != 0 && cs & DEFAULT_32 != 0, "CS has both L and D"),
            (ss & UNUSABLE == 0 && !matches!(ss & 15, 3 | 7), "SS is no writable data segment"),
            (tr & UNUSABLE != 0 || tr & PRESENT == 0, "TR is unusable"),
            (tr & 15 != 11 && (long || tr & 15 != 3), "TR is no busy TSS"),
            ((!long || cs & LONG == 0) && self.rip >> 32 != 0, "RIP is beyond 4 GiB outside 64-bit mode"),
        ]
    }

    fn activity(&self) -> [Check; 5] {
        let (state, blocked) = (self.activity, self.interruptibility);
        [
            (state > 3, "the activity state is unknown"),
            (blocked & 3 == 3, "blocked by STI and by MOV SS at once"),
            (self.event && state == 3, "an event for a processor that waits for a startup IPI"),
            (self.link != u64::MAX, "the VMCS link pointer is set"),
            (self.pending_debug & !0x1_500F != 0 || self.dr7 >> 32 != 0, "a debug field has reserved bits"),
        ]
    }
}

/// Logs every check of the guest's state that fails.
pub(crate) fn explain(vmcs: &Current, features: &Features) {
    let found =
        State::read(vmcs).wrong(&Limits::of(features)).inspect(|what| log::error!("VM entry: {what}"));
    if found.count() == 0 {
        log::error!("VM entry: none of the checks that Plinth repeats fails; it is one of the others");
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::{Limits, State};

    const LIMITS: Limits =
        Limits { cr0_must: 0x20, cr0_may: 0xE005_003F, cr4_must: 0x2000, cr4_may: 0x2067, physical_bits: 40 };

    /// A guest in 64-bit mode as every check wants it.
    const GOOD: State = State {
        long: true,
        cr0: 0x8000_0021,
        cr3: 0xFF_FFFF_F018,
        cr4: 0x2020,
        efer: 0x500,
        rflags: 2,
        rip: 0xFFFF_8000_0000_0000,
        dr7: 0x400,
        cs: 0xA09B,
        ss: 0xC093,
        tr: 0x8B,
        activity: 0,
        interruptibility: 0,
        event: false,
        link: u64::MAX,
        pending_debug: 0x1_500F,
    };

    /// A guest in real mode.
    const REAL: State =
        State { long: false, cr0: 0x20, efer: 0, rip: 0xFFF0, cs: 0x93, ss: 0x93, tr: 0x83, ..GOOD };

    fn wrong(state: &State) -> Vec<&'static str> {
        state.wrong(&LIMITS).collect()
    }

    /// That one check fails, and no other.
    #[track_caller]
    fn one(state: &State, what: &str) {
        assert_eq!(wrong(state), [what]);
    }

    #[test]
    fn good_states_have_nothing_wrong() {
        assert!(wrong(&GOOD).is_empty());
        assert!(wrong(&REAL).is_empty());
    }

    #[test]
    fn each_control_register() {
        one(&State { cr0: GOOD.cr0 & !0x20, ..GOOD }, "CR0 lacks a bit that VMX insists on");
        one(&State { cr0: GOOD.cr0 | 1 << 7, ..GOOD }, "CR0 has a bit that VMX forbids");
        one(&State { cr0: GOOD.cr0 & !1, ..GOOD }, "CR0 has PG without PE");
        one(&State { cr4: 0x20, ..GOOD }, "CR4 lacks a bit that VMX insists on");
        one(&State { cr4: GOOD.cr4 | 1 << 12, ..GOOD }, "CR4 has a bit that this processor lacks");
        one(&State { cr4: 0x2000, ..GOOD }, "long mode without CR0.PG and CR4.PAE");
        one(&State { cr3: 1 << 40, ..GOOD }, "CR3 is beyond the address space");
        one(&State { cr3: 1 << 63, ..GOOD }, "CR3 is beyond the address space");
        one(&State { efer: 0x500, ..REAL }, "EFER.LMA does not match the entry control");
        one(&State { efer: 0x400, ..GOOD }, "EFER.LMA and EFER.LME differ under paging");
    }

    #[test]
    fn reserved_flags() {
        for rflags in [0, 2 | 1 << 3, 2 | 1 << 5, 2 | 1 << 15, 2 | 1 << 22, 2 | 1 << 63] {
            one(&State { rflags, ..GOOD }, "RFLAGS has a reserved bit wrong");
        }
    }

    #[test]
    fn each_segment() {
        for cs in [GOOD.cs & !0x80, GOOD.cs | 1 << 16] {
            one(&State { cs, ..GOOD }, "CS is unusable");
        }
        one(&State { cs: 0xA09A, ..GOOD }, "CS is no accessed code segment");
        one(&State { cs: 0xE09B, ..GOOD }, "CS has both L and D");
        one(&State { ss: 0xC091, ..GOOD }, "SS is no writable data segment");
        assert!(wrong(&State { ss: 1 << 16, ..GOOD }).is_empty());
        one(&State { tr: GOOD.tr | 1 << 16, ..GOOD }, "TR is unusable");
        one(&State { tr: 0x83, ..GOOD }, "TR is no busy TSS");
        one(&State { tr: 0x89, ..REAL }, "TR is no busy TSS");
        one(&State { rip: 1 << 32, ..REAL }, "RIP is beyond 4 GiB outside 64-bit mode");
    }

    #[test]
    fn activity_events_and_debugging() {
        one(&State { activity: 4, ..GOOD }, "the activity state is unknown");
        one(&State { interruptibility: 3, ..GOOD }, "blocked by STI and by MOV SS at once");
        one(
            &State { activity: 3, event: true, ..GOOD },
            "an event for a processor that waits for a startup IPI",
        );
        one(&State { link: 0x1000, ..GOOD }, "the VMCS link pointer is set");
        one(&State { pending_debug: 1 << 13, ..GOOD }, "a debug field has reserved bits");
        one(&State { dr7: 1 << 32, ..GOOD }, "a debug field has reserved bits");
    }
}
