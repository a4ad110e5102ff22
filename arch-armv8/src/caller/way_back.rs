//! The last instructions under the hypervisor on a CPU that is given back, to an OS at EL1 with a stub at EL2 or to firmware
//! at EL2. They run with the MMU off, so that they depend on no page table.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use plinth_launch::LaunchStatus;

use crate::cache::publish;
use crate::caller::el2_state::El2State;
use crate::el2::{self, HostRegisters};
use crate::pstate::Pstate;
use crate::sysreg::{read_system, write_system};
use crate::trap_config::HCR_STAGE_2;

/// What EL2 executes by, and where its caller goes on. The way in of an OS at EL1, and the way back, have it in assembly: the order
/// counts.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CallerFrame {
    pub(crate) host: HostRegisters,
    pub(crate) cptr: u64,
    pub(crate) cnthctl: u64,
    pub(crate) elr: u64,
    pub(crate) spsr: u64,
    /// EL2's own stack pointer.
    pub(crate) sp: u64,
}

/// What [`last_steps`] reads.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Leaving {
    frame: CallerFrame,
    /// X0 to X30.
    general: [u64; 31],
}

impl CallerFrame {
    /// Where the caller goes on.
    pub(crate) fn pc(&self) -> u64 {
        self.elr
    }

    /// The state that the processor has saved.
    pub(crate) fn pstate(&self) -> Pstate {
        Pstate::saved(self.spsr)
    }
}

/// Ends the kernel's stage 2, by which nobody may walk once its registers are the caller's, and puts those back.
///
/// # Safety
/// No guest runs on this processor any more.
pub(crate) unsafe fn put_back(state: &El2State) {
    let without_stage_2 = read_system!("hcr_el2") & !HCR_STAGE_2;
    // SAFETY: HCR_EL2 is the caller's before anything but the kernel runs; the rest is forwarded to the caller.
    unsafe {
        write_system!("hcr_el2", without_stage_2);
        asm!("isb", options(nostack, preserves_flags));
        state.load();
    }
}

/// Goes back to where the call came from before anything of EL2 was changed that is not in `frame`.
///
/// # Safety
/// `frame` is what the way in has left.
pub unsafe fn go_back(frame: &CallerFrame, status: LaunchStatus) -> ! {
    let mut general = [0; 31];
    general[0] = status.raw();
    // SAFETY: forwarded to the caller.
    unsafe { leave(frame, general) }
}

/// Goes on as `frame` says, with X0 to X30 in `general`.
///
/// # Safety
/// All else that the caller has in registers is there, and the kernel has nothing under way on this processor. The kernel's tables map
/// this code at its own address; where the frame switches the MMU on, so do the frame's, at EL2.
pub(crate) unsafe fn leave(frame: &CallerFrame, general: [u64; 31]) -> ! {
    let leaving = Leaving { frame: *frame, general };
    publish(&leaving);
    // SAFETY: forwarded to the caller; it has just been cleaned, and the kernel maps its stack one to one.
    unsafe { last_steps(&leaving) }
}

/// The first and the last address of the code that runs on the frame's tables.
pub(crate) fn last_code() -> [u64; 2] {
    /// More than it has.
    const SIZE: u64 = 0x200;
    let start = last_steps as *const () as u64;
    [start, start.wrapping_add(SIZE)]
}

const _: () = assert!(size_of::<CallerFrame>() == 14 * 8 && offset_of!(CallerFrame, cptr) == 9 * 8);

/// Makes EL2 what the frame says, with no translation left of anybody else's, and goes on there.
///
/// With the frame's tables nothing is read any more: X30 waits in FAR_EL2, which tells nothing now.
///
/// # Safety
/// As [`leave`]; `leaving` is clean to the point of coherency, as this code is, and mapped one to one.
#[unsafe(naked)]
unsafe extern "C" fn last_steps(leaving: &Leaving) -> ! {
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
        "msr far_el2, x30",
        "ldr x30, [x0, #{sctlr}]",
        "ldp x0, x1, [x0, #{general}]",
        "msr sctlr_el2, x30",
        "isb",
        "mrs x30, far_el2",
        "msr far_el2, xzr",
        "eret",
        // Nothing is executed here, not even by speculation.
        "dsb nsh",
        "isb",
        general = const offset_of!(Leaving, general),
        sctlr = const offset_of!(Leaving, frame) + offset_of!(CallerFrame, host) + offset_of!(HostRegisters, sctlr),
        has_tcr2 = const el2::HAS_TCR2,
        has_sctlr2 = const el2::HAS_SCTLR2,
    )
}
