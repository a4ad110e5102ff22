//! Giving a processor back: the state of the OS out of its VS.

use core::array;

use plinth_arch_x86::exit_registers::ExitRegisters;
use plinth_arch_x86::root_state::{RootState, TableRegister};

use super::VmxVs;
use crate::field::{
    GUEST_CR3, GUEST_DR7, GUEST_EFER, GUEST_GDTR_BASE, GUEST_GDTR_LIMIT, GUEST_IDTR_BASE, GUEST_IDTR_LIMIT,
    GUEST_PAT, GUEST_RFLAGS, GUEST_RIP,
};
use crate::hidden::VmxRoot;
use crate::{control_registers, segments};

impl VmxVs {
    /// The state of the processor that the guest takes back: the inverse of `init_root`.
    pub(crate) fn to_root(&self, registers: ExitRegisters) -> VmxRoot {
        let hidden = self.hidden_copy();
        let general = registers.take(array::from_fn(|number| number));
        self.with(|vmcs| {
            let table = |limit, base| TableRegister { limit: vmcs.read(limit) as u16, base: vmcs.read(base) };
            let state = RootState {
                registers: general,
                rip: vmcs.read(GUEST_RIP),
                rflags: vmcs.read(GUEST_RFLAGS),
                cr0: control_registers::read_cr0(vmcs),
                cr2: hidden.cr2,
                cr3: vmcs.read(GUEST_CR3),
                cr4: control_registers::read_cr4(vmcs),
                efer: vmcs.read(GUEST_EFER),
                dr6: hidden.dr6,
                dr7: vmcs.read(GUEST_DR7),
                pat: vmcs.read(GUEST_PAT),
                spec_ctrl: 0,
                es: segments::read(vmcs, 0),
                cs: segments::read(vmcs, segments::CS),
                ss: segments::read(vmcs, segments::SS),
                ds: segments::read(vmcs, 3),
                gdtr: table(GUEST_GDTR_LIMIT, GUEST_GDTR_BASE),
                idtr: table(GUEST_IDTR_LIMIT, GUEST_IDTR_BASE),
            };
            VmxRoot::from_vmcs(state, hidden, vmcs)
        })
    }
}
