//! The extension's timer: a VS exits at a time, whatever it does.

mod common;

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Guest, MEETING, TEST, TEST_CALL, program, promoted, with_test};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::{Op, SIZE};
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, ExitClass, ExitPage, ROOT_VM, TIMER_OFF};

/// Some of the machine's time.
const SOON: u64 = 500;

/// Sets the timer at the test call, and counts its exits; at each, `then`.
fn timed(
    set: impl Fn(&Standard, &User) + Send + Sync + 'static,
    then: impl Fn(&Standard, &User, ExitInfo) + Send + Sync + 'static,
) -> Extension {
    let standard = Standard::new();
    let own = standard.clone();
    standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        match exit.class {
            ExitClass::Timer => {
                then(&own, user, exit);
                own.run(user);
            }
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                set(&own, user);
                own.advance_and_run(user);
            }
            _ => own.vmexit(user, exit),
        }
    })
}

fn set(standard: &Standard, user: &User, deadline: u64) {
    standard.expect(user, Call::TimerSet, &[deadline]);
}

fn in_a_while(standard: &Standard, user: &User) {
    let now = standard.expect(user, Call::TimeRead, &[]);
    set(standard, user, now + SOON);
}

/// Lets a root VM that waits for the meeting page go on.
fn let_go(standard: &Standard, user: &User, _: ExitInfo) {
    let page = standard.expect(user, Call::MemAllocatePage, &[]);
    user.store(page, 1);
    standard.expect(user, Call::VmWriteMemory, &[ROOT_VM, MEETING, page, 8]);
    standard.expect(user, Call::MemFreePage, &[page]);
}

const SPIN: Op = Op::Await { address: MEETING, value: 1 };

#[test]
fn a_time_that_has_passed_comes_before_the_next_instruction() {
    let at = Arc::new(AtomicU64::new(0));
    let seen = at.clone();
    let then = move |_: &Standard, user: &User, exit: ExitInfo| {
        seen.store(exit.field(user, offset_of!(ExitPage, instruction_pointer)), Ordering::SeqCst);
    };
    let mut lab = Lab::new(timed(|standard, user| set(standard, user, 0), then));
    promoted(&lab.run(&program(&[&TEST, &common::id_read(3)])));
    assert_eq!(at.load(Ordering::SeqCst), Lab::program_of(0) + TEST.len() as u64 * SIZE);
    assert_eq!(lab.exits(0, ExitClass::Timer), 1, "once");
}

#[test]
fn a_guest_that_never_exits_does_then() {
    let mut lab = Lab::new(timed(in_a_while, let_go));
    promoted(&lab.run(&program(&[&TEST, &[SPIN]])));
    assert_eq!(lab.exits(0, ExitClass::Timer), 1);
}

#[test]
fn exits_in_between_change_nothing() {
    let mut lab = Lab::new(timed(in_a_while, let_go));
    let exits = [Op::Cache; 5];
    promoted(&lab.run(&program(&[&TEST, &exits, &common::id_read(3), &[SPIN]])));
    assert_eq!(lab.exits(0, ExitClass::Timer), 1);
}

#[test]
fn the_last_time_that_was_set_counts() {
    let twice = |standard: &Standard, user: &User| {
        set(standard, user, 0);
        in_a_while(standard, user);
    };
    let mut lab = Lab::new(timed(twice, let_go));
    promoted(&lab.run(&program(&[&TEST, &[SPIN]])));
    assert_eq!(lab.exits(0, ExitClass::Timer), 1);
    let off = |standard: &Standard, user: &User| {
        set(standard, user, 0);
        set(standard, user, TIMER_OFF);
    };
    let mut lab = Lab::new(timed(off, |_, _, _| {}));
    promoted(&lab.run(&program(&[&TEST])));
    assert_eq!(lab.exits(0, ExitClass::Timer), 0);
}

/// The processor's time, divided: a guest that spins for ever gets its part, and then the root VM goes on, untimed.
#[test]
fn it_is_the_active_vs_that_exits() {
    let root = Arc::new(AtomicU64::new(0));
    let set_root = root.clone();
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        match exit.class {
            ExitClass::Timer => {
                assert_ne!(exit.vs, root.load(Ordering::SeqCst));
                let _ = own.call(user, Call::VsRun, &[root.load(Ordering::SeqCst)]);
            }
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                set_root.store(exit.vs, Ordering::SeqCst);
                let again = Op::Jump { address: Guest::CODE };
                let guest = Guest::new(&own, user, 0, &[again]);
                own.expect(user, Call::VsAdvance, &[]);
                in_a_while(&own, user);
                let _ = own.call(user, Call::VsRun, &[guest.vs]);
            }
            _ => own.vmexit(user, exit),
        }
    });
    let mut lab = Lab::new(extension);
    let work = [Op::Set { register: 5, value: 0x77 }, Op::Report { register: 5 }];
    promoted(&lab.run(&program(&[&TEST, &work.repeat(40)])));
    assert_eq!(lab.machine.values().len(), 40);
    assert_eq!(lab.exits(0, ExitClass::Timer), 1);
}

#[test]
fn it_outlives_no_extension() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        in_a_while(standard, user);
        let _ = user.call(Call::ControlExit, &[]);
    }));
    let work = [Op::Set { register: 5, value: 0x77 }, Op::Report { register: 5 }];
    lab.launch(0, &program(&[&TEST, &work.repeat(40)]));
    promoted(&lab.end(0));
    assert!(lab.exits(0, ExitClass::Timer) <= 1);
    assert_eq!(lab.machine.values().len(), 40);
}
