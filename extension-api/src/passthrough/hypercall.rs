//! Hypercalls: those that Plinth's own tools make. All others find no hypervisor to call: #UD, as on the bare machine.

use crate::abi::{ExitClass, HYPERCALL_REPORT, HYPERCALL_STOP};
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
    } else {
        Resume::Inject(Event::UNDEFINED)
    }
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
