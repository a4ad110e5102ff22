//! The fields of the ID registers: which group of [`crate::id::register_table`] backs each, and so who sees it.
//!
//! A VM sees what the machine has in a field whose group is open to it, and else that there is nothing. What the table does not
//! have is shown to nobody: a field that a later version of the architecture adds promises something that nobody has looked at.
//! The ID registers of AArch32 are shown as they are, since EL0 may be AArch32, but for their counters and debuggers.

mod fields;
#[cfg(test)]
mod tests;

use crate::id::facts::{Facts, IdRegister};
use crate::id::register_table::{Id, group};

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) register: IdRegister,
    pub(crate) shift: u32,
    pub(crate) width: u32,
    /// What makes it true.
    pub(crate) backed: Id,
    /// What a VM to which that is closed sees: that there is nothing.
    pub(crate) nothing: u64,
    /// The highest value that another VM than the root's sees, where its levels are backed by different groups.
    pub(crate) most: u64,
}

impl Field {
    const fn mask(&self) -> u64 {
        1_u64.unbounded_shl(self.width).wrapping_sub(1).unbounded_shl(self.shift)
    }

    fn shown(&self, value: u64, to_root: bool) -> u64 {
        let open = group(self.backed)
            .is_some_and(|group| if to_root { group.is_open_to_root() } else { group.is_open_to_guests() });
        let native = (value & self.mask()) >> self.shift;
        match (open, to_root) {
            (false, _) => self.nothing << self.shift,
            (true, true) => native << self.shift,
            (true, false) => native.min(self.most) << self.shift,
        }
    }
}

/// What a VM sees in an ID register in which the machine has `value`.
pub(crate) fn shown(register: IdRegister, value: u64, to_root: bool) -> u64 {
    if register.is_aarch32() {
        return if to_root { value } else { value & !fields::aarch32_closed(register) };
    }
    let own = fields::FIELDS.iter().filter(|field| field.register == register);
    own.fold(0, |all, field| all | field.shown(value, to_root))
}

/// Whether the root VM sees something else than the machine has.
pub(crate) fn hides_from_root(facts: &Facts) -> bool {
    (0..facts.ids.len() as u64)
        .map(IdRegister::of)
        .any(|register| shown(register, facts.ids[register.index()], true) != facts.ids[register.index()])
}
