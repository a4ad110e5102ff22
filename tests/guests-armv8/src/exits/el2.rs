//! What belongs to EL2 does not exist for EL1.

use core::arch::asm;

use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::{Report, check};

/// Each instruction is undefined at EL1.
macro_rules! undefined {
    ($report:expr; $($name:literal: $instruction:literal;)*) => {$(
        // SAFETY: raises an exception, which is caught.
        let trap = catch(|| unsafe { asm!(concat!(".arch armv8.4-a\n", $instruction), out("x1") _, options(nostack)) });
        check!($report, $name, trap.map(|trap| trap.class()), Some(class::UNKNOWN));
    )*};
}

pub(crate) fn run(report: &mut Report) {
    undefined! { report;
        "mrs-hcr": "mrs x1, hcr_el2";
        "msr-hcr": "msr hcr_el2, xzr";
        "mrs-vttbr": "mrs x1, vttbr_el2";
        "msr-vttbr": "msr vttbr_el2, xzr";
        "msr-vtcr": "msr vtcr_el2, xzr";
        "msr-vbar": "msr vbar_el2, xzr";
        "msr-sctlr": "msr sctlr_el2, xzr";
        "msr-elr": "msr elr_el2, xzr";
        "mrs-esr": "mrs x1, esr_el2";
        "msr-cptr": "msr cptr_el2, xzr";
        "msr-mdcr": "msr mdcr_el2, xzr";
        "msr-cnthctl": "msr cnthctl_el2, xzr";
        "msr-cntvoff": "msr cntvoff_el2, xzr";
        "msr-vpidr": "msr vpidr_el2, xzr";
        "mrs-sp-el1": "mrs x1, sp_el1";
        "msr-sctlr-el12": "msr S3_5_C1_C0_0, xzr";
        "tlbi-alle2": "tlbi alle2";
        "tlbi-alle1": "tlbi alle1";
        "tlbi-vmalls12e1": "tlbi vmalls12e1";
        "tlbi-ipas2e1": "tlbi ipas2e1, xzr";
        "at-s12e1r": "at s12e1r, xzr";
        "at-s1e2r": "at s1e2r, xzr";
    }
    // SAFETY: returns to the next instruction, in the same state.
    let eret = catch(|| unsafe {
        asm!(
            "adr {place}, 2f",
            "msr elr_el1, {place}",
            "msr spsr_el1, {state}",
            "isb",
            "eret",
            "2:",
            place = out(reg) _,
            state = in(reg) 0x3C5_u64,
            options(nostack)
        );
    });
    check!(report, "eret-at-el1", eret, None);
}
