//! Checks of VSs: life, registers, running, events.

use plinth_extension_api::abi::{Call, EVENT_NMI, Error, MAX_PPS, register};

use crate::machine::Machine;
use crate::run::Run;

/// A register that no machine has.
const NO_REGISTER: u64 = 1 << 60;

pub(crate) fn check(run: &mut Run<'_, impl Machine>, active: u64) {
    let vm = run.need(Call::VmCreate, &[]);
    let vp = run.need(Call::VpCreate, &[vm]);
    let vs = run.works(Call::VsCreate, &[vp, 0]);
    run.fails(Call::VsCreate, &[vp, MAX_PPS], Error::InvalidArgument, 2, "");
    registers(run, vs);
    running(run, vp, active);
    run.works(Call::VsInject, &[vs, EVENT_NMI]);
    run.fails(Call::VsInject, &[vs, 0x700], Error::InvalidArgument, 2, "");
    run.works(Call::VsStep, &[vs, 1]);
    run.fails(Call::VsStep, &[vs, 2], Error::InvalidArgument, 2, "");
    run.fails(Call::VsDestroy, &[active], Error::Busy, 1, "");
    run.works_so(Call::VsDestroy, &[vs], |run, _| run.call(Call::VsRead, &[vs, 0]).is_err());
    run.need(Call::VpDestroy, &[vp]);
    run.need(Call::VmDestroy, &[vm]);
}

fn registers(run: &mut Run<'_, impl Machine>, vs: u64) {
    let place = register::INSTRUCTION_POINTER;
    run.works_so(Call::VsWrite, &[vs, place, 0x1230], |run, _| {
        run.call(Call::VsRead, &[vs, place]) == Ok([0x1230, 0])
    });
    run.need(Call::VsWrite, &[vs, 5, 77]);
    run.works_so(Call::VsRead, &[vs, 5], |_, outputs| outputs == [77, 0]);
    run.fails(Call::VsRead, &[vs, NO_REGISTER], Error::InvalidArgument, 2, "");
    run.fails(Call::VsWrite, &[vs, NO_REGISTER, 0], Error::InvalidArgument, 2, "");
}

/// What running refuses; that it works a later exit shows.
fn running(run: &mut Run<'_, impl Machine>, vp: u64, active: u64) {
    let far = run.need(Call::VsCreate, &[vp, MAX_PPS - 1]);
    run.fails(Call::VsRun, &[far], Error::Denied, 1, "other-pp");
    run.fails(Call::VsPromote, &[far], Error::Denied, 1, "other-pp");
    run.need(Call::VsDestroy, &[far]);
    run.fails_whole(Call::VsInitAsRoot, &[active], Error::WrongState);
}
