//! An extension that fails: its own fail callback, else the kernel, keeps the root VM running.

mod common;

use common::{Guest, TEST, TEST_CALL, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::machine::{FEATURE_LEAF, OWNED_REGISTER, PowerLoss, RESERVATION, Trace, USER_BASE};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::user::PAGE_FAULT;
use plinth_extension_api::abi::{Call, Error, ExitClass, HYPERCALL_COUNT, HYPERCALL_REFUSED, HYPERCALL_STOP};
use plinth_hal::Event;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const UNDEFINED: Trace = Trace::Event(Event::Undefined);

/// An extension that crashes on the test's hypercall.
fn crashing(crash: impl Fn(&User) + Send + Sync + 'static) -> Lab {
    Lab::new(with_test(&Standard::new(), move |_, user, _| crash(user)))
}

/// After such a crash the kernel itself answers as the machine would.
fn the_root_vm_lives(crash: impl Fn(&User) + Send + Sync + 'static) {
    let mut lab = crashing(crash);
    let after = [
        Op::RegisterWrite { register: OWNED_REGISTER, value: 0x99 },
        Op::RegisterRead { register: OWNED_REGISTER },
        Op::Report { register: 0 },
        Op::Virtualize,
        Op::RaiseNmi,
        Op::Store { address: RESERVATION.start, value: 1 },
        Op::Odd { code: 9 },
    ];
    promoted(&lab.run(&program(&[&TEST, &after, &id_read(u64::from(FEATURE_LEAF))])));
    assert_eq!(lab.machine.values(), [0x99, 1], "a register of the machine; no virtualization");
    let is_event = |entry: &Trace| matches!(entry, Trace::Event(_));
    let events: Vec<Trace> = lab.machine.trace().into_iter().filter(is_event).collect();
    let nmi = Trace::Event(Event::Nmi);
    assert_eq!(events, [UNDEFINED, UNDEFINED, nmi, UNDEFINED], "hypercall, virtualization, NMI, odd exit");
}

#[test]
fn without_a_fail_callback_the_kernel_takes_over() {
    the_root_vm_lives(|user| user.store(0, 0));
}

#[test]
fn an_exit_is_a_crash_too() {
    the_root_vm_lives(|user| {
        let _ = user.call(Call::ControlExit, &[]);
    });
}

#[test]
fn a_wait_is_a_crash_too() {
    the_root_vm_lives(|user| {
        let _ = user.call(Call::ControlWait, &[]);
    });
}

#[test]
fn a_return_is_a_crash_too() {
    let standard = Standard::new();
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, |_, _| {}));
    promoted(&lab.run(&program(&[&id_read(2)])));
    assert_eq!(lab.machine.values(), [0x22]);
}

#[test]
fn the_kernels_memory_is_out_of_the_extensions_reach() {
    for address in [RESERVATION.start, RESERVATION.start + 0x2_0000, 0x1000, 0, 1 << 63, !7] {
        the_root_vm_lives(move |user| {
            user.load(address);
            panic!("the extension has read {address:#x}");
        });
        the_root_vm_lives(move |user| {
            user.store(address, 0);
            panic!("the extension has written {address:#x}");
        });
    }
}

#[test]
fn the_extensions_code_is_not_writable_and_its_stack_has_a_guard() {
    the_root_vm_lives(|user| {
        user.store(user.entry(), 0);
        panic!("code was written");
    });
    let stack_top = USER_BASE + (256 << 30) + (1 << 20);
    the_root_vm_lives(move |user| {
        user.load(stack_top - 8 * 0x1000);
        user.load(stack_top - 8 * 0x1000 - 8);
        panic!("the guard below the stack was read");
    });
}

#[test]
fn only_privileged_code_stops_the_hypervisor() {
    let mut lab = crashing(|user| user.store(0, 0));
    let stop = [Op::Set { register: 0, value: HYPERCALL_STOP }, Op::Hypercall];
    let unprivileged = [&[Op::Privilege { level: 3 }][..], &stop, &[Op::Privilege { level: 0 }]].concat();
    promoted(&lab.run(&program(&[&TEST, &unprivileged])));
    assert_eq!(lab.machine.trace(), [UNDEFINED, UNDEFINED]);
}

#[test]
fn calls_that_the_extension_answered_are_refused() {
    let mut lab = crashing(|user| user.store(0, 0));
    let count = |value| [Op::Set { register: 0, value }, Op::Hypercall, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[
        &TEST,
        &count(HYPERCALL_COUNT),
        &count(HYPERCALL_COUNT & !(0xFFFF << 48)),
    ])));
    let events = lab.machine.trace().into_iter().filter(|entry| matches!(entry, Trace::Event(_)));
    assert_eq!(events.collect::<Vec<_>>(), [UNDEFINED, UNDEFINED], "the test's call and another one's");
    assert_eq!(lab.machine.values()[0], HYPERCALL_REFUSED);
}

#[test]
fn a_refused_stop_goes_on() {
    let mut lab = crashing(|user| user.store(0, 0));
    lab.machine.trouble.refuses_promotion.store(true, Ordering::SeqCst);
    lab.launch(0, &[&TEST[..], &Op::STOP, &wait_for(1), &Op::STOP].concat());
    common::eventually("the refusal", || lab.machine.values() == [HYPERCALL_REFUSED]);
    lab.machine.trouble.refuses_promotion.store(false, Ordering::SeqCst);
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(lab.kernel.object_counts(), [0, 0, 0]);
}

#[test]
fn a_shutdown_restarts_the_machine() {
    let mut lab = crashing(|user| user.store(0, 0));
    let ended = lab.run(&[&TEST[..], &[Op::Shutdown]].concat());
    assert_eq!(ended, Ended::PowerLost(PowerLoss::Reset));
}

fn with_fail(
    vmexit: impl Fn(&Standard, &User, ExitInfo) + Send + Sync + 'static,
    fail: impl Fn(&Standard, &User, [u64; 3]) + Send + Sync + 'static,
) -> Lab {
    let standard = Standard::with_fail();
    let own = standard.clone();
    let extension = with_test(&standard, vmexit);
    Lab::new(extension.on(Slot::Fail, move |user, arguments| fail(&own, user, arguments)))
}

#[test]
fn the_fail_callback_decides() {
    let mut lab = with_fail(
        |_, user, _| {
            user.load(0x1238);
        },
        |standard, user, [page, vector, address]| {
            assert_eq!((vector, address), (PAGE_FAULT, 0x1238));
            user.store(page, 5);
            standard.advance_and_run(user);
        },
    );
    promoted(&lab.run(&program(&[&TEST, &[Op::Report { register: 0 }], &id_read(2)])));
    assert_eq!(lab.machine.values(), [5, 0x22]);
    assert_eq!(lab.exits(0, ExitClass::IdRead), 1);
    assert_eq!(lab.machine.trace().len(), 2, "no exception: the extension lives on");
}

/// Gets the freed page at `address` back.
fn allocate_at(standard: &Standard, user: &User, address: u64) {
    let mut held = Vec::new();
    while held.last() != Some(&address) {
        held.push(standard.expect(user, Call::MemAllocatePage, &[]));
    }
    for page in held.into_iter().filter(|page| *page != address) {
        standard.expect(user, Call::MemFreePage, &[page]);
    }
}

#[test]
fn the_fail_callback_may_go_on_where_it_was() {
    let page = Arc::new(AtomicU64::new(0));
    let again = page.clone();
    let mut lab = with_fail(
        move |standard, user, exit| {
            let freed = standard.expect(user, Call::MemAllocatePage, &[]);
            user.store(freed, 1);
            standard.expect(user, Call::MemFreePage, &[freed]);
            page.store(freed, Ordering::SeqCst);
            exit.set_register(user, 3, user.load(freed) + 70);
        },
        move |standard, user, [_, _, address]| {
            assert_eq!(address, again.load(Ordering::SeqCst));
            allocate_at(standard, user, address);
            let _ = user.call(Call::ControlAgain, &[]);
            panic!("it goes on elsewhere");
        },
    );
    promoted(&lab.run(&program(&[&TEST, &[Op::Report { register: 3 }]])));
    assert_eq!(lab.machine.values(), [70], "the page is zeroed for its new life");
}

#[test]
fn going_on_without_a_failure_is_an_error() {
    common::in_vmexit(|_, user, _| {
        common::refuses_call(user.call(Call::ControlAgain, &[]), Error::WrongState);
    });
}

#[test]
fn an_exit_gets_the_fail_callback_too() {
    let mut lab = with_fail(
        |_, user, _| {
            let _ = user.call(Call::ControlExit, &[]);
        },
        |standard, user, [_, vector, _]| {
            assert_eq!(vector, u64::MAX);
            standard.advance_and_run(user);
        },
    );
    promoted(&lab.run(&program(&[&TEST])));
    assert_eq!(lab.machine.trace(), []);
}

#[test]
fn a_crash_in_the_fail_callback_is_the_last() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let mut lab = with_fail(
        |_, user, _| {
            user.load(0);
        },
        move |_, user, _| {
            count.fetch_add(1, Ordering::SeqCst);
            user.load(8);
        },
    );
    promoted(&lab.run(&program(&[&TEST, &id_read(2)])));
    assert_eq!(lab.machine.trace(), [UNDEFINED, Trace::Value(0x22)]);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn after_a_crash_every_processor_is_passed_through() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (standard, log) = (Standard::new(), calls.clone());
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        log.lock().unwrap().push(ExitInfo::new(arguments).class);
        user.load(0);
    }));
    for pp in 0..3 {
        lab.launch(pp, &program(&[&wait_for(if pp == 0 { 1 } else { 2 }), &id_read(4)]));
    }
    meet(&lab, 1);
    promoted(&lab.end(0));
    meet(&lab, 2);
    for pp in 1..3 {
        promoted(&lab.end(pp));
    }
    assert_eq!(lab.machine.values(), [0x44; 3]);
    assert_eq!(*calls.lock().unwrap(), [ExitClass::IdRead], "nobody asked it again");
}

#[test]
fn a_crash_while_a_guest_vm_runs_does_not_hurt_the_root_vs() {
    let standard = Standard::new();
    let own = standard.clone();
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST_CALL {
            let read = Op::RegisterRead { register: OWNED_REGISTER };
            let guest = Guest::new(&own, user, 0, &[Op::Set { register: 9, value: 1 }, read]);
            own.expect(user, Call::VsRun, &[guest.vs]);
        }
        assert_eq!((exit.class, exit.number(user)), (ExitClass::RegisterRead, OWNED_REGISTER));
        user.load(0);
    }));
    let reports = [Op::Report { register: 9 }, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[&TEST, &reports])));
    assert_eq!(lab.machine.values(), [9, TEST_CALL], "neither the guest's registers nor an answer to it");
    assert_eq!(lab.machine.trace()[0], UNDEFINED, "its own hypercall was made again, and refused");
}
