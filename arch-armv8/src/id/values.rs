//! The values of the ID registers that can be trapped: the CPU's own, and those that VMs see.

use crate::id::facts::{Facts, ID_REGISTERS, IdRegister};
use crate::id::fields_table;

/// The ID register values that VMs see on one CPU, computed once. Reading an ID register by its number takes a search for
/// the instruction; a lookup here is one load.
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
