//! The state of a processor after INIT (Intel SDM vol. 3A, "Processor State After Reset").

use plinth_arch_x86::root_state::{Segment, TableRegister};

use crate::control_registers as control;
use crate::events::{self, ACTIVE};
use crate::features::Features;
use crate::segments::{self, CS, LDTR, TR};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    ACTIVITY, GUEST_CR3, GUEST_DEBUG_CONTROL, GUEST_DR7, GUEST_GDTR_BASE, GUEST_GDTR_LIMIT, GUEST_IDTR_BASE,
    GUEST_IDTR_LIMIT, GUEST_PAT, GUEST_RFLAGS, GUEST_RIP, GUEST_RSP, GUEST_SYSENTER_CS, GUEST_SYSENTER_EIP,
    GUEST_SYSENTER_ESP, INTERRUPTIBILITY, LINK_POINTER, PDPTE, PENDING_DEBUG,
};

const DATA: u16 = 0x93;
const CODE: u16 = 0x9B;
const LDT: u16 = 0x82;
pub(crate) const TSS: u16 = 0x8B;
/// CR0.ET, and caches disabled.
const CR0_RESET: u64 = 0x6000_0010;
/// RFLAGS bit 1 reads as 1.
const FLAGS_RESET: u64 = 1 << 1;
/// The PAT after a reset.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// DR6 after a reset.
pub(crate) const DR6_RESET: u64 = 0xFFFF_0FF0;
const DR7_RESET: u64 = 0x400;

/// Gives a new VMCS what INIT leaves alone, and what only PAE paging uses.
pub(crate) fn power_up(vmcs: &Current) {
    vmcs.write(GUEST_PAT, PAT_RESET);
    vmcs.write(GUEST_SYSENTER_CS, 0);
    vmcs.write(GUEST_SYSENTER_ESP, 0);
    vmcs.write(GUEST_SYSENTER_EIP, 0);
    for index in 0..4 {
        vmcs.write(PDPTE.nth(index), 0);
    }
}

/// Puts the VMCS into the state after INIT, but for what INIT leaves alone.
pub(crate) fn initialize(vmcs: &Current, features: &Features) {
    let segment = |attributes| Segment { selector: 0, attributes, limit: 0xffff, base: 0 };
    for index in 0..LDTR {
        segments::write(vmcs, index, &segment(DATA));
    }
    let code = Segment { selector: 0xF000, attributes: CODE, limit: 0xffff, base: 0xFFFF_0000 };
    segments::write(vmcs, CS, &code);
    segments::write(vmcs, LDTR, &segment(LDT));
    segments::write(vmcs, TR, &segment(TSS));
    table_registers(vmcs, TableRegister { limit: 0xffff, base: 0 }, TableRegister { limit: 0xffff, base: 0 });
    control::set_cr0(vmcs, features, CR0_RESET);
    control::set_cr4(vmcs, features, 0);
    control::set_efer(vmcs, 0);
    vmcs.write(GUEST_CR3, 0);
    vmcs.write(GUEST_DR7, DR7_RESET);
    vmcs.write(GUEST_RFLAGS, FLAGS_RESET);
    vmcs.write(GUEST_RIP, 0xFFF0);
    vmcs.write(GUEST_RSP, 0);
    vmcs.write(GUEST_DEBUG_CONTROL, 0);
    vmcs.write(LINK_POINTER, u64::MAX);
    clear_activity(vmcs);
}

pub(crate) fn table_registers(vmcs: &Current, gdtr: TableRegister, idtr: TableRegister) {
    vmcs.write(GUEST_GDTR_BASE, gdtr.base);
    vmcs.write(GUEST_GDTR_LIMIT, u32::from(gdtr.limit));
    vmcs.write(GUEST_IDTR_BASE, idtr.base);
    vmcs.write(GUEST_IDTR_LIMIT, u32::from(idtr.limit));
}

pub(crate) fn clear_activity(vmcs: &Current) {
    vmcs.write(ACTIVITY, ACTIVE);
    vmcs.write(INTERRUPTIBILITY, 0);
    vmcs.write(PENDING_DEBUG, 0);
    events::forget(vmcs);
}

/// Starts at the page `entry`, as a startup IPI says.
pub(crate) fn start(vmcs: &Current, entry: u64) {
    let code = Segment {
        selector: (entry << 8) as u16,
        attributes: CODE,
        limit: 0xffff,
        base: (entry & 0xff) << 12,
    };
    segments::write(vmcs, CS, &code);
    vmcs.write(GUEST_RIP, 0);
    vmcs.write(ACTIVITY, ACTIVE);
}
