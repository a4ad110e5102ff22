//! The closed table of MSRs: what the root VM gets, and what may be opened to guest VMs.
//!
//! The processor's MSR map, the answers to accesses that exit, and the registers that the extension may read all come from
//! here. Each vendor's backend has a table of its own registers beside the [`SHARED`] one.
//!
//! The rule for an MSR that no line names: the root VM reads the machine's value, and a write raises #GP. Guest VMs do not
//! reach it. A new processor's register may hold an address at which the processor writes memory, or redirect the
//! hypervisor's own accesses; until somebody has looked, nobody writes it.

mod shared;

use plinth_hal::register_table::{RegisterRange, find};
use plinth_hal::{Authority, InterceptError, Intercepts, Opening};

pub use shared::{HIDDEN_XSS, SHARED, counters, in_the_vs, moves};

/// What a read of the root VM gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The machine's value, or its #GP.
    Native,
    /// The machine's value with some bits cleared and others set.
    Filtered {
        /// Bits that read as 0.
        clear: u64,
        /// Bits that read as 1.
        set: u64,
    },
    /// The value that the VS holds: the processor has the kernel's.
    Saved,
    /// #GP: the register is not there.
    Absent,
}

/// What a write of the root VM does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// The machine's register takes the value, or raises #GP.
    Native,
    /// Some bits may change; a value that changes another one raises #GP.
    Filtered {
        /// The bits that may change.
        may_change: u64,
    },
    /// Nothing.
    Ignored,
    /// The kernel checks the value and keeps a copy of it.
    Saved,
    /// An MTRR: the kernel checks that the hypervisor's memory keeps its type.
    MemoryType,
    /// The kernel alone carries it out: it starts or stops processors, or moves the local APIC.
    Processor,
    /// #GP.
    Absent,
}

/// A line of the table.
pub type MsrRange = RegisterRange<Read, Write>;

const fn line(
    range: (u32, u32),
    read: Read,
    write: Write,
    name: &'static str,
    reason: &'static str,
) -> MsrRange {
    MsrRange {
        first: range.0,
        last: range.1,
        root_read: read,
        root_write: write,
        guest_read: Opening::Closed,
        guest_write: Opening::Closed,
        readable: false,
        name,
        reason,
    }
}

/// Registers that are the root VM's, as on the bare machine.
pub const fn native(first: u32, last: u32, name: &'static str, reason: &'static str) -> MsrRange {
    line((first, last), Read::Native, Write::Native, name, reason)
}

/// A register that exits, with what the kernel makes of it.
pub const fn filtered(
    register: u32,
    read: Read,
    write: Write,
    name: &'static str,
    reason: &'static str,
) -> MsrRange {
    line((register, register), read, write, name, reason)
}

/// Registers that keep the value that the firmware has given them. Writing the same value is no fault.
pub const fn fixed(first: u32, last: u32, name: &'static str, reason: &'static str) -> MsrRange {
    line((first, last), Read::Native, Write::Filtered { may_change: 0 }, name, reason)
}

/// Registers that the root VM does not find.
pub const fn absent(first: u32, last: u32, name: &'static str, reason: &'static str) -> MsrRange {
    line((first, last), Read::Absent, Write::Absent, name, reason)
}

/// A vendor's MSRs.
#[derive(Clone, Copy, Debug)]
pub struct MsrTable {
    /// The vendor's own.
    pub vendor: &'static [MsrRange],
    /// Those that both vendors have.
    pub shared: &'static [MsrRange],
}

impl MsrTable {
    /// The line of an MSR; `None` for one that is not in the table.
    pub fn find(&self, register: u32) -> Option<&'static MsrRange> {
        find(self.vendor, register).or_else(|| find(self.shared, register))
    }

    /// All lines.
    pub fn ranges(&self) -> impl Iterator<Item = &'static MsrRange> + use<> {
        self.vendor.iter().chain(self.shared)
    }

    /// What a read of the root VM gets.
    pub fn root_read(&self, register: u32) -> Read {
        self.find(register).map_or(Read::Native, |range| range.root_read)
    }

    /// What a write of the root VM does.
    pub fn root_write(&self, register: u32) -> Write {
        self.find(register).map_or(Write::Absent, |range| range.root_write)
    }

    /// Which accesses of the root VM exit, where the extension has asked for none.
    pub fn root_exits(&self, register: u32) -> Intercepts {
        Intercepts {
            reads: self.root_read(register) != Read::Native,
            writes: self.root_write(register) != Write::Native,
        }
    }

    /// Which accesses of another VM exit, even where the extension has opened them: the kernel carries those out.
    pub fn guest_exits(&self, register: u32) -> Intercepts {
        Intercepts { reads: false, writes: self.root_write(register) == Write::Saved }
    }

    /// Whether the extension may read it by `IntrinsicRead`.
    pub fn is_readable(&self, register: u64) -> bool {
        u32::try_from(register).is_ok_and(|register| self.find(register).is_some_and(|range| range.readable))
    }

    /// Whether an extension with `authority` may have just these accesses exit.
    ///
    /// # Errors
    /// [`InterceptError::Denied`] where another access would reach the machine that may not; and where an access of the root
    /// VM would have to exit to the extension that the kernel alone carries out.
    pub fn check(
        &self,
        register: u32,
        is_root: bool,
        exits: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        let allowed = if is_root {
            !(exits.writes && self.root_write(register) == Write::Processor)
        } else {
            let (read, write) = self
                .find(register)
                .map_or((Opening::Closed, Opening::Closed), |range| (range.guest_read, range.guest_write));
            (exits.reads || read.allows(authority)) && (exits.writes || write.allows(authority))
        };
        if allowed { Ok(()) } else { Err(InterceptError::Denied) }
    }
}

/// The rules that hold for every vendor's table. For the backends' tests.
///
/// # Panics
/// With the line that breaks a rule.
pub fn assert_is_closed(table: &MsrTable) {
    use plinth_hal::register_table::assert_is_a_table;
    assert_is_a_table(table.vendor);
    assert_is_a_table(table.shared);
    for range in table.vendor {
        let twice = table.shared.iter().find(|other| other.first <= range.last && range.first <= other.last);
        assert!(twice.is_none(), "{:#x} is in both tables", range.first);
    }
    for range in table.ranges() {
        let (first, name) = (range.first, range.name);
        let opened = range.guest_write != Opening::Closed;
        let reaches_machine = matches!(range.root_write, Write::Native | Write::Saved);
        assert!(
            !opened || reaches_machine,
            "{first:#x} {name}: a guest VM would write more than the root VM"
        );
        let reads = range.guest_read != Opening::Closed;
        let shows_machine = range.root_read == Read::Native;
        assert!(!reads || shows_machine, "{first:#x} {name}: a guest VM would read more than the root VM");
    }
}

/// MSRs, with what each does, that both vendors' tables must keep from being written freely: for the backends' tests.
/// `dangerous` lists registers that hold an address at which the processor reads or writes memory by itself, or that redirect
/// accesses.
///
/// # Panics
/// With a register that the root VM can write at will, or a guest VM at all.
pub fn assert_keeps(table: &MsrTable, dangerous: &[(u32, u32, &str)]) {
    for &(first, last, what) in dangerous {
        for register in first..=last {
            let write = table.root_write(register);
            assert!(write != Write::Native, "{register:#x} ({what}) can be written at will");
            let all = Intercepts { reads: true, writes: false };
            let open = table.check(register, false, all, Authority::Machine);
            assert_eq!(
                open,
                Err(InterceptError::Denied),
                "{register:#x} ({what}) can be opened to a guest VM"
            );
            assert!(table.find(register).is_some(), "{register:#x} ({what}) has no line that says why");
        }
    }
}

/// MSRs that OSes and firmware write, which the rule for unlisted ones must not meet: for the backends' tests.
///
/// # Panics
/// With a register whose writes are all refused.
pub fn assert_serves(table: &MsrTable, written: &[(u32, u32, &str)]) {
    for &(first, last, what) in written {
        for register in first..=last {
            let write = table.root_write(register);
            assert!(write != Write::Absent, "{register:#x} ({what}) cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: MsrTable = MsrTable { vendor: &[], shared: SHARED };
    const ALL: Intercepts = Intercepts { reads: true, writes: true };
    const NONE: Intercepts = Intercepts { reads: false, writes: false };
    const DENIED: Result<(), InterceptError> = Err(InterceptError::Denied);

    #[test]
    fn the_shared_table_keeps_the_rules() {
        assert_is_closed(&TABLE);
    }

    #[test]
    fn an_unlisted_register_is_read_and_not_written() {
        for register in [0x1FFF, 0x2000, 0x4000_0000, 0x4B56_4D01, 0xC002_0000, u32::MAX] {
            assert_eq!(TABLE.root_read(register), Read::Native);
            assert_eq!(TABLE.root_write(register), Write::Absent);
            assert_eq!(TABLE.check(register, false, ALL, Authority::Vms), Ok(()));
            let write = Intercepts { reads: true, writes: false };
            let read = Intercepts { reads: false, writes: true };
            assert_eq!(TABLE.check(register, false, write, Authority::Machine), DENIED);
            assert_eq!(TABLE.check(register, false, read, Authority::Machine), DENIED);
            assert!(!TABLE.is_readable(u64::from(register)));
        }
        assert!(!TABLE.is_readable(0x1_0000_0010), "no number of 33 bits is an MSR");
    }

    #[test]
    fn what_hangs_on_the_group() {
        let open = |register, authority| TABLE.check(register, false, NONE, authority);
        assert_eq!(open(0xC000_0102, Authority::Vms), Ok(()), "KERNEL_GS_BASE is the VS's own");
        assert_eq!(open(0x48, Authority::Vms), DENIED, "SPEC_CTRL is the processor's");
        assert_eq!(open(0x48, Authority::Machine), Ok(()));
        assert_eq!(open(0x1B, Authority::Machine), DENIED, "the local APIC is the root VM's");
    }

    #[test]
    fn the_kernels_own_writes_are_those_that_it_carries_out() {
        for register in (0..0x2000).chain(0xC000_0000..0xC000_3000) {
            let owned = crate::apic_access::owns(u64::from(register));
            assert_eq!(TABLE.root_write(register) == Write::Processor, owned, "{register:#x}");
            let asked = TABLE.check(register, true, ALL, Authority::Machine);
            assert_eq!(asked, if owned { DENIED } else { Ok(()) }, "{register:#x}");
        }
    }

    #[test]
    fn the_memory_types_are_the_mtrrs() {
        for register in 0..0x1000 {
            let is_mtrr = crate::mtrr::place(register).is_some();
            assert_eq!(TABLE.root_write(register) == Write::MemoryType, is_mtrr, "{register:#x}");
        }
    }
}
