//! The stop hypercall.

use core::arch::asm;

/// HYPERCALL_STOP, HYPERCALL_STOP_AT_EL2 and HYPERCALL_REFUSED of the ABI.
const STOP: u64 = 0x504C_0000_0001_0001;
pub(crate) const AT_EL2: u64 = 2;
pub(crate) const REFUSED: u64 = u64::MAX;

/// Registers whose values are compared: X9 to X17, X20 to X28 and Q0 to Q31, in words.
const GENERAL: usize = 18;
const WORDS: usize = GENERAL + 64;

/// Asks for the machine with `level` in X1.
pub(crate) fn stop(level: u64) -> u64 {
    let result;
    // SAFETY: Plinth is below. If it grants the call the application goes on at EL2, with the same tables.
    unsafe {
        asm!("hvc #0", inout("x0") STOP => result, inout("x1") level => _, out("x2") _, out("x3") _, options(nostack));
    }
    result
}

/// Asks while EL1 has tables for the upper half of its addresses, which no firmware at EL2 has.
pub(crate) fn stop_with_upper_tables() -> u64 {
    const EPD1: u64 = 1 << 23;
    let (tcr, mask): (u64, u64);
    // SAFETY: nothing here uses the upper half; interrupts are off, and all is put back.
    unsafe {
        asm!("mrs {}, tcr_el1", "mrs {}, daif", "msr daifset, #15", out(reg) tcr, out(reg) mask, options(nostack));
        asm!("msr tcr_el1, {}", "isb", in(reg) tcr & !EPD1, options(nostack));
    }
    let result = stop(AT_EL2);
    // SAFETY: as above.
    unsafe {
        asm!("msr tcr_el1, {}", "isb", "msr daif, {}", in(reg) tcr, in(reg) mask, options(nostack));
    }
    result
}

/// Gets the machine back, and all registers but X0 with what they had.
pub(crate) fn stop_keeps_registers() -> bool {
    let before: [u64; WORDS] =
        core::array::from_fn(|index| (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut after = [0_u64; WORDS];
    let mut first = STOP;
    // SAFETY: as `stop`, with interrupts off; what is changed is named.
    unsafe {
        asm!(
            "mrs x4, daif",
            "msr daifset, #15",
            "stp x4, {after}, [sp, #-16]!",
            "mov x4, {before}",
            "ldp x9, x10, [x4], #16",
            "ldp x11, x12, [x4], #16",
            "ldp x13, x14, [x4], #16",
            "ldp x15, x16, [x4], #16",
            "ldp x17, x20, [x4], #16",
            "ldp x21, x22, [x4], #16",
            "ldp x23, x24, [x4], #16",
            "ldp x25, x26, [x4], #16",
            "ldp x27, x28, [x4], #16",
            "ld1 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x4], #64",
            "ld1 {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x4], #64",
            "ld1 {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x4], #64",
            "ld1 {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x4], #64",
            "ld1 {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x4], #64",
            "ld1 {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x4], #64",
            "ld1 {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x4], #64",
            "ld1 {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x4], #64",
            "hvc #0",
            "ldr x4, [sp, #8]",
            "stp x9, x10, [x4], #16",
            "stp x11, x12, [x4], #16",
            "stp x13, x14, [x4], #16",
            "stp x15, x16, [x4], #16",
            "stp x17, x20, [x4], #16",
            "stp x21, x22, [x4], #16",
            "stp x23, x24, [x4], #16",
            "stp x25, x26, [x4], #16",
            "stp x27, x28, [x4], #16",
            "st1 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x4], #64",
            "st1 {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x4], #64",
            "st1 {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x4], #64",
            "st1 {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x4], #64",
            "st1 {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x4], #64",
            "st1 {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x4], #64",
            "st1 {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x4], #64",
            "st1 {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x4], #64",
            "ldp x4, x5, [sp], #16",
            "msr daif, x4",
            before = in(reg) before.as_ptr(),
            after = in(reg) after.as_mut_ptr(),
            inout("x0") first,
            in("x1") AT_EL2,
            out("x4") _, out("x5") _,
            out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
            out("x17") _, out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _, out("x26") _,
            out("x27") _, out("x28") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
        );
    }
    first == 0 && before == after
}
