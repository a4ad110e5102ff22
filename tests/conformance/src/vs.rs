//! Checks of VSs: life, registers, running, events.

use plinth_extension_api::abi::{
    Call, EVENT_INTERRUPT, EVENT_NMI, EVENT_WITHDRAW, Error, MAX_PPS, MAX_REGISTERS, register,
};

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
    many(run, vs);
    run.works(Call::VsFlush, &[vs]);
    run.works(Call::VsActivate, &[active]);
    running(run, vp, active);
    run.works(Call::VsInject, &[vs, EVENT_NMI]);
    run.fails(Call::VsInject, &[vs, 0x700], Error::InvalidArgument, 2, "");
    interrupts(run, vs, active);
    run.works(Call::VsStep, &[vs, 1]);
    run.fails(Call::VsStep, &[vs, 2], Error::InvalidArgument, 2, "");
    run.fails(Call::VsDestroy, &[active], Error::Busy, 1, "");
    run.works_so(Call::VsDestroy, &[vs], |run, _| run.call(Call::VsRead, &[vs, 0]).is_err());
    run.need(Call::VpDestroy, &[vp]);
    run.need(Call::VmDestroy, &[vm]);
}

/// One waits until it is taken back.
fn interrupts(run: &mut Run<'_, impl Machine>, vs: u64, active: u64) {
    let number = run.machine.interrupt();
    run.fails(Call::VsInject, &[active, EVENT_INTERRUPT | number], Error::Denied, 1, "interrupt");
    run.need(Call::VsInject, &[vs, EVENT_INTERRUPT | number]);
    run.fails(Call::VsInject, &[vs, EVENT_INTERRUPT | number], Error::Busy, 2, "");
    run.need(Call::VsInject, &[vs, EVENT_WITHDRAW | number]);
    run.need(Call::VsInject, &[vs, EVENT_INTERRUPT | number]);
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

/// Fills in an entry of a list of registers.
fn set(run: &mut Run<'_, impl Machine>, at: u64, entry: [u64; 3]) {
    for (word, value) in (0..).zip(entry) {
        run.machine.store(at + word * 8, value);
    }
}

fn many(run: &mut Run<'_, impl Machine>, vs: u64) {
    let list = run.need(Call::MemAllocatePage, &[]);
    run.need(Call::VsWrite, &[vs, 3, 0xFF]);
    set(run, list, [3, 0xF0, 0]);
    set(run, list + 24, [register::INSTRUCTION_POINTER, u64::MAX, 0x4560]);
    run.works_so(Call::VsWriteMany, &[vs, list, 2], |run, _| {
        run.call(Call::VsRead, &[vs, 3]) == Ok([0x0F, 0])
            && run.call(Call::VsRead, &[vs, register::INSTRUCTION_POINTER]) == Ok([0x4560, 0])
    });
    set(run, list, [3, 0x0C, 0]);
    set(run, list + 24, [register::INSTRUCTION_POINTER, u64::MAX, 0]);
    run.works_so(Call::VsReadMany, &[vs, list, 2], |run, _| {
        [run.machine.load(list + 16), run.machine.load(list + 40)] == [0x0C, 0x4560]
    });
    for call in [Call::VsReadMany, Call::VsWriteMany] {
        run.fails(call, &[vs, 8, 1], Error::InvalidArgument, 2, "list");
        set(run, list, [NO_REGISTER, u64::MAX, 0]);
        run.fails(call, &[vs, list, 1], Error::InvalidArgument, 2, "entry");
        run.fails(call, &[vs, list, MAX_REGISTERS + 1], Error::InvalidArgument, 3, "");
    }
    run.need(Call::MemFreePage, &[list]);
}

/// What running refuses; that it works a later exit shows.
fn running(run: &mut Run<'_, impl Machine>, vp: u64, active: u64) {
    let far = run.need(Call::VsCreate, &[vp, MAX_PPS - 1]);
    run.fails(Call::VsRun, &[far], Error::Denied, 1, "other-pp");
    run.fails(Call::VsPromote, &[far], Error::Denied, 1, "other-pp");
    for call in [Call::VsActivate, Call::VsAdvanceAndRun] {
        run.fails(call, &[far], Error::Denied, 1, "other-pp");
    }
    run.works(Call::VsMigrate, &[far, MAX_PPS - 2]);
    run.fails(Call::VsMigrate, &[far, MAX_PPS], Error::InvalidArgument, 2, "");
    run.fails(Call::VsMigrate, &[active, 0], Error::Busy, 1, "");
    run.need(Call::VsDestroy, &[far]);
    run.fails_whole(Call::VsInitAsRoot, &[active], Error::WrongState);
}
