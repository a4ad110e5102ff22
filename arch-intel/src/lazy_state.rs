//! State of a guest that the VMCS does not hold and that the kernel or the extension would destroy. It is switched
//! lazily: it stays in the processor while only the kernel runs, and moves when the extension does.

use core::arch::asm;

use plinth_arch_x86::msr;

use crate::reset::DR6_RESET;

/// Registers of a guest that stay in the processor while only the kernel runs, and move when the extension does.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct LazyState {
    pub(crate) star: u64,
    pub(crate) lstar: u64,
    pub(crate) sfmask: u64,
    pub(crate) kernel_gs_base: u64,
    pub(crate) cstar: u64,
    pub(crate) cr2: u64,
    pub(crate) dr6: u64,
}

impl LazyState {
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
