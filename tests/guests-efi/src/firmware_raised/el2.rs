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
    ($($name:literal)*) => {
        const NAMES: &[&str] = &[$($name),*];
        fn all() -> [u64; NAMES.len()] {
            [$(read!($name)),*]
        }
    };
}

// The stack pointer aside, and what an exception leaves. PMR, SRE and what follows are those of a GICv3.
registers! {
    "sctlr_el2" "tcr_el2" "ttbr0_el2" "mair_el2" "vbar_el2" "hcr_el2" "cptr_el2" "mdcr_el2" "hstr_el2" "cnthctl_el2"
    "cntvoff_el2" "vttbr_el2" "vtcr_el2" "tpidr_el2" "vpidr_el2" "vmpidr_el2" "cnthp_ctl_el2" "cnthp_cval_el2" "tpidr_el0"
    "tpidrro_el0" "sp_el0" "cntkctl_el1" "daif" "S3_0_C4_C6_0" "S3_4_C12_C9_5" "S3_4_C12_C11_0"
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
