//! NMIs while the kernel or the extension runs.
//!
//! They have a stack of their own, because one may come between SYSCALL and the change of stacks. One that comes in the
//! kernel is noted: the handler can do nothing about it there. One that finds the extension ends its turn, as an exception
//! of ring 3 does, so that the kernel can see whether it has taken too long.
//!
//! One may also come where ring 3 is being entered or left, under its tables or the kernel's: a handler touches
//! nothing but its stack, which both map, and so need not know which.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use plinth_hal::{Exit, ExitClass};

use crate::user;

/// The vector.
pub(crate) const VECTOR: u64 = 2;

/// The last words of the NMI stack: the note, reached through the stack pointer alone.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct NmiNote {
    arrived: AtomicU32,
    padding: [u32; 3],
}

impl NmiNote {
    /// Lays the note at the top of the stack that ends at `stack_end`. The processor's stack pointer starts below it:
    /// at [`Self::stack`].
    ///
    /// # Safety
    /// The page below `stack_end` is mapped, zeroed, and this processor's own for ever.
    pub unsafe fn at_top(stack_end: u64) -> &'static Self {
        // SAFETY: aligned to a page less 16 bytes; zeroes are a valid note; it is shared with the handler by an atomic.
        unsafe { &*(Self::stack(stack_end) as *const Self) }
    }

    /// Where the processor's stack pointer starts on an NMI stack that ends at `stack_end`.
    pub const fn stack(stack_end: u64) -> u64 {
        stack_end.wrapping_sub(size_of::<Self>() as u64)
    }

    /// How many NMIs have been noted since the last call.
    #[inline]
    pub fn take(&self) -> u32 {
        if self.arrived.load(Ordering::SeqCst) == 0 { 0 } else { self.arrived.swap(0, Ordering::SeqCst) }
    }

    /// An exit for `count` NMIs, of which the kernel tells kicks from the guest's own.
    pub fn kick(count: u32) -> Exit {
        Exit { number: u64::from(count.saturating_sub(1)), ..Exit::of(ExitClass::Kick) }
    }

    /// What assembly code looks at.
    #[inline]
    pub fn flag(&self) -> *const u32 {
        self.arrived.as_ptr()
    }
}

/// The handler where NMIs come into the kernel only in few places, since the global interrupt flag holds them back
/// (AMD): those that [sleep](crate::halt) are left, the note is all else. The note lies above the five words that the
/// processor pushes.
///
/// # Safety
/// Only the processor may call it, through an IDT entry with the stack of [`NmiNote::stack`].
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
pub unsafe extern "sysv64" fn handler() {
    naked_asm!(
        "test byte ptr [rsp + 8], 3",
        "jnz {ends_turn}",
        "inc dword ptr [rsp + 40]",
        "push rax",
        "push rcx",
        "mov rax, [rsp + 16]",
        "lea rcx, [rip + plinth_sleep_start]",
        "cmp rax, rcx",
        "jb 2f",
        "lea rcx, [rip + plinth_sleep_end]",
        "cmp rax, rcx",
        "jae 2f",
        "mov [rsp + 16], rcx",
        "2:",
        "pop rcx",
        "pop rax",
        "iretq",
        ends_turn = sym ends_turn,
    )
}

/// Where a handler jumps whose NMI came in ring 3, with nothing but the processor's frame on the stack. NMIs are blocked
/// until [`unblock`].
///
/// # Safety
/// Only NMI handlers may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
pub unsafe extern "sysv64" fn ends_turn() {
    naked_asm!(
        "push 0",
        "push {vector}",
        "jmp {from_ring_3}",
        vector = const VECTOR,
        from_ring_3 = sym user::from_ring_3,
    )
}

/// Lets NMIs in again, after one that did not end by IRET: they are blocked until the next one (AMD APM vol. 2, 8.2.3;
/// Intel SDM vol. 3A, 6.7.1), also after a VM exit that one caused (vol. 3C, "Updating Non-Register State").
#[unsafe(naked)]
pub extern "sysv64" fn unblock() {
    naked_asm!(
        "mov rax, rsp",
        "mov ecx, ss",
        "push rcx",
        "push rax",
        "pushfq",
        "mov ecx, cs",
        "push rcx",
        "lea rcx, [rip + 2f]",
        "push rcx",
        "iretq",
        "2:",
        "ret",
    )
}
