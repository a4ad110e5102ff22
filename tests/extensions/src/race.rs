//! What the extensions `races` and `feud` and their guests agree on.

use plinth_extension_api::{Exit, ExitClass, Resume, passthrough};

/// The CPUID leaf, on x86, at which a processor begins to change the other one's register.
pub const RACE_LEAF: u32 = 0x4000_0060;

/// The argument of the test hypercall under `races`: this processor is the victim. Of such a call of the victim's CPU_ON may be made
/// too, so no argument is the number of a processor.
pub const RACE_VICTIM: u64 = 0x5200;
/// The result is how often the victim's register has been changed.
pub const RACE_STRIKES: u64 = 0x5201;
/// It is over: nothing is changed any more once the result is [`RACE_OVER`]. On Arm the register that is changed has the
/// number of the call, so that one may be lost.
pub const RACE_END: u64 = 0x5202;
/// See [`RACE_END`].
pub const RACE_OVER: u64 = 0x0F_0E4D;
/// Begins to change the other one's register; under `feud`, to get in the way of its calls.
pub const RACE_STRIKE: u64 = 0x5203;
/// Under `feud`: counts what there is to have, before another processor begins.
pub const FEUD_PREPARE: u64 = 0x5204;
/// Under `feud`, the bits of the result of [`RACE_VICTIM`]: there is less to have afterwards; some kind of call never succeeded.
pub const FEUD_LEAKS: u64 = 1;
/// See [`FEUD_LEAKS`].
pub const FEUD_NEGLECTS: u64 = 2;

/// IA32_MTRR_DEF_TYPE, which the kernel writes for the root VM on Intel, and APIC_BASE, which it does on AMD.
pub const MTRR_DEF_TYPE: u64 = 0x2FF;
/// See [`MTRR_DEF_TYPE`].
pub const APIC_BASE: u64 = 0x1B;

/// IA32_SMRR_PHYSBASE, which keeps the firmware's value on Intel, and IA32_MISC_ENABLE, which AMD's table of MSRs does not
/// have: the root VM reads them, and each write of another value raises #GP. The emulators keep what is written to them.
pub const SMRR_PHYSBASE: u64 = 0x1F2;
/// See [`SMRR_PHYSBASE`].
pub const MISC_ENABLE: u64 = 0x1A0;

/// PSCI_VERSION, which the kernel passes on to the firmware, and CPU_ON, which it must not.
pub const PSCI_VERSION: u64 = 0x8400_0000;
/// See [`PSCI_VERSION`].
pub const CPU_ON: u64 = 0xC400_0003;

/// The number of the register that says what a guest wants, what it says, and what the other processor makes of it.
pub fn race_pair() -> (usize, u64, u64) {
    #[cfg(target_arch = "x86_64")]
    {
        const RCX: usize = 1;
        if is_amd() { (RCX, APIC_BASE, MISC_ENABLE) } else { (RCX, MTRR_DEF_TYPE, SMRR_PHYSBASE) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    (0, PSCI_VERSION, CPU_ON)
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    core::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Auth")
}

/// Whether a processor without a hypercall of its own, in real mode, is to begin.
pub fn is_race(exit: &Exit<'_>) -> bool {
    cfg!(target_arch = "x86_64") && exit.class() == ExitClass::IdRead && exit.general(0) as u32 == RACE_LEAF
}

/// Does what the machine would.
pub fn passes(exit: &mut Exit<'_>) -> Resume {
    passthrough::vmexit(exit)
}
