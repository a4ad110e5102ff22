//! The shape of a backend's closed table of registers: MSRs on x86, system registers on Arm.
//!
//! A backend lists every register that it knows, in ranges, with a reason for each. The table decides what the root VM
//! gets, what an extension may open to a guest VM, and what the extension itself may read. A register that no range
//! names is closed: a guest VM never reaches it. So a register of a new processor is out of reach until somebody has
//! looked at it and added a line.

use core::fmt::Debug;

/// Who may open a register or a port to a guest VM, so that the guest reaches the machine's without an exit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Opening {
    /// Nobody.
    Closed,
    /// An extension whose manifest names the group INTRINSIC: the state is the processor's, not the VS's.
    Intrinsic,
    /// Any extension: each VS has the state to itself.
    Open,
}

/// What an extension that asks for an opening is trusted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// Its VMs.
    Vms,
    /// Its VMs and the machine: its manifest names the group INTRINSIC.
    Machine,
}

impl Opening {
    /// Whether an extension with `authority` may open it.
    #[must_use]
    pub const fn allows(self, authority: Authority) -> bool {
        match self {
            Self::Closed => false,
            Self::Intrinsic => matches!(authority, Authority::Machine),
            Self::Open => true,
        }
    }
}

/// One line of a table. `R` and `W` say what the root VM's reads and writes get, in the backend's terms.
#[derive(Clone, Copy, Debug)]
pub struct RegisterRange<R, W> {
    /// The first register.
    pub first: u32,
    /// The last register.
    pub last: u32,
    /// What a read of the root VM gets.
    pub root_read: R,
    /// What a write of the root VM does.
    pub root_write: W,
    /// Who may open reads to a guest VM.
    pub guest_read: Opening,
    /// Who may open writes to a guest VM.
    pub guest_write: Opening,
    /// The extension may read it by `IntrinsicRead`.
    pub readable: bool,
    /// What the registers are, and where the manual describes them.
    pub name: &'static str,
    /// Why the line is as it is.
    pub reason: &'static str,
}

impl<R, W> RegisterRange<R, W> {
    /// The same, which an extension may open to a guest VM so.
    #[must_use]
    pub const fn opened(self, read: Opening, write: Opening) -> Self
    where
        R: Copy,
        W: Copy,
    {
        Self { guest_read: read, guest_write: write, ..self }
    }

    /// The same, which the extension may read by `IntrinsicRead`.
    #[must_use]
    pub const fn readable(self) -> Self
    where
        R: Copy,
        W: Copy,
    {
        Self { readable: true, ..self }
    }

    /// Whether the range has `register`.
    #[must_use]
    pub const fn contains(&self, register: u32) -> bool {
        self.first <= register && register <= self.last
    }
}

/// The range of a sorted `table` that has `register`.
#[must_use]
pub fn find<R, W>(table: &[RegisterRange<R, W>], register: u32) -> Option<&RegisterRange<R, W>> {
    let behind = table.partition_point(|range| range.first <= register);
    table[..behind].last().filter(|range| range.contains(register))
}

/// Whether a table can be searched by [`find`]: ranges are in order, none is empty, no two overlap; and each says what it is
/// and why. For the backends' tests.
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
