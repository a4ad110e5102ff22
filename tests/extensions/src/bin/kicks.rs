//! Kicks the other processors and declares answers at the test hypercall, and counts the exits that come of the kicks.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer, MAX_PPS};
use plinth_extension_api::{Exit, ExitClass, Extension, Failure, Plinth, Resume, VmId, extension};
use plinth_test_extensions::{DECLARED_ID, DECLARED_LEAF, KICK_OTHERS, KICKS_SEEN, argument, at_test};

/// Whose answer is declared.
const LEAF: u32 = if cfg!(target_arch = "aarch64") { DECLARED_ID as u32 } else { DECLARED_LEAF };

/// Exits with the class that a kick brings, on all processors.
static SEEN: AtomicU64 = AtomicU64::new(0);

struct Kicks;

impl Extension for Kicks {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::Attention {
            SEEN.fetch_add(1, Ordering::SeqCst);
            return Resume::Run;
        }
        at_test(exit, |exit| {
            let result = match argument(exit) {
                KICK_OTHERS => kick_others(exit),
                KICKS_SEEN => SEEN.load(Ordering::SeqCst),
                value => declare(exit, value as u32),
            };
            exit.answer_hypercall(result)
        })
    }
}

/// Returns how many there are.
fn kick_others(exit: &Exit<'_>) -> u64 {
    (0..MAX_PPS).filter(|pp| *pp != exit.pp() && exit.plinth().pp_kick(*pp).is_ok()).count() as u64
}

/// Returns how many answers were not declared.
fn declare(exit: &Exit<'_>, value: u32) -> u64 {
    let answer = IdAnswer { leaf: LEAF, subleaf: ANY_SUBLEAF, keep: [0; 4], set: [value, 0, 0, 0] };
    exit.plinth().vm_declare_ids(VmId::ROOT, &[answer]).is_err().into()
}

extension!(Kicks);
