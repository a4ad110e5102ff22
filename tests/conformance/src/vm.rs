//! Checks of VMs and VPs: life, declared policy, intercepts.

use plinth_extension_api::abi::{Call, Error, MAX_ID_ANSWERS, MAX_INTERCEPTS, ROOT_VM};

use crate::machine::Machine;
use crate::run::Run;

/// Bytes of an `IdAnswer`.
const ANSWER: u64 = 40;

pub(crate) fn check(run: &mut Run<'_, impl Machine>) {
    let vm = run.works(Call::VmCreate, &[]);
    let vp = run.works(Call::VpCreate, &[vm]);
    run.fails(Call::VmDestroy, &[ROOT_VM], Error::Denied, 1, "");
    run.fails(Call::VmDestroy, &[vm], Error::Busy, 1, "vp");
    let vs = run.need(Call::VsCreate, &[vp, 0]);
    run.fails(Call::VpDestroy, &[vp], Error::Busy, 1, "");
    run.need(Call::VsDestroy, &[vs]);
    run.works(Call::VpDestroy, &[vp]);
    run.works(Call::VmFlush, &[vm]);
    answers(run, vm);
    registers(run, vm);
    ports(run, vm);
    let page = run.need(Call::MemAllocatePage, &[]);
    run.need(Call::VmMap, &[vm, 0, page, 0x1000, 1]);
    run.fails(Call::VmDestroy, &[vm], Error::Busy, 1, "memory");
    run.need(Call::VmUnmap, &[vm, 0, 0x1000]);
    run.need(Call::MemFreePage, &[page]);
    run.works_so(Call::VmDestroy, &[vm], |run, _| run.call(Call::VpCreate, &[vm]).is_err());
}

fn answers(run: &mut Run<'_, impl Machine>, vm: u64) {
    let page = run.need(Call::MemAllocatePage, &[]);
    for leaf in 0..MAX_ID_ANSWERS {
        run.machine.store(page + leaf * ANSWER, leaf);
    }
    run.works(Call::VmDeclareIds, &[vm, page, MAX_ID_ANSWERS]);
    run.machine.store(page, MAX_ID_ANSWERS);
    run.fails(Call::VmDeclareIds, &[vm, page, 1], Error::OutOfObjects, 3, "");
    run.fails(Call::VmDeclareIds, &[vm, 8, 1], Error::InvalidArgument, 2, "");
    run.fails(Call::VmDeclareIds, &[vm, page, MAX_ID_ANSWERS + 1], Error::InvalidArgument, 3, "");
    run.need(Call::MemFreePage, &[page]);
}

fn registers(run: &mut Run<'_, impl Machine>, vm: u64) {
    let call = Call::VmInterceptRegisters;
    let register = run.machine.interceptable();
    run.works(call, &[vm, register, 1, 1]);
    run.fails(call, &[vm, 1 << 60, 1, 1], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, register, MAX_INTERCEPTS + 1, 1], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, register, 1, 4], Error::InvalidArgument, 4, "");
}

fn ports(run: &mut Run<'_, impl Machine>, vm: u64) {
    let call = Call::VmInterceptPorts;
    // Without ports the call works on none.
    let count = u64::from(run.machine.has_ports());
    run.works(call, &[vm, 0x80, count, 1]);
    run.fails(call, &[vm, 0x1_0000, 1, 1], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, 0x80, MAX_INTERCEPTS + 1, 1], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, 0x80, 1, 2], Error::InvalidArgument, 4, "");
}
