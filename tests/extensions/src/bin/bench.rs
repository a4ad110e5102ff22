//! Answers one CPUID leaf by itself and declares the answer of another, for the exits to be measured.

#![no_std]
#![no_main]

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, Plinth, Resume, VmId, extension, passthrough,
};
use plinth_test_extensions::{BENCH_ANSWER, DECLARED_LEAF, EXTENSION_LEAF};

struct Bench;

impl Extension for Bench {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let set = [BENCH_ANSWER, 0, 0, 0];
        let answer = IdAnswer { leaf: DECLARED_LEAF, subleaf: ANY_SUBLEAF, keep: [0; 4], set };
        plinth.vm_declare_ids(VmId::ROOT, &[answer])
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::IdRead && exit.cpuid_leaf().0 == EXTENSION_LEAF {
            exit.set_cpuid([BENCH_ANSWER, 0, 0, 0]);
            return Resume::AdvanceAndRun;
        }
        passthrough::vmexit(exit)
    }
}

extension!(Bench);
