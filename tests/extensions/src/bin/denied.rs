//! Declares two groups of calls, enough to be the VMM, and says how many calls of these and of the others are denied.

#![no_std]
#![no_main]

use plinth_extension_api::abi::{Call, Error, GROUPS_ALWAYS};
use plinth_extension_api::syscall::raw;
use plinth_extension_api::{Exit, Extension, Failure, Groups, Plinth, Resume, extension, log, passthrough};

struct Denied;

impl Extension for Denied {
    fn start(&self, _plinth: Plinth) -> Result<(), Failure> {
        let declared = (Groups::VP | Groups::VS).bits();
        for (groups, what) in [(declared, "declared"), (!(declared | GROUPS_ALWAYS), "undeclared")] {
            let (denied, all) = outcomes(groups);
            let how_many = if denied == 0 {
                "none"
            } else if denied == all {
                "all"
            } else {
                "some"
            };
            log::info!("denied: {how_many} of {all} {what} calls");
        }
        Ok(())
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

/// How many calls of some groups are denied, and how many there are.
fn outcomes(groups: u64) -> (usize, usize) {
    let calls = Call::ALL.iter().filter(|call| groups >> call.group() & 1 != 0);
    calls.fold((0, 0), |(denied, all), call| (denied + usize::from(is_denied(*call)), all + 1))
}

fn is_denied(call: Call) -> bool {
    // SAFETY: With a handle that is none, a call that is not denied fails and does nothing.
    let outcome = unsafe { raw(call.number(), [u64::MAX; 6]) };
    outcome.status.result() == Err(Failure::from(Error::Denied))
}

extension!(Denied, groups: [VP, VS]);
