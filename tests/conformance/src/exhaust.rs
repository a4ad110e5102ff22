//! Checks of what happens when something has run out: objects, and memory.

use plinth_extension_api::abi::{Call, Error, MAX_VMS, MAX_VPS, MAX_VSS, ROOT_VM};

use crate::machine::Machine;
use crate::run::Run;

/// A gpa whose tables no other check has made.
const FAR: u64 = 5 << 30;
const PAGE: u64 = 0x1000;
/// Bytes of a large leaf.
const LARGE: u64 = 2 << 20;

pub(crate) fn check(run: &mut Run<'_, impl Machine>) {
    vms(run);
    vps_and_vss(run);
    memory(run);
}

/// Makes objects until `most` calls have worked or one fails; each is remembered in the page at `list`.
fn fill(run: &mut Run<'_, impl Machine>, call: Call, arguments: &[u64], most: u64, list: u64) -> u64 {
    for made in 0..most {
        match run.call(call, arguments) {
            Ok([object, _]) => run.machine.store(list + made * 8, object),
            Err(_) => return made,
        }
    }
    most
}

fn empty(run: &mut Run<'_, impl Machine>, call: Call, count: u64, list: u64) {
    for index in 0..count {
        let object = run.machine.load(list + index * 8);
        run.need(call, &[object]);
    }
}

fn vms(run: &mut Run<'_, impl Machine>) {
    let list = run.need(Call::MemAllocatePage, &[]);
    let made = fill(run, Call::VmCreate, &[], MAX_VMS, list);
    run.fails_whole(Call::VmCreate, &[], Error::OutOfObjects);
    empty(run, Call::VmDestroy, made, list);
    run.need(Call::MemFreePage, &[list]);
}

fn vps_and_vss(run: &mut Run<'_, impl Machine>) {
    let list = run.need(Call::MemAllocatePage, &[]);
    let vm = run.need(Call::VmCreate, &[]);
    let made = fill(run, Call::VpCreate, &[vm], MAX_VPS, list);
    run.fails_whole(Call::VpCreate, &[vm], Error::OutOfObjects);
    empty(run, Call::VpDestroy, made, list);
    let vp = run.need(Call::VpCreate, &[vm]);
    let made = fill(run, Call::VsCreate, &[vp, 0], MAX_VSS, list);
    run.fails_whole(Call::VsCreate, &[vp, 0], Error::OutOfObjects);
    empty(run, Call::VsDestroy, made, list);
    run.need(Call::VpDestroy, &[vp]);
    run.need(Call::VmDestroy, &[vm]);
    run.need(Call::MemFreePage, &[list]);
}

/// Takes every page that there is, sees who notices, and gives all back.
fn memory(run: &mut Run<'_, impl Machine>) {
    let vm = run.need(Call::VmCreate, &[]);
    let vp = run.need(Call::VpCreate, &[vm]);
    let page = run.need(Call::MemAllocatePage, &[]);
    let view = run.need(Call::VmViewCreate, &[ROOT_VM]);
    let large = large_leaf(run);
    let run_of_pages = run.need(Call::MemAllocateHuge, &[LARGE]);
    run.need(Call::VmMap, &[vm, LARGE, run_of_pages, LARGE, 3]);
    let mut last = 0;
    let mut taken = 0u64;
    while let Ok([next, _]) = run.call(Call::MemAllocatePage, &[]) {
        run.machine.store(next, last);
        last = next;
        taken += 1;
    }
    run.machine.say(format_args!("ABI took {taken} pages"));
    run.fails_whole(Call::MemAllocatePage, &[], Error::OutOfMemory);
    run.fails_whole(Call::MemAllocateHuge, &[PAGE], Error::OutOfMemory);
    run.fails_whole(Call::VmCreate, &[], Error::OutOfMemory);
    run.fails_whole(Call::VsCreate, &[vp, 0], Error::OutOfMemory);
    run.fails_whole(Call::VmMap, &[vm, FAR, page, PAGE, 3], Error::OutOfMemory);
    run.fails_whole(Call::VmProtect, &[ROOT_VM, large, PAGE, 1], Error::OutOfMemory);
    run.fails_whole(Call::VmViewProtect, &[ROOT_VM, view, large, PAGE, 1], Error::OutOfMemory);
    run.fails_whole(Call::VmViewCreate, &[ROOT_VM], Error::OutOfMemory);
    run.fails_whole(Call::VmUnmap, &[vm, LARGE, PAGE], Error::OutOfMemory);
    while last != 0 {
        let next = run.machine.load(last);
        run.need(Call::MemFreePage, &[last]);
        last = next;
    }
    run.need(Call::VmUnmap, &[vm, LARGE, LARGE]);
    run.need(Call::MemFreeHuge, &[run_of_pages, LARGE]);
    run.need(Call::VmViewDestroy, &[ROOT_VM, view]);
    run.need(Call::MemFreePage, &[page]);
    run.need(Call::VpDestroy, &[vp]);
    run.need(Call::VmDestroy, &[vm]);
}

/// A place in the root VM whose leaf is larger than a page.
fn large_leaf(run: &mut Run<'_, impl Machine>) -> u64 {
    const STEP: u64 = 2 << 20;
    let is_large = |run: &mut Run<'_, _>, gpa| {
        run.call(Call::VmQuery, &[ROOT_VM, gpa]).is_ok_and(|[_, leaf]| leaf > PAGE)
    };
    (0..FAR).step_by(STEP as usize).find(|gpa| is_large(run, *gpa)).unwrap_or(0)
}
