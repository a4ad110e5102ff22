//! Checks of nested paging and of the extension's own pages.

use plinth_extension_api::abi::{
    Call, Error, Failure, MEMORY_TYPE_UNCACHED, MEMORY_TYPE_WRITE_COMBINING, MEMORY_TYPE_WRITE_THROUGH,
    MEMORY_TYPES, ROOT_VM,
};

use crate::machine::Machine;
use crate::run::Run;

/// Bytes of a page.
const PAGE: u64 = 0x1000;
/// Where the checks map.
const GPA: u64 = 0x4000;
/// Read and write.
const DATA: u64 = 3;

pub(crate) fn check(run: &mut Run<'_, impl Machine>) {
    let vm = run.need(Call::VmCreate, &[]);
    let page = run.works_so(Call::MemAllocatePage, &[], |run, [page, _]| {
        (0..PAGE).step_by(8).all(|offset| run.machine.load(page + offset) == 0)
    });
    map(run, vm, page);
    query(run, vm);
    protect(run, vm);
    run.fails(Call::MemFreePage, &[page], Error::Busy, 1, "");
    unmap(run, vm);
    free(run, page);
    run.need(Call::VmDestroy, &[vm]);
}

fn map(run: &mut Run<'_, impl Machine>, vm: u64, page: u64) {
    let call = Call::VmMap;
    let code = run.machine.code() & !(PAGE - 1);
    let gone = run.need(Call::MemAllocatePage, &[]);
    run.need(Call::MemFreePage, &[gone]);
    run.fails(call, &[ROOT_VM, GPA, page, PAGE, DATA], Error::Denied, 1, "");
    run.fails(call, &[vm, GPA + 8, page, PAGE, DATA], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, GPA, page + 8, PAGE, DATA], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, GPA, page, 0, DATA], Error::InvalidArgument, 4, "");
    run.fails(call, &[vm, GPA, page, PAGE, 8], Error::InvalidArgument, 5, "");
    run.fails(call, &[vm, GPA, gone, PAGE, DATA], Error::NotMapped, 3, "");
    run.fails(call, &[vm, GPA, code, PAGE, DATA], Error::Denied, 3, "");
    run.works_so(call, &[vm, GPA, page, PAGE, DATA], |run, _| {
        let mapped = run.call(Call::VmQuery, &[vm, GPA]) == Ok([DATA, PAGE]);
        mapped && run.call(Call::VmUnmap, &[vm, GPA, PAGE]).is_ok() && memory_types(run, vm, page)
    });
    run.need(call, &[vm, GPA, page, PAGE, DATA]);
    run.fails(call, &[vm, GPA, page, PAGE, DATA], Error::AlreadyMapped, 2, "");
}

/// Whether memory is mapped with the type that is asked for, and keeps it; and no other number is one.
fn memory_types(run: &mut Run<'_, impl Machine>, vm: u64, page: u64) -> bool {
    let none = run.call(Call::VmMap, &[vm, GPA, page, PAGE, DATA | MEMORY_TYPES]);
    let types = [MEMORY_TYPE_UNCACHED, MEMORY_TYPE_WRITE_COMBINING, MEMORY_TYPE_WRITE_THROUGH];
    none == Err(Failure::argument(5, Error::InvalidArgument))
        && types.iter().all(|memory_type| {
            run.call(Call::VmMap, &[vm, GPA, page, PAGE, DATA | memory_type]).is_ok()
                && run.call(Call::VmProtect, &[vm, GPA, PAGE, 1]).is_ok()
                && run.call(Call::VmQuery, &[vm, GPA]) == Ok([1 | memory_type, PAGE])
                && run.call(Call::VmUnmap, &[vm, GPA, PAGE]).is_ok()
        })
}

fn query(run: &mut Run<'_, impl Machine>, vm: u64) {
    run.works_so(Call::VmQuery, &[vm, GPA + 8], |_, outputs| outputs == [DATA, PAGE]);
    run.fails(Call::VmQuery, &[vm, GPA + PAGE], Error::NotMapped, 2, "");
}

fn protect(run: &mut Run<'_, impl Machine>, vm: u64) {
    let call = Call::VmProtect;
    run.works_so(call, &[vm, GPA, PAGE, 1], |run, _| run.call(Call::VmQuery, &[vm, GPA]) == Ok([1, PAGE]));
    run.fails(call, &[vm, GPA + 8, PAGE, 1], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, GPA, 0, 1], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, GPA, PAGE, 8], Error::InvalidArgument, 4, "");
    run.fails(call, &[vm, GPA, 2 * PAGE, 1], Error::NotMapped, 2, "");
    let reserved = reserved(run);
    run.fails(call, &[ROOT_VM, reserved, PAGE, 7], Error::Denied, 2, "");
}

/// A page of the root VM that is the hypervisor's: it can only be read.
pub(crate) fn reserved(run: &mut Run<'_, impl Machine>) -> u64 {
    const STEP: u64 = 2 << 20;
    const END: u64 = 16 << 30;
    let is_reserved = |run: &mut Run<'_, _>, gpa| run.call(Call::VmQuery, &[ROOT_VM, gpa]) == Ok([1, PAGE]);
    (0..END).step_by(STEP as usize).find(|gpa| is_reserved(run, *gpa)).unwrap_or(0)
}

fn unmap(run: &mut Run<'_, impl Machine>, vm: u64) {
    let call = Call::VmUnmap;
    run.fails(call, &[ROOT_VM, GPA, PAGE], Error::Denied, 1, "");
    run.fails(call, &[vm, GPA + 8, PAGE], Error::InvalidArgument, 2, "");
    run.fails(call, &[vm, GPA, 0], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, GPA, 2 * PAGE], Error::NotMapped, 2, "");
    run.works_so(call, &[vm, GPA, PAGE], |run, _| run.call(Call::VmQuery, &[vm, GPA]).is_err());
}

fn free(run: &mut Run<'_, impl Machine>, page: u64) {
    let call = Call::MemFreePage;
    let code = run.machine.code() & !(PAGE - 1);
    run.fails(call, &[page + 8], Error::InvalidArgument, 1, "");
    run.fails(call, &[code], Error::Denied, 1, "");
    run.works(call, &[page]);
    run.fails(call, &[page], Error::NotMapped, 1, "");
}
