//! Checks of views.

use plinth_extension_api::abi::{Call, Error, MAX_VIEWS, ROOT_VM};

use crate::machine::Machine;
use crate::memory::reserved;
use crate::run::{Run, STALE};

const PAGE: u64 = 0x1000;
const GPA: u64 = 0x4000;

pub(crate) fn check(run: &mut Run<'_, impl Machine>, active: u64) {
    let vm = run.need(Call::VmCreate, &[]);
    let page = run.need(Call::MemAllocatePage, &[]);
    run.need(Call::VmMap, &[vm, GPA, page, PAGE, 3]);
    let view = run.works_so(Call::VmViewCreate, &[vm], |_, [view, _]| view != 0);
    protect(run, vm, view);
    query(run, vm, view);
    set(run, vm, view, active);
    for _ in 1..MAX_VIEWS {
        run.need(Call::VmViewCreate, &[vm]);
    }
    run.fails_whole(Call::VmViewCreate, &[vm], Error::OutOfObjects);
    run.fails(Call::VmViewDestroy, &[vm, STALE], Error::StaleId, 2, "");
    run.fails(Call::VmViewDestroy, &[vm, 0], Error::Denied, 2, "");
    run.works_so(Call::VmViewDestroy, &[vm, view], |run, _| {
        run.call(Call::VmViewQuery, &[vm, view, GPA]).is_err()
    });
    run.need(Call::VmUnmap, &[vm, GPA, PAGE]);
    run.need(Call::MemFreePage, &[page]);
    run.need(Call::VmDestroy, &[vm]);
}

fn protect(run: &mut Run<'_, impl Machine>, vm: u64, view: u64) {
    let call = Call::VmViewProtect;
    run.works_so(call, &[vm, view, GPA, PAGE, 1], |run, _| {
        let seen = run.call(Call::VmViewQuery, &[vm, view, GPA]);
        (seen, run.call(Call::VmQuery, &[vm, GPA])) == (Ok([1, PAGE]), Ok([3, PAGE]))
    });
    run.fails(call, &[vm, STALE, GPA, PAGE, 1], Error::StaleId, 2, "");
    run.fails(call, &[vm, 0, GPA, PAGE, 1], Error::Denied, 2, "");
    run.fails(call, &[vm, view, GPA + 8, PAGE, 1], Error::InvalidArgument, 3, "");
    run.fails(call, &[vm, view, GPA, 0, 1], Error::InvalidArgument, 4, "");
    run.fails(call, &[vm, view, GPA, PAGE, 8], Error::InvalidArgument, 5, "");
    run.fails(call, &[vm, view, GPA, 2 * PAGE, 1], Error::NotMapped, 3, "");
    let roots = run.need(Call::VmViewCreate, &[ROOT_VM]);
    let reserved = reserved(run);
    run.fails(call, &[ROOT_VM, roots, reserved, PAGE, 7], Error::Denied, 3, "");
    run.need(Call::VmViewDestroy, &[ROOT_VM, roots]);
}

fn query(run: &mut Run<'_, impl Machine>, vm: u64, view: u64) {
    let call = Call::VmViewQuery;
    run.works_so(call, &[vm, view, GPA], |_, outputs| outputs == [1, PAGE]);
    run.fails(call, &[vm, STALE, GPA], Error::StaleId, 2, "");
    run.fails(call, &[vm, 0, GPA], Error::Denied, 2, "");
    run.fails(call, &[vm, view, GPA + PAGE], Error::NotMapped, 3, "");
}

/// A VS of another VM uses a view; the root VM's active one goes through a view and back.
fn set(run: &mut Run<'_, impl Machine>, vm: u64, view: u64, active: u64) {
    let call = Call::VsSetView;
    let vp = run.need(Call::VpCreate, &[vm]);
    let vs = run.need(Call::VsCreate, &[vp, 0]);
    run.works(call, &[vs, view]);
    run.fails(Call::VmViewDestroy, &[vm, view], Error::Busy, 2, "");
    run.fails(call, &[vs, STALE], Error::StaleId, 2, "");
    run.need(call, &[vs, 0]);
    run.need(Call::VsDestroy, &[vs]);
    run.need(Call::VpDestroy, &[vp]);
    let roots = run.need(Call::VmViewCreate, &[ROOT_VM]);
    run.need(call, &[active, roots]);
    run.need(call, &[active, 0]);
    run.need(Call::VmViewDestroy, &[ROOT_VM, roots]);
}
