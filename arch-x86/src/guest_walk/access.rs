//! What the guest does, and what may come of it.

use super::GuestPaging;
use core::fmt;
use plinth_hal::Gpa;

/// What kind of access it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// Of data.
    Read,
    /// Of data.
    Write,
    /// Of an instruction.
    Fetch,
}

/// An access to translate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Its kind.
    pub kind: AccessKind,
    /// Made at CPL 3, and not implicitly by the processor.
    pub user: bool,
    /// RFLAGS.AC is set, which suspends SMAP for explicit accesses.
    pub smap_suspended: bool,
}

impl Access {
    /// An instruction fetch, at CPL 3 if `user`.
    pub const fn fetch(user: bool) -> Self {
        Self { kind: AccessKind::Fetch, user, smap_suspended: false }
    }

    /// A read, at CPL 3 if `user`.
    pub const fn read(user: bool) -> Self {
        Self { kind: AccessKind::Read, user, smap_suspended: false }
    }

    /// A write, at CPL 3 if `user`.
    pub const fn write(user: bool) -> Self {
        Self { kind: AccessKind::Write, user, smap_suspended: false }
    }

    /// The bits of a page fault's error code that the access alone decides.
    fn error_code(self, paging: &GuestPaging) -> u32 {
        let write = u32::from(self.kind == AccessKind::Write) << 1;
        let fetch = self.kind == AccessKind::Fetch && (paging.no_execute || paging.smep);
        write | u32::from(self.user) << 2 | u32::from(fetch) << 4
    }
}

/// Why a walk led nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkFault {
    /// The address is not canonical: the guest gets #GP, or #SS for a stack access.
    NotCanonical,
    /// The guest gets #PF with this error code (APM vol. 2, 8.4.2 "Page-Fault Error Code").
    PageFault(u32),
    /// The VM has no memory where a table should be.
    NoTable(Gpa),
}

impl WalkFault {
    const PRESENT: u32 = 1 << 0;
    const RESERVED: u32 = 1 << 3;

    /// An entry is not present.
    pub(super) fn not_present(paging: &GuestPaging, access: Access) -> Self {
        Self::PageFault(access.error_code(paging))
    }

    /// A present entry has reserved bits set.
    pub(super) fn reserved(paging: &GuestPaging, access: Access) -> Self {
        Self::PageFault(access.error_code(paging) | Self::PRESENT | Self::RESERVED)
    }

    /// The entries forbid the access.
    pub(super) fn forbidden(paging: &GuestPaging, access: Access) -> Self {
        Self::PageFault(access.error_code(paging) | Self::PRESENT)
    }
}

impl fmt::Display for WalkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical => f.write_str("the guest-virtual address is not canonical; inject #GP"),
            Self::PageFault(code) => {
                write!(f, "the guest's tables forbid it; inject #PF, error code {code:#x}")
            }
            Self::NoTable(at) => write!(f, "the guest's table at {at} is not in its memory; check its CR3"),
        }
    }
}

impl core::error::Error for WalkFault {}
