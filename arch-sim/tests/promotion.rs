//! The way back to the bare machine: all processors leave together, or none does.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{TEST, eventually, id_read, meet, program, promoted, refuses, wait_for, with_test};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab, Setup};
use plinth_arch_sim::machine::{Machine, RESERVATION};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::vs::reset;
use plinth_extension_api::abi::{Call, Error, ExitClass, HYPERCALL_REFUSED};
use plinth_hal::Spa;

/// What the extension keeps from everybody.
const SECRET: u64 = 0x5EC2_E75E_C2E7_5EC2;

fn lab(command_line: &'static str, extension: Extension) -> Lab {
    Lab::with(&Setup { command_line, ..Setup::default() }, extension).expect("the setup is right")
}

/// A program that asks for the bare machine when it is let, and goes on asking the processor.
fn stopping() -> Vec<Op> {
    [&wait_for(1)[..], &Op::STOP, &id_read(3), &[Op::Done]].concat()
}

fn is_promoted(ended: &Ended) -> bool {
    matches!(ended, Ended::Promoted(_))
}

/// How many words of the reservation are the secret.
fn secrets(machine: &Machine) -> usize {
    let words = RESERVATION.step_by(8);
    words.filter(|at| machine.ram.load(Spa::new(*at)) == SECRET).count()
}

#[test]
fn when_one_leaves_all_do_and_nothing_secret_stays() {
    for count in [2, 4] {
        let extension = with_test(&Standard::new(), |standard, user, _| {
            let page = standard.expect(user, Call::MemAllocatePage, &[]);
            user.store(page + 8, SECRET);
            let freed = standard.expect(user, Call::MemAllocatePage, &[]);
            user.store(freed, SECRET);
            standard.expect(user, Call::MemFreePage, &[freed]);
        });
        let mut lab = lab("", extension);
        lab.launch(0, &[&TEST[..], &stopping()].concat());
        for pp in 1..count {
            lab.launch(pp, &wait_for(99));
        }
        eventually("the secrets", || lab.exits(0, ExitClass::Hypercall) == 1 && secrets(lab.machine) >= 1);
        meet(&lab, 1);
        promoted(&lab.end(0));
        for pp in 1..count {
            let Ended::Promoted(state) = lab.end(pp) else { panic!("processor {pp} stays") };
            assert_eq!(state.instruction_pointer, Lab::program_of(pp), "where it was");
            assert_eq!(state.registers[5], Lab::root_state(pp).registers[5]);
        }
        assert_eq!((secrets(lab.machine), lab.kernel.launched_pps()), (0, 0));
        assert_eq!(lab.kernel.object_counts(), [0, 0, 0]);
    }
}

#[test]
fn where_all_ask_at_once_all_have_what_they_want() {
    let mut lab = lab("", Standard::new().extension());
    for pp in 0..4 {
        lab.launch(pp, &[&wait_for(1)[..], &Op::STOP].concat());
    }
    meet(&lab, 1);
    for pp in 0..4 {
        assert!(is_promoted(&lab.end(pp)), "processor {pp}");
    }
}

/// Nobody leaves while one cannot come; and the root VM goes on.
fn nobody_leaves(lab: &mut Lab) {
    eventually("the refusal", || {
        lab.machine.pass(Duration::from_millis(1));
        lab.machine.values() == [HYPERCALL_REFUSED, 0x33]
    });
    assert_eq!(lab.kernel.launched_pps(), 2);
    assert!(!is_promoted(&lab.end(0)));
}

#[test]
fn one_that_does_not_answer_keeps_the_others_under_the_hypervisor() {
    let mut lab = lab("pp-timeout=1", Standard::new().extension());
    lab.launch(0, &stopping());
    lab.launch(1, &program(&[&wait_for(2)]));
    lab.machine.trouble.dead.store(1 << 1, Ordering::SeqCst);
    meet(&lab, 1);
    nobody_leaves(&mut lab);
    lab.machine.trouble.dead.store(0, Ordering::SeqCst);
    meet(&lab, 2);
    assert!(!is_promoted(&lab.end(1)), "a meeting that is over concerns nobody");
}

#[test]
fn one_whose_extension_does_not_return_keeps_the_others_too() {
    let (stays, inside) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (loops, entered) = (stays.clone(), inside.clone());
    let extension = with_test(&Standard::new(), move |standard, user, _| {
        entered.store(true, Ordering::SeqCst);
        while loops.load(Ordering::SeqCst) {
            standard.expect(user, Call::PpQuery, &[]);
        }
    });
    let mut lab = lab("pp-timeout=1 watchdog=0", extension);
    lab.launch(0, &stopping());
    lab.launch(1, &program(&[&TEST]));
    eventually("the callback", || inside.load(Ordering::SeqCst));
    meet(&lab, 1);
    nobody_leaves(&mut lab);
    stays.store(false, Ordering::SeqCst);
    assert!(!is_promoted(&lab.end(1)));
}

#[test]
fn one_on_which_the_kernel_has_failed_keeps_the_others_for_good() {
    let mut lab = lab("", Standard::new().extension());
    lab.launch(0, &stopping());
    lab.launch(1, &wait_for(99));
    lab.machine.trouble.dead.store(1 << 1, Ordering::SeqCst);
    assert!(lab.kernel.lose_pp(Machine::hardware_id(1)).is_some());
    meet(&lab, 1);
    eventually("the refusal", || lab.machine.values() == [HYPERCALL_REFUSED, 0x33]);
    assert!(!is_promoted(&lab.end(0)));
}

#[test]
fn one_that_waits_for_a_start_leaves_where_the_machine_turns_it_off() {
    let mut lab = lab("", Standard::new().extension());
    let parts = [
        &wait_for(1)[..],
        &[reset(Machine::hardware_id(1))],
        &id_read(2),
        &wait_for(2),
        &Op::STOP,
        &id_read(3),
        &wait_for(3),
        &Op::STOP,
    ];
    lab.launch(0, &parts.concat());
    lab.launch(1, &wait_for(99));
    meet(&lab, 1);
    eventually("the reset", || lab.machine.values() == [0x22]);
    meet(&lab, 2);
    eventually("the refusal", || lab.machine.values() == [0x22, HYPERCALL_REFUSED, 0x33]);
    assert_eq!(lab.kernel.launched_pps(), 2, "nobody would start it again");
    lab.machine.trouble.turns_off.store(true, Ordering::SeqCst);
    meet(&lab, 3);
    for pp in 0..2 {
        assert!(is_promoted(&lab.end(pp)), "processor {pp}");
    }
    assert_eq!((lab.kernel.launched_pps(), lab.kernel.object_counts()), (0, [0, 0, 0]));
}

#[test]
fn who_may_stop_is_the_launchs_to_say() {
    let denied = |standard: &Standard, user: &User, exit: ExitInfo| {
        refuses(standard.call(user, Call::VsPromote, &[exit.vs]), 1, Error::Denied);
    };
    let never = Setup { command_line: "may-stop=never", launched: 1, ..Setup::default() };
    let mut lab = Lab::with(&never, with_test(&Standard::new(), denied)).expect("the setup is right");
    let ended = lab.run(&[&TEST[..], &Op::STOP, &id_read(3), &[Op::Done]].concat());
    assert!(!is_promoted(&ended));
    assert_eq!(lab.machine.values(), [HYPERCALL_REFUSED, 0x33]);
    // An extension that would refuse is not asked.
    let mut lab = lab_always();
    assert!(is_promoted(&lab.run(&Op::STOP)));
}

fn lab_always() -> Lab {
    let standard = Standard::new();
    let own = standard.clone();
    let refusing = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        assert_ne!(exit.class, ExitClass::Hypercall, "it is asked");
        own.vmexit(user, exit);
    });
    lab("may-stop=always", refusing)
}

#[test]
fn a_kick_that_is_late_does_not_reach_the_bare_machine() {
    let mut lab = lab("", Standard::new().extension());
    lab.machine.trouble.delays_kicks.store(true, Ordering::SeqCst);
    lab.launch(0, &stopping());
    // It exits all the time, and so hears of the meeting before the kick is there.
    let exits = [
        Op::Set { register: 0, value: 3 },
        Op::Set { register: 1, value: 0 },
        Op::IdRead,
        Op::Jump { address: Lab::program_of(1) },
    ];
    lab.launch(1, &exits);
    eventually("some exits", || lab.exits(1, ExitClass::IdRead) > 10);
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert!(is_promoted(&lab.end(1)));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!lab.machine.is_interrupted(Machine::hardware_id(1)), "an NMI that nobody has sent");
}

#[test]
fn an_nmi_of_the_oss_own_reaches_the_bare_machine() {
    let (stays, inside) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (loops, entered) = (stays.clone(), inside.clone());
    let extension = with_test(&Standard::new(), move |standard, user, _| {
        entered.store(true, Ordering::SeqCst);
        while loops.load(Ordering::SeqCst) {
            standard.expect(user, Call::PpQuery, &[]);
        }
    });
    let mut lab = lab("watchdog=0", extension);
    lab.launch(0, &stopping());
    lab.launch(1, &program(&[&TEST, &wait_for(9)]));
    eventually("the callback", || inside.load(Ordering::SeqCst));
    meet(&lab, 1);
    eventually("the one that asks", || lab.exits(0, ExitClass::Hypercall) == 1);
    let own = Machine::hardware_id(0);
    // It waits in the kernel for the other one.
    lab.machine.interrupt(own);
    stays.store(false, Ordering::SeqCst);
    promoted(&lab.end(0));
    assert!(lab.machine.is_interrupted(own), "it is lost");
}
