//! The root VM's nested tables have the machine's memory types, whatever the root VM makes of those.

mod common;

use std::sync::atomic::Ordering;

use common::{MEETING, TEST, TEST_CALL, eventually, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{CONTROL_PAGE, HIGH_MEMORY, RESERVATION, Trace};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, ExitClass, ROOT_VM};
use plinth_hal::Spa;
use plinth_hal::page_table::MemoryType;

/// Inside a large leaf, and of a size that no leaf has.
const AT: u64 = 0x40_3000;
const SIZE: u64 = 0x5000;

const WRITE_BACK: u64 = MemoryType::WriteBack as u64;
const UNCACHED: u64 = MemoryType::Uncached as u64;

fn set(start: u64, size: u64) -> [Op; 1] {
    [Op::SetUncached { start, size }]
}

fn types<const N: usize>(of: [u64; N]) -> [Op; N] {
    of.map(|address| Op::ReportType { address })
}

#[test]
fn what_is_changed_is_followed_to_the_page() {
    let mut lab = Lab::new(Standard::new().extension());
    let around = types([AT - 1, AT, AT + SIZE - 1, AT + SIZE]);
    let touch = [Op::Store { address: AT, value: 7 }, Op::Load { address: AT }, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[&around, &set(AT, SIZE), &around, &touch])));
    let [b, u] = [WRITE_BACK, UNCACHED];
    assert_eq!(lab.machine.values(), [b, b, b, b, b, u, u, b, 7]);
    assert_eq!(lab.exits(0, ExitClass::Cache), 1);
}

#[test]
fn another_processor_forgets_the_old_type() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.machine.trouble.slow_interrupts.store(true, Ordering::Relaxed);
    let seen = Op::Store { address: MEETING, value: 1 };
    lab.launch(0, &program(&[&types([AT]), &[seen], &wait_for(2), &types([AT])]));
    lab.launch(1, &program(&[&wait_for(1), &set(AT, SIZE), &[Op::Store { address: MEETING, value: 2 }]]));
    promoted(&lab.end(0));
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [WRITE_BACK, UNCACHED]);
}

#[test]
fn the_hypervisors_own_memory_and_the_control_page_stay_what_they_are() {
    let mut lab = Lab::new(Standard::new().extension());
    let own = types([RESERVATION.start, RESERVATION.end - 1, CONTROL_PAGE]);
    let read = [Op::Load { address: RESERVATION.start + 8 }, Op::Report { register: 0 }];
    let write = [Op::Store { address: CONTROL_PAGE, value: 9 }];
    promoted(&lab.run(&program(&[&set(0, 32 << 20), &own, &read, &write])));
    assert_eq!(lab.machine.values(), [WRITE_BACK, WRITE_BACK, UNCACHED, 0]);
    assert_eq!(lab.machine.device_writes(), [9], "writes still exit");
}

#[test]
fn memory_that_is_mapped_later_has_its_type_too() {
    let mut lab = Lab::new(Standard::new().extension());
    let (start, end) = (HIGH_MEMORY.start, HIGH_MEMORY.end);
    let touch = [Op::Load { address: start }];
    let pieces = types([start, start + 0x1000, end - 1]);
    promoted(&lab.run(&program(&[&set(start + 0x1000, 0x1000), &touch, &pieces])));
    assert_eq!(lab.machine.values(), [WRITE_BACK, UNCACHED, WRITE_BACK]);
}

#[test]
fn changes_back_and_forth_cost_no_memory() {
    let mut lab = Lab::new(Standard::new().extension());
    let places: Vec<_> = (1..6).flat_map(|page| set(AT + (page << 20), SIZE)).collect();
    let done = [Op::Store { address: MEETING, value: 2 }];
    lab.launch(0, &program(&[&wait_for(1), &places, &set(0, 0), &done, &wait_for(3)]));
    let before = lab.kernel.free_frames();
    meet(&lab, 1);
    eventually("the last change", || lab.machine.ram.load(Spa::new(MEETING)) == 2);
    assert_eq!(lab.kernel.free_frames(), before);
    meet(&lab, 3);
    promoted(&lab.end(0));
    assert_eq!(lab.exits(0, ExitClass::Cache), 6);
}

/// Hooks a page of the root VM's by a view.
fn in_a_view(standard: &Standard, user: &User, exit: ExitInfo) {
    let view = standard.expect(user, Call::VmViewCreate, &[ROOT_VM]);
    standard.expect(user, Call::VmViewProtect, &[ROOT_VM, view, AT, 0x1000, 1]);
    standard.expect(user, Call::VsSetView, &[exit.vs, view]);
}

#[test]
fn views_follow_and_keep_their_permissions() {
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Memory {
            // The store is refused: permissions are the view's.
            own.expect(user, Call::VsSetView, &[exit.vs, 0]);
            own.run(user);
        }
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST_CALL {
            in_a_view(&own, user, exit);
            own.advance_and_run(user);
        }
        own.vmexit(user, exit);
    });
    let mut lab = Lab::new(extension);
    let store = [Op::Store { address: AT, value: 1 }];
    promoted(&lab.run(&program(&[&TEST, &set(AT, SIZE), &types([AT]), &store, &types([AT])])));
    assert_eq!(lab.machine.values(), [UNCACHED, UNCACHED]);
    assert_eq!(lab.exits(0, ExitClass::Memory), 1);
}

#[test]
fn without_frames_the_map_stays_and_the_root_vm_lives() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        while standard.call(user, Call::MemAllocatePage, &[]).is_ok() {}
    }));
    promoted(&lab.run(&program(&[&TEST, &set(AT, SIZE), &types([AT, AT + SIZE])])));
    assert_eq!(lab.machine.values(), [WRITE_BACK, WRITE_BACK]);
}

/// Leaves the extension `left` pages, and says what became of a change of types whose two borders lie in two large leaves.
fn with_frames_left(left: usize) -> (Vec<u64>, bool, usize) {
    let mut lab = Lab::new(with_test(&Standard::new(), move |standard, user, _| {
        let mut pages = Vec::new();
        while let Ok([page, _]) = standard.call(user, Call::MemAllocatePage, &[]) {
            pages.push(page);
        }
        for page in pages.iter().rev().take(left) {
            standard.expect(user, Call::MemFreePage, &[*page]);
        }
    }));
    let (start, end) = (AT, AT + (3 << 20));
    let around = types([start - 1, start, end - 1, end]);
    let done = [Op::Store { address: MEETING, value: 2 }];
    let called = [Op::Store { address: MEETING, value: 5 }];
    lab.launch(
        0,
        &program(&[&TEST, &called, &wait_for(1), &set(start, end - start), &around, &done, &wait_for(3)]),
    );
    eventually("the call", || lab.machine.ram.load(Spa::new(MEETING)) == 5);
    let before = lab.kernel.free_frames();
    meet(&lab, 1);
    eventually("the change", || lab.machine.ram.load(Spa::new(MEETING)) == 2);
    let used = before - lab.kernel.free_frames();
    meet(&lab, 3);
    promoted(&lab.end(0));
    let refused = lab.machine.trace().iter().any(|entry| matches!(entry, Trace::Event(_)));
    (lab.machine.values(), !refused, used)
}

#[test]
fn a_change_that_runs_out_of_frames_half_way_is_refused_as_a_whole() {
    let (old, new) = ([WRITE_BACK; 4], [WRITE_BACK, UNCACHED, UNCACHED, WRITE_BACK]);
    let mut refused = 0;
    for left in 0..12 {
        let (values, succeeded, used) = with_frames_left(left);
        assert_eq!(values, if succeeded { new } else { old }, "{left} frames");
        assert!(succeeded || used == 0, "{left} frames: {used} are gone");
        refused += usize::from(!succeeded);
    }
    assert!((2..12).contains(&refused), "{refused} of 12 were refused");
}
