//! Checks of the debug group.

use plinth_extension_api::abi::{Call, Error, MAX_PPS, MAX_WRITE, ROOT_VM};

use crate::machine::Machine;
use crate::run::{Run, STALE};

/// The level at which texts of the checks are written: trace.
const QUIET: u64 = 5;

pub(crate) fn check(run: &mut Run<'_, impl Machine>, active: u64) {
    run.works(Call::DebugOut, &[1, 2]);
    run.works(Call::DebugDumpVm, &[ROOT_VM]);
    run.fails(Call::DebugDumpVm, &[STALE], Error::StaleId, 0, "");
    let vp = run.need(Call::VpCreate, &[ROOT_VM]);
    run.works(Call::DebugDumpVp, &[vp]);
    run.need(Call::VpDestroy, &[vp]);
    run.fails(Call::DebugDumpVp, &[STALE], Error::StaleId, 0, "");
    run.works(Call::DebugDumpExits, &[0]);
    run.fails(Call::DebugDumpExits, &[MAX_PPS], Error::InvalidArgument, 0, "");
    run.works(Call::DebugDumpExtension, &[]);
    run.works(Call::DebugDumpPool, &[]);
    run.works(Call::DebugDumpVs, &[active]);
    run.fails(Call::DebugDumpVs, &[STALE], Error::StaleId, 0, "");
    write(run);
    run.works(Call::DebugExitCount, &[0, 0]);
    run.fails(Call::DebugExitCount, &[MAX_PPS, 0], Error::InvalidArgument, 0, "");
    run.fails(Call::DebugExitCount, &[0, u64::MAX], Error::InvalidArgument, 1, "");
}

fn write(run: &mut Run<'_, impl Machine>) {
    let page = run.need(Call::MemAllocatePage, &[]);
    run.machine.store(page, u64::from_le_bytes(*b"a line\r\n"));
    run.works(Call::DebugWrite, &[page, 8, QUIET]);
    run.fails(Call::DebugWrite, &[8, 8, QUIET], Error::InvalidArgument, 0, "unmapped");
    run.machine.store(page, u64::MAX);
    run.fails(Call::DebugWrite, &[page, 8, QUIET], Error::InvalidArgument, 0, "not-utf-8");
    run.fails(Call::DebugWrite, &[page, MAX_WRITE + 1, QUIET], Error::InvalidArgument, 1, "");
    run.fails(Call::DebugWrite, &[page, 8, 6], Error::InvalidArgument, 2, "");
    run.need(Call::MemFreePage, &[page]);
}
