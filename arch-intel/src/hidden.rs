//! State of a guest that the VMCS does not hold and the kernel or the extension would destroy, and the state of the OS
//! that Plinth launches under.

use core::arch::asm;

use plinth_arch_x86::msr;
use plinth_arch_x86::root_state::{RootState, Segment};

use crate::current::Current;
use crate::field::{GUEST_DEBUG_CONTROL, GUEST_SYSENTER_CS, GUEST_SYSENTER_EIP, GUEST_SYSENTER_ESP};
use crate::reset::DR6_RESET;
use crate::segments;

/// Registers of a guest that stay in the processor while only the kernel runs, and move when the extension does.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Hidden {
    pub(crate) star: u64,
    pub(crate) lstar: u64,
    pub(crate) sfmask: u64,
    pub(crate) kernel_gs_base: u64,
    pub(crate) cstar: u64,
    pub(crate) cr2: u64,
    pub(crate) dr6: u64,
}

impl Hidden {
    /// Those of a VS after a reset.
    pub(crate) fn reset() -> Self {
        Self { dr6: DR6_RESET, ..Self::default() }
    }

    /// Those of the processor.
    pub(crate) fn read() -> Self {
        // SAFETY: all of them exist in 64-bit mode; reading changes nothing.
        unsafe {
            Self {
                star: msr::read(msr::index::STAR),
                lstar: msr::read(msr::index::LSTAR),
                sfmask: msr::read(msr::index::SFMASK),
                kernel_gs_base: msr::read(msr::index::KERNEL_GS_BASE),
                cstar: msr::read(msr::index::CSTAR),
                cr2: read_cr2(),
                dr6: read_dr6(),
            }
        }
    }

    /// Takes those from the processor that change without the kernel's knowledge: SWAPGS, faults and debug exceptions do
    /// that. Writes of the others exit.
    #[inline]
    pub(crate) fn take_changed(&mut self) {
        // SAFETY: reading the register changes nothing.
        self.kernel_gs_base = unsafe { msr::read(msr::index::KERNEL_GS_BASE) };
        (self.cr2, self.dr6) = (read_cr2(), read_dr6());
    }

    /// The place of a register of system calls whose writes exit, by its MSR.
    pub(crate) fn system_call_register(&mut self, register: u32) -> Option<&mut u64> {
        match register {
            msr::index::STAR => Some(&mut self.star),
            msr::index::LSTAR => Some(&mut self.lstar),
            msr::index::CSTAR => Some(&mut self.cstar),
            msr::index::SFMASK => Some(&mut self.sfmask),
            _ => None,
        }
    }

    /// Puts a guest's into the processor, but for CSTAR, which the kernel and the extension leave alone.
    ///
    /// # Safety
    /// The extension is not entered before the kernel's own are back.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: the kernel uses none of them but to enter the extension, which the caller rules out.
        unsafe {
            self.load_system_calls();
            asm!("mov cr2, {}", in(reg) self.cr2, options(nomem, nostack, preserves_flags));
            asm!("mov dr6, {}", in(reg) self.dr6, options(nomem, nostack, preserves_flags));
        }
    }

    /// Puts what entering the extension takes into the processor.
    ///
    /// # Safety
    /// As [`Self::load`], or they are the kernel's own.
    #[inline]
    pub(crate) unsafe fn load_system_calls(&self) {
        // SAFETY: the values were read from these registers or checked when they were set.
        unsafe {
            msr::write(msr::index::STAR, self.star);
            msr::write(msr::index::LSTAR, self.lstar);
            msr::write(msr::index::SFMASK, self.sfmask);
            msr::write(msr::index::KERNEL_GS_BASE, self.kernel_gs_base);
        }
    }
}

fn read_cr2() -> u64 {
    let value: u64;
    // SAFETY: reading CR2 at privilege level 0 changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// DR6, which is the guest's while the processor holds its registers.
pub(crate) fn read_dr6() -> u64 {
    let value: u64;
    // SAFETY: reading DR6 at privilege level 0 changes nothing; general detection is off in the kernel.
    unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes DR6.
pub(crate) fn write_dr6(value: u64) {
    // SAFETY: it only tells what the last debug exception was about; its upper half is 0.
    unsafe { asm!("mov dr6, {}", in(reg) value & 0xFFFF_FFFF, options(nomem, nostack, preserves_flags)) };
}

/// The state of an OS on this processor when Plinth launched.
#[derive(Debug)]
pub struct VmxRoot {
    /// What MOV, RDMSR and the like can read.
    pub(crate) state: RootState,
    /// What the VMCS does not hold.
    pub(crate) hidden: Hidden,
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
            hidden: Hidden::read(),
            segments,
            sysenter: [msr::index::SYSENTER_CS, msr::index::SYSENTER_ESP, msr::index::SYSENTER_EIP].map(read),
            debug_control: 0,
        }
    }
}

impl VmxRoot {
    /// Collects the state that a VS gives back.
    pub(crate) fn from_vmcs(state: RootState, hidden: Hidden, vmcs: &Current) -> Self {
        Self {
            state,
            hidden,
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
            self.hidden.load();
            msr::write(msr::index::CSTAR, self.hidden.cstar);
            let registers = [msr::index::SYSENTER_CS, msr::index::SYSENTER_ESP, msr::index::SYSENTER_EIP];
            for (register, value) in registers.into_iter().zip(self.sysenter) {
                msr::write(register, value);
            }
            // Where there is no such register, its value is 0 and there is nothing to bring back.
            let _ = msr::write_guarded(msr::index::DEBUG_CONTROL, self.debug_control);
        }
    }
}
