//! The guest's own debugger: BRK, hardware breakpoints, software step.

use core::arch::asm;

use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::{Machine, Report, check, plinth, read, write};

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    // SAFETY: raises an exception, which is caught and skipped.
    let brk = catch(|| unsafe { asm!("brk #7", options(nostack)) });
    check!(report, "brk", brk.map(|trap| (trap.class(), trap.syndrome & 0xFFFF)), Some((class::BRK, 7)));
    check!(report, "step", step(false), Some(class::STEP));
    if machine.reservation().is_none() {
        return;
    }
    check!(report, "step-over-a-hypercall", step(true), Some(class::STEP));
    breakpoints(report);
}

/// Steps over one instruction, a hypercall that is not known or a NOP.
fn step(hypercall: bool) -> Option<u64> {
    let before = read!("mdscr_el1");
    let trap = catch(|| {
        // SAFETY: unlocks the debug registers, and steps EL1 itself over one instruction: SS and KDE, with the OS lock
        // off, and PSTATE.SS by ERET.
        unsafe {
            write!("oslar_el1", 0_u64);
            write!("mdscr_el1", before | 1 << 13 | 1);
            asm!(
                "adr x9, 2f",
                "cbz {hypercall}, 4f",
                "adr x9, 3f",
                "4:",
                "msr elr_el1, x9",
                "msr spsr_el1, {state}",
                "isb",
                "eret",
                "2:",
                "nop",
                "b 5f",
                "3:",
                "hvc #0",
                "5:",
                "nop",
                out("x9") _,
                hypercall = in(reg) u64::from(hypercall),
                // EL1h, SS set, debug exceptions unmasked, the rest masked.
                state = in(reg) 0x0020_01C5_u64,
                inout("x0") 0_u64 => _,
                clobber_abi("C")
            );
        }
    });
    // SAFETY: as it was.
    unsafe {
        write!("mdscr_el1", before);
        asm!("msr daifset, #8", options(nostack, preserves_flags));
    }
    trap.map(|trap| trap.class())
}

/// Breakpoint and watchpoint registers keep their values through exits.
fn breakpoints(report: &mut Report) {
    let here = breakpoints as *const () as u64 & !3;
    // SAFETY: the registers are disabled (E is 0): they only hold values.
    unsafe {
        write!("dbgbvr0_el1", here);
        write!("dbgwvr0_el1", here & !7);
        write!("dbgbcr0_el1", 0x1E4_u64);
    }
    plinth::report();
    let found = [read!("dbgbvr0_el1"), read!("dbgwvr0_el1"), read!("dbgbcr0_el1")];
    check!(report, "breakpoint-registers", found, [here, here & !7, 0x1E4]);
}
