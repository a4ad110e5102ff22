//! A guest that stopped at an exit, as both vendors' control structures show it: what fetching and carrying out
//! its instruction takes.

use plinth_hal::{Gpa, GuestAccess, GuestMemory, Gva, PAGE_SIZE};

use crate::decode::{CodeSize, LONGEST_INSTRUCTION};
use crate::departure;
use crate::guest_walk::{Access, AccessKind, GuestPaging, PagingMode, walk};

/// The part of a stopped guest's state that instructions need.
pub trait StoppedGuest {
    /// How it translates addresses.
    fn paging(&self) -> GuestPaging;

    /// The default size of operands and addresses of the code that runs.
    fn code_size(&self) -> CodeSize;

    /// The offset of its instruction in the code segment.
    fn instruction_pointer(&self) -> u64;

    /// The base of its code segment.
    fn code_base(&self) -> u64;

    /// Its current privilege level.
    fn privilege(&self) -> u8;

    /// The bytes of its instruction, where the processor has left them (decode assists).
    fn fetched(&self) -> Option<&[u8]> {
        None
    }

    /// Its RFLAGS.
    fn flags(&self) -> u64;

    /// Sets its RFLAGS.
    fn set_flags(&mut self, flags: u64);

    /// Goes on at `next`, as after an instruction that has been carried out.
    fn set_next(&mut self, next: u64);
}

/// Fetches as many bytes of the instruction at the guest's RIP as can be had, and returns them.
pub fn fetch<'a>(
    stopped: &impl StoppedGuest,
    guest: &impl GuestMemory,
    bytes: &'a mut [u8; LONGEST_INSTRUCTION + 1],
) -> &'a [u8] {
    if let Some(fetched) = stopped.fetched() {
        let length = fetched.len().min(bytes.len());
        bytes[..length].copy_from_slice(&fetched[..length]);
        return &bytes[..length];
    }
    let paging = stopped.paging();
    let rip = stopped.instruction_pointer();
    let linear = match stopped.code_size() {
        CodeSize::Bits64 => rip,
        _ => stopped.code_base().wrapping_add(rip) & 0xffff_ffff,
    };
    let access = Access::fetch(stopped.privilege() == 3);
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = Gva::new(linear.wrapping_add(done as u64));
        let room = (PAGE_SIZE - at.page_offset()) as usize;
        let part = room.min(rest.len());
        let Ok(gpa) = walk(&paging, at, access, |entry| guest.read_u64(entry)) else { break };
        if !guest.read_bytes(gpa, &mut rest[..part]) {
            break;
        }
        done = done.saturating_add(part);
    }
    bytes.get(..done).unwrap_or_default()
}

/// Where an address leads for the guest's kernel, which may reach user pages too; `None` where it would fault.
pub fn translate(
    paging: &GuestPaging,
    gva: Gva,
    access: GuestAccess,
    guest: &impl GuestMemory,
) -> Option<Gpa> {
    let kind = match access {
        GuestAccess::Read => AccessKind::Read,
        GuestAccess::Write => AccessKind::Write,
        GuestAccess::Execute => AccessKind::Fetch,
    };
    let access = Access { kind, user: false, smap_suspended: true };
    walk(paging, gva, access, |entry| guest.read_u64(entry)).ok()
}

/// Whether the guest's own tables map an address to itself.
pub fn maps_identity(paging: &GuestPaging, guest: &impl GuestMemory, address: u64, access: Access) -> bool {
    let found = walk(paging, Gva::new(address), access, |entry| guest.read_u64(entry));
    found.is_ok_and(|gpa| gpa.raw() == address)
}

/// The pages of the stack that the last step may run on, from the one on which the kernel looks whether it can: it leaves by way of
/// fewer calls, and of an NMI's frame.
const STACK_PAGES: [i64; 4] = [-1, 0, 1, 2];

/// Whether the bare machine can go on from where a guest is: it runs 64-bit code at privilege level 0, to which IRET leads, and its
/// own tables map the last step of leaving the hypervisor to itself: its code, the stack around `stack`, and the pages that `more`
/// are in. They have to have as many levels as the kernel's, which `five_levels` says: CR4.LA57 cannot change in long mode.
pub fn can_take_over(
    stopped: &impl StoppedGuest,
    guest: &impl GuestMemory,
    stack: u64,
    five_levels: bool,
    more: impl IntoIterator<Item = u64>,
) -> bool {
    let page_of = |address: u64| address & !(PAGE_SIZE - 1);
    let paging = &stopped.paging();
    let writable = |address| maps_identity(paging, guest, page_of(address), Access::write(false));
    let executable = |address| maps_identity(paging, guest, page_of(address), Access::fetch(false));
    let mode = if five_levels { PagingMode::Long5 } else { PagingMode::Long4 };
    if paging.mode != mode {
        log::warn!("the root VM pages in the mode {:?}, the kernel in {mode:?}: not promoted", paging.mode);
    }
    let leads_there =
        stopped.privilege() == 0 && stopped.code_size() == CodeSize::Bits64 && paging.mode == mode;
    leads_there
        && departure::last_code().into_iter().all(executable)
        && STACK_PAGES
            .map(|page| stack.wrapping_add_signed(page * PAGE_SIZE as i64))
            .into_iter()
            .all(writable)
        && more.into_iter().all(writable)
}
