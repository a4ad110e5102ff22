//! State of a guest that the VMCS does not hold and the kernel or the extension would destroy, and the state of the OS
//! that Plinth launches under.

use core::arch::asm;

use plinth_arch_x86::msr;
use plinth_arch_x86::root_state::{RootState, Segment, TableRegister};

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

    /// Captures what can only be read under the kernel's own IDT: the debug-control register, which some emulators lack.
    pub(crate) fn capture_rest(&mut self) {
        self.debug_control = msr::read_guarded(msr::index::DEBUG_CONTROL).unwrap_or(0);
    }

    /// Puts into the processor what [`RootState::resume`] does not.
    ///
    /// # Safety
    /// VMX is off; [`RootState::resume`] follows at once. `table` is a page of this processor's own.
    pub(crate) unsafe fn load(&self, table: u64) {
        let [fs, gs, ..] = &self.segments;
        // SAFETY: the values are the OS's own; the kernel needs none of what they replace any more.
        unsafe {
            self.load_selectors(table);
            self.hidden.load();
            msr::write(msr::index::CSTAR, self.hidden.cstar);
            msr::write(msr::index::FS_BASE, fs.base);
            msr::write(msr::index::GS_BASE, gs.base);
            let registers = [msr::index::SYSENTER_CS, msr::index::SYSENTER_ESP, msr::index::SYSENTER_EIP];
            for (register, value) in registers.into_iter().zip(self.sysenter) {
                msr::write(register, value);
            }
            // Where there is no such register, its value is 0 and there is nothing to bring back.
            let _ = msr::write_guarded(msr::index::DEBUG_CONTROL, self.debug_control);
        }
    }

    /// Loads FS, GS, LDTR and TR through a GDT made for that alone: the OS's own may lie where only its own page
    /// tables lead, and may be read-only, while LTR writes to it.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn load_selectors(&self, table: u64) {
        const ENTRIES: usize = 512;
        const FLAT_DATA: u64 = 0x00CF_9300_0000_FFFF;
        let [fs, gs, ldtr, tr] = &self.segments;
        let index = |segment: &Segment| usize::from(segment.selector >> 3).min(ENTRIES - 2);
        // SAFETY: the page is this processor's own, 512 entries long and mapped.
        let entries = unsafe { &mut *(table as *mut [u64; ENTRIES]) };
        entries.fill(0);
        for segment in [fs, gs].into_iter().filter(|segment| segment.selector & !3 != 0) {
            entries[index(segment)] = FLAT_DATA | u64::from(segment.attributes >> 5 & 3) << 45;
        }
        for segment in
            [ldtr, tr].into_iter().filter(|segment| segment.selector != 0 && segment.attributes != 0)
        {
            // LTR takes an available TSS and marks it busy.
            let busy = if segment.selector == tr.selector { 1 << 1 } else { 0 };
            let kind = u64::from(segment.attributes & 0xff & !busy);
            let limit = u64::from(segment.limit.min(0xF_FFFF));
            let low = limit & 0xffff | (limit >> 16) << 48 | (segment.base & 0xff_ffff) << 16 | kind << 40;
            entries[index(segment)] = low | (segment.base >> 24 & 0xff) << 56;
            entries[index(segment) + 1] = segment.base >> 32;
        }
        let register = TableRegister { limit: (ENTRIES * 8 - 1) as u16, base: table };
        // SAFETY: the table holds a descriptor for each selector that is loaded; a TSS of the OS is available in it.
        unsafe {
            asm!("lgdt [{}]", in(reg) &raw const register, options(nostack, preserves_flags));
            asm!("lldt {:x}", in(reg) ldtr.selector, options(nostack, preserves_flags));
            if tr.selector & !3 != 0 {
                asm!("ltr {:x}", in(reg) tr.selector, options(nostack, preserves_flags));
            }
            asm!("mov fs, {:e}", in(reg) u32::from(fs.selector), options(nostack, preserves_flags));
            asm!("mov gs, {:e}", in(reg) u32::from(gs.selector), options(nostack, preserves_flags));
        }
    }
}
