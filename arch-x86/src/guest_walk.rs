//! Guest-virtual to guest-physical, through the guest's own page tables.
//!
//! For fetching the instruction at an exit, and for whatever else is done on the guest's behalf. The
//! walk does not set accessed or dirty bits: what it serves is a look from outside, or the repetition of
//! an access that the processor has made already. Protection keys and shadow stacks are not checked.
//! PAE's four top entries are read from memory each time, as on AMD; Intel keeps them in registers.
//!
//! APM vol. 2, 5.1–5.6; SDM vol. 3A, "Paging".

mod access;
mod executed;
mod legacy;
mod long;
mod paging;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessKind, WalkFault};
pub use executed::page_of_executed;
pub use paging::{GuestPaging, PagingMode};

use plinth_hal::{Gpa, Gva};

/// Where `gva` leads for `access`, under `paging`.
///
/// `read_entry` gets addresses that are multiples of 8 and returns the 64-bit word there, or `None`
/// where the VM has no memory. For a guest in long mode with 4 levels, the case at nearly every exit, a
/// level costs about a dozen instructions besides the read.
///
/// # Errors
///
/// What the guest would get for the access: see [`WalkFault`].
#[inline]
pub fn walk(
    paging: &GuestPaging,
    gva: Gva,
    access: Access,
    read_entry: impl FnMut(Gpa) -> Option<u64>,
) -> Result<Gpa, WalkFault> {
    match paging.mode {
        PagingMode::Long4 => long::walk::<3>(paging, gva, access, read_entry),
        PagingMode::Long5 => long::walk::<4>(paging, gva, access, read_entry),
        PagingMode::None => Ok(Gpa::new(gva.raw() & 0xffff_ffff)),
        PagingMode::Pae => legacy::walk_pae(paging, gva, access, read_entry),
        PagingMode::Bits32 { large_pages } => legacy::walk32(paging, gva, access, large_pages, read_entry),
    }
}
