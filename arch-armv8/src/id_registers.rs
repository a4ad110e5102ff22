//! The machine's own values of the ID registers that can be trapped.

use crate::host::read_system;
use crate::syndrome::{ID_REGISTER_BASE, is_id_register};

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

/// What they all are on one processor, where they never change: found by a load, while reading one by its number takes
/// a search for the instruction.
#[derive(Debug)]
pub(crate) struct Natives([u64; SLOTS]);

/// As many as the low six bits of their numbers can tell apart; the first eight stay empty.
const SLOTS: usize = 64;

impl Natives {
    /// Those of the processor that the caller runs on.
    pub(crate) fn read() -> Self {
        Self(core::array::from_fn(|slot| native(ID_REGISTER_BASE + slot as u64).unwrap_or(0)))
    }

    /// One of them. `register` is an ID register.
    #[inline]
    pub(crate) fn get(&self, register: u64) -> u64 {
        self.0[register as usize % SLOTS]
    }
}
