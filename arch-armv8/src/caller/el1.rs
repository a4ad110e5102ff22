//! An OS at EL1 that has come to EL2 by its hypervisor stub's HVC_SOFT_RESTART (Linux, arch/arm64/include/asm/virt.h): the way in,
//! and the way back.
//!
//! The MMU of EL2 is off both ways ([`way_back`]). The first processor comes in on the loader's tables; each later one finds its [`Arrival`] and comes in on the kernel's, as one does that the firmware starts.
//! EL1's registers stay in the processor.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use plinth_kernel::MAX_PPS;
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::caller::el2_state::El2State;
use crate::caller::way_back::{self, CallerFrame};
use crate::el2;
use crate::exit_registers::ExitRegisters;
use crate::paging::descriptor::MAIR;
use crate::power::secondary::{ARRIVALS, Arrival};
use crate::trap_config::HCR_RW;
use crate::vs::El2Vs;

/// How to give a CPU back to its OS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct El1Caller {
    frame: CallerFrame,
    state: El2State,
}

/// The first CPU's caller. CPUs that the root VM starts later are given back in the same way: their OS has the same stub.
static FIRST: Once<El1Caller> = Once::new();

/// Whether Plinth was launched below an OS at EL1.
pub(crate) fn has_stub() -> bool {
    FIRST.get().is_some()
}

/// Who called the first processor's launch, if that was an OS at EL1.
pub(crate) fn first() -> Option<El1Caller> {
    FIRST.get().copied()
}

impl El1Caller {
    /// The caller of this processor's launch, before the kernel has changed any register of EL2's that is not in `frame`.
    ///
    /// # Errors
    /// [`LaunchError::AlreadyInUse`] where EL1 is somebody's guest.
    pub(crate) fn of(frame: &CallerFrame, state: El2State) -> Result<Self, LaunchStatus> {
        if !state.owns_machine(frame.host.hcr) {
            return Err(LaunchStatus::failed(LaunchError::AlreadyInUse, 0));
        }
        let caller = Self { frame: *frame, state };
        FIRST.call_once(|| caller);
        Ok(caller)
    }

    pub(crate) fn frame(&self) -> &CallerFrame {
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
            way_back::put_back(&self.state);
            way_back::go_back(&self.frame, status)
        }
    }

    /// Gives the processor to a VS's OS, which goes on where it is.
    ///
    /// # Safety
    /// The kernel has nothing under way on this processor any more, and the VS is the root VM's.
    pub(crate) unsafe fn give_back(&self, vs: &El2Vs, registers: ExitRegisters) -> ! {
        let el1_context = vs.el1_context();
        if !el1_context.is_loaded() {
            el1_context.load();
        }
        let place = vs.entry();
        let frame = CallerFrame { elr: place.pc, spsr: place.pstate.raw(), ..self.frame };
        // SAFETY: forwarded to the caller.
        unsafe {
            way_back::put_back(&self.state);
            way_back::leave(&frame, registers.take(core::array::from_fn(|number| number)))
        }
    }
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

/// The way in: X0 is the [`LaunchInfo`], X1 the call's number, X2 where to go on, with the first two and an [`CallerFrame`].
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
        has_tcr2 = const el2::HAS_TCR2,
        has_sctlr2 = const el2::HAS_SCTLR2,
        mair = const MAIR,
        tcr = const TCR,
        sctlr = const SCTLR,
        hcr = const HCR_RW,
        stack = sym LAUNCH_STACK,
        stack_size = const STACK_SIZE,
    )
}
