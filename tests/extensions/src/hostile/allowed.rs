//! Which of the random calls are made: not those that the kernel would rightly obey to the test's or the root
//! VM's harm. Those are bent until it must refuse them.

use plinth_extension_api::abi::{Call, MAX_WRITE, Permissions, ROOT_VM};
use plinth_extension_api::syscall;

use super::arguments::Known;

/// A generation that no id reaches.
const STALE: u64 = 1 << 47;

/// The arguments with which the call may be made; `None` for never.
pub(super) fn adapt(call: Call, arguments: [u64; 6], known: &Known) -> Option<[u64; 6]> {
    let wrong_handle = || with(arguments, 0, syscall::handle() ^ 1);
    let stale = || with(arguments, 1, arguments[1] | STALE);
    match call {
        // What is made must be known, so that it can be given back.
        Call::VmCreate if known.vms.is_full() => Some(wrong_handle()),
        Call::VpCreate if known.vps.is_full() => Some(wrong_handle()),
        Call::VsCreate if known.vss.is_full() => Some(wrong_handle()),
        Call::MemAllocatePage if known.pages.is_full() => Some(wrong_handle()),
        Call::ControlExit | Call::ControlWait | Call::DebugOut | Call::HandleClose => None,
        Call::ControlAgain
        | Call::VsRunCurrent
        | Call::VsAdvanceAndRunCurrent
        | Call::IntrinsicReset
        | Call::HandleOpen => Some(wrong_handle()),
        Call::VsRun | Call::VsAdvanceAndRun | Call::VsActivate | Call::VsPromote => Some(stale()),
        Call::VsAdvance => Some(wrong_handle()),
        // Itself: the root VM would exit for it afterwards.
        Call::PpKick if arguments[1] == 0 => Some(wrong_handle()),
        Call::VsWrite
        | Call::VsWriteMany
        | Call::VsInject
        | Call::VsStep
        | Call::VsSetView
        | Call::VsMigrate
            if !known.vss.contains(arguments[1]) =>
        {
            Some(stale())
        }
        Call::VmWriteMemory if !known.vms.contains(arguments[1]) => Some(stale()),
        // They write where they are told to.
        Call::VmReadMemory if !known.may_be_target(arguments[3]) => Some(with(arguments, 3, u64::MAX)),
        Call::VsReadMany if !known.may_be_target(arguments[2]) => Some(with(arguments, 2, u64::MAX)),
        // They fill the log.
        Call::DebugDumpExits | Call::DebugDumpExtension | Call::DebugDumpPool => None,
        // A view of the root VM would outlive the attack.
        Call::VmViewCreate if !known.vms.contains(arguments[1]) => Some(stale()),
        Call::VmDeclareIds | Call::VmInterceptPorts if !known.vms.contains(arguments[1]) => Some(stale()),
        Call::VmInterceptRegisters if arguments[1] == ROOT_VM => Some(with(arguments, 4, 0)),
        Call::VmProtect if arguments[1] == ROOT_VM => Some(with(arguments, 4, Permissions::all().bits())),
        Call::DebugDumpVm | Call::DebugDumpVp | Call::DebugDumpVs => {
            Some(with(arguments, 0, arguments[0] | STALE))
        }
        Call::DebugWrite => Some(silent(arguments, known)),
        _ => Some(arguments),
    }
}

/// A write that the kernel refuses: the log is for people.
fn silent(arguments: [u64; 6], known: &Known) -> [u64; 6] {
    let [at, length, level, ..] = arguments;
    let writes = length <= MAX_WRITE && (1..=5).contains(&level) && (length == 0 || known.is_mine(at));
    if writes { with(arguments, 2, level + 5) } else { arguments }
}

const fn with(mut arguments: [u64; 6], index: usize, value: u64) -> [u64; 6] {
    arguments[index] = value;
    arguments
}
