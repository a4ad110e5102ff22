//! Calls to the firmware and to the hypervisor, by SMC and HVC, as SMCCC has it (Arm DEN 0028).

use core::arch::asm;

use plinth_test_extensions::random::Random;

use crate::machine::Conduit;

/// PSCI (Arm DEN 0022).
pub const PSCI_VERSION: u64 = 0x8400_0000;
/// CPU_SUSPEND with 64-bit arguments.
pub const CPU_SUSPEND: u64 = 0xC400_0001;
/// CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON with 64-bit arguments.
pub const CPU_ON: u64 = 0xC400_0003;
/// AFFINITY_INFO with 64-bit arguments.
pub const AFFINITY_INFO: u64 = 0xC400_0004;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// PSCI_FEATURES.
pub const PSCI_FEATURES: u64 = 0x8400_000A;

/// The function is not implemented.
pub const NOT_SUPPORTED: u64 = -1_i64 as u64;
/// An argument makes no sense.
pub const INVALID_PARAMETERS: u64 = -2_i64 as u64;
/// The processor runs.
pub const ALREADY_ON: u64 = -4_i64 as u64;

/// Calls the firmware. Returns X0 to X3.
pub fn firmware(conduit: Conduit, arguments: [u64; 4]) -> [u64; 4] {
    match conduit {
        Conduit::None => [NOT_SUPPORTED, 0, 0, 0],
        Conduit::Smc => smc(arguments),
        Conduit::Hvc => hvc(arguments),
    }
}

/// An `enum` of results in the low 32 bits, sign extended: PSCI's answers to 32-bit calls may leave the upper half 0.
pub fn result(answer: [u64; 4]) -> u64 {
    i64::from(answer[0] as u32 as i32).cast_unsigned()
}

macro_rules! call {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        pub fn $name(arguments: [u64; 4]) -> [u64; 4] {
            let [mut x0, mut x1, mut x2, mut x3] = arguments;
            // SAFETY: the callee keeps all but X0 to X17; calls that end something are what the caller wants.
            unsafe {
                asm!(
                    $instruction,
                    inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3,
                    out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
                    out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                    out("x17") _,
                    options(nostack)
                );
            }
            [x0, x1, x2, x3]
        }
    };
}

call! {
    /// SMC #0.
    smc, "smc #0"
}
call! {
    /// HVC #0.
    hvc, "hvc #0"
}

/// Makes one of the hypercalls that the kernel answers: the number and up to four arguments. Returns the result and those that
/// follow it.
pub fn kernel_call([mut x0, mut x1, mut x2, mut x3, mut x4]: [u64; 5]) -> [u64; 5] {
    // SAFETY: the kernel keeps all other registers, and writes to memory only where an argument says so, which is the caller's own
    // or none that can be written.
    unsafe {
        asm!("hvc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3, inout("x4") x4, options(nostack));
    }
    [x0, x1, x2, x3, x4]
}

/// A number for a call that nobody offers: any but those of the architecture's and the standard services, of any width and in
/// any upper half.
pub fn random_number(random: &mut Random) -> u64 {
    const OWNER: u64 = 0x3F << 24;
    let number = random.next();
    let number = if number & 1 << 63 == 0 { number & 0xFFFF_FFFF } else { number };
    match number & OWNER {
        0x0000_0000 | 0x0400_0000 => number | 0x0200_0000,
        _ => number,
    }
}
