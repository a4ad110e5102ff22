//! AArch64: one ID register and the test hypercall are the extension's, another ID register is declared.

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer, register};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, Id, Plinth, Resume, VmId, passthrough, syscall,
};
use plinth_test_extensions::{
    BENCH_ANSWER, DECLARED_ID, EXTENSION_ID, MEASURE_REFUSED_CALL, MEASURE_REGISTER_READ, MEASURED_CALLS,
    argument, is_test,
};

/// No call has this number: it bears no signature.
const NO_CALL: u64 = 0;

pub(super) struct Bench;

impl Extension for Bench {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let set = [BENCH_ANSWER, 0, 0, 0];
        let leaf = DECLARED_ID as u32;
        plinth.vm_declare_ids(VmId::ROOT, &[IdAnswer { leaf, subleaf: ANY_SUBLEAF, keep: [0; 4], set }])?;
        plinth.vm_intercept_registers(VmId::ROOT, EXTENSION_ID, 1, true, false)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        match exit.class() {
            ExitClass::IdRead if exit.id_read() == Some(Id { register: EXTENSION_ID }) => {
                exit.answer_id(u64::from(BENCH_ANSWER))
            }
            ExitClass::Hypercall if is_test(exit) => calls(exit),
            _ => passthrough::vmexit(exit),
        }
    }
}

/// Makes the calls that the hypercall asks for, or none.
fn calls(exit: &Exit<'_>) -> Resume {
    match argument(exit) {
        MEASURE_REFUSED_CALL => repeat(|| {
            // SAFETY: The kernel refuses a call with this number.
            let _ = unsafe { syscall::raw(NO_CALL, [0; 6]) };
        }),
        MEASURE_REGISTER_READ => {
            let (plinth, vs) = (exit.plinth(), exit.vs());
            repeat(|| _ = plinth.vs_read(vs, register::FLAGS));
        }
        _ => {}
    }
    Resume::AdvanceAndRun
}

#[cold]
#[inline(never)]
fn repeat(call: impl Fn()) {
    (0..MEASURED_CALLS).for_each(|_| call());
}
