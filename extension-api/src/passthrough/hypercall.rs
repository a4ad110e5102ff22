//! Hypercalls: those that Plinth's own tools make. All others find no hypervisor to call: #UD, as on the bare machine.

use crate::abi::{ExitClass, HYPERCALL_REPORT, HYPERCALL_STOP};
use crate::event::Event;
use crate::exit::Exit;
use crate::plinth::Plinth;
use crate::resume::Resume;
use crate::root;

/// The privilege level of an OS's kernel: x86 CPL 0, Arm EL1.
const KERNEL: u64 = if cfg!(target_arch = "aarch64") { 1 } else { 0 };

/// Answers VMMCALL, VMCALL or HVC; only an OS's kernel is listened to.
pub fn answer(exit: &mut Exit<'_>) -> Resume {
    match (exit.privilege(), exit.general(0)) {
        (KERNEL, HYPERCALL_STOP) => Resume::Promote,
        (KERNEL, HYPERCALL_REPORT) => {
            report(exit.plinth());
            exit.set_general(0, 0);
            Resume::AdvanceAndRun
        }
        _ => Resume::Inject(Event::UNDEFINED),
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
