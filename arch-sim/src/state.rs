//! A VS's registers, and the copy of them that a processor keeps.
//!
//! Registers come in groups, each with a mark like the clean bits of a VMCB: the processor loads a group
//! only if it is marked as changed since this VS last ran there. A write without a mark goes unseen.

use plinth_extension_api::abi::register;

/// Groups of registers that are marked together.
const GROUPS: usize = 3;
const GROUP_SIZE: usize = 8;

/// The state that the kernel itself needs in EFER, whatever the extension writes.
pub const EFER_FIXED: u64 = 1 << 12;

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    group: usize,
    index: usize,
}

fn place(number: u64) -> Option<Place> {
    let (group, index) = match number {
        register::X86_CR0 => (0, 0),
        register::X86_CR2 => (0, 1),
        register::X86_CR3 => (0, 2),
        register::X86_CR4 => (0, 3),
        register::X86_EFER => (0, 4),
        register::X86_DR6 => (1, 0),
        register::X86_DR7 => (1, 1),
        register::X86_STAR..=register::X86_SYSENTER_EIP => (2, (number - register::X86_STAR) as usize),
        _ => return None,
    };
    Some(Place { group, index })
}

/// The registers of all groups.
#[derive(Clone, Debug)]
pub struct State {
    groups: [[u64; GROUP_SIZE]; GROUPS],
}

impl State {
    /// The state after a reset.
    pub fn reset() -> Self {
        let mut state = Self { groups: [[0; GROUP_SIZE]; GROUPS] };
        state.set(register::X86_EFER, 0);
        state
    }

    /// A register, if it is one.
    pub fn get(&self, number: u64) -> Option<u64> {
        place(number).map(|place| self.groups[place.group][place.index])
    }

    /// Sets a register; returns its group, if it is one.
    pub fn set(&mut self, number: u64, value: u64) -> Option<usize> {
        let fixed = if number == register::X86_EFER { EFER_FIXED } else { 0 };
        let place = place(number)?;
        self.groups[place.group][place.index] = value | fixed;
        Some(place.group)
    }
}

/// Which groups changed since the processor last loaded them.
#[derive(Clone, Copy, Debug)]
pub struct Marks([bool; GROUPS]);

impl Marks {
    /// Everything changed.
    pub const ALL: Self = Self([true; GROUPS]);
    /// Nothing changed.
    pub const NONE: Self = Self([false; GROUPS]);

    /// Marks a group.
    pub fn mark(&mut self, group: usize) {
        self.0[group] = true;
    }
}

/// What a processor keeps of the VS that it ran last.
#[derive(Debug, Default)]
pub struct StateCache(Option<(u64, State)>);

impl StateCache {
    /// Loads the state of VS `serial`: what is marked, or everything of another VS.
    pub fn load(&mut self, serial: u64, state: &State, marks: Marks) -> &mut State {
        let marks = if self.0.as_ref().is_some_and(|kept| kept.0 == serial) { marks } else { Marks::ALL };
        let (owner, kept) = self.0.get_or_insert_with(|| (serial, state.clone()));
        *owner = serial;
        for group in (0..GROUPS).filter(|group| marks.0[*group]) {
            kept.groups[group] = state.groups[group];
        }
        kept
    }

    /// The state that the processor runs with.
    pub fn state(&mut self) -> Option<&mut State> {
        self.0.as_mut().map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmarked_write_goes_unseen() {
        let mut state = State::reset();
        let mut cache = StateCache::default();
        cache.load(1, &state, Marks::NONE);
        let group = state.set(register::X86_CR3, 5).unwrap();
        assert_eq!(cache.load(1, &state, Marks::NONE).get(register::X86_CR3), Some(0));
        let mut marks = Marks::NONE;
        marks.mark(group);
        assert_eq!(cache.load(1, &state, marks).get(register::X86_CR3), Some(5));
    }

    #[test]
    fn another_vs_is_loaded_whole() {
        let (mut first, second) = (State::reset(), State::reset());
        first.set(register::X86_CR3, 5);
        let mut cache = StateCache::default();
        cache.load(1, &first, Marks::ALL);
        assert_eq!(cache.load(2, &second, Marks::NONE).get(register::X86_CR3), Some(0));
    }

    #[test]
    fn what_the_kernel_needs_stays() {
        let mut state = State::reset();
        state.set(register::X86_EFER, 0);
        assert_eq!(state.get(register::X86_EFER), Some(EFER_FIXED));
    }
}
