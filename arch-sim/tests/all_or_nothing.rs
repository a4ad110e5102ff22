//! A call that runs out of frames, or is refused, half-way leaves nothing changed: no mapping, no permission, no frame.
//!
//! Each call that allocates is made with no free frame, then with one, and so on until it works: so that each of its
//! allocations fails once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{TEST, meet, program, promoted, refuses, refuses_call, wait_for, with_test};
use plinth_arch_sim::extension::User;
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{Call, Error, MEMORY_TYPE_UNCACHED, ROOT_VM};

const PAGE: u64 = 0x1000;
const LARGE: u64 = 0x20_0000;
/// Where the two large leaves of the VM begin; behind them nothing is mapped.
const FIRST: u64 = LARGE;
const SECOND: u64 = 2 * LARGE;
const END: u64 = 3 * LARGE;
const ALL: u64 = 7;
/// Room for 2 MiB that are aligned, and for the tables.
const POOL_PAGES: u64 = 1100;
/// How many calls there are in [`Place::calls`].
const CALLS: usize = 22;

/// Runs `test` in the vmexit callback, and makes sure that nothing is lost.
fn in_vmexit(test: impl Fn(&Standard, &User) + Send + Sync + 'static) {
    let done = Arc::new(AtomicBool::new(false));
    let mark = done.clone();
    let setup = Setup { pool_pages: POOL_PAGES, ..Setup::default() };
    let extension = with_test(&Standard::new(), move |standard, user, _| {
        test(standard, user);
        mark.store(true, Ordering::SeqCst);
    });
    let mut lab = Lab::with(&setup, extension).expect("the pool is large enough");
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    let before = (lab.kernel.free_frames(), lab.kernel.object_counts());
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert!(done.load(Ordering::SeqCst), "the test's code has run to its end");
    assert_eq!(lab.kernel.free_frames(), before.0, "frames");
    assert_eq!(lab.kernel.object_counts()[0], before.1[0], "VMs");
}

/// A VM with 2 MiB mapped twice, the second time uncached, and two views, one of them with a page that may only be read.
struct Place {
    memory: u64,
    page: u64,
    vm: u64,
    vp: u64,
    views: [u64; 2],
}

impl Place {
    fn new(standard: &Standard, user: &User) -> Self {
        let call = |call, arguments: &[u64]| standard.expect(user, call, arguments);
        let (vm, memory) = (call(Call::VmCreate, &[]), call(Call::MemAllocateHuge, &[LARGE]));
        call(Call::VmMap, &[vm, FIRST, memory, LARGE, ALL]);
        call(Call::VmMap, &[vm, SECOND, memory, LARGE, ALL | MEMORY_TYPE_UNCACHED]);
        let views = [call(Call::VmViewCreate, &[vm]), call(Call::VmViewCreate, &[vm])];
        call(Call::VmViewProtect, &[vm, views[1], FIRST + 0x8_0000, PAGE, 1]);
        let page = call(Call::MemAllocatePage, &[]);
        Self { memory, page, vm, vp: call(Call::VpCreate, &[vm]), views }
    }

    fn destroy(&self, standard: &Standard, user: &User) {
        let call = |call, arguments: &[u64]| standard.expect(user, call, arguments);
        for at in (FIRST..END).step_by(PAGE as usize) {
            let _ = standard.call(user, Call::VmUnmap, &[self.vm, at, PAGE]);
        }
        self.views.iter().for_each(|view| _ = call(Call::VmViewDestroy, &[self.vm, *view]));
        call(Call::VpDestroy, &[self.vp]);
        call(Call::VmDestroy, &[self.vm]);
        call(Call::MemFreeHuge, &[self.memory, LARGE]);
        call(Call::MemFreePage, &[self.page]);
    }

    /// What the VM and its views map around its memory, and the root VM around there: permissions and sizes of leaves.
    fn snapshot(&self, standard: &Standard, user: &User) -> Vec<Option<[u64; 2]>> {
        let mut all = Vec::new();
        let around = |at: u64| (at - 2 * PAGE..at + 4 * PAGE).step_by(PAGE as usize);
        let edges = [FIRST, FIRST + 0x8_0000, SECOND, END, 1 << 30, 1 << 39].into_iter().flat_map(around);
        for at in edges.chain((FIRST..END).step_by(0x1_0000)) {
            all.push(standard.call(user, Call::VmQuery, &[self.vm, at]).ok());
            for view in self.views {
                all.push(standard.call(user, Call::VmViewQuery, &[self.vm, view, at]).ok());
            }
            all.push(standard.call(user, Call::VmQuery, &[ROOT_VM, at]).ok());
        }
        all
    }

    /// The calls that take frames, each with what undoes it where [`Self::destroy`] does not.
    fn calls(&self) -> [(Call, Vec<u64>, Option<Call>); CALLS] {
        let Self { memory, page, vm, vp, views: [view, other] } = *self;
        [
            (Call::VmUnmap, vec![vm, FIRST, PAGE], None),
            (Call::VmUnmap, vec![vm, SECOND - PAGE, PAGE], None),
            (Call::VmUnmap, vec![vm, FIRST + 0x8_0000, PAGE], None),
            (Call::VmUnmap, vec![vm, SECOND - PAGE, 2 * PAGE], None),
            (Call::VmUnmap, vec![vm, FIRST, LARGE + PAGE], None),
            (Call::VmUnmap, vec![vm, FIRST + PAGE, 2 * LARGE - 2 * PAGE], None),
            (Call::VmProtect, vec![vm, FIRST, PAGE, 1], None),
            (Call::VmProtect, vec![vm, FIRST + 0x8_0000, PAGE, 5], None),
            (Call::VmProtect, vec![vm, SECOND - PAGE, 2 * PAGE, 1], None),
            (Call::VmProtect, vec![vm, FIRST + PAGE, 2 * LARGE - 2 * PAGE, 1], None),
            (Call::VmViewProtect, vec![vm, view, SECOND - PAGE, 2 * PAGE, 1], None),
            (Call::VmViewProtect, vec![vm, other, FIRST + 0x8_1000, LARGE, 1], None),
            (Call::VmProtect, vec![ROOT_VM, 0x60_0000, PAGE, 1], None),
            (Call::VmMap, vec![vm, END, page, PAGE, 3], Some(Call::VmUnmap)),
            (Call::VmMap, vec![vm, 1 << 39, page, PAGE, 3], Some(Call::VmUnmap)),
            (Call::VmMap, vec![vm, (1 << 30) - PAGE, memory, 2 * PAGE, 3], Some(Call::VmUnmap)),
            (Call::VmMap, vec![vm, (1 << 30) - PAGE, memory + PAGE, LARGE - PAGE, 3], Some(Call::VmUnmap)),
            (Call::VmViewCreate, vec![vm], Some(Call::VmViewDestroy)),
            (Call::VmCreate, vec![], Some(Call::VmDestroy)),
            (Call::VsCreate, vec![vp, 0], Some(Call::VsDestroy)),
            (Call::MemAllocatePage, vec![], Some(Call::MemFreePage)),
            (Call::MemAllocateHuge, vec![5 * PAGE], Some(Call::MemFreeHuge)),
        ]
    }
}

/// All free pages, in as few calls as can be.
fn take_all(standard: &Standard, user: &User) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    for bytes in [64 * PAGE, PAGE] {
        while let Ok([first, _]) = standard.call(user, Call::MemAllocateHuge, &[bytes]) {
            taken.push((first, bytes));
        }
    }
    taken
}

fn give_back(standard: &Standard, user: &User, taken: Vec<(u64, u64)>) {
    for (first, bytes) in taken {
        standard.expect(user, Call::MemFreeHuge, &[first, bytes]);
    }
}

fn undo(standard: &Standard, user: &User, undoing: Call, arguments: &[u64], output: u64) {
    let arguments = match undoing {
        Call::VmUnmap => vec![arguments[0], arguments[1], arguments[3]],
        Call::VmViewDestroy => vec![arguments[0], output],
        Call::MemFreeHuge => vec![output, arguments[0]],
        _ => vec![output],
    };
    standard.expect(user, undoing, &arguments);
}

/// Makes a call with no free frame, then with one more each time, until it works.
fn one_more_each_time(standard: &Standard, user: &User, number: usize) {
    let place = Place::new(standard, user);
    let (call, arguments, undoing) = place.calls()[number].clone();
    let mut taken = take_all(standard, user);
    let state = || (place.snapshot(standard, user), standard.expect(user, Call::MemQuery, &[]));
    let before = state();
    let mut left = 0;
    let [output, _] = loop {
        let what = format!("{call:?}{arguments:x?} with {left} free frames");
        let answer = standard.call(user, call, &arguments);
        if let Ok(outputs) = answer {
            assert!(left > 0, "{what}: it takes none");
            break outputs;
        }
        refuses_call(answer, Error::OutOfMemory);
        let (mapped, free) = state();
        assert_eq!(free, left * PAGE, "frames after {what}");
        assert!(mapped == before.0, "what is mapped after {what}");
        // From a large piece, so that no table of the extension's goes with it.
        let (first, bytes) = taken.first_mut().expect("many");
        standard.expect(user, Call::MemFreePage, &[*first]);
        (*first, *bytes) = (*first + PAGE, *bytes - PAGE);
        left += 1;
    };
    give_back(standard, user, taken);
    if let Some(undoing) = undoing {
        undo(standard, user, undoing, &arguments, output);
    }
    if arguments.first() == Some(&ROOT_VM) {
        standard.expect(user, call, &[ROOT_VM, arguments[1], arguments[2], ALL]);
    }
    place.destroy(standard, user);
}

#[test]
fn each_allocation_of_each_call_may_fail() {
    // A machine for each, so that none counts as hung.
    for number in 0..CALLS {
        in_vmexit(move |standard, user| one_more_each_time(standard, user, number));
    }
}

/// What is wrong with the end of a range is seen before its beginning is changed.
#[test]
fn a_range_that_ends_in_nothing_is_left_as_it_is() {
    in_vmexit(|standard, user| {
        let place = Place::new(standard, user);
        let (vm, view) = (place.vm, place.views[0]);
        let before = place.snapshot(standard, user);
        let beyond = END - (SECOND - PAGE) + PAGE;
        refuses(standard.call(user, Call::VmUnmap, &[vm, SECOND - PAGE, beyond]), 2, Error::NotMapped);
        refuses(standard.call(user, Call::VmProtect, &[vm, SECOND - PAGE, beyond, 1]), 2, Error::NotMapped);
        let answer = standard.call(user, Call::VmViewProtect, &[vm, view, SECOND - PAGE, beyond, 1]);
        refuses(answer, 3, Error::NotMapped);
        let answer = standard.call(user, Call::VmMap, &[vm, END - PAGE, place.page, PAGE, ALL]);
        refuses(answer, 2, Error::AlreadyMapped);
        // The second page of it is there already.
        standard.expect(user, Call::VmMap, &[vm, END + PAGE, place.page, PAGE, ALL]);
        let answer = standard.call(user, Call::VmMap, &[vm, END, place.memory, 2 * PAGE, ALL]);
        refuses(answer, 2, Error::AlreadyMapped);
        standard.expect(user, Call::VmUnmap, &[vm, END + PAGE, PAGE]);
        assert!(place.snapshot(standard, user) == before);
        place.destroy(standard, user);
    });
}

/// A hook takes a page away and gives it back, wherever the OS wants it to: that must not use up the pool.
#[test]
fn permissions_that_come_back_give_back_what_they_took() {
    in_vmexit(|standard, user| {
        let place = Place::new(standard, user);
        let free = || standard.expect(user, Call::MemQuery, &[]);
        let toggle = |call: Call, head: &[u64], at: u64, back: u64| {
            standard.expect(user, call, &[head, &[at, PAGE, 1]].concat());
            standard.expect(user, call, &[head, &[at, PAGE, back]].concat());
        };
        let (before, mapped) = (free(), place.snapshot(standard, user));
        for at in [FIRST, FIRST + 0x7_F000, SECOND - PAGE, SECOND, END - PAGE] {
            toggle(Call::VmProtect, &[place.vm], at, ALL);
            assert_eq!(free(), before, "the VM's own tables, {at:#x}");
            toggle(Call::VmViewProtect, &[place.vm, place.views[0]], at, ALL);
            assert_eq!(free(), before, "a view's, {at:#x}");
        }
        // 4 MiB of the root VM in which nothing is the hypervisor's.
        for at in (0x40_0000..0x80_0000).step_by(0x1_1000) {
            toggle(Call::VmProtect, &[ROOT_VM], at & !0xFFF, ALL);
            assert_eq!(free(), before, "the root VM's, {at:#x}");
        }
        // Two pages that are given back by one call.
        for at in [FIRST, END - PAGE] {
            standard.expect(user, Call::VmProtect, &[place.vm, at, PAGE, 1]);
        }
        assert!(free() < before, "leaves are split meanwhile");
        standard.expect(user, Call::VmProtect, &[place.vm, FIRST, 2 * LARGE, ALL]);
        assert_eq!(free(), before);
        assert!(place.snapshot(standard, user) == mapped, "and all is mapped as it was");
        place.destroy(standard, user);
    });
}
