//! Answers one ID read and one port by itself, declares the answer of another ID read, and measures system calls at
//! the test hypercall.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer, register};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, IdValue, Plinth, Resume, VmId, extension, passthrough, syscall,
};
use plinth_test_extensions::{
    BENCH_ANSWER, DECLARED_LEAF, EXTENSION_LEAF, EXTENSION_PORT, MEASURE_REFUSED_CALL, MEASURE_REGISTER_READ,
    MEASURED_CALLS, argument, is_test,
};

/// No call has this number: it bears no signature.
const NO_CALL: u64 = 0;

/// The register that is read.
const REGISTER: u64 = if cfg!(target_arch = "x86_64") { register::X86_EFER } else { register::FLAGS };

/// The leaf that is asked for: EAX; on Arm, where nobody measures with this program, the register.
fn asked(exit: &Exit<'_>) -> u32 {
    if cfg!(target_arch = "x86_64") { exit.general(0) as u32 } else { exit.number() as u32 }
}

#[cfg(target_arch = "x86_64")]
const ANSWER: IdValue = [BENCH_ANSWER, 0, 0, 0];
#[cfg(target_arch = "aarch64")]
const ANSWER: IdValue = BENCH_ANSWER as IdValue;

struct Bench;

impl Extension for Bench {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let set = [BENCH_ANSWER, 0, 0, 0];
        let answer = IdAnswer { leaf: DECLARED_LEAF, subleaf: ANY_SUBLEAF, keep: [0; 4], set };
        plinth.vm_declare_ids(VmId::ROOT, &[answer])?;
        if cfg!(target_arch = "x86_64") {
            plinth.vm_intercept_ports(VmId::ROOT, EXTENSION_PORT, 1, true)?;
        }
        Ok(())
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        match exit.class() {
            ExitClass::IdRead if asked(exit) == EXTENSION_LEAF => exit.answer_id(ANSWER),
            ExitClass::PortWrite if exit.number() == u64::from(EXTENSION_PORT) => Resume::AdvanceAndRun,
            ExitClass::Hypercall if is_test(exit) => measure(exit),
            _ => passthrough::vmexit(exit),
        }
    }
}

/// Answers the test hypercall with the ticks of [`MEASURED_CALLS`] system calls, net of the loop around them.
#[cold]
fn measure(exit: &mut Exit<'_>) -> Resume {
    let (plinth, vs) = (exit.plinth(), exit.vs());
    let gross = match argument(exit) {
        MEASURE_REFUSED_CALL => ticks(|| {
            // SAFETY: The kernel refuses a call with this number.
            let _ = unsafe { syscall::raw(NO_CALL, [0; 6]) };
        }),
        MEASURE_REGISTER_READ => ticks(|| _ = plinth.vs_read(vs, REGISTER)),
        _ => return passthrough::vmexit(exit),
    };
    exit.answer_hypercall(gross.saturating_sub(ticks(|| {})))
}

/// The counter that the emulator advances with instructions.
fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: The instruction is on every processor of 64 bits.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(target_arch = "aarch64")]
    {
        let value;
        // SAFETY: Reading the counter changes nothing.
        unsafe { asm!("mrs {}, cntvct_el0", out(reg) value, options(nomem, nostack)) }
        value
    }
}

fn ticks(call: impl Fn()) -> u64 {
    let start = now();
    for _ in 0..MEASURED_CALLS {
        call();
        // SAFETY: It does nothing; it keeps the loop a loop.
        unsafe { asm!("nop", options(nomem, nostack)) };
    }
    now() - start
}

extension!(Bench);
