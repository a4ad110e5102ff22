//! Checks of runs of pages, and of a guest's memory as the extension reads and writes it.

use plinth_extension_api::abi::{Call, Error, MAX_COPY, ROOT_VM, register};

use crate::machine::Machine;
use crate::memory::reserved;
use crate::run::Run;

const PAGE: u64 = 0x1000;
/// Bytes of a large leaf.
const LARGE: u64 = 2 << 20;
const GPA: u64 = 0x4000;

pub(crate) fn check(run: &mut Run<'_, impl Machine>, active: u64) {
    let vm = run.need(Call::VmCreate, &[]);
    huge(run, vm);
    let [from, to] = [run.need(Call::MemAllocatePage, &[]), run.need(Call::MemAllocatePage, &[])];
    let guest = run.need(Call::MemAllocatePage, &[]);
    run.need(Call::VmMap, &[vm, GPA, guest, PAGE, 1]);
    write(run, vm, from, guest);
    read(run, vm, to);
    translate(run, active);
    run.need(Call::VmUnmap, &[vm, GPA, PAGE]);
    for page in [from, to, guest] {
        run.need(Call::MemFreePage, &[page]);
    }
    run.need(Call::VmDestroy, &[vm]);
}

/// A run of pages is one large leaf of a VM.
fn huge(run: &mut Run<'_, impl Machine>, vm: u64) {
    let before = run.works_so(Call::MemQuery, &[], |_, [free, _]| free > LARGE);
    let at = run.works_so(Call::MemAllocateHuge, &[LARGE], |run, [at, _]| {
        run.machine.store(at + LARGE - 8, 1);
        run.machine.load(at) == 0 && run.machine.load(at + LARGE - 8) == 1
    });
    run.fails(Call::MemAllocateHuge, &[PAGE + 1], Error::InvalidArgument, 1, "");
    let call = Call::MemFreeHuge;
    let code = run.machine.code() & !(PAGE - 1);
    run.need(Call::VmMap, &[vm, LARGE, at, LARGE, 3]);
    let whole = run.call(Call::VmQuery, &[vm, LARGE]) == Ok([3, LARGE]);
    run.fails(call, &[at, LARGE], Error::Busy, 1, "");
    run.need(Call::VmUnmap, &[vm, LARGE, LARGE]);
    run.fails(call, &[at + 8, LARGE], Error::InvalidArgument, 1, "");
    run.fails(call, &[at, 8], Error::InvalidArgument, 2, "");
    run.fails(call, &[code, PAGE], Error::Denied, 1, "");
    run.works_so(call, &[at, LARGE], |run, _| {
        whole && run.call(Call::MemQuery, &[]).is_ok_and(|[free, _]| free + 64 * PAGE > before)
    });
    run.fails(call, &[at, LARGE], Error::NotMapped, 1, "");
}

fn write(run: &mut Run<'_, impl Machine>, vm: u64, from: u64, guest: u64) {
    let call = Call::VmWriteMemory;
    run.machine.store(from, 0x1122_3344_5566_7788);
    run.works_so(call, &[vm, GPA + 16, from, 8], |run, _| {
        run.machine.load(guest + 16) == 0x1122_3344_5566_7788
    });
    run.fails(call, &[vm, u64::MAX, from, 8], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, GPA + PAGE, from, 8], Error::NotMapped, 2, "");
    run.fails(call, &[vm, GPA, 8, 8], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, GPA, from, MAX_COPY + 1], Error::InvalidArgument, 4, "");
    let reserved = reserved(run);
    run.fails(call, &[ROOT_VM, reserved, from, 8], Error::Denied, 2, "");
}

fn read(run: &mut Run<'_, impl Machine>, vm: u64, to: u64) {
    let call = Call::VmReadMemory;
    let code = run.machine.code() & !(PAGE - 1);
    run.works_so(call, &[vm, GPA + 16, to, 8], |run, _| run.machine.load(to) == 0x1122_3344_5566_7788);
    run.fails(call, &[vm, u64::MAX, to, 8], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, GPA + PAGE, to, 8], Error::NotMapped, 2, "");
    run.fails(call, &[vm, GPA, code, 8], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, GPA, to, MAX_COPY + 1], Error::InvalidArgument, 4, "");
}

/// The root VM's instruction leads somewhere where it has memory.
fn translate(run: &mut Run<'_, impl Machine>, active: u64) {
    const EXECUTE: u64 = 2;
    let call = Call::VsTranslate;
    let place = run.need(Call::VsRead, &[active, register::INSTRUCTION_POINTER]);
    run.works_so(call, &[active, place, EXECUTE], |run, [gpa, _]| {
        gpa & (PAGE - 1) == place & (PAGE - 1) && run.call(Call::VmQuery, &[ROOT_VM, gpa]).is_ok()
    });
    run.fails(call, &[active, place, 3], Error::InvalidArgument, 3, "");
}
