//! Processors that stop, start and interrupt each other.

mod common;

use common::{Guest, TEST, eventually, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{CONTROL_PAGE, Machine, Trace};
use plinth_arch_sim::standard::Standard;
use plinth_arch_sim::vs::{reset, reset_others, start, start_all};
use plinth_extension_api::abi::{Call, ExitClass, ROOT_VM};
use plinth_hal::{Event, ProcessorEvent, Target};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where a processor starts after a reset.
const ENTRY: u32 = 0x18_0000;

fn lab() -> Lab {
    Lab::new(Standard::new().extension())
}

fn id(pp: usize) -> u32 {
    Machine::hardware_id(pp)
}

#[test]
fn a_processor_is_reset_and_started_elsewhere() {
    let mut lab = lab();
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 5 }]]));
    lab.launch(0, &program(&[&wait_for(1), &[reset(id(1)), start(id(1), ENTRY)]]));
    lab.launch(1, &[Op::Await { address: common::MEETING, value: 99 }]);
    meet(&lab, 1);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values(), [0], "general registers are zero after a reset");
    assert_eq!(lab.exits(0, ExitClass::Processor), 2);
}

#[test]
fn a_second_start_is_ignored() {
    let mut lab = lab();
    lab.load(ENTRY.into(), &program(&[&wait_for(2)]));
    let wake = [reset(id(1)), start(id(1), ENTRY), start(id(1), 0x19_0000)];
    lab.launch(0, &program(&[&wait_for(1), &wake, &wait_for(2)]));
    lab.launch(1, &wait_for(99));
    meet(&lab, 1);
    eventually("three writes", || lab.exits(0, ExitClass::Processor) == 3);
    meet(&lab, 2);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
}

#[test]
fn a_start_without_a_reset_is_ignored() {
    let mut lab = lab();
    lab.launch(0, &program(&[&[start(id(1), ENTRY)], &wait_for(2)]));
    lab.launch(1, &program(&[&wait_for(2)]));
    meet(&lab, 2);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
}

#[test]
fn resets_and_starts_reach_whom_they_mean() {
    let mut lab = lab();
    lab.load(ENTRY.into(), &program(&[&[Op::Set { register: 0, value: 7 }, Op::Report { register: 0 }]]));
    lab.launch(0, &program(&[&wait_for(1), &[reset_others(), start_all(ENTRY)], &wait_for(2)]));
    for pp in 1..4 {
        lab.launch(pp, &wait_for(99));
    }
    meet(&lab, 1);
    for pp in 1..4 {
        promoted(&lab.end(pp));
    }
    assert_eq!(lab.machine.values(), [7, 7, 7]);
    meet(&lab, 2);
    promoted(&lab.end(0));
}

#[test]
fn a_processor_may_reset_itself() {
    let mut lab = lab();
    lab.load(ENTRY.into(), &program(&[&[Op::RaiseNmi]]));
    lab.launch(0, &program(&[&wait_for(1), &[start(id(1), ENTRY)]]));
    lab.launch(1, &[reset(id(1))]);
    // Until it waits, the reset may not be asked for yet, and would void the start.
    eventually("the reset", || lab.machine.is_asleep(id(1)));
    assert_eq!(lab.exits(1, ExitClass::Processor), 1);
    meet(&lab, 1);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Nmi)], "no kick swallows it");
}

#[test]
fn a_kick_is_not_an_nmi_and_an_nmi_is_not_a_kick() {
    let mut lab = lab();
    lab.load(ENTRY.into(), &program(&[&[Op::RaiseNmi], &wait_for(2)]));
    lab.launch(0, &program(&[&wait_for(1), &[reset(id(1)), start(id(1), ENTRY)], &wait_for(2)]));
    lab.launch(1, &wait_for(99));
    meet(&lab, 1);
    eventually("the guest's own", || lab.machine.trace() == [Trace::Event(Event::Nmi)]);
    meet(&lab, 2);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
    assert_eq!(lab.exits(1, ExitClass::Nmi), 0, "told apart after the hardware's exit was counted");
}

#[test]
fn a_processor_outside_is_the_machines_while_the_loader_launches() {
    let mut lab = lab();
    let outside = [reset(id(3)), start(id(3), ENTRY), reset(0xABCD)];
    promoted(&lab.run(&program(&[&outside])));
    let target = Target::Id(id(3));
    let start = ProcessorEvent::Start { target, entry: ENTRY.into() };
    let forwarded = [ProcessorEvent::Reset(target), start, ProcessorEvent::Reset(Target::Id(0xABCD))];
    assert_eq!(lab.machine.forwarded(), forwarded);
}

#[test]
fn a_processor_outside_is_out_of_reach_once_all_are_launched() {
    let mut lab = lab();
    lab.launch(0, &program(&[&wait_for(1), &[reset(id(7)), start(id(7), ENTRY)]]));
    for pp in 1..4 {
        lab.launch(pp, &program(&[&wait_for(1)]));
    }
    meet(&lab, 1);
    for pp in 0..4 {
        promoted(&lab.end(pp));
    }
    assert_eq!(lab.machine.forwarded(), []);
}

#[test]
fn other_writes_to_the_control_page_reach_the_device() {
    let mut lab = lab();
    let write = |value| Op::Store { address: CONTROL_PAGE + 8, value };
    promoted(&lab.run(&program(&[&[write(5), write(6), Op::Load { address: CONTROL_PAGE }]])));
    assert_eq!(lab.machine.device_writes(), [5, 6]);
    assert_eq!(lab.exits(0, ExitClass::Processor), 2, "reads do not exit");
}

#[test]
fn a_write_that_nobody_understands_is_the_extensions_to_answer() {
    let mut lab = lab();
    promoted(&lab.run(&program(&[&[Op::Store { address: CONTROL_PAGE, value: 9 << 56 }]])));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Exception { vector: 6, error_code: None })]);
}

#[test]
fn a_reset_means_the_root_vs_whatever_else_runs() {
    let standard = Standard::new();
    let mut lab = Lab::new(with_test(&standard, |standard, user, _| {
        let guest = Guest::new(standard, user, 1, &[Op::Await { address: Guest::DATA, value: 1 }]);
        standard.expect(user, Call::VsWrite, &[guest.vs, 4, 44]);
        standard.expect(user, Call::VsRun, &[guest.vs]);
    }));
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 4 }]]));
    lab.launch(0, &program(&[&wait_for(1), &[reset(id(1)), start(id(1), ENTRY)], &wait_for(2)]));
    lab.launch(1, &TEST);
    eventually("the guest", || lab.kernel.object_counts() == [2, 3, 3]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    meet(&lab, 1);
    eventually("both writes", || lab.exits(0, ExitClass::Processor) == 2);
    // The guest VM still runs there; its first NMI brings the extension back, which runs on with the guest.
    // One that arrives together with a kick is one interrupt to the hardware, and taken for the kick.
    eventually("its exit", || {
        lab.machine.interrupt(id(1));
        lab.machine.trace().first() == Some(&Trace::Event(Event::Nmi))
    });
    assert_eq!(lab.machine.values(), [], "the root VS has not run");
    meet(&lab, 2);
    promoted(&lab.end(0));
}

#[test]
fn processors_storm_each_other() {
    let mut lab = lab();
    let mut storm = Vec::new();
    for round in 0..50 {
        storm.extend([Op::Store { address: 9 << 20, value: round }, Op::RaiseNmi]);
        storm.extend(id_read(round));
    }
    for pp in 0..4 {
        lab.launch(pp, &program(&[&wait_for(1), &storm[..120]]));
    }
    meet(&lab, 1);
    for pp in 0..4 {
        promoted(&lab.end(pp));
    }
}

#[test]
fn nobody_waits_for_a_processor_on_which_the_kernel_has_failed() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        standard.expect(user, Call::VmFlush, &[ROOT_VM]);
    }));
    lab.launch(0, &program(&[&wait_for(1), &TEST, &[start(id(1), ENTRY)], &id_read(2)]));
    lab.launch(1, &wait_for(99));
    lab.machine.trouble.dead.store(1 << 1, Ordering::SeqCst);
    meet(&lab, 1);
    eventually("the flush", || lab.exits(0, ExitClass::Hypercall) == 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(lab.machine.values(), [], "it is waited for");
    let lost = lab.kernel.lose_pp(id(1)).expect("it is a PP").to_string();
    assert!(lost.starts_with("pp 1 stops, the others go on; kernel at 0x"), "{lost}");
    assert_eq!(lab.kernel.lose_pp(77), None);
    promoted(&lab.end(0));
    assert_eq!(lab.machine.values(), [0x22], "and not started again");
}
