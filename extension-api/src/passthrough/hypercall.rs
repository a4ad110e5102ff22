//! Hypercalls: those that Plinth's own tools make. All others find no hypervisor to call: on x86 #UD, as on the bare
//! machine; on AArch64 what SMCCC answers for a function that nobody offers.

use crate::abi::{ExitClass, HYPERCALL_COUNT, HYPERCALL_REPORT, HYPERCALL_STOP};
use crate::event::Event;
use crate::exit::Exit;
use crate::plinth::Plinth;
use crate::resume::Resume;
use crate::root;

/// Answers VMMCALL, VMCALL or HVC; only an OS's kernel is listened to.
pub fn answer(exit: &mut Exit<'_>) -> Resume {
    if exit.is_hypercall(HYPERCALL_STOP) {
        Resume::Promote
    } else if exit.is_hypercall(HYPERCALL_REPORT) {
        report(exit.plinth());
        exit.answer_hypercall(0)
    } else if exit.is_hypercall(HYPERCALL_COUNT) {
        let count = count(exit.plinth(), exit.pp());
        exit.answer_hypercall(count)
    } else {
        unknown(exit)
    }
}

/// #UD.
#[cfg(target_arch = "x86_64")]
fn unknown(_: &mut Exit<'_>) -> Resume {
    Resume::Inject(Event::UNDEFINED)
}

/// NOT_SUPPORTED by SMCCC's conduit, HVC #0 or SMC #0; any other immediate is no call (Arm DEN 0028, 2.9).
#[cfg(target_arch = "aarch64")]
fn unknown(exit: &mut Exit<'_>) -> Resume {
    const IMMEDIATE: u64 = 0xFFFF;
    if exit.code() & IMMEDIATE != 0 {
        return Resume::Inject(Event::UNDEFINED);
    }
    exit.answer_hypercall(crate::abi::HYPERCALL_REFUSED)
}

/// How many exits there were on a PP; 0 for one that there is not.
fn count(plinth: Plinth, pp: u64) -> u64 {
    ExitClass::ALL.iter().map(|class| plinth.debug_exit_count(pp, *class).unwrap_or(0)).sum()
}

/// Logs how many exits of each class there were on each PP, one line for each that there was any of.
pub fn report(plinth: Plinth) {
    for pp in 0..u64::from(root::launched()) {
        for &class in ExitClass::ALL {
            match plinth.debug_exit_count(pp, class) {
                Ok(0) => {}
                Ok(count) => log::info!("exits: pp {pp}: {}: {count}", class.name()),
                Err(failure) => log::warn!("exits: pp {pp}: {}: {failure}", class.name()),
            }
        }
    }
}
