//! Asks the tests' own kernel to do what it must not: see `fault_injection.rs` of the backends.

use core::arch::{asm, naked_asm};
use core::sync::atomic::AtomicU64;

/// All acts that the kernel must be stopped in, one after the other.
pub const COMMIT: u64 = 0x7E57_0002;
/// An overflow of its stack.
pub const OVERFLOW: u64 = 0x7E57_0003;

/// What the kernel must neither read nor write.
static DATA: AtomicU64 = AtomicU64::new(0);

/// What it must not run.
#[unsafe(naked)]
extern "C" fn code() {
    naked_asm!("ret")
}

/// Asks by a system call, which no kernel knows: nothing else comes of it.
pub fn call(wish: u64) {
    let (code, data) = (code as *const () as u64, DATA.as_ptr() as u64);
    // SAFETY: the kernel refuses the call; it changes the registers that are named.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inout("rax") wish => _, inout("rdi") code => _, inout("rsi") data => _,
            out("rcx") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", inout("x8") wish => _, inout("x0") code => _, inout("x1") data => _,
            out("x2") _, out("x3") _, out("x4") _, out("x5") _);
    }
}

/// Asks by a fault, with the flags set that would let the kernel at this program's pages: RFLAGS.AC.
pub fn fault(wish: u64) {
    let (code, data) = (code as *const () as u64, DATA.as_ptr() as u64);
    // SAFETY: the processor leaves this program at the undefined instruction.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("push 0x40002", "popfq", "ud2", in("rax") wish, in("rdi") code, in("rsi") data);
        #[cfg(target_arch = "aarch64")]
        asm!("udf #0", in("x8") wish, in("x0") code, in("x1") data);
    }
}
