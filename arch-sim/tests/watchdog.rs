//! An extension that does not return.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{TEST, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::{Op, SIZE};
use plinth_arch_sim::lab::{Ended, Lab, Setup};
use plinth_arch_sim::machine::{CONTROL_PAGE, DEVICE_INTERRUPT, Machine, Trace};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{Call, ExitClass};
use plinth_hal::Event;
use plinth_launch::{LaunchError, LaunchStatus};

const UNDEFINED: Trace = Trace::Event(Event::Undefined);

/// A turn may take 100 milliseconds.
fn lab(extension: Extension) -> Lab {
    with_options("watchdog=100", extension)
}

fn with_options(command_line: &'static str, extension: Extension) -> Lab {
    Lab::with(&Setup { command_line, ..Setup::default() }, extension).expect("the setup is right")
}

/// What processor `pp` runs to interrupt others for ever, as a busy OS does.
fn signals(pp: usize) -> [Op; 2] {
    [Op::Store { address: CONTROL_PAGE, value: 0 }, Op::Jump { address: Lab::program_of(pp) }]
}

/// Runs `program` on processor 0, beside others that are busy.
fn run_among_others(lab: &mut Lab, program: &[Op]) -> Ended {
    lab.launch(0, &[&wait_for(1)[..], program].concat());
    for pp in 1..3 {
        lab.launch(pp, &signals(pp));
    }
    meet(lab, 1);
    lab.end(0)
}

/// Sends NMIs of the root VM's own to processor 0 until the test is over.
fn send_nmis(lab: &Lab) {
    let machine = lab.machine;
    std::thread::spawn(move || {
        while machine.power_loss().is_none() {
            machine.interrupt(Machine::hardware_id(0));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// The kernel answers the exit whose turn did not end, and all that follow.
fn the_root_vm_lives(lab: &mut Lab) {
    promoted(&run_among_others(lab, &program(&[&TEST, &id_read(2)])));
    assert_eq!(lab.machine.trace(), [UNDEFINED, Trace::Value(0x22)]);
}

#[test]
fn a_vmexit_callback_that_hangs_is_ended_by_the_others() {
    the_root_vm_lives(&mut lab(with_test(&Standard::new(), |_, user, _| user.hang())));
}

#[test]
fn calls_for_ever_are_a_hang_too() {
    let mut lab = with_options(
        "watchdog=1",
        with_test(&Standard::new(), |standard, user, _| {
            loop {
                standard.expect(user, Call::TimeRead, &[]);
            }
        }),
    );
    promoted(&lab.run(&program(&[&TEST, &id_read(2)])));
    assert_eq!(lab.machine.trace(), [UNDEFINED, Trace::Value(0x22)], "with no other processor");
}

/// An extension with a fail callback whose vmexit callback hangs at the test's hypercall.
fn with_fail(
    vmexit: impl Fn(&Standard, &User) + Send + Sync + 'static,
    fail: impl Fn(&Standard, &User, [u64; 3]) + Send + Sync + 'static,
) -> Extension {
    let standard = Standard::with_fail();
    let own = standard.clone();
    let extension = with_test(&standard, move |standard, user, _| vmexit(standard, user));
    extension.on(Slot::Fail, move |user, arguments| fail(&own, user, arguments))
}

#[test]
fn the_fail_callback_decides() {
    let mut lab = lab(with_fail(
        |_, user| user.hang(),
        |standard, user, [page, vector, address]| {
            assert_eq!((vector, address), (u64::MAX, 0), "no fault");
            user.store(page, 5);
            standard.advance_and_run(user);
        },
    ));
    promoted(&run_among_others(&mut lab, &program(&[&TEST, &[Op::Report { register: 0 }], &id_read(2)])));
    assert_eq!(lab.machine.trace(), [Trace::Value(5), Trace::Value(0x22)]);
    assert_eq!(lab.exits(0, ExitClass::IdRead), 1);
}

#[test]
fn a_fail_callback_that_hangs_is_the_last() {
    the_root_vm_lives(&mut lab(with_fail(|_, user| user.hang(), |_, user, _| user.hang())));
}

#[test]
fn a_turn_that_goes_on_has_as_much_time_again_and_no_more() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let mut lab = lab(with_fail(
        |_, user| user.hang(),
        move |_, user, _| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = user.call(Call::ControlAgain, &[]);
        },
    ));
    the_root_vm_lives(&mut lab);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_turn_that_needed_its_second_time_ends_well() {
    let late = Arc::new(AtomicBool::new(false));
    let (wait, set) = (late.clone(), late);
    let mut lab = lab(with_fail(
        move |_, _| {
            while !wait.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        },
        move |_, user, _| {
            set.store(true, Ordering::SeqCst);
            let _ = user.call(Call::ControlAgain, &[]);
        },
    ));
    promoted(&run_among_others(&mut lab, &program(&[&TEST, &id_read(2)])));
    assert_eq!(lab.machine.trace(), [Trace::Value(0x22)]);
    assert_eq!(lab.exits(0, ExitClass::IdRead), 1, "the extension is still there");
}

#[test]
fn failing_for_ever_is_a_hang_too() {
    let mut lab = with_options(
        "watchdog=1",
        with_fail(
            |_, user| {
                user.load(0);
            },
            |_, user, _| {
                let _ = user.call(Call::ControlAgain, &[]);
            },
        ),
    );
    promoted(&lab.run(&program(&[&TEST, &id_read(2)])));
    assert_eq!(lab.machine.trace(), [UNDEFINED, Trace::Value(0x22)]);
}

#[test]
fn a_clock_of_the_processors_own_needs_no_other() {
    let entered = Arc::new(AtomicBool::new(false));
    let mark = entered.clone();
    let hang = move |_: &Standard, user: &User| {
        mark.store(true, Ordering::SeqCst);
        user.hang();
    };
    let mut lab = lab(with_fail(hang, |_, user, _| user.hang()));
    lab.launch(0, &program(&[&TEST, &id_read(2)]));
    common::eventually("the turn", || entered.load(Ordering::SeqCst));
    // From the first interrupt on the clock runs.
    lab.machine.interrupt(Machine::hardware_id(0));
    promoted(&lab.end(0));
    let trace = [UNDEFINED, Trace::Event(Event::Nmi), Trace::Value(0x22)];
    assert_eq!(lab.machine.trace(), trace, "the interrupt was the guest's own, and it gets it");
}

/// A processor alone whose extension hangs at the test's hypercall, where a device interrupts it.
fn interrupted(
    command_line: &'static str,
    meanwhile: impl Fn(&Standard, &User) + Send + Sync + 'static,
) -> Lab {
    let entered = Arc::new(AtomicBool::new(false));
    let mark = entered.clone();
    let vmexit = move |standard: &Standard, user: &User| {
        mark.store(true, Ordering::SeqCst);
        meanwhile(standard, user);
    };
    let mut lab = with_options(command_line, with_fail(vmexit, |_, user, _| user.hang()));
    lab.launch(0, &program(&[&TEST, &id_read(2)]));
    common::eventually("the turn", || entered.load(Ordering::SeqCst));
    lab.machine.set_device_interrupt(Machine::hardware_id(0), true);
    lab
}

#[test]
fn an_interrupt_of_the_root_vms_bounds_a_turn_and_is_not_lost() {
    let mut lab = interrupted("watchdog=100", |_, user| user.hang());
    promoted(&lab.end(0));
    let trace = [UNDEFINED, Trace::Interrupt(DEVICE_INTERRUPT), Trace::Value(0x22)];
    assert_eq!(lab.machine.trace(), trace);
}

#[test]
fn a_turn_that_is_interrupted_and_ends_in_time_is_well() {
    let mut lab = interrupted("watchdog=60000", |_, _| std::thread::sleep(Duration::from_millis(50)));
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace(), [Trace::Interrupt(DEVICE_INTERRUPT), Trace::Value(0x22)]);
}

#[test]
fn an_interrupt_in_the_last_turn_stays_the_machines() {
    let mut lab = interrupted("watchdog=60000", |standard, user| {
        std::thread::sleep(Duration::from_millis(50));
        standard.expect(user, Call::VsPromote, &[]);
    });
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace(), []);
    assert!(lab.machine.set_device_interrupt(Machine::hardware_id(0), false));
}

#[test]
fn an_nmi_that_comes_while_the_extension_runs_is_an_exit_of_its_own() {
    let (entered, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (mark, wait) = (entered.clone(), go_on.clone());
    let mut lab = lab(with_test(&Standard::new(), move |_, _, _| {
        mark.store(true, Ordering::SeqCst);
        while !wait.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
    lab.launch(0, &program(&[&TEST, &id_read(2)]));
    common::eventually("the turn", || entered.load(Ordering::SeqCst));
    lab.machine.interrupt(Machine::hardware_id(0));
    std::thread::sleep(Duration::from_millis(20));
    go_on.store(true, Ordering::SeqCst);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Nmi), Trace::Value(0x22)]);
    assert_eq!(lab.exits(0, ExitClass::Kick), 1);
}

#[test]
fn a_launch_whose_extension_hangs_is_abandoned() {
    let standard = Standard::new();
    for slot in [Slot::Start, Slot::Bootstrap] {
        let mut lab = lab(standard.extension().on(slot, |user, _| user.hang()));
        send_nmis(&lab);
        let ended = lab.run(&Op::STOP);
        let status = LaunchStatus::failed(LaunchError::ExtensionOverdue, 0);
        assert_eq!(ended, Ended::Abandoned(status, Lab::root_state(0)));
        assert_eq!(lab.kernel.object_counts(), [1, 0, 0]);
    }
}

#[test]
fn a_second_processors_launch_is_watched_by_the_first() {
    let standard = Standard::new();
    let own = standard.clone();
    let mut lab = lab(standard.extension().on(Slot::Bootstrap, move |user, [pp, ..]| {
        if pp == 1 {
            user.hang();
        }
        own.bootstrap_on(user, pp);
    }));
    lab.launch(0, &signals(0));
    lab.launch(1, &Op::STOP);
    let status = LaunchStatus::failed(LaunchError::ExtensionOverdue, 0);
    assert_eq!(lab.end(1), Ended::Abandoned(status, Lab::root_state(1)));
}

#[test]
fn a_guest_that_does_not_exit_and_a_processor_that_waits_are_in_no_turn() {
    let standard = Standard::with_fail();
    let extension = standard.extension().on(Slot::Fail, |_, _| panic!("nothing has failed"));
    let mut lab = lab(extension);
    lab.launch(0, &program(&[&wait_for(1), &id_read(2)]));
    lab.launch(1, &wait_for(99));
    let wake = plinth_arch_sim::vs::reset(Machine::hardware_id(1));
    lab.launch(2, &[&[wake][..], &signals_at(2, 1)].concat());
    std::thread::sleep(Duration::from_millis(50));
    lab.machine.pass(Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(50));
    lab.machine.pass(Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(50));
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace(), [Trace::Value(0x22)]);
    assert_eq!(lab.exits(1, ExitClass::Kick), 1, "for the reset alone");
}

/// The same as [`signals`], from the instruction with that index on.
fn signals_at(pp: usize, index: u64) -> [Op; 2] {
    let [signal, _] = signals(pp);
    [signal, Op::Jump { address: Lab::program_of(pp) + index * SIZE }]
}

#[test]
fn without_a_bound_the_extension_may_take_for_ever() {
    let go_on = Arc::new(AtomicBool::new(false));
    let wait = go_on.clone();
    let mut lab = with_options(
        "watchdog=0",
        with_test(&Standard::new(), move |_, _, _| {
            while !wait.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }),
    );
    lab.launch(0, &program(&[&TEST, &id_read(2)]));
    lab.launch(1, &signals(1));
    lab.machine.pass(Duration::from_secs(1 << 20));
    std::thread::sleep(Duration::from_millis(50));
    go_on.store(true, Ordering::SeqCst);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values(), [0x22]);
    assert_eq!(lab.exits(0, ExitClass::IdRead), 1);
}
