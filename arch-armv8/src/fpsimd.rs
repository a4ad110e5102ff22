//! The FP, SIMD and SVE registers of a virtual state.
//!
//! Neither the kernel nor the extension uses them, so they stay loaded, like the EL1 registers, and are saved and restored
//! with those. A guest VM has FP and SIMD. SVE and SME belong to the root VM, whose state there is preserved as a whole: a
//! write of a SIMD register clears the rest of the SVE register that contains it, so all of it is saved; streaming mode is
//! left meanwhile. ZA stays in the CPU, because nothing else accesses it.

use core::arch::{asm, naked_asm};

use aarch64_cpu::registers::{CPTR_EL2, Readable, Writeable};
use plinth_hal::{PAGE_SIZE, Spa};

use crate::features::Features;
use crate::sysreg::{read_system, write_system};

/// The registers, in 32 of the longest vectors, 16 predicates and one more, or in 32 of 16 bytes.
const REGISTERS: u64 = 64;
const LONGEST: u64 = 256;
const WITH_SVE: u64 = REGISTERS + 32 * LONGEST + 17 * (LONGEST / 8);
/// SVCR.SM: streaming mode.
const STREAMING: u64 = 1;

/// What is in front of the registers.
#[derive(Debug)]
#[repr(C)]
struct Control {
    fpcr: u64,
    fpsr: u64,
    /// SVCR's bit for streaming mode.
    streaming: u64,
}

/// How many pages a VS's take.
pub(crate) fn pages() -> usize {
    let size = if Features::current().sve { WITH_SVE } else { PAGE_SIZE };
    size.div_ceil(PAGE_SIZE) as usize
}

/// Saves the registers. The CPU keeps its copy.
///
/// # Safety
/// At `area` are [`pages`] pages that nobody else uses; the processor is at EL2.
pub(crate) unsafe fn save(area: Spa) {
    let features = Features::current();
    let closed = open(&features);
    // SAFETY: a page of the caller's, for which any bytes are valid.
    let control = unsafe { &mut *(area.raw() as *mut Control) };
    (control.fpcr, control.fpsr) = (read_system!("S3_3_C4_C4_0"), read_system!("S3_3_C4_C4_1"));
    control.streaming = if features.sme { read_system!("S3_3_C4_C2_2") & STREAMING } else { 0 };
    let registers = area.raw().wrapping_add(REGISTERS);
    // SAFETY: the area has room for the longest vectors there are; `open` has let EL2 at them.
    unsafe {
        match features.sve {
            true => store_scalable(registers, control.streaming == 0),
            false => store(registers),
        }
    }
    close(closed);
}

/// Loads what [`save`] stored, or zeroes from a fresh area.
///
/// # Safety
/// As [`save`]; what the processor holds is nobody's any more.
pub(crate) unsafe fn load(area: Spa) {
    let features = Features::current();
    let closed = open(&features);
    // SAFETY: as in `save`.
    let control = unsafe { &*(area.raw() as *const Control) };
    let registers = area.raw().wrapping_add(REGISTERS);
    let modes = if features.sme { read_system!("S3_3_C4_C2_2") } else { 0 };
    // SAFETY: registers that only guests use; `open` has let EL2 at them. A change of streaming mode clears the vectors,
    // so it comes first.
    unsafe {
        if features.sme {
            write_system!("S3_3_C4_C2_2", modes & !STREAMING | control.streaming);
        }
        match features.sve {
            true => fetch_scalable(registers, control.streaming == 0),
            false => fetch(registers),
        }
        write_system!("S3_3_C4_C4_0", control.fpcr);
        write_system!("S3_3_C4_C4_1", control.fpsr);
    }
    close(closed);
}

/// Enables EL2's access to the registers. Returns the argument of [`close`].
fn open(features: &Features) -> u64 {
    let closed = CPTR_EL2.get();
    CPTR_EL2.set(features.open_cptr);
    synchronize();
    closed
}

fn close(closed: u64) {
    CPTR_EL2.set(closed);
    synchronize();
}

fn synchronize() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// # Safety
/// Room for 512 bytes at `at`.
#[unsafe(naked)]
unsafe extern "C" fn store(at: u64) {
    naked_asm!(
        ".arch_extension fp",
        ".arch_extension simd",
        ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
        "str q\\n, [x0, #16 * \\n]",
        ".endr",
        ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
        "str q\\n, [x0, #16 * \\n]",
        ".endr",
        "ret",
    )
}

/// # Safety
/// 512 bytes at `at`.
#[unsafe(naked)]
unsafe extern "C" fn fetch(at: u64) {
    naked_asm!(
        ".arch_extension fp",
        ".arch_extension simd",
        ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
        "ldr q\\n, [x0, #16 * \\n]",
        ".endr",
        ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
        "ldr q\\n, [x0, #16 * \\n]",
        ".endr",
        "ret",
    )
}

/// The predicates lie behind the vectors, the first-fault register behind them; that is out of reach in streaming mode.
///
/// # Safety
/// Room for 32 vectors and 17 predicates at `at`; SVE is not trapped.
#[unsafe(naked)]
unsafe extern "C" fn store_scalable(at: u64, first_fault: bool) {
    naked_asm!(
        ".arch_extension sve",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "str z\\n, [x0, #\\n, mul vl]",
        ".endr",
        "addvl x2, x0, #16",
        "addvl x2, x2, #16",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "str p\\n, [x2, #\\n, mul vl]",
        ".endr",
        "cbz w1, 2f",
        "rdffr p0.b",
        "str p0, [x2, #16, mul vl]",
        "ldr p0, [x2, #0, mul vl]",
        "2: ret",
    )
}

/// # Safety
/// What [`store_scalable`] stored at `at`, by vectors of the same length; SVE is not trapped.
#[unsafe(naked)]
unsafe extern "C" fn fetch_scalable(at: u64, first_fault: bool) {
    naked_asm!(
        ".arch_extension sve",
        "addvl x2, x0, #16",
        "addvl x2, x2, #16",
        "cbz w1, 2f",
        "ldr p0, [x2, #16, mul vl]",
        "wrffr p0.b",
        "2:",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "ldr p\\n, [x2, #\\n, mul vl]",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "ldr z\\n, [x0, #\\n, mul vl]",
        ".endr",
        "ret",
    )
}
