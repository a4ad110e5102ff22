//! NMIs while the kernel or the extension runs.
//!
//! VMX cannot hold NMIs back as AMD's global interrupt flag does. The handler therefore only notes that one came, on a
//! stack of its own, and the kernel looks at the note where it enters a guest or goes to sleep. Between that look and the
//! entry or the sleep another one may arrive: the handler moves an instruction pointer in there to the way out.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// The last words of the NMI stack: the note, reached through the stack pointer alone.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct NmiNote {
    arrived: AtomicU32,
    padding: [u32; 3],
}

impl NmiNote {
    /// Lays the note at the top of the stack that ends at `stack_end`. The processor's stack pointer starts below it.
    ///
    /// # Safety
    /// The page below `stack_end` is mapped, zeroed, and this processor's own for ever.
    pub(crate) unsafe fn at_top(stack_end: u64) -> &'static Self {
        // SAFETY: aligned to a page less 16 bytes; zeroes are a valid note; it is shared with the handler by an atomic.
        unsafe { &*((stack_end - size_of::<Self>() as u64) as *const Self) }
    }

    /// Whether an NMI has come since the last call.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.arrived.load(Ordering::SeqCst) != 0 && self.arrived.swap(0, Ordering::SeqCst) != 0
    }

    /// What the assembly code looks at.
    #[inline]
    pub(crate) fn flag(&self) -> *const u32 {
        self.arrived.as_ptr()
    }
}

/// The handler. The note lies above the five words that the processor pushes.
///
/// # Safety
/// Only the processor may call it, through an IDT entry with the stack of [`NmiNote::at_top`].
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn handler() {
    naked_asm!(
        "mov dword ptr [rsp + 40], 1",
        "push rax",
        "push rcx",
        "mov rax, [rsp + 16]",
        "lea rcx, [rip + plinth_vmx_entry_start]",
        "cmp rax, rcx",
        "jb 2f",
        "lea rcx, [rip + plinth_vmx_entry_end]",
        "cmp rax, rcx",
        "jb 3f",
        "2:",
        "lea rcx, [rip + plinth_vmx_sleep_start]",
        "cmp rax, rcx",
        "jb 4f",
        "lea rcx, [rip + plinth_vmx_sleep_end]",
        "cmp rax, rcx",
        "jae 4f",
        "3:",
        "mov [rsp + 16], rcx",
        "4:",
        "pop rcx",
        "pop rax",
        "iretq",
    )
}

/// Halts until an NMI, unless one has been noted.
///
/// # Safety
/// The kernel's IDT with [`handler`] is loaded, maskable interrupts are off, and `flag` is [`NmiNote::flag`].
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn halt_until_nmi(flag: *const u32) {
    naked_asm!(
        ".globl plinth_vmx_sleep_start",
        "plinth_vmx_sleep_start: cmp dword ptr [rdi], 0",
        "jne plinth_vmx_sleep_end",
        "hlt",
        ".globl plinth_vmx_sleep_end",
        "plinth_vmx_sleep_end: ret",
    )
}

/// Lets NMIs in again after an exit that one caused: they are blocked until the next IRET (Intel SDM vol. 3C,
/// "Updating Non-Register State").
#[unsafe(naked)]
pub(crate) extern "sysv64" fn unblock() {
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
