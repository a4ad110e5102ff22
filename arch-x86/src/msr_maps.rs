//! The MSR maps of a VM: the processor's map of the accesses that exit, and beside it what the extension has asked to see.
//!
//! An access exits where the table of MSRs says so, and where the extension has asked. Both vendors' maps are kept by this
//! rule; each vendor's [`ExitMap`] knows the layout alone.

use core::fmt::Debug;

use plinth_hal::{Authority, InterceptError, Intercepts};

use crate::msr_requests::MsrRequests;
use crate::msr_table::MsrTable;

/// The processor's map of the accesses that exit, in the vendor's layout.
pub trait ExitMap: Copy + Debug {
    /// Sets which accesses of an MSR exit, where the map covers the MSR: accesses of the others always do.
    fn set_exits(&self, register: u32, exits: Intercepts);
}

/// The maps of one VM.
#[derive(Clone, Copy, Debug)]
pub struct MsrMaps<M> {
    exits: M,
    requests: MsrRequests,
    table: &'static MsrTable,
    is_root: bool,
}

impl<M: ExitMap> MsrMaps<M> {
    /// The root VM's maps, where the extension has asked for nothing. In `exits` reads pass and writes exit, which is the rule
    /// for an MSR that is not in the table; the table's lines are entered here. `requests` is all zeros.
    pub fn of_root(exits: M, requests: MsrRequests, table: &'static MsrTable) -> Self {
        for register in table.ranges().flat_map(|range| range.first..=range.last) {
            exits.set_exits(register, table.root_exits(register));
        }
        Self { exits, requests, table, is_root: true }
    }

    /// Another VM's maps: everything exits to the extension, and all bits of `exits` and `requests` are set.
    pub const fn of_guest(exits: M, requests: MsrRequests, table: &'static MsrTable) -> Self {
        Self { exits, requests, table, is_root: false }
    }

    /// The processor's map.
    pub const fn exits(&self) -> &M {
        &self.exits
    }

    /// Whether the extension has asked to see such an access.
    #[inline]
    pub fn is_asked(&self, register: u32, write: bool) -> bool {
        self.requests.has(register, write)
    }

    /// Has those accesses exit to the extension that it asks to see, and no others but the kernel's.
    ///
    /// # Errors
    /// `Unknown` for an MSR that no extension can ask for; what the table says against opening one to a guest VM.
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

    /// Has the root VM get what the table says for an MSR that an extension had asked to see which is gone. Returns false where it
    /// had not. Only the root VM goes on without its extension.
    pub fn forget(&self, register: u64) -> bool {
        let Ok(register) = u32::try_from(register) else { return false };
        let asked = self.is_root && (self.is_asked(register, false) || self.is_asked(register, true));
        if asked {
            self.requests.set(register, Intercepts { reads: false, writes: false });
            self.exits.set_exits(register, self.kernels(register));
        }
        asked
    }

    /// The accesses that exit whatever the extension asks for.
    fn kernels(&self, register: u32) -> Intercepts {
        if self.is_root { self.table.root_exits(register) } else { self.table.guest_exits(register) }
    }
}
