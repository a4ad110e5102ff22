//! Exits: what the extension sees, what the kernel answers by itself, and the counters.

mod common;

use common::{TEST, id_read, in_vmexit, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::cpu::EXIT_NUMBER;
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::{Op, SIZE};
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::machine::{HIGH_MEMORY, MEMORY_END, OWNED_REGISTER, PowerLoss, Trace};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{
    ANY_SUBLEAF, Call, Error, ExitClass, ExitPage, Failure, HYPERCALL_REFUSED, IdAnswer, ROOT_VM, register,
};
use plinth_hal::{Event, Spa};
use std::mem::offset_of;
use std::sync::{Arc, Mutex};

#[test]
fn the_exit_page_tells_it_all() {
    let standard = Standard::new();
    let own = standard.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::RegisterWrite {
            let field = |offset| exit.field(user, offset);
            log.lock().unwrap().extend([
                field(EXIT_NUMBER as usize),
                field(offset_of!(ExitPage, instruction_pointer)),
                field(offset_of!(ExitPage, pp)),
                field(offset_of!(ExitPage, vm)),
                field(offset_of!(ExitPage, vs)),
                exit.register(user, 5),
            ]);
            assert_eq!(field(offset_of!(ExitPage, vs)), exit.vs);
            exit.set_register(user, 5, 77);
        }
        own.vmexit(user, exit);
    }));
    let write = [Op::RegisterWrite { register: OWNED_REGISTER, value: 1 }, Op::Report { register: 5 }];
    promoted(&lab.run(&program(&[&write])));
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [OWNED_REGISTER, Lab::program_of(0), 0, ROOT_VM, 0, 5]);
    assert_eq!(lab.machine.values(), [77], "general registers are live in the exit page");
}

fn declare(
    standard: &Standard,
    user: &User,
    answers: &[IdAnswer],
) -> Result<[u64; 2], plinth_extension_api::abi::Failure> {
    let page = standard.expect(user, Call::MemAllocatePage, &[]);
    for (index, answer) in answers.iter().enumerate() {
        let words = [answer.leaf, answer.subleaf].into_iter().chain(answer.keep).chain(answer.set);
        let words: Vec<u32> = words.collect();
        for (word, pair) in words.chunks(2).enumerate() {
            let value = u64::from(pair[0]) | u64::from(pair[1]) << 32;
            user.store(page + (index * 40 + word * 8) as u64, value);
        }
    }
    let answer = standard.call(user, Call::VmDeclareIds, &[ROOT_VM, page, answers.len() as u64]);
    standard.expect(user, Call::MemFreePage, &[page]);
    answer
}

const fn answer(leaf: u32, set: u32) -> IdAnswer {
    IdAnswer { leaf, subleaf: ANY_SUBLEAF, keep: [0xFFFF_0000, 0, 0, 0], set: [set; 4] }
}

#[test]
fn declared_answers_need_no_extension() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        declare(standard, user, &[answer(7, 1), answer(0x10_0000, 3)]).unwrap();
    }));
    let ended = lab.run(&program(&[&id_read(7), &TEST, &id_read(7), &id_read(0x10_0000), &id_read(8)]));
    promoted(&ended);
    assert_eq!(lab.machine.values(), [0x77, 1, 0x0110_0003, 0x88]);
    assert_eq!(lab.exits(0, ExitClass::Declared), 2);
    assert_eq!(lab.exits(0, ExitClass::IdRead), 2);
}

#[test]
fn replaced_answers_are_seen_by_guests_that_never_exit() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, exit| {
        let set = exit.register(user, 6) as u32;
        declare(standard, user, &[answer(7, set)]).unwrap();
    }));
    let declare = |set| [Op::Set { register: 6, value: set }, TEST[0], TEST[1], Op::Report { register: 6 }];
    let quiet = program(&[&wait_for(1), &id_read(7), &wait_for(2), &id_read(7)]);
    let machine = lab.machine;
    let reported = |count| common::eventually("a report", || machine.values().len() == count);
    lab.launch(0, &program(&[&declare(11), &wait_for(3), &declare(12), &wait_for(4)]));
    reported(1);
    lab.launch(1, &quiet);
    meet(&lab, 1);
    reported(2);
    meet(&lab, 3);
    reported(3);
    meet(&lab, 2);
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [11, 11, 12, 12]);
    assert_eq!(lab.exits(1, ExitClass::IdRead), 0, "the extension was never asked");
    meet(&lab, 4);
    promoted(&lab.end(0));
}

#[test]
fn a_refused_declaration_changes_nothing() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        let full: Vec<IdAnswer> = (0..64).map(|leaf| answer(leaf + 0x100, 5)).collect();
        declare(standard, user, &full).unwrap();
        let one_more = declare(standard, user, &[answer(0x100, 9), answer(7, 9)]);
        common::refuses(one_more, 3, Error::OutOfObjects);
    }));
    promoted(&lab.run(&program(&[&TEST, &id_read(0x100), &id_read(7)])));
    assert_eq!(lab.machine.values(), [5, 0x77]);
}

#[test]
fn exits_are_counted_by_class_and_processor() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.launch(0, &program(&[&wait_for(1), &id_read(3), &id_read(3), &[Op::Virtualize]]));
    lab.launch(1, &program(&[&wait_for(1), &id_read(3)]));
    meet(&lab, 1);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
    let counts = |pp| [ExitClass::IdRead, ExitClass::Virtualization].map(|class| lab.exits(pp, class));
    assert_eq!((counts(0), counts(1)), ([2, 1], [1, 0]));
    assert_eq!(lab.kernel.exit_count(999, ExitClass::IdRead), 0);
}

#[test]
fn the_extension_reads_the_counters() {
    in_vmexit(|standard, user, _| {
        let count = |class: ExitClass| user.call(Call::DebugExitCount, &[0, class as u64]).unwrap()[0];
        assert_eq!(count(ExitClass::Hypercall), 1);
        assert_eq!(count(ExitClass::Shutdown), 0);
        let _ = standard;
    });
}

#[test]
fn a_guests_own_nmi_comes_back_to_it() {
    let mut lab = Lab::new(Standard::new().extension());
    promoted(&lab.run(&program(&[&[Op::RaiseNmi, Op::Set { register: 1, value: 1 }]])));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Nmi)]);
    assert_eq!(lab.exits(0, ExitClass::Kick), 1);
}

#[test]
fn an_unknown_exit_is_answered_by_an_exception() {
    let mut lab = Lab::new(Standard::new().extension());
    promoted(&lab.run(&program(&[&[Op::Odd { code: 0x123 }]])));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Exception { vector: 6, error_code: None })]);
}

#[test]
fn cache_maintenance_stays_in_the_kernel() {
    let mut lab = Lab::new(Standard::new().extension());
    promoted(&lab.run(&program(&[&[Op::Cache]])));
    assert_eq!(lab.exits(0, ExitClass::Cache), 1);
    assert_eq!(lab.machine.trace(), []);
}

#[test]
fn an_instruction_that_cannot_be_skipped_is_an_error() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, exit| {
        let ip = standard.expect(user, Call::VsRead, &[exit.vs, register::INSTRUCTION_POINTER]);
        for impossible in [0x30_0000, MEMORY_END, HIGH_MEMORY.end, !7, 0] {
            standard.expect(user, Call::VsWrite, &[exit.vs, register::INSTRUCTION_POINTER, impossible]);
            common::refuses_call(standard.call(user, Call::VsAdvanceAndRunCurrent, &[]), Error::Denied);
        }
        standard.expect(user, Call::VsWrite, &[exit.vs, register::INSTRUCTION_POINTER, ip]);
    }));
    promoted(&lab.run(&program(&[&TEST])));
}

#[test]
fn memory_above_the_map_is_the_root_vms_on_demand() {
    let mut lab = Lab::new(Standard::new().extension());
    let at = HIGH_MEMORY.start + 0x100;
    let access = [Op::Store { address: at, value: 42 }, Op::Load { address: at }, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[&access])));
    assert_eq!(lab.machine.values(), [42]);
    assert_eq!(lab.machine.ram.load(Spa::new(at)), 42);
    assert_eq!(lab.exits(0, ExitClass::Memory), 1);
}

#[test]
fn memory_on_demand_that_was_taken_away_is_the_extensions_to_answer() {
    let at = HIGH_MEMORY.start;
    let mut lab = Lab::new(with_test(&Standard::new(), move |standard, user, _| {
        standard.expect(user, Call::VmProtect, &[ROOT_VM, at, 0x1000, 1]);
    }));
    let load = [Op::Load { address: at }];
    promoted(&lab.run(&program(&[&load, &TEST, &load, &[Op::Store { address: at, value: 1 }]])));
    assert_eq!(lab.machine.trace(), [Trace::Event(Event::Exception { vector: 6, error_code: None })]);
}

#[test]
fn two_processors_may_want_the_same_memory_at_once() {
    for round in 0..20 {
        let mut lab = Lab::new(Standard::new().extension());
        let at = (2 + round) << 30;
        let touch = program(&[&wait_for(1), &[Op::Load { address: at }]]);
        lab.launch(0, &touch);
        lab.launch(1, &touch);
        meet(&lab, 1);
        promoted(&lab.end(0));
        promoted(&lab.end(1));
        assert_eq!(lab.machine.trace(), [], "nobody was told that the memory is not there");
    }
}

#[test]
fn memory_beyond_the_address_space_is_not_there() {
    for address in [1 << 40, 1 << 47, u64::MAX - 7] {
        let mut lab = Lab::new(Standard::new().extension());
        promoted(&lab.run(&program(&[&[Op::Load { address }]])));
        assert_eq!(lab.machine.trace().len(), 1, "{address:#x}");
    }
}

#[test]
fn intercepts_are_the_extensions_to_choose() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, exit| {
        let on = exit.register(user, 6);
        standard.expect(user, Call::VmInterceptPorts, &[ROOT_VM, 0x70, 2, on]);
        standard.expect(user, Call::VmInterceptRegisters, &[ROOT_VM, 0x12, 1, on]);
    }));
    let access = [
        Op::PortWrite { port: 0x71, value: 5 },
        Op::PortRead { port: 0x71 },
        Op::Report { register: 0 },
        Op::RegisterRead { register: 0x12 },
        Op::Report { register: 0 },
    ];
    let switch = |on| [Op::Set { register: 6, value: on }];
    promoted(&lab.run(&program(&[&access, &switch(1), &TEST, &access, &switch(0), &TEST, &access])));
    assert_eq!(lab.machine.values(), [5, 0x1200, 0xEE, 0x1200, 5, 0x1200]);
    let classes = [ExitClass::PortRead, ExitClass::PortWrite, ExitClass::RegisterRead];
    assert_eq!(classes.map(|class| lab.exits(0, class)), [1, 1, 1]);
}

#[test]
fn what_the_kernel_owns_stays_intercepted() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        let open = standard.call(user, Call::VmInterceptRegisters, &[ROOT_VM, OWNED_REGISTER, 1, 0]);
        assert_eq!(open, Err(Failure::argument(2, Error::Denied)));
    }));
    promoted(&lab.run(&program(&[&TEST, &[Op::RegisterRead { register: OWNED_REGISTER }]])));
    assert_eq!(lab.exits(0, ExitClass::RegisterRead), 1);
}

#[test]
fn an_unknown_hypercall_is_refused() {
    let mut lab = Lab::new(Standard::new().extension());
    let odd = [Op::Set { register: 0, value: 99 }, Op::Hypercall, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[&odd])));
    assert_eq!(lab.machine.values(), [HYPERCALL_REFUSED]);
}

#[test]
fn the_extension_restarts_the_machine() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, _| {
        let _ = standard.call(user, Call::IntrinsicReset, &[]);
    }));
    assert_eq!(lab.run(&program(&[&TEST])), Ended::PowerLost(PowerLoss::Reset));
}

#[test]
fn a_refused_promotion_leaves_the_root_vm_running() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.machine.trouble.refuses_promotion.store(true, std::sync::atomic::Ordering::SeqCst);
    lab.launch(0, &[&Op::STOP[..], &wait_for(1), &Op::STOP].concat());
    common::eventually("the refusal", || lab.machine.values() == [HYPERCALL_REFUSED]);
    lab.machine.trouble.refuses_promotion.store(false, std::sync::atomic::Ordering::SeqCst);
    meet(&lab, 1);
    let Ended::Promoted(state) = lab.end(0) else { panic!("not promoted") };
    assert_eq!(state.instruction_pointer, Lab::program_of(0) + 6 * SIZE);
}
