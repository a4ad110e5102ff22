//! FP and SIMD: the registers are the guest's throughout, and its own switch works.

use core::arch::asm;

use plinth_extension_api::abi::HYPERCALL_REPORT;
use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::{Machine, Report, check, write};

/// 32 registers of 128 bits.
#[repr(C, align(16))]
struct Vectors([u64; 64]);

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    // SAFETY: FP off and on again; nothing else uses it.
    let off = unsafe {
        write!("cpacr_el1", 0_u64);
        catch(|| asm!(".arch_extension fp\n.arch_extension simd\nfmov d0, x0", options(nostack)))
    };
    // SAFETY: as above.
    unsafe { write!("cpacr_el1", 3_u64 << 20) };
    check!(report, "switched-off", off.map(|trap| trap.class()), Some(class::FP));
    // SAFETY: as above.
    let on =
        catch(|| unsafe { asm!(".arch_extension fp\n.arch_extension simd\nfmov d0, x0", options(nostack)) });
    check!(report, "switched-on", on, None);
    if machine.reservation().is_none() {
        return;
    }
    let before =
        Vectors(core::array::from_fn(|index| (index as u64 + 1).wrapping_mul(0x0123_4567_89AB_CDEF)));
    let mut after = Vectors([0; 64]);
    let control = through_exit(&before, &mut after);
    check!(report, "registers-survive-an-exit", before.0 == after.0);
    check!(report, "control-survives-an-exit", control, [0x0340_0000, 0x0800_001F]);
}

/// Loads all registers, goes through the extension, and stores them. Returns FPCR and FPSR.
fn through_exit(before: &Vectors, after: &mut Vectors) -> [u64; 2] {
    let (control, status);
    // SAFETY: the registers are nobody's but this test's: the rest of the image is soft-float.
    unsafe {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "msr fpcr, {control_in}",
            "msr fpsr, {status_in}",
            ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
            "ldr q\\n, [{before}, #16 * \\n]",
            ".endr",
            ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
            "ldr q\\n, [{before}, #16 * \\n]",
            ".endr",
            "hvc #0",
            ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
            "str q\\n, [{after}, #16 * \\n]",
            ".endr",
            ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
            "str q\\n, [{after}, #16 * \\n]",
            ".endr",
            "mrs {control_out}, fpcr",
            "mrs {status_out}, fpsr",
            "msr fpcr, xzr",
            before = in(reg) before.0.as_ptr(),
            after = in(reg) after.0.as_mut_ptr(),
            // Default NaN, flush to zero and a rounding mode; saturation and cumulative flags.
            control_in = in(reg) 0x0340_0000_u64,
            status_in = in(reg) 0x0800_001F_u64,
            control_out = lateout(reg) control,
            status_out = lateout(reg) status,
            inout("x0") HYPERCALL_REPORT => _,
            options(nostack)
        );
    }
    [control, status]
}
