//! EL2's registers, as firmware at EL2 sees them.

use core::arch::asm;

macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register that firmware at EL2 has.
        unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! registers {
    ($($name:literal if $present:expr;)*) => {
        const NAMES: &[&str] = &[$($name),*];
        fn all() -> [u64; NAMES.len()] {
            [$(if $present { read!($name) } else { 0 }),*]
        }
    };
}

/// The system registers of a GICv3 (ID_AA64PFR0_EL1.GIC).
fn has_gic() -> bool {
    read!("id_aa64pfr0_el1") >> 24 & 0xF != 0
}

/// PSTATE.PAN (ID_AA64MMFR1_EL1.PAN).
fn has_pan() -> bool {
    read!("id_aa64mmfr1_el1") >> 20 & 0xF != 0
}

// The stack pointer aside, and what an exception leaves. At the end PSTATE.PAN, and PMR, SRE and HCR of a GICv3.
registers! {
    "sctlr_el2" if true;
    "tcr_el2" if true;
    "ttbr0_el2" if true;
    "mair_el2" if true;
    "vbar_el2" if true;
    "hcr_el2" if true;
    "cptr_el2" if true;
    "mdcr_el2" if true;
    "hstr_el2" if true;
    "cnthctl_el2" if true;
    "cntvoff_el2" if true;
    "vttbr_el2" if true;
    "vtcr_el2" if true;
    "tpidr_el2" if true;
    "vpidr_el2" if true;
    "vmpidr_el2" if true;
    "cnthp_ctl_el2" if true;
    "cnthp_cval_el2" if true;
    "tpidr_el0" if true;
    "tpidrro_el0" if true;
    "sp_el0" if true;
    "cntkctl_el1" if true;
    "daif" if true;
    "S3_0_C4_C2_3" if has_pan();
    "S3_0_C4_C6_0" if has_gic();
    "S3_4_C12_C9_5" if has_gic();
    "S3_4_C12_C11_0" if has_gic();
}

/// All of them.
pub(crate) struct El2([u64; NAMES.len()]);

impl El2 {
    pub(crate) fn current() -> Self {
        Self(all())
    }

    /// The first one that differs, with both values.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, u64, u64)> {
        let both = self.0.iter().zip(&other.0).zip(NAMES);
        both.map(|((own, other), name)| (*name, *own, *other)).find(|(_, own, other)| own != other)
    }
}

/// The exception level.
pub(crate) fn level() -> u64 {
    read!("CurrentEL") >> 2 & 3
}

/// Gives registers that the firmware does not use values that nobody else gives them, and its virtual counter an offset of a
/// millisecond or so.
pub(crate) fn mark() {
    const ENABLE: u64 = 1 << 3;
    if has_pan() {
        // SAFETY: PAN concerns nothing of EL2's in a regime of its own.
        unsafe { asm!("msr S0_0_C4_C1_4, xzr", options(nomem, nostack, preserves_flags)) };
    }
    if has_gic() {
        let kept = read!("S3_4_C12_C9_5") & !ENABLE;
        // SAFETY: ICC_SRE_EL2, by which EL1 may no longer change its own.
        unsafe {
            asm!("msr S3_4_C12_C9_5, {}", "isb", in(reg) kept, options(nomem, nostack, preserves_flags))
        };
    }
    // SAFETY: they say what EL1 sees, where nobody is; the firmware's next tick comes a little later.
    unsafe {
        asm!(
            "msr tpidr_el2, {value}",
            "msr vttbr_el2, {value}",
            "msr cnthp_cval_el2, {value}",
            "msr tpidr_el0, {value}",
            "msr tpidrro_el0, {value}",
            "msr vmpidr_el2, {other}",
            "msr vpidr_el2, {other}",
            "msr hstr_el2, {other}",
            "msr cntvoff_el2, {offset}",
            "isb",
            value = in(reg) 0x1234_5678_9ABC_u64 & !0xFFF,
            other = in(reg) 0x8000_0055_u64,
            offset = in(reg) 0x1_0000_u64,
            options(nostack, preserves_flags)
        );
    }
}
