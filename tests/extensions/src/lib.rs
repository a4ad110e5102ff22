//! What the test extensions share: the hypercall that sets them off, and ways to do wrong.
//!
//! Each extension behaves as the default one but for what its name says. Those that misbehave at an exit do so
//! when the root VM makes [`TEST_HYPERCALL`] at privilege level 0, so that the guest can see what comes of it.

#![no_std]

pub mod attacks;
pub mod faults;
pub mod forbidden;
pub mod hostile;
pub mod race;
pub mod random;
pub mod served;

use core::arch::asm;

use plinth_extension_api::abi::SIGNATURE;
use plinth_extension_api::{Exit, ExitClass, Resume, passthrough};

/// The port that `crashes` asks to see: a page register of the DMA controller that no channel uses.
pub const CRASH_PORT: u16 = 0x84;

/// The number, in RAX, of the hypercall that makes a test extension do what it is for.
pub const TEST_HYPERCALL: u64 = SIGNATURE << 48 | 0x7E57_0001;

/// RAX after [`TEST_HYPERCALL`] where a fault was contained by the extension's fail callback.
pub const CONTAINED: u64 = 0xC0;

/// RAX after [`TEST_HYPERCALL`] where what must fault did not.
pub const NOT_CONTAINED: u64 = 0xBAD;

/// The CPUID leaf that the `bench` extension answers itself.
pub const EXTENSION_LEAF: u32 = 0x4000_0010;

/// The CPUID leaf that the `bench` extension lets the kernel answer.
pub const DECLARED_LEAF: u32 = 0x4000_0011;

/// The CPUID leaf at which the extension `loops` does not return.
pub const LOOP_LEAF: u32 = 0x4000_0012;

/// The CPUID leaf for which the extension `slow` takes as long as the subleaf says.
pub const SLOW_LEAF: u32 = 0x4000_0013;

/// The ID register that the `bench` extension answers itself: ID_AA64PFR0_EL1, as MRS encodes it.
pub const EXTENSION_ID: u64 = 0xC020;

/// The ID register that the `bench` extension lets the kernel answer: ID_AA64ISAR0_EL1.
pub const DECLARED_ID: u64 = 0xC030;

/// EAX of [`EXTENSION_LEAF`] and [`DECLARED_LEAF`] under the `bench` extension.
pub const BENCH_ANSWER: u32 = 0xBE7C;

/// The port, of which nothing depends on the writes, that the `bench` extension intercepts.
pub const EXTENSION_PORT: u16 = 0x80;

/// RBX at [`TEST_HYPERCALL`] under `bench`: measure a system call that the kernel refuses by its number.
pub const MEASURE_REFUSED_CALL: u64 = 0;

/// RBX at [`TEST_HYPERCALL`] under `bench`: measure the system call that reads a register.
pub const MEASURE_REGISTER_READ: u64 = 1;

/// The argument of [`TEST_HYPERCALL`] under `bench` that measures nothing.
pub const MEASURE_NOTHING: u64 = 2;

/// The argument of [`TEST_HYPERCALL`] under `beside` that asks what came of the guest VM.
pub const ASK: u64 = 0;

/// The argument under `beside` that lets the guest VM go on.
pub const GO_ON: u64 = 1;

/// How many system calls are measured.
pub const MEASURED_CALLS: u64 = 10_000;

/// The argument of [`TEST_HYPERCALL`] under `kicks`: kick all other processors. The result is how many there are.
pub const KICK_OTHERS: u64 = 0;

/// The argument of [`TEST_HYPERCALL`] under `kicks`: the result is how many exits have come of kicks. Any other argument is
/// declared as the answer of [`DECLARED_ID`] or [`DECLARED_LEAF`].
pub const KICKS_SEEN: u64 = 1;

/// The general register, R15, in which the extension `timed` leaves when its timer has run down.
pub const TIMED_REGISTER: usize = 15;

/// The argument of [`TEST_HYPERCALL`] under `timed`: the result is how many ticks after its time the last run has ended;
/// [`NOT_ENDED`] where the time that was set last has not come. Any other argument is how many ticks ahead to set the timer.
pub const TIMED_LATENESS: u64 = u64::MAX;

/// No run has ended by the timer.
pub const NOT_ENDED: u64 = u64::MAX;

/// The argument of [`TEST_HYPERCALL`] under `holes`: read a word of the root VM's memory at the address in RDX or X2. The
/// result is one of the [`hole`] constants.
pub const HOLE_READ: u64 = 0;

/// The same: write the word that is there, its bits inverted, look whether it is there, and write the first one again.
pub const HOLE_WRITE: u64 = 1;

/// The same: translate the address by the root VM's own tables.
pub const HOLE_TRANSLATE: u64 = 2;

/// What comes of such an access.
pub mod hole {
    /// It was carried out, and for a read, what was found is not all ones.
    pub const DONE: u64 = 0;
    /// [`plinth_extension_api::abi::Error::NotMapped`], about the address.
    pub const NOT_MAPPED: u64 = 1;
    /// A read found ones, or a write had no effect: a bus that nobody drives.
    pub const ONES: u64 = 2;
    /// Another error.
    pub const OTHER: u64 = 3;
}

/// Whether this exit is the test hypercall.
pub fn is_test(exit: &Exit<'_>) -> bool {
    exit.is_hypercall(TEST_HYPERCALL)
}

/// Whether this exit is the question that the extension `loops` does not answer.
pub fn is_loop(exit: &Exit<'_>) -> bool {
    cfg!(target_arch = "x86_64") && exit.class() == ExitClass::IdRead && exit.general(0) as u32 == LOOP_LEAF
}

/// The argument of the test hypercall: RBX, X1.
pub fn argument(exit: &Exit<'_>) -> u64 {
    exit.general(if cfg!(target_arch = "aarch64") { 1 } else { 3 })
}

/// Does `wrong` at the test hypercall and passes everything else through.
pub fn at_test(exit: &mut Exit<'_>, wrong: impl FnOnce(&mut Exit<'_>) -> Resume) -> Resume {
    if is_test(exit) { wrong(exit) } else { passthrough::vmexit(exit) }
}

/// Executes an undefined instruction: exception vector 6, class 0.
pub fn fault() {
    // SAFETY: The processor leaves this program at the instruction, with nothing changed.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("ud2", options(nomem, nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("udf #0", options(nomem, nostack));
    }
}

/// Clears XMM0 or V0, which an extension may not touch.
pub fn use_simd() {
    // SAFETY: It writes only a register that no code of a soft-float target uses. In bytes, because the assembler knows
    // that target too.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(".byte 0x0f, 0x57, 0xc0", options(nomem, nostack));
        #[cfg(target_arch = "aarch64")]
        asm!(".inst 0x4f000400", options(nomem, nostack));
    }
}

/// Reads eight bytes at any address.
pub fn peek(address: u64) -> u64 {
    let value;
    // SAFETY: A load changes nothing; where the address is not this program's, the processor leaves it here.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, [{}]", out(reg) value, in(reg) address, options(nostack, readonly));
        #[cfg(target_arch = "aarch64")]
        asm!("ldr {}, [{}]", out(reg) value, in(reg) address, options(nostack, readonly));
    }
    value
}
