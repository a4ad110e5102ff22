//! The machine's own values of the ID registers that can be trapped, and what VMs see of them.

#[cfg(target_arch = "aarch64")]
use crate::id::facts::{DFR0, Details, PFR0, PFR1};
use crate::id::facts::{Facts, ID_REGISTERS, IdRegister};
use crate::id::fields_table;
#[cfg(target_arch = "aarch64")]
use crate::syndrome::{ID_REGISTER_BASE, is_id_register};

#[cfg(target_arch = "aarch64")]
macro_rules! id_registers {
    ($register:expr; $($crm:literal: $($op2:literal)*;)*) => {
        match ($register >> 3 & 0xF, $register & 7) {
            $($(($crm, $op2) => $crate::sysreg::read_system!(concat!("S3_0_C0_C", stringify!($crm), "_", stringify!($op2))),)*)*
            _ => 0,
        }
    };
}

/// Reads one; those that the architecture reserves are zero. `None` for what is no ID register.
#[cfg(target_arch = "aarch64")]
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
#[cfg(target_arch = "aarch64")]
pub(crate) fn facts() -> Facts {
    use crate::sysreg::read_system;
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

/// What the VMs of one processor see, where that never changes: found by a load, while reading one by its number takes
/// a search for the instruction.
#[derive(Debug)]
pub(crate) struct Natives {
    /// Those of the VM that runs.
    shown: [u64; ID_REGISTERS],
    is_root: bool,
    root: [u64; ID_REGISTERS],
    guests: [u64; ID_REGISTERS],
}

impl Natives {
    /// Those of a processor.
    pub(crate) fn of(facts: &Facts) -> Self {
        let seen = |to_root| {
            core::array::from_fn(|index| {
                fields_table::shown(IdRegister::of(index as u64), facts.ids[index], to_root)
            })
        };
        let root = seen(true);
        Self { shown: root, is_root: true, root, guests: seen(false) }
    }

    /// From now on a VM of this kind runs.
    pub(crate) fn show_to(&mut self, is_root: bool) {
        if self.is_root != is_root {
            self.is_root = is_root;
            self.shown = if is_root { self.root } else { self.guests };
        }
    }

    /// One of them. `register` is an ID register.
    #[inline]
    pub(crate) fn get(&self, register: u64) -> u64 {
        self.shown[IdRegister::of(register).index()]
    }
}
