//! All system registers of EL1 and EL0, in groups: whose each is, and which control of EL2's opens and closes it.
//!
//! The table is the only source of what EL2 holds for a VM: [`crate::id::controls`] computes every trap register from it, and
//! [`crate::id::fields_table`] what the ID registers show. So a group that is closed to a VM is trapped and hidden by one entry, and one
//! that is open keeps what its ID field promises.
//!
//! What the table does not have is closed to guest VMs: what an implementation defines by HCR_EL2.TIDCP and TACR, and what later
//! versions of the architecture add by their own controls, all of which close where they are 0. The rule for the root VM is
//! the machine's: it has whatever a control that is 0 leaves open, and what is closed by it is hidden from its ID registers too.
//!
//! Nothing here can be opened by an extension. What it can do is have accesses exit ([`Group::exits`]).

mod debug;
mod machine;
mod state;
#[cfg(test)]
mod tests;

use crate::id::controls::Control;
use crate::id::facts::Facts;

/// Whose a group is in the root VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Each VS has its own: it moves when another VS becomes active.
    Own,
    /// The machine's, as without a hypervisor. The VSs of the root VM on a processor share it, and no other VM reaches it.
    Native,
    /// Closed, and not shown by the ID registers.
    Hidden,
}

/// Whose a group is in other VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// Each VS has its own.
    Own,
    /// There is nothing to be changed in it: constants, and instructions without a state beyond the guest's own.
    Stateless,
    /// Trapped, and answered by the kernel.
    Served,
    /// Trapped or undefined, and not shown by the ID registers.
    Closed,
}

/// What an extension can have exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exits {
    /// Nothing of it by its own wish.
    No,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

/// The encodings from `first` to `last`, as the ABI numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// One register, by Op0, Op1, CRn, CRm and Op2.
pub(crate) const fn one(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> Span {
    let encoding = encoding(op0, op1, crn, crm, op2);
    Span { first: encoding, last: encoding }
}

/// Those with consecutive Op2.
pub(crate) const fn some(op0: u64, op1: u64, crn: u64, crm: u64, first: u64, last: u64) -> Span {
    Span { first: encoding(op0, op1, crn, crm, first), last: encoding(op0, op1, crn, crm, last) }
}

/// Those with CRm from `first` to `last` and any Op2.
pub(crate) const fn rows(op0: u64, op1: u64, crn: u64, first: u64, last: u64) -> Span {
    Span { first: encoding(op0, op1, crn, first, 0), last: encoding(op0, op1, crn, last, 7) }
}

/// The number of a register: Op0 15:14, Op1 13:11, CRn 10:7, CRm 6:3, Op2 2:0.
pub(crate) const fn encoding(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// A group of registers or instructions that the same controls open.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "what only says which and why is held against the rest by tests")
)]
pub(crate) struct Group {
    pub(crate) id: Id,
    pub(crate) registers: &'static [Span],
    /// Whether the processor has it.
    pub(crate) present: fn(&Facts) -> bool,
    pub(crate) root: Root,
    pub(crate) guest: Guest,
    pub(crate) exits: Exits,
    pub(crate) controls: &'static [Control],
    /// Of the Arm ARM (DDI 0487), or of the GIC's architecture (IHI 0069).
    pub(crate) section: &'static str,
    pub(crate) reason: &'static str,
}

macro_rules! ids {
    ($($name:ident)*) => {
        /// The groups.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Id {
            $($name,)*
        }

        impl Id {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

ids! {
    // `state`: what programs and their OS have.
    Base Pstate Constants Ids Fp Timers PointerAuthentication PacMarks Tags Contexts Sve Sme Sme2 FpMode ExtendedTcr
    ExtendedSctlr Permissions Overlays ControlStack MemoryCopy WideStores AcceleratorData
    TagBlocks StreamingThread
    // `machine`: what the machine has once.
    Implementation SetWay Errors ErrorInjection FaultAddress OrderingRegions Partitioning PartitionNames Interrupts InterruptEnable
    NonMaskable PersistentStorage Calls Waits Exceptions El2
    // `debug`: what looks at others.
    Debug DoubleLock Monitor MonitorExtensions SystemMonitors Activity TraceUnit TraceFilter TraceBuffer Instrumentation
    Profiling ProfilingEvents Branches
    // Nobody's.
    GicV5 Overlays2 Attributes2 Translation128 Masks TranslationHardening Transactions MonitorExceptions Breakpoints2
    Later
}

/// A set of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(u64);

impl Groups {
    #[inline]
    pub(crate) const fn has(self, id: Id) -> bool {
        self.0 & 1 << id as u8 != 0
    }

    #[must_use]
    pub(crate) const fn with(self, id: Id) -> Self {
        Self(self.0 | 1 << id as u8)
    }
}

/// The table.
pub(crate) fn groups() -> impl Iterator<Item = &'static Group> {
    state::GROUPS.iter().chain(machine::GROUPS).chain(debug::GROUPS)
}

/// The group of an id. Each has one, says a test.
pub(crate) fn group(id: Id) -> Option<&'static Group> {
    groups().find(|group| group.id == id)
}

/// What a processor has.
pub(crate) fn present(facts: &Facts) -> Groups {
    groups().filter(|group| (group.present)(facts)).fold(Groups::default(), |all, group| all.with(group.id))
}

impl Group {
    /// Whether the root VM reaches it.
    pub(crate) fn is_open_to_root(&self) -> bool {
        self.root != Root::Hidden
    }

    /// Whether other VMs reach it.
    pub(crate) fn is_open_to_guests(&self) -> bool {
        matches!(self.guest, Guest::Own | Guest::Stateless)
    }
}
