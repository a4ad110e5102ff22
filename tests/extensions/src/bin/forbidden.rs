//! Attempts, one for each test hypercall, everything that an extension must not do. The argument is where the
//! hypervisor's memory is.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::forbidden::{Forbidden, Turn};
use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, argument, at_test};

struct Attempts(Forbidden);

impl Extension for Attempts {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| match self.0.turn(exit.plinth(), argument(exit)) {
            Turn::Done { attempts, contained } => {
                log::info!("forbidden: {attempts} attempts, {contained} contained");
                exit.answer_hypercall(if attempts == contained { 0 } else { NOT_CONTAINED })
            }
            Turn::NotContained(what, number) => {
                log::error!("not contained: {what} ({number:#x})");
                exit.answer_hypercall(NOT_CONTAINED)
            }
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        if fault.is_none() {
            return Resume::GiveUp;
        }
        self.0.contained();
        exit.answer_hypercall(CONTAINED)
    }
}

extension!(Attempts = Attempts(Forbidden::new()));
