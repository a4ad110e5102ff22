//! x86: one CPUID leaf and one port are the extension's, another leaf is declared.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer, register};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, Plinth, Register, Resume, VmId, passthrough, syscall,
};
use plinth_test_extensions::{
    BENCH_ANSWER, DECLARED_LEAF, EXTENSION_LEAF, EXTENSION_PORT, MEASURE_REFUSED_CALL, MEASURE_REGISTER_READ,
    MEASURED_CALLS, is_test,
};

/// No call has this number: it bears no signature.
const NO_CALL: u64 = 0;

pub(super) struct Bench;

impl Extension for Bench {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let set = [BENCH_ANSWER, 0, 0, 0];
        let answer = IdAnswer { leaf: DECLARED_LEAF, subleaf: ANY_SUBLEAF, keep: [0; 4], set };
        plinth.vm_declare_ids(VmId::ROOT, &[answer])?;
        plinth.vm_intercept_ports(VmId::ROOT, EXTENSION_PORT, 1, true)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        match exit.class() {
            ExitClass::IdRead if exit.cpuid_leaf().0 == EXTENSION_LEAF => {
                exit.set_cpuid([BENCH_ANSWER, 0, 0, 0]);
                Resume::AdvanceAndRun
            }
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
    let gross = match exit.get(Register::Rbx) {
        MEASURE_REFUSED_CALL => ticks(|| {
            // SAFETY: The kernel refuses a call with this number.
            let _ = unsafe { syscall::raw(NO_CALL, [0; 6]) };
        }),
        MEASURE_REGISTER_READ => ticks(|| _ = plinth.vs_read(vs, register::X86_EFER)),
        _ => return passthrough::vmexit(exit),
    };
    exit.set_rax(gross.saturating_sub(ticks(|| {})));
    Resume::AdvanceAndRun
}

fn ticks(call: impl Fn()) -> u64 {
    // SAFETY: The instruction is on every processor of 64 bits.
    let now = || unsafe { _rdtsc() };
    let start = now();
    for _ in 0..MEASURED_CALLS {
        call();
        // SAFETY: It does nothing; it keeps the loop a loop.
        unsafe { asm!("nop", options(nomem, nostack)) };
    }
    now() - start
}
