//! The FP and SIMD registers, before and after an exit.

use core::arch::asm;

/// 32 registers of 128 bits.
#[derive(Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Vectors([u64; 64]);

/// FPCR and FPSR: default NaN, flush to zero and a rounding mode; saturation and cumulative flags.
pub const CONTROL: [u64; 2] = [0x0340_0000, 0x0800_001F];

impl Vectors {
    /// Every register with a value of its own.
    pub fn pattern() -> Self {
        Self(core::array::from_fn(|index| (index as u64 + 1).wrapping_mul(0x0123_4567_89AB_CDEF)))
    }

    /// All zero.
    pub const fn zero() -> Self {
        Self([0; 64])
    }
}

macro_rules! move_all {
    ($(#[$doc:meta])* $name:ident, $instruction:literal, $vectors:ty, $pointer:ident) => {
        $(#[$doc])*
        pub fn $name(vectors: $vectors) {
            // SAFETY: the registers are nobody's but this test's: the rest of the image is soft-float.
            unsafe {
                asm!(
                    ".arch_extension fp",
                    ".arch_extension simd",
                    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                    concat!($instruction, " q\\n, [{at}, #16 * \\n]"),
                    ".endr",
                    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                    concat!($instruction, " q\\n, [{at}, #16 * \\n]"),
                    ".endr",
                    at = in(reg) vectors.0.$pointer(),
                    options(nostack)
                );
            }
        }
    };
}

move_all! {
    /// Loads all registers.
    load, "ldr", &Vectors, as_ptr
}
move_all! {
    /// Stores all registers.
    store, "str", &mut Vectors, as_mut_ptr
}

/// Loads all registers and [`CONTROL`], makes the hypercall `number`, and stores them. Returns FPCR and FPSR.
pub fn through_exit(number: u64, before: &Vectors, after: &mut Vectors) -> [u64; 2] {
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
            control_in = in(reg) CONTROL[0],
            status_in = in(reg) CONTROL[1],
            control_out = lateout(reg) control,
            status_out = lateout(reg) status,
            inout("x0") number => _,
            options(nostack)
        );
    }
    [control, status]
}
