//! Processors that no loader launches: the root VM starts them, under the hypervisor.

mod common;

use std::sync::atomic::Ordering;

use common::{TEST, eventually, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Extension, Slot};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab, Setup};
use plinth_arch_sim::machine::{LOW_PAGE, Machine, Trace};
use plinth_arch_sim::standard::Standard;
use plinth_arch_sim::vs::{reset, reset_others, start, start_all};
use plinth_extension_api::abi::{Call, ExitClass};
use plinth_hal::Event;
use plinth_kernel::PrepareError;
use plinth_launch::LaunchError;

/// Where a processor starts.
const ENTRY: u32 = 0x18_0000;
/// Where it starts the second time.
const SECOND: u32 = 0x19_0000;

fn id(pp: usize) -> u32 {
    Machine::hardware_id(pp)
}

fn lab_with(cold: usize, extension: Extension) -> Lab {
    Lab::with(&Setup::with_cold(cold), extension).expect("the setup is right")
}

/// A machine with `cold` more processors, which run `program` at [`ENTRY`].
fn lab(cold: usize, program: &[Op]) -> Lab {
    let lab = lab_with(cold, Standard::new().extension());
    lab.load(ENTRY.into(), program);
    lab
}

fn eventually_launched(lab: &Lab, count: usize) {
    eventually("the launches", || lab.kernel.launched_pps() == count);
}

#[test]
fn a_processor_is_started_under_the_hypervisor() {
    let mut lab = lab(1, &program(&[&[Op::Report { register: 5 }], &id_read(5)]));
    lab.launch(0, &program(&[&[reset(id(1)), start(id(1), ENTRY)], &wait_for(1)]));
    eventually("its exit", || lab.exits(1, ExitClass::IdRead) == 1);
    promoted(&lab.end(1));
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values()[..2], [0, 0x55], "as after a reset, and the extension answers its exits");
    assert_eq!(lab.machine.forwarded(), [], "nothing reaches it past the hypervisor");
}

#[test]
fn it_waits_for_its_start() {
    let mut lab = lab(1, &program(&[]));
    lab.launch(0, &program(&[&[reset(id(1)), reset(id(1))], &wait_for(1)]));
    eventually("the resets", || lab.exits(0, ExitClass::Processor) == 2);
    assert_eq!(lab.kernel.launched_pps(), 1);
    meet(&lab, 1);
    promoted(&lab.end(0));
}

#[test]
fn a_start_is_repeated_and_counts_once() {
    for misses in [false, true] {
        let mut lab = lab(1, &program(&[&[Op::Report { register: 0 }], &wait_for(1)]));
        lab.machine.trouble.misses_first_start.store(misses, Ordering::SeqCst);
        lab.load(
            SECOND.into(),
            &program(&[&[Op::Set { register: 0, value: 9 }, Op::Report { register: 0 }]]),
        );
        let wake = [reset(id(1)), start(id(1), ENTRY), start(id(1), SECOND)];
        lab.launch(0, &program(&[&wake, &wait_for(1)]));
        eventually("its report", || lab.machine.values() == [0]);
        meet(&lab, 1);
        promoted(&lab.end(1));
        promoted(&lab.end(0));
    }
}

#[test]
fn all_others_are_started_at_once() {
    let mut lab = lab(3, &program(&[&[Op::Report { register: 1 }], &wait_for(1)]));
    lab.launch(0, &program(&[&[reset_others(), start_all(ENTRY)], &wait_for(1)]));
    eventually_launched(&lab, 4);
    eventually("their reports", || lab.machine.values() == [0, 0, 0]);
    meet(&lab, 1);
    (0..4).for_each(|pp| promoted(&lab.end(pp)));
}

#[test]
fn two_may_start_the_same_third() {
    for _ in 0..10 {
        let both = program(&[&wait_for(1), &[start(id(2), SECOND)], &wait_for(2)]);
        let mut lab = lab(2, &both);
        lab.machine.trouble.slow_reset.store(true, Ordering::SeqCst);
        lab.load(SECOND.into(), &program(&[&[Op::Report { register: 0 }], &wait_for(2)]));
        lab.launch(0, &program(&[&[start(id(1), ENTRY)], &both]));
        eventually_launched(&lab, 2);
        meet(&lab, 1);
        eventually_launched(&lab, 3);
        eventually("both writes", || {
            lab.exits(0, ExitClass::Processor) == 2 && lab.exits(1, ExitClass::Processor) == 1
        });
        eventually("its report", || lab.machine.values() == [0]);
        meet(&lab, 2);
        (0..3).for_each(|pp| promoted(&lab.end(pp)));
        assert_eq!(lab.machine.cold_starts(), 2, "none is reset on its way");
    }
}

#[test]
fn it_is_taken_off_line_and_brought_back() {
    let mut lab = lab(1, &wait_for(99));
    lab.load(SECOND.into(), &program(&[&[Op::Report { register: 3 }]]));
    let again = [reset(id(1)), start(id(1), SECOND)];
    lab.launch(0, &program(&[&[start(id(1), ENTRY)], &wait_for(1), &again, &wait_for(2)]));
    eventually_launched(&lab, 2);
    meet(&lab, 1);
    promoted(&lab.end(1));
    meet(&lab, 2);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values()[0], 0);
}

#[test]
fn what_is_not_there_is_not_started() {
    let mut lab = lab(1, &[]);
    promoted(&lab.run(&program(&[&[reset(id(5)), start(id(5), ENTRY), start(0xABCD, ENTRY)]])));
    assert_eq!(lab.machine.forwarded(), []);
    assert_eq!(lab.kernel.launched_pps(), 1);
}

#[test]
fn one_that_refuses_stays_off_and_can_be_tried_again() {
    let mut lab = lab(1, &program(&[&[Op::Report { register: 2 }]]));
    lab.machine.trouble.refuses_entry.store(1 << 1, Ordering::SeqCst);
    let wake = [reset(id(1)), start(id(1), ENTRY)];
    lab.launch(0, &program(&[&wake, &wait_for(1), &wake, &wait_for(2)]));
    eventually("the first try", || lab.exits(1, ExitClass::EntryRefused) == 1);
    let Ended::Abandoned(status, _) = lab.end(1) else { panic!("launched") };
    assert_eq!(status.error(), Some(LaunchError::EntryRefused));
    assert_eq!(lab.kernel.launched_pps(), 1, "the root VM lives");
    assert_eq!(lab.kernel.object_counts(), [1, 1, 1]);
    lab.machine.trouble.refuses_entry.store(0, Ordering::SeqCst);
    meet(&lab, 1);
    eventually("its report", || lab.machine.values().first() == Some(&0));
    promoted(&lab.end(1));
    meet(&lab, 2);
    promoted(&lab.end(0));
}

#[test]
fn a_machine_that_cannot_start_it_may_try_again() {
    let mut lab = lab(1, &program(&[]));
    lab.machine.trouble.refuses_start.store(true, Ordering::SeqCst);
    lab.launch(0, &program(&[&[start(id(1), ENTRY)], &wait_for(1), &[start(id(1), ENTRY)], &wait_for(2)]));
    eventually("the first try", || lab.exits(0, ExitClass::Processor) == 1);
    lab.machine.trouble.refuses_start.store(false, Ordering::SeqCst);
    meet(&lab, 1);
    eventually("the second try", || lab.exits(0, ExitClass::Processor) == 2);
    promoted(&lab.end(1));
    meet(&lab, 2);
    promoted(&lab.end(0));
}

#[test]
fn an_extension_that_gives_up_there_leaves_the_others_alone() {
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Bootstrap, move |user, [pp, ..]| {
        if pp != 0 {
            let _ = user.call(Call::ControlExit, &[]);
        }
        own.bootstrap_on(user, pp);
    });
    let mut lab = lab_with(1, extension);
    lab.launch(0, &program(&[&[start(id(1), ENTRY)], &wait_for(1), &id_read(3)]));
    eventually("the write", || lab.exits(0, ExitClass::Processor) == 1);
    let Ended::Abandoned(status, _) = lab.end(1) else { panic!("launched") };
    assert_eq!(status.error(), Some(LaunchError::ExtensionExited));
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values()[0], 0x33, "the extension still answers");
}

#[test]
fn it_starts_without_the_extension_too() {
    let standard = Standard::new();
    let extension = with_test(&standard, |_, user, _| {
        let _ = user.call(Call::ControlExit, &[]);
    });
    let mut lab = lab_with(1, extension);
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 4 }], &id_read(7)]));
    // The extension's end leaves the hypercall to the kernel, which knows no such number.
    lab.launch(0, &program(&[&TEST, &[start(id(1), ENTRY)], &wait_for(1)]));
    eventually("its reports", || lab.machine.values() == [0, 0x77]);
    promoted(&lab.end(1));
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace()[0], Trace::Event(Event::Undefined));
}

#[test]
fn its_memory_is_set_aside_at_launch() {
    let standard = Standard::new();
    let mut lab = lab_with(
        1,
        with_test(&standard, |standard, user, _| {
            let page = standard.expect(user, Call::MemAllocatePage, &[]);
            while standard.call(user, Call::MemAllocatePage, &[]).is_ok() {}
            // The frame of the new VS.
            standard.expect(user, Call::MemFreePage, &[page]);
        }),
    );
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 4 }]]));
    lab.launch(0, &program(&[&TEST, &[start(id(1), ENTRY)], &wait_for(1)]));
    eventually("its report", || lab.machine.values().first() == Some(&0));
    promoted(&lab.end(1));
    meet(&lab, 1);
    promoted(&lab.end(0));
}

#[test]
fn a_pool_without_room_for_it_is_refused_at_launch() {
    let room_for = |cold| {
        let launches = |pool_pages| {
            let setup = Setup { pool_pages, ..Setup::with_cold(cold) };
            Lab::with(&setup, Standard::new().extension()).map(|_| ())
        };
        let pages = (10..900).step_by(10).find(|pages| launches(*pages).is_ok());
        assert_eq!(launches(10), Err(PrepareError::OutOfFrames));
        pages.expect("the ordinary pool is enough")
    };
    assert!(room_for(0) + 3 * 20 < room_for(3), "a stack and the extension's pages for each");
}

#[test]
fn the_page_in_which_processors_start_is_out_of_reach() {
    let mut lab = lab(1, &[]);
    lab.machine.ram.store(plinth_hal::Spa::new(LOW_PAGE), 0x1234);
    let touch = [Op::Store { address: LOW_PAGE, value: 7 }, Op::Load { address: LOW_PAGE }];
    promoted(&lab.run(&program(&[&touch, &[Op::Report { register: 0 }]])));
    assert_eq!(lab.machine.values()[0], 0, "it reads as zeroes");
    assert_eq!(lab.machine.ram.load(plinth_hal::Spa::new(LOW_PAGE)), 0x1234, "and the write is gone");
}
