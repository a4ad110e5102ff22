//! The image's entry points, in assembly: what a loader calls, and what a processor calls that the kernel has started itself.

use core::arch::naked_asm;

use plinth_arch_x86::launch_stack;
use plinth_launch::LaunchInfo;

use super::image::enter;

/// CR4.CET: control-flow enforcement. The kernel has no ENDBR64 but at [`_start`], and none where it calls by pointers.
const CET_BIT: u32 = 23;

/// [`naked_asm`] that leaves an `EntryFrame` on the caller's stack, goes on with the given lines, and, where they end, with the
/// caller again. They find the frame's address in RBX and RDX, RDI and RSI as they were, and leave the result in RAX.
///
/// Interrupts are off in between, and so is control-flow enforcement.
macro_rules! entry_asm {
    ([$($line:literal,)*] $($name:ident = $kind:ident $value:expr,)*) => {
        naked_asm!(
            "endbr64",
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "pushfq",
            "cli",
            "cld",
            "mov rax, cr4",
            "push rax",
            "btr rax, {cet}",
            "jnc 2f",
            "mov cr4, rax",
            "2:",
            "mov rdx, rsp",
            "mov rbx, rsp",
            $($line,)*
            "mov rsp, rbx",
            "pop rcx",
            "bt rcx, {cet}",
            "jnc 4f",
            "mov cr4, rcx",
            "4:",
            "popfq",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
            cet = const CET_BIT,
            $($name = $kind $value,)*
        )
    };
}

/// The entry point of the launch contract.
///
/// Leaves the registers that a call preserves on the caller's stack: launching makes them the root VM's, which
/// "returns" from here with 0. All else is on the launch stack.
///
/// # Safety
/// Only a loader may call it, as `plinth_launch` says.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "sysv64" fn _start(info: *const LaunchInfo, pp: u64) -> u64 {
    entry_asm!(
        [
            "xor eax, eax",
            "lock cmpxchg [rip + {owner}], rdx",
            "mov eax, {taken}",
            "jne 3f",
            "lea rsp, [rip + {stack}]",
            "add rsp, {size}",
            "call {enter}",
            // It comes back only with a refusal, and the stack is still this call's.
            "mov qword ptr [rip + {owner}], 0",
            "3:",
        ]
        owner = sym launch_stack::OWNER,
        taken = const launch_stack::TAKEN,
        stack = sym launch_stack::STACK,
        size = const launch_stack::SIZE,
        enter = sym enter,
    )
}

/// The same on the caller's own stack, for a processor that the kernel has started itself: several may come at once.
///
/// # Safety
/// As [`_start`]; and the stack is a kernel stack.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn start_here(info: *const LaunchInfo, pp: u64) -> u64 {
    entry_asm!(
        [
            "and rsp, -16",
            "call {enter}",
        ]
        enter = sym enter,
    )
}
