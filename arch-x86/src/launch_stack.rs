//! The stack on which a loader's call of the image's entry point runs, until the kernel's own stack of that processor takes
//! over.
//!
//! The caller's stack is no place for it: Linux's has 16 KiB, and lies where only Linux's own page tables lead, while the launch
//! goes on under the kernel's. So the entry point leaves an [`EntryFrame`](crate::root_state::EntryFrame) there and nothing else.
//! The image has one launch stack, since loaders call the entry point on one processor after the other. Whoever calls it
//! meanwhile on another one is refused.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::PAGE_SIZE;
use plinth_kernel::KERNEL_STACK_PAGES;
use plinth_launch::{LaunchError, LaunchStatus};

/// Bytes of it: as many as a kernel stack has.
pub const SIZE: usize = KERNEL_STACK_PAGES * PAGE_SIZE as usize;

/// What the entry point answers while another processor has the stack.
pub const TAKEN: u64 = LaunchStatus::failed(LaunchError::LaunchesOverlap, 0).raw();

/// Memory that is used through a stack pointer alone.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct LaunchStack(UnsafeCell<[u8; SIZE]>);

// SAFETY: nobody reaches it but through the stack pointer of the one processor that [`OWNER`] lets have it.
unsafe impl Sync for LaunchStack {}

/// The stack.
pub static STACK: LaunchStack = LaunchStack(UnsafeCell::new([0; SIZE]));

/// Whose call has the stack: the address of what that has left on its caller's stack; 0 while it is free. The entry point, in
/// assembly, takes it from 0, and gives it back where a processor is refused before [`release`].
pub static OWNER: AtomicU64 = AtomicU64::new(0);

/// Gives the stack back, if the call that has left its frame at `frame` has it: a processor that the kernel has started itself
/// comes on a stack of its own.
pub fn release(frame: u64) {
    release_from(&OWNER, frame);
}

fn release_from(owner: &AtomicU64, frame: u64) {
    // Whoever has the stack next must not write there before this call has read the last of it.
    let _ = owner.compare_exchange(frame, 0, Ordering::Release, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_given_back_by_the_call_that_has_it() {
        let owner = AtomicU64::new(0x1000);
        release_from(&owner, 0x2000);
        assert_eq!(owner.load(Ordering::Relaxed), 0x1000, "a processor on a stack of its own");
        release_from(&owner, 0x1000);
        assert_eq!(owner.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_comes_meanwhile_is_told_so() {
        assert_eq!(LaunchStatus::from_raw(TAKEN).error(), Some(LaunchError::LaunchesOverlap));
        assert_ne!(TAKEN, LaunchStatus::LAUNCHED.raw());
    }
}
