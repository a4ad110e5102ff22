//! At the test hypercall, tries to give the root VM's VS each state of the processor that EL1 and EL0 do not have, and says which are
//! refused. The kernel would enter the guest with an illegal exception return, and stay at EL2, at the guest's address.

#![no_std]
#![no_main]

use plinth_extension_api::abi::register::FLAGS;
use plinth_extension_api::{Exit, Extension, Resume, extension, log};
use plinth_test_extensions::at_test;

/// M[4:0] of PSTATE as SPSR has it (Arm ARM, C5.2.18).
const MODES: [(u64, &str); 6] = [
    (0x10, "EL0 of AArch32"),
    (0x13, "supervisor mode of AArch32"),
    (0x1A, "Hyp mode"),
    (0x08, "EL2 with SP_EL0"),
    (0x09, "EL2"),
    (0x0D, "EL3"),
];

struct States;

impl Extension for States {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            let (plinth, vs) = (exit.plinth(), exit.vs());
            let before = plinth.vs_read(vs, FLAGS).unwrap_or_default();
            for (mode, name) in MODES {
                let outcome = plinth.vs_write(vs, FLAGS, before & !0x1F | mode);
                log::info!("states: {name}: {}", if outcome.is_err() { "refused" } else { "taken" });
                if plinth.vs_write(vs, FLAGS, before).is_err() {
                    log::error!("states: its own state is refused");
                }
            }
            exit.answer_hypercall(0)
        })
    }
}

extension!(States);
