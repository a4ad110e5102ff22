//! The layout of a backend's table of registers: MSRs on x86, system registers on Arm.
//!
//! The backend lists every register that it knows, in ranges, with a reason for each range. The table decides
//! what an access of the root VM does, which registers an extension may open to a guest VM, and which
//! registers the extension may read. A register outside every range is closed: no guest VM reaches it. So a
//! register of a new processor stays closed until a person has reviewed it and added a line.

use core::fmt::Debug;

/// Who may open a register or port to a guest VM, so that accesses reach the machine without an exit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Opening {
    /// No extension.
    Closed,
    /// An extension whose manifest names the group INTRINSIC: the state belongs to the processor, not to the
    /// VS.
    Intrinsic,
    /// Any extension: each VS has its own copy of the state.
    Open,
}

/// The authority of an extension that opens a register or port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// Over its VMs.
    Vms,
    /// Over its VMs and the machine: its manifest names the group INTRINSIC.
    Machine,
}

impl Opening {
    /// Whether an extension with `authority` may open the register.
    #[must_use]
    pub const fn allows(self, authority: Authority) -> bool {
        match self {
            Self::Closed => false,
            Self::Intrinsic => matches!(authority, Authority::Machine),
            Self::Open => true,
        }
    }
}

/// One line of a table. `R` and `W` are the backend's types for the effect of the root VM's reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct RegisterRange<R, W> {
    /// The first register.
    pub first: u32,
    /// The last register.
    pub last: u32,
    /// The effect of a read by the root VM.
    pub root_read: R,
    /// The effect of a write by the root VM.
    pub root_write: W,
    /// Who may open reads to a guest VM.
    pub guest_read: Opening,
    /// Who may open writes to a guest VM.
    pub guest_write: Opening,
    /// Whether the extension may read the registers with `IntrinsicRead`.
    pub readable: bool,
    /// What the registers are, and where the manual describes them.
    pub name: &'static str,
    /// The reason for the settings of this line.
    pub reason: &'static str,
}

impl<R, W> RegisterRange<R, W> {
    /// The range with these openings to a guest VM.
    #[must_use]
    pub const fn opened(self, read: Opening, write: Opening) -> Self
    where
        R: Copy,
        W: Copy,
    {
        Self { guest_read: read, guest_write: write, ..self }
    }

    /// The range, readable by the extension with `IntrinsicRead`.
    #[must_use]
    pub const fn readable(self) -> Self
    where
        R: Copy,
        W: Copy,
    {
        Self { readable: true, ..self }
    }

    /// Whether `register` is in the range.
    #[must_use]
    pub const fn contains(&self, register: u32) -> bool {
        self.first <= register && register <= self.last
    }
}

/// The range of a sorted `table` that contains `register`.
#[must_use]
pub fn find<R, W>(table: &[RegisterRange<R, W>], register: u32) -> Option<&RegisterRange<R, W>> {
    let behind = table.partition_point(|range| range.first <= register);
    table[..behind].last().filter(|range| range.contains(register))
}

/// Asserts that [`find`] can search the table: the ranges are sorted, not empty and disjoint, and each has a
/// name and a reason. For the backends' tests.
///
/// # Panics
/// With the first register of a range that breaks a rule.
pub fn assert_is_a_table<R: Debug, W: Debug>(table: &[RegisterRange<R, W>]) {
    for range in table {
        assert!(range.first <= range.last, "{:#x} is empty", range.first);
        assert!(
            range.name.len() >= 3 && range.reason.len() > 8,
            "{:#x} lacks a name or a reason",
            range.first
        );
        assert!(range.guest_write <= range.guest_read, "{:#x} can be written but not read", range.first);
    }
    for pair in table.windows(2) {
        assert!(pair[0].last < pair[1].first, "{:#x} and {:#x} overlap", pair[0].first, pair[1].first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(first: u32, last: u32) -> RegisterRange<(), ()> {
        RegisterRange {
            first,
            last,
            root_read: (),
            root_write: (),
            guest_read: Opening::Intrinsic,
            guest_write: Opening::Closed,
            readable: false,
            name: "a test's",
            reason: "for the test alone",
        }
    }

    #[test]
    fn a_register_is_found_in_its_range_alone() {
        let table = [range(2, 2), range(5, 9), range(20, 21)];
        assert_is_a_table(&table);
        let found = |register| find(&table, register).map(|range| range.first);
        let first = [0, 2, 3, 5, 9, 10, 21, 22, u32::MAX].map(found);
        assert_eq!(first, [None, Some(2), None, Some(5), Some(5), None, Some(20), None, None]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn ranges_that_overlap_are_seen() {
        assert_is_a_table(&[range(2, 6), range(6, 9)]);
    }

    #[test]
    fn only_the_group_opens_what_is_the_machines() {
        let allowed = |opening: Opening| [Authority::Vms, Authority::Machine].map(|who| opening.allows(who));
        assert_eq!(allowed(Opening::Closed), [false, false]);
        assert_eq!(allowed(Opening::Intrinsic), [false, true]);
        assert_eq!(allowed(Opening::Open), [true, true]);
    }
}
