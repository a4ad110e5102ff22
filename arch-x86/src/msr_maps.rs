//! The MSR bitmaps of a VM: the processor's bitmap of accesses that exit, and the extension's requests.
//!
//! An access exits if the kernel's MSR table wants it, or if the extension has requested it. This file
//! applies the rule for both vendors. An [`ExitMap`] knows only the layout of a vendor's bitmap.

use core::fmt::Debug;

use plinth_hal::{Authority, InterceptError, Intercepts};

use crate::msr_requests::MsrRequests;
use crate::msr_table::MsrTable;

/// The processor's MSR bitmap (MSRPM on AMD), in the vendor's layout.
pub trait ExitMap: Copy + Debug {
    /// Sets which accesses of an MSR exit. Does nothing for an MSR that the bitmap does not cover: its
    /// accesses always exit.
    fn set_exits(&self, register: u32, exits: Intercepts);
}

/// The bitmaps of one VM.
#[derive(Clone, Copy, Debug)]
pub struct MsrMaps<M> {
    exits: M,
    requests: MsrRequests,
    table: &'static MsrTable,
    is_root: bool,
}

impl<M: ExitMap> MsrMaps<M> {
    /// The root VM's bitmaps before any request of the extension. The caller passes `exits` with all reads
    /// passed through and all writes exiting, which is the rule for an MSR outside of the table, and
    /// `requests` all zero. This function enters the table's lines into `exits`.
    pub fn of_root(exits: M, requests: MsrRequests, table: &'static MsrTable) -> Self {
        for register in table.ranges().flat_map(|range| range.first..=range.last) {
            exits.set_exits(register, table.root_exits(register));
        }
        Self { exits, requests, table, is_root: true }
    }

    /// A guest VM's bitmaps: every access exits to the extension. The caller passes `exits` and `requests`
    /// with all bits set.
    pub const fn of_guest(exits: M, requests: MsrRequests, table: &'static MsrTable) -> Self {
        Self { exits, requests, table, is_root: false }
    }

    /// The processor's bitmap.
    pub const fn exits(&self) -> &M {
        &self.exits
    }

    /// Whether the extension has requested exits of reads, or of writes, of the MSR.
    #[inline]
    pub fn is_asked(&self, register: u32, write: bool) -> bool {
        self.requests.has(register, write)
    }

    /// Sets which accesses of an MSR exit to the extension. Accesses that the kernel handles itself exit as
    /// before.
    ///
    /// # Errors
    /// `Unknown` for an MSR that no extension can request; the table's error if a guest VM may not access the
    /// MSR directly.
    pub fn ask(
        &self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        let register = u32::try_from(register).map_err(|_| InterceptError::Unknown)?;
        if !MsrRequests::covers(register) {
            return Err(InterceptError::Unknown);
        }
        self.table.check(register, self.is_root, intercepts, authority)?;
        self.requests.set(register, intercepts);
        self.exits.set_exits(register, intercepts.or(self.kernels(register)));
        Ok(())
    }

    /// Withdraws the request of an extension that is gone, so that the table alone decides about the MSR.
    /// Returns false if there was no request, or if the VM is not the root VM: only the root VM continues
    /// without its extension.
    pub fn forget(&self, register: u64) -> bool {
        let Ok(register) = u32::try_from(register) else { return false };
        let asked = self.is_root && (self.is_asked(register, false) || self.is_asked(register, true));
        if asked {
            self.requests.set(register, Intercepts { reads: false, writes: false });
            self.exits.set_exits(register, self.kernels(register));
        }
        asked
    }

    /// The accesses that exit to the kernel, whether or not the extension requests them.
    fn kernels(&self, register: u32) -> Intercepts {
        if self.is_root { self.table.root_exits(register) } else { self.table.guest_exits(register) }
    }
}
