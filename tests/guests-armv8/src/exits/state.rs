//! What an OS leaves in registers stays there through exits, with the extension at work in between.

use core::arch::naked_asm;

use plinth_extension_api::abi::HYPERCALL_REPORT;
use plinth_test_guests_armv8::{Machine, Report, check, read, write};

/// Registers that nothing depends on while they are tested. The value is cut to what the register keeps.
macro_rules! keeps {
    ($report:expr; $($name:literal $mask:expr;)*) => {{
        // What stood there before is put back.
        let before = [$(read!($name)),*];
        let pattern = |seed: u64, mask: u64| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) & mask;
        let mut seed = 0;
        $(
            seed += 1;
            // SAFETY: nothing depends on the register until it is put back: interrupts are off.
            unsafe { write!($name, pattern(seed, $mask)) };
        )*
        let written = [$(read!($name)),*];
        let status = exit_with_pattern();
        let found = [$(read!($name)),*];
        let mut index = 0;
        $(
            // SAFETY: what stood there before.
            unsafe { write!($name, before[index]) };
            check!($report, concat!("keeps-", $name), found[index], written[index]);
            index += 1;
        )*
        let _ = index;
        status
    }};
}

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.reservation().is_none() {
        report.skip("keeps", "without Plinth there are no exits");
        return;
    }
    let all = u64::MAX;
    let status = keeps! { report;
        "tpidr_el1" all;
        "tpidr_el0" all;
        "tpidrro_el0" all;
        "sp_el0" all;
        "contextidr_el1" 0xFFFF_FFFF;
        "elr_el1" all;
        "spsr_el1" 0xF000_03C5;
        "esr_el1" 0xFFFF_FFFF;
        "far_el1" all;
        "par_el1" 0xFFFF_F000;
        "afsr0_el1" 0xFFFF_FFFF;
        "amair_el1" 0xFFFF_FFFF;
        "csselr_el1" 0xE;
        "cntkctl_el1" 0x3FF;
        "cntv_cval_el0" all;
        "cntp_cval_el0" all;
    };
    check!(report, "keeps-general-registers", status, 0);
}

/// Makes the report hypercall with a pattern in X1 to X30 and in the flags. Returns how many of them changed.
fn exit_with_pattern() -> u64 {
    // SAFETY: a function of the procedure call standard.
    unsafe { exit_and_compare(HYPERCALL_REPORT) }
}

/// # Safety
/// An ordinary function but for the hypercall in X0.
#[unsafe(naked)]
unsafe extern "C" fn exit_and_compare(number: u64) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-112]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x1, #0x5a00",
        "movk x1, #0xa5c3, lsl #48",
        ".irp n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "add x\\n, x1, #\\n",
        ".endr",
        // N and C set, Z and V clear.
        "stp x0, xzr, [sp, #96]",
        "mov x0, #0xA0000000",
        "msr nzcv, x0",
        "ldr x0, [sp, #96]",
        "hvc #0",
        // X0: differences so far, which the hypercall's own result starts.
        "str x0, [sp, #96]",
        "mrs x0, nzcv",
        "str x0, [sp, #104]",
        "ldr x0, [sp, #96]",
        ".irp n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "sub x\\n, x\\n, x1",
        "cmp x\\n, #\\n",
        "cinc x0, x0, ne",
        ".endr",
        "ldr x2, [sp, #104]",
        "mov x3, #0xA0000000",
        "cmp x2, x3",
        "cinc x0, x0, ne",
        "mov x2, #0x5a00",
        "movk x2, #0xa5c3, lsl #48",
        "cmp x1, x2",
        "cinc x0, x0, ne",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #112",
        "ret",
    )
}
