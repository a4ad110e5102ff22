//! Reads the ID registers of the processor that the caller runs on.

use crate::id::facts::{DFR0, Details, Facts, PFR0, PFR1};
use crate::syndrome::{ID_REGISTER_BASE, is_id_register};
use crate::sysreg::read_system;

macro_rules! id_registers {
    ($register:expr; $($crm:literal: $($op2:literal)*;)*) => {
        match ($register >> 3 & 0xF, $register & 7) {
            $($(($crm, $op2) => read_system!(concat!("S3_0_C0_C", stringify!($crm), "_", stringify!($op2))),)*)*
            _ => 0,
        }
    };
}

/// Reads one; those that the architecture reserves are zero. `None` for what is no ID register.
pub(crate) fn native(register: u64) -> Option<u64> {
    if !is_id_register(register) {
        return None;
    }
    Some(id_registers! { register;
        1: 0 1 2 3 4 5 6 7;
        2: 0 1 2 3 4 5 6 7;
        3: 0 1 2 3 4 5 6 7;
        4: 0 1 2 3 4 5 6 7;
        5: 0 1 2 3 4 5 6 7;
        6: 0 1 2 3 4 5 6 7;
        7: 0 1 2 3 4 5 6 7;
    })
}

/// What the processor that the caller runs on says about itself.
pub(crate) fn facts() -> Facts {
    let ids = core::array::from_fn(|index| native(ID_REGISTER_BASE + index as u64).unwrap_or(0));
    let mut facts = Facts { ids, details: Details::default() };
    // Each is there by its ID field, and none is firmware's to keep but MPAMIDR_EL1, which Linux reads too.
    let details = Details {
        monitor: if matches!(facts.field(DFR0, 8), 0 | 0xF) { 0 } else { read_system!("pmcr_el0") },
        profiling: if facts.has(DFR0, 32, 1) { read_system!("S3_0_C9_C10_7") } else { 0 },
        trace: if facts.has(DFR0, 44, 1) { read_system!("S3_0_C9_C11_7") } else { 0 },
        partitioning: if facts.has(PFR0, 40, 1) { read_system!("S3_0_C10_C4_4") } else { 0 },
        streaming: if facts.has(PFR1, 24, 1) { read_system!("S3_1_C0_C0_6") } else { 0 },
    };
    facts.details = details;
    facts
}
