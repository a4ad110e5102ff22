//! The state of the OS that Plinth launches under: captured at the launch, put into the root VS, taken out of it again
//! where the OS gets its processor back.

use core::arch::asm;
use core::array;

use plinth_arch_x86::exit_registers::ExitRegisters;
use plinth_arch_x86::msr;
use plinth_arch_x86::root_state::{RootState, Segment, TableRegister};

use crate::features::Features;
use crate::lazy_state::LazyState;
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    GUEST_CR3, GUEST_DEBUG_CONTROL, GUEST_DR7, GUEST_EFER, GUEST_GDTR_BASE, GUEST_GDTR_LIMIT,
    GUEST_IDTR_BASE, GUEST_IDTR_LIMIT, GUEST_PAT, GUEST_RFLAGS, GUEST_RIP, GUEST_SYSENTER_CS,
    GUEST_SYSENTER_EIP, GUEST_SYSENTER_ESP,
};
use crate::vs::VmxVs;
use crate::{control_registers, reset, segments};

/// The state of an OS on this processor when Plinth launched.
#[derive(Debug)]
pub struct VmxRoot {
    /// What MOV, RDMSR and the like can read.
    pub(crate) state: RootState,
    /// What the VMCS does not hold.
    pub(crate) lazy: LazyState,
    /// FS, GS, LDTR and TR.
    pub(crate) segments: [Segment; 4],
    /// SYSENTER's code segment, stack and entry.
    pub(crate) sysenter: [u64; 3],
    pub(crate) debug_control: u64,
}

macro_rules! selector {
    ($instruction:literal) => {{
        let value: u16;
        // SAFETY: reading a selector changes nothing.
        unsafe { asm!($instruction, out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

impl VmxRoot {
    /// Captures the rest of what `state` is about.
    ///
    /// # Safety
    /// The processor is in 64-bit mode at privilege level 0, nothing of the OS's state has been replaced yet, and its
    /// GDT is mapped.
    pub(crate) unsafe fn capture(state: RootState) -> Self {
        let gdtr = state.gdtr;
        // SAFETY: it is the GDT in use, mapped.
        let segment = |selector| unsafe { Segment::from_table(gdtr, selector) };
        // SAFETY: as above; system descriptors are twice as long, their upper half holds the upper half of the base.
        let system = |selector: u16| unsafe {
            let mut segment = Segment::from_table(gdtr, selector);
            if segment.attributes != 0 {
                let upper = gdtr.base.wrapping_add(u64::from(selector & !7)).wrapping_add(8) as *const u32;
                segment.base |= u64::from(core::ptr::read_unaligned(upper)) << 32;
            }
            segment
        };
        let mut segments = [
            segment(selector!("mov {:x}, fs")),
            segment(selector!("mov {:x}, gs")),
            system(selector!("sldt {:x}")),
            system(selector!("str {:x}")),
        ];
        // SAFETY: the MSRs exist in 64-bit mode and on every processor with SYSENTER and VMX.
        let read = |register| unsafe { msr::read(register) };
        segments[0].base = read(msr::index::FS_BASE);
        segments[1].base = read(msr::index::GS_BASE);
        Self {
            state,
            lazy: LazyState::read(),
            segments,
            sysenter: [msr::index::SYSENTER_CS, msr::index::SYSENTER_ESP, msr::index::SYSENTER_EIP].map(read),
            debug_control: 0,
        }
    }
}

impl VmxRoot {
    /// Collects the state that a VS gives back.
    pub(crate) fn from_vmcs(state: RootState, lazy: LazyState, vmcs: &Current) -> Self {
        Self {
            state,
            lazy,
            segments: [4, 5, segments::LDTR, segments::TR].map(|index| segments::read(vmcs, index)),
            sysenter: [
                u64::from(vmcs.read(GUEST_SYSENTER_CS)),
                vmcs.read(GUEST_SYSENTER_ESP),
                vmcs.read(GUEST_SYSENTER_EIP),
            ],
            debug_control: vmcs.read(GUEST_DEBUG_CONTROL),
        }
    }

    /// Captures what can only be read under the kernel's own IDT: the debug-control register, which some emulators lack. No branch
    /// is recorded from now on.
    pub(crate) fn capture_rest(&mut self) {
        if let Ok(value) = msr::read_guarded(msr::index::DEBUG_CONTROL) {
            self.debug_control = value;
            // SAFETY: the kernel uses nothing of it.
            let _ = unsafe { msr::write_guarded(msr::index::DEBUG_CONTROL, 0) };
        }
    }

    /// Puts into the processor what [`RootState::resume_from_vmx`] does not, but for segments.
    ///
    /// # Safety
    /// VMX is off; [`RootState::resume_from_vmx`] follows at once.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: the values are the OS's own; the kernel needs none of what they replace any more.
        unsafe {
            self.lazy.load();
            msr::write(msr::index::CSTAR, self.lazy.cstar);
            let registers = [msr::index::SYSENTER_CS, msr::index::SYSENTER_ESP, msr::index::SYSENTER_EIP];
            for (register, value) in registers.into_iter().zip(self.sysenter) {
                msr::write(register, value);
            }
            // Where there is no such register, its value is 0 and there is nothing to bring back.
            let _ = msr::write_guarded(msr::index::DEBUG_CONTROL, self.debug_control);
        }
    }
}

/// Puts the VMCS into the state of the OS that launched.
pub(crate) fn take_root(vmcs: &Current, features: &Features, root: &VmxRoot) {
    let state = &root.state;
    for (index, segment) in [state.es, state.cs, state.ss, state.ds].iter().enumerate() {
        segments::write(vmcs, index as u64, segment);
    }
    for (index, segment) in (4..=u64::MAX).zip(root.segments) {
        segments::write(vmcs, index, &segment);
    }
    // Firmware may run without a task register; VM entry wants one.
    if root.segments[3].attributes == 0 {
        segments::write(
            vmcs,
            segments::TR,
            &Segment { selector: 0, attributes: reset::TSS, limit: 0x67, base: 0 },
        );
    }
    reset::table_registers(vmcs, state.gdtr, state.idtr);
    control_registers::set_cr0(vmcs, features, state.cr0);
    control_registers::set_cr4(vmcs, features, state.cr4);
    control_registers::set_efer(vmcs, state.efer);
    vmcs.write(GUEST_CR3, state.cr3);
    vmcs.write(GUEST_DR7, state.dr7);
    vmcs.write(GUEST_PAT, state.pat);
    vmcs.write(GUEST_RFLAGS, state.rflags);
    vmcs.write(GUEST_RIP, state.rip);
    vmcs.write(GUEST_DEBUG_CONTROL, root.debug_control);
    vmcs.write(GUEST_SYSENTER_CS, root.sysenter[0] as u32);
    vmcs.write(GUEST_SYSENTER_ESP, root.sysenter[1]);
    vmcs.write(GUEST_SYSENTER_EIP, root.sysenter[2]);
    reset::clear_activity(vmcs);
}

impl VmxVs {
    /// The state of the processor that the guest takes back: the inverse of `init_root`.
    pub(crate) fn to_root(&self, registers: ExitRegisters) -> VmxRoot {
        let lazy = self.lazy_state_copy();
        let general = registers.take(array::from_fn(|number| number));
        self.with(|vmcs| {
            let table = |limit, base| TableRegister { limit: vmcs.read(limit) as u16, base: vmcs.read(base) };
            let state = RootState {
                registers: general,
                rip: vmcs.read(GUEST_RIP),
                rflags: vmcs.read(GUEST_RFLAGS),
                cr0: control_registers::read_cr0(vmcs),
                cr2: lazy.cr2,
                cr3: vmcs.read(GUEST_CR3),
                cr4: control_registers::read_cr4(vmcs),
                efer: vmcs.read(GUEST_EFER),
                dr6: lazy.dr6,
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
            VmxRoot::from_vmcs(state, lazy, vmcs)
        })
    }
}
