//! Launch, and the way back.

mod common;

use common::{id_read, meet, program, promoted, wait_for};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::machine::{FEATURE_LEAF, VIRTUALIZATION};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{ExitClass, HYPERCALL_STOP};

#[test]
fn one_processor_launches_and_goes_on_where_it_was() {
    let mut lab = Lab::new(Standard::new().extension());
    let reports = [Op::Report { register: 7 }, Op::Set { register: 9, value: 99 }];
    let ended = lab.run(&[&reports[..], &id_read(u64::from(FEATURE_LEAF)), &Op::STOP].concat());
    promoted(&ended);
    let Ended::Promoted(state) = ended else { unreachable!() };
    assert_eq!(state.registers[9], 99);
    assert_eq!(state.registers[8], 8, "untouched since launch");
    assert_eq!(lab.machine.values(), [7, 1], "the feature leaf without bit {VIRTUALIZATION:#x}");
    assert_eq!(lab.exits(0, ExitClass::IdRead), 1);
    assert_eq!(lab.exits(0, ExitClass::Hypercall), 1);
    assert_eq!(lab.kernel.launched_pps(), 0);
}

#[test]
fn the_promoted_state_is_after_the_hypercall() {
    let mut lab = Lab::new(Standard::new().extension());
    let Ended::Promoted(state) = lab.run(&Op::STOP) else { panic!("not promoted") };
    assert_eq!(state.instruction_pointer, Lab::program_of(0) + 2 * plinth_arch_sim::isa::SIZE);
    assert_ne!(state.registers[0], HYPERCALL_STOP);
}

fn launch_on(count: usize) {
    let mut lab = Lab::new(Standard::new().extension());
    for pp in 0..count {
        lab.launch(pp, &program(&[&wait_for(1), &id_read(5)]));
    }
    assert_eq!(lab.kernel.launched_pps(), count);
    meet(&lab, 1);
    for pp in 0..count {
        promoted(&lab.end(pp));
        assert_eq!(lab.exits(pp, ExitClass::IdRead), 1);
    }
    assert_eq!(lab.kernel.launched_pps(), count);
    assert_eq!(lab.machine.values(), vec![0x55; count]);
}

#[test]
fn two_processors_launch() {
    launch_on(2);
}

#[test]
fn four_processors_launch() {
    launch_on(4);
}
