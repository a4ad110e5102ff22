//! The hypervisor's memory, seen by the root VM.

mod common;

use common::{TEST, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{LOW_PAGE, RESERVATION};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{Call, Error, ExitClass, ROOT_VM};
use plinth_hal::Spa;

const AT: u64 = RESERVATION.start + 0x5000;

fn read(address: u64) -> [Op; 2] {
    [Op::Load { address }, Op::Report { register: 0 }]
}

fn write(address: u64) -> [Op; 1] {
    [Op::Store { address, value: 0xBAD }]
}

fn lab() -> Lab {
    Lab::new(Standard::new().extension())
}

#[test]
fn it_reads_as_zeroes() {
    let mut lab = lab();
    lab.machine.ram.store(Spa::new(AT), 0x5EC2E7);
    promoted(&lab.run(&program(&[&read(AT), &read(RESERVATION.end - 8), &read(RESERVATION.start)])));
    assert_eq!(lab.machine.values(), [0, 0, 0]);
    assert_eq!(lab.exits(0, ExitClass::Memory), 0, "without an exit");
}

#[test]
fn writes_vanish_and_the_page_is_closed_again() {
    let mut lab = lab();
    lab.machine.ram.store(Spa::new(AT), 0x5EC2E7);
    let touch = [&write(AT)[..], &read(AT), &write(AT), &read(AT)].concat();
    promoted(&lab.run(&program(&[&touch])));
    assert_eq!(lab.machine.values(), [0, 0]);
    assert_eq!(lab.machine.ram.load(Spa::new(AT)), 0x5EC2E7);
    assert_eq!(lab.exits(0, ExitClass::Memory), 2);
    assert_eq!(lab.exits(0, ExitClass::Reserved), 2);
}

#[test]
fn a_write_may_straddle_pages_of_it() {
    let mut lab = lab();
    let edges = [AT + 0xFFC, RESERVATION.start - 4, RESERVATION.end - 4];
    let program = program(&[&edges.map(|edge| write(edge)[0]), &read(AT), &read(AT + 0x1000)]);
    promoted(&lab.run(&program));
    assert_eq!(lab.machine.values(), [0, 0]);
    assert_eq!(lab.machine.ram.load(Spa::new(RESERVATION.start - 8)), 0xBAD << 32, "outside it counts");
    assert_eq!(lab.exits(0, ExitClass::Memory), 4);
}

#[test]
fn an_interrupt_between_write_and_step_changes_nothing() {
    let mut lab = lab();
    promoted(&lab.run(&program(&[&[Op::RaiseNmi], &write(AT), &[Op::RaiseNmi], &write(AT), &read(AT)])));
    assert_eq!(lab.machine.values(), [0]);
}

#[test]
fn it_cannot_be_executed() {
    let mut lab = lab();
    lab.machine.ram.store(Spa::new(AT), Op::Hypercall.encode()[0]);
    lab.launch(0, &[Op::Jump { address: AT }]);
    common::eventually("the exit", || lab.exits(0, ExitClass::Memory) >= 1);
    lab.machine.lose_power(plinth_arch_sim::machine::PowerLoss::Off);
    lab.end(0);
}

#[test]
fn four_processors_write_to_one_page() {
    let mut lab = lab();
    let touch: Vec<Op> = (0..40).flat_map(|_| [write(AT)[0], read(AT)[0]]).collect();
    for pp in 0..4 {
        lab.launch(pp, &program(&[&wait_for(1), &touch]));
    }
    meet(&lab, 1);
    for pp in 0..4 {
        promoted(&lab.end(pp));
    }
    let mut last = self::lab();
    promoted(&last.run(&program(&[&read(AT)])));
    assert_eq!(last.machine.values(), [0]);
}

#[test]
fn the_extension_cannot_open_it_to_the_root_vm() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        for (gpa, size) in
            [(AT, 0x1000), (LOW_PAGE, 0x1000), (RESERVATION.start - 0x1000, 0x2000), (0, 1 << 30)]
        {
            let answer = standard.call(user, Call::VmProtect, &[ROOT_VM, gpa, size, 7]);
            common::refuses(answer, 2, Error::Denied);
        }
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        common::refuses(standard.call(user, Call::VmMap, &[ROOT_VM, AT, page, 0x1000, 7]), 1, Error::Denied);
        common::refuses(standard.call(user, Call::VmUnmap, &[ROOT_VM, AT, 0x1000]), 1, Error::Denied);
        let seen = standard.call(user, Call::VmQuery, &[ROOT_VM, AT]).unwrap();
        assert_eq!(seen, [1, 0x1000]);
    }));
    promoted(&lab.run(&program(&[&TEST, &write(AT), &read(AT)])));
    assert_eq!(lab.machine.values(), [0]);
}
