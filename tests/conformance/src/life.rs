//! Checks of groups control, handle and callback.

use plinth_extension_api::abi::spec::Case;
use plinth_extension_api::abi::{Call, Error, Failure, VERSION};

use crate::machine::Machine;
use crate::run::{Found, Run};

const CALLBACKS: [Call; 3] =
    [Call::CallbackRegisterBootstrap, Call::CallbackRegisterVmexit, Call::CallbackRegisterFail];

/// In `_start`: the machine's own start has registered all three callbacks.
pub(crate) fn start(run: &mut Run<'_, impl Machine>) {
    let code = run.machine.code();
    for call in CALLBACKS {
        run.verdict(call, Case::Works, Ok(()));
        run.fails(call, &[0x1000], Error::InvalidArgument, 1, "");
        run.fails_whole(call, &[code], Error::Busy);
    }
    for call in Call::ALL {
        let unreached = plinth_extension_api::abi::spec::Reach::Start;
        let no_vs = |case: &plinth_extension_api::abi::spec::ErrorCase| {
            case.reach == unreached && case.error == Error::WrongState
        };
        if call.contract().errors.iter().any(no_vs) {
            run.fails_whole(*call, &[], Error::WrongState);
        }
    }
}

pub(crate) fn vmexit(run: &mut Run<'_, impl Machine>) {
    // The OS runs, as the root VM, because the bootstrap callback made these calls.
    run.verdict(Call::VsInitAsRoot, Case::Works, Ok(()));
    run.verdict(Call::VsRun, Case::Works, Ok(()));
    run.fails_whole(Call::ControlAgain, &[], Error::WrongState);
    run.fails(Call::HandleOpen, &[u64::MAX], Error::Unsupported, 0, "");
    run.fails_whole(Call::HandleOpen, &[VERSION], Error::Busy);
    handle(run);
    let code = run.machine.code();
    for call in CALLBACKS {
        run.fails_whole(call, &[code], Error::WrongState);
    }
}

/// Closing makes the handle worthless; every version can be opened; opening gives another handle.
fn handle(run: &mut Run<'_, impl Machine>) {
    let old = run.machine.handle();
    run.works_so(Call::HandleClose, &[], |run, _| {
        run.call(Call::VmCreate, &[]) == Err(Failure::argument(0, Error::InvalidHandle))
    });
    let mut served = true;
    for version in 1..=VERSION {
        served &= match run.call(Call::HandleOpen, &[version]) {
            Ok([handle, _]) => run.machine.call(Call::HandleClose.number(), [handle, 0, 0, 0, 0, 0]).0 == 0,
            Err(_) => false,
        };
    }
    let opened = run.machine.reopen() && run.machine.handle() != old;
    let answer = Ok([old, run.machine.handle()]);
    let found = Found(&answer);
    run.verdict(Call::HandleOpen, Case::Works, if opened && served { Ok(()) } else { Err(&found) });
}
