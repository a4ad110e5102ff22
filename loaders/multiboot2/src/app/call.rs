//! The call of the kernel's entry point, on no more stack than the launch contract says, and at an address of its own.
//!
//! All other memory is identity mapped, this stack only in the loader's tables: a kernel that came to need more of its caller's
//! stack, or needed it under its own tables, would fail here and not only where an OS loads it.

use core::arch::asm;
use core::cell::UnsafeCell;

use plinth_launch::{CALLER_STACK, Entry, LaunchInfo};

/// What is added to a physical address below 64 GiB for the address at which the tables map it once more: see `entry`.
const WINDOW: u64 = 1 << 39;
/// What the memory below the stack holds.
const UNTOUCHED: u64 = 0x5AFE_57AC_5AFE_57AC;

/// The stack, and below it what the kernel must not touch.
#[repr(C, align(4096))]
struct Stack {
    guard: [u64; 512],
    stack: [u8; CALLER_STACK],
}

struct Shared(UnsafeCell<Stack>);

// SAFETY: the loader runs on one processor, and calls the kernel once.
unsafe impl Sync for Shared {}

static STACK: Shared = Shared(UnsafeCell::new(Stack { guard: [0; 512], stack: [0; CALLER_STACK] }));

/// Calls the entry point. Returns its result, or `None` where the kernel has used more stack than it may.
///
/// # Safety
/// As the launch contract says of the entry point.
pub(super) unsafe fn call(entry: Entry, info: *const LaunchInfo) -> Option<u64> {
    let stack = STACK.0.get();
    let top = (stack as u64).wrapping_add(size_of::<Stack>() as u64).wrapping_add(WINDOW);
    let result;
    // SAFETY: nobody else uses the stack, which the window maps; interrupts are off. The entry point keeps R12 and R13.
    unsafe {
        (*stack).guard.fill(UNTOUCHED);
        asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {entry}",
            "mov rsp, r12",
            top = in(reg) top,
            entry = in(reg) entry,
            in("rdi") info,
            in("rsi") 0,
            lateout("rax") result,
            out("r12") _,
            clobber_abi("sysv64"),
        );
        let untouched = (&raw const (*stack).guard).read_volatile().iter().all(|word| *word == UNTOUCHED);
        untouched.then_some(result)
    }
}
