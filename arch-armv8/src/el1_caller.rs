//! An OS at EL1 that has come to EL2 by its hypervisor stub's HVC_SOFT_RESTART (Linux, arch/arm64/include/asm/virt.h): the way in,
//! and the way back.
//!
//! The MMU of EL2 is off both ways, and the way back reads only what has been cleaned to memory. The first processor comes in on
//! the loader's tables; each later one finds its [`Arrival`] and comes in on the kernel's, as one does that the firmware starts.
//! EL1's registers stay in the processor.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use plinth_kernel::MAX_PPS;
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::descriptor::MAIR;
use crate::el2_state::El2State;
use crate::exit_registers::ExitRegisters;
use crate::host::{self, HostRegisters, read_system, write_system};
use crate::launch::publish;
use crate::pstate::Pstate;
use crate::regime::{HCR_RW, HCR_STAGE_2};
use crate::secondary::{ARRIVALS, Arrival};
use crate::vs::El2Vs;

/// What the stub leaves in EL2's registers, and where EL1 goes on. The way in and the way back have it in assembly: the order counts.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct El1Frame {
    host: HostRegisters,
    cptr: u64,
    cnthctl: u64,
    elr: u64,
    spsr: u64,
    sp: u64,
}

/// What [`leave`] reads.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Leaving {
    frame: El1Frame,
    /// X0 to X30.
    general: [u64; 31],
}

/// How to give a processor back to its OS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct El1Caller {
    frame: El1Frame,
    state: El2State,
}

/// That of the first processor. Others that the root VM starts later are given back with the same: their OS's stub is one.
static FIRST: Once<El1Caller> = Once::new();

/// Whether Plinth was launched below an OS at EL1.
pub(crate) fn has_stub() -> bool {
    FIRST.get().is_some()
}

/// Who called the first processor's launch, if that was an OS at EL1.
pub(crate) fn first() -> Option<El1Caller> {
    FIRST.get().copied()
}

impl El1Frame {
    /// Where EL1 goes on.
    pub(crate) fn pc(&self) -> u64 {
        self.elr
    }

    /// The state that the processor has saved.
    pub(crate) fn pstate(&self) -> Pstate {
        Pstate::saved(self.spsr)
    }
}

impl El1Caller {
    /// The caller of this processor's launch, before the kernel has changed any register of EL2's that is not in `frame`.
    ///
    /// # Errors
    /// [`LaunchError::AlreadyInUse`] where EL1 is somebody's guest.
    pub(crate) fn of(frame: &El1Frame, state: El2State) -> Result<Self, LaunchStatus> {
        if !state.owns_machine(frame.host.hcr) {
            return Err(LaunchStatus::failed(LaunchError::AlreadyInUse, 0));
        }
        let caller = Self { frame: *frame, state };
        FIRST.call_once(|| caller);
        Ok(caller)
    }

    pub(crate) fn frame(&self) -> &El1Frame {
        &self.frame
    }

    /// The way back from a processor that the root VM has started under Plinth.
    pub(crate) fn on_this_processor(self) -> Self {
        Self { state: self.state.on_this_processor(), ..self }
    }

    /// Goes back to where the call came from, with `status` in X0.
    ///
    /// # Safety
    /// EL1's registers are in the processor, and the kernel has nothing under way on it.
    pub(crate) unsafe fn refuse(&self, status: LaunchStatus) -> ! {
        // SAFETY: forwarded to the caller.
        unsafe {
            self.put_back();
            go_back(&self.frame, status)
        }
    }

    /// Gives the processor to a VS's OS, which goes on where it is.
    ///
    /// # Safety
    /// The kernel has nothing under way on this processor any more, and the VS is the root VM's.
    pub(crate) unsafe fn give_back(&self, vs: &El2Vs, registers: ExitRegisters) -> ! {
        let bank = vs.bank();
        if !bank.is_loaded() {
            bank.load();
        }
        let place = vs.entry();
        let frame = El1Frame { elr: place.pc, spsr: place.pstate.raw(), ..self.frame };
        let leaving = Leaving { frame, general: registers.take(core::array::from_fn(|number| number)) };
        // SAFETY: forwarded to the caller.
        unsafe {
            self.put_back();
            publish(&leaving);
            leave(&leaving)
        }
    }

    /// Ends the kernel's stage 2, by which nobody may walk once its registers are the caller's, and puts those back.
    ///
    /// # Safety
    /// No guest runs on this processor any more.
    unsafe fn put_back(&self) {
        let without_stage_2 = read_system!("hcr_el2") & !HCR_STAGE_2;
        // SAFETY: HCR_EL2 is the caller's before EL1 runs; the rest is forwarded to the caller.
        unsafe {
            write_system!("hcr_el2", without_stage_2);
            core::arch::asm!("isb", options(nostack, preserves_flags));
            self.state.load();
        }
    }
}

/// Goes back to where the call came from before anything of EL2 was changed that is not in `frame`.
///
/// # Safety
/// `frame` is what the way in has left.
pub unsafe fn go_back(frame: &El1Frame, status: LaunchStatus) -> ! {
    let mut general = [0; 31];
    general[0] = status.raw();
    let leaving = Leaving { frame: *frame, general };
    publish(&leaving);
    // SAFETY: forwarded to the caller.
    unsafe { leave(&leaving) }
}

const STACK_SIZE: usize = 64 * 1024;

/// What the launches run on until they have the kernel's stacks: the calls come one after the other.
#[repr(C, align(4096))]
struct LaunchStack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: nobody refers to it but the way in.
unsafe impl Sync for LaunchStack {}

static LAUNCH_STACK: LaunchStack = LaunchStack(UnsafeCell::new([0; STACK_SIZE]));

/// TCR_EL2 for the loader's tables: 48 bits of address, write-back walks, inner shareable, 4 KiB granule, RES1.
const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 16;
/// SCTLR_EL2 for them: RES1 bits; M, C, SA and I.
const SCTLR: u64 = 0x30C5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12;

/// The way in: X0 is the [`LaunchInfo`], X1 the call's number, X2 where to go on, with the first two and an [`El1Frame`].
///
/// # Safety
/// Only the image's entry point may come here, at EL2 with the MMU off, from the stub's HVC_SOFT_RESTART; the contract's memory is
/// clean to the point of coherency.
#[unsafe(naked)]
pub unsafe extern "C" fn from_el1() -> ! {
    naked_asm!(
        "msr daifset, #15",
        "msr spsel, #1",
        "mrs x10, mair_el2",
        "mrs x11, tcr_el2",
        "mrs x12, ttbr0_el2",
        "mrs x13, sctlr_el2",
        "mrs x14, vbar_el2",
        "mrs x15, hcr_el2",
        // ID_AA64MMFR3_EL1: TCRX, SCTLRX.
        "mrs x3, S3_0_C0_C7_3",
        "mov x16, xzr",
        "mov x17, xzr",
        "mov x18, xzr",
        "tst x3, #0xF",
        "b.eq 1f",
        "orr x16, x16, #1 << {has_tcr2}",
        "mrs x17, S3_4_C2_C0_3",
        "1: tst x3, #0xF0",
        "b.eq 2f",
        "orr x16, x16, #1 << {has_sctlr2}",
        "mrs x18, S3_4_C1_C0_3",
        "2: mrs x19, cptr_el2",
        "mrs x20, cnthctl_el2",
        "mrs x21, elr_el2",
        "mrs x22, spsr_el2",
        "mov x23, sp",
        // The kernel's tables where this processor has an arrival; the first one never has.
        "cbz x1, 5f",
        "mrs x3, mpidr_el1",
        "mov x4, #0xFFFFFF",
        "movk x4, #0xFF, lsl #32",
        "and x3, x3, x4",
        "adrp x24, {arrivals}",
        "add x24, x24, :lo12:{arrivals}",
        "mov x4, #{count}",
        "3: ldr x5, [x24, #{affinity}]",
        "cmp x5, x3",
        "b.eq 4f",
        "add x24, x24, #{size}",
        "subs x4, x4, #1",
        "b.ne 3b",
        "b 5f",
        "4: ldp x3, x4, [x24]",
        "ldp x5, x6, [x24, #16]",
        "ldp x7, x8, [x24, #32]",
        "b 6f",
        // The loader's.
        "5: ldr x3, ={mair}",
        "ldr x4, ={tcr}",
        // ID_AA64MMFR0_EL1.PARange, of which the format has up to 48 bits.
        "mrs x6, id_aa64mmfr0_el1",
        "and x6, x6, #0xF",
        "mov x7, #5",
        "cmp x6, x7",
        "csel x6, x6, x7, lo",
        "orr x4, x4, x6, lsl #16",
        "ldr x5, [x0, #{tables}]",
        "ldr x6, ={sctlr}",
        "mov x7, x14",
        "ldr x8, ={hcr}",
        // The regime first: the registers that follow mean something else in the other.
        "6: msr hcr_el2, x8",
        "isb",
        "msr mair_el2, x3",
        "msr tcr_el2, x4",
        "msr ttbr0_el2, x5",
        "msr vbar_el2, x7",
        "tbz x16, #{has_tcr2}, 7f",
        "msr S3_4_C2_C0_3, xzr",
        "7: tbz x16, #{has_sctlr2}, 8f",
        "msr S3_4_C1_C0_3, xzr",
        "8: isb",
        "tlbi alle2",
        "ic iallu",
        "dsb sy",
        "isb",
        "msr sctlr_el2, x6",
        "isb",
        "adrp x3, {stack}",
        "add x3, x3, :lo12:{stack}",
        "add sp, x3, #{stack_size}",
        "mov x4, x2",
        "stp x22, x23, [sp, #-16]!",
        "stp x20, x21, [sp, #-16]!",
        "stp x18, x19, [sp, #-16]!",
        "stp x16, x17, [sp, #-16]!",
        "stp x14, x15, [sp, #-16]!",
        "stp x12, x13, [sp, #-16]!",
        "stp x10, x11, [sp, #-16]!",
        "mov x2, sp",
        "mov x29, xzr",
        "mov x30, xzr",
        "br x4",
        arrivals = sym ARRIVALS,
        count = const MAX_PPS,
        affinity = const offset_of!(Arrival, affinity),
        size = const size_of::<Arrival>(),
        tables = const offset_of!(LaunchInfo, tables),
        has_tcr2 = const host::HAS_TCR2,
        has_sctlr2 = const host::HAS_SCTLR2,
        mair = const MAIR,
        tcr = const TCR,
        sctlr = const SCTLR,
        hcr = const HCR_RW,
        stack = sym LAUNCH_STACK,
        stack_size = const STACK_SIZE,
    )
}

const _: () = assert!(size_of::<El1Frame>() == 14 * 8 && offset_of!(El1Frame, cptr) == 9 * 8);

/// The way back to EL1, with all that EL2 was before and no translation left of anybody else's.
///
/// # Safety
/// `leaving` is clean to the point of coherency, as this code is, and both are mapped one to one; with the caller's SCTLR_EL2 the MMU
/// is off.
#[unsafe(naked)]
unsafe extern "C" fn leave(leaving: &Leaving) -> ! {
    naked_asm!(
        "msr daifset, #15",
        "ldp x1, x2, [x0]",
        "ldp x3, x4, [x0, #16]",
        "ldp x5, x6, [x0, #32]",
        "ldp x7, x8, [x0, #48]",
        "ldp x9, x10, [x0, #64]",
        "ldp x11, x12, [x0, #80]",
        "ldp x13, x14, [x0, #96]",
        // MMU and data cache off: what follows means something else in the other regime.
        "mrs x15, sctlr_el2",
        "mov x16, #5",
        "bic x15, x15, x16",
        "dsb sy",
        "msr sctlr_el2, x15",
        "isb",
        "msr hcr_el2, x6",
        "isb",
        "msr mair_el2, x1",
        "msr tcr_el2, x2",
        "msr ttbr0_el2, x3",
        "msr vbar_el2, x5",
        "tbz x7, #{has_tcr2}, 2f",
        "msr S3_4_C2_C0_3, x8",
        "2: tbz x7, #{has_sctlr2}, 3f",
        "msr S3_4_C1_C0_3, x9",
        "3: msr cptr_el2, x10",
        "msr cnthctl_el2, x11",
        "isb",
        // What was translated for the extension and its VMs, and for EL1 by the root VM's stage 2.
        "tlbi alle2",
        "tlbi alle1",
        "ic iallu",
        "dsb sy",
        "isb",
        "msr sctlr_el2, x4",
        "isb",
        "msr elr_el2, x12",
        "msr spsr_el2, x13",
        "mov sp, x14",
        "ldp x2, x3, [x0, #{general} + 16]",
        "ldp x4, x5, [x0, #{general} + 32]",
        "ldp x6, x7, [x0, #{general} + 48]",
        "ldp x8, x9, [x0, #{general} + 64]",
        "ldp x10, x11, [x0, #{general} + 80]",
        "ldp x12, x13, [x0, #{general} + 96]",
        "ldp x14, x15, [x0, #{general} + 112]",
        "ldp x16, x17, [x0, #{general} + 128]",
        "ldp x18, x19, [x0, #{general} + 144]",
        "ldp x20, x21, [x0, #{general} + 160]",
        "ldp x22, x23, [x0, #{general} + 176]",
        "ldp x24, x25, [x0, #{general} + 192]",
        "ldp x26, x27, [x0, #{general} + 208]",
        "ldp x28, x29, [x0, #{general} + 224]",
        "ldr x30, [x0, #{general} + 240]",
        "ldp x0, x1, [x0, #{general}]",
        "eret",
        // Nothing is executed here, not even by speculation.
        "dsb nsh",
        "isb",
        general = const offset_of!(Leaving, general),
        has_tcr2 = const host::HAS_TCR2,
        has_sctlr2 = const host::HAS_SCTLR2,
    )
}
