//! Interrupts while a guest VM runs: its own, which the extension makes up, and the machine's, which are the root VM's.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Guest, TEST, TEST_CALL, eventually, meet, program, promoted, refuses, wait_for};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{DEVICE_INTERRUPT, Machine, Trace};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::vs::{reset, start};
use plinth_extension_api::abi::{Call, EVENT_INTERRUPT, EVENT_WITHDRAW, Error, ExitClass};

const FIRST: u64 = 0x40;
const SECOND: u64 = 0x41;

/// What the callback remembers: the root VS, and the guest's once there is one.
#[derive(Default)]
struct Session {
    root: AtomicU64,
    guest: AtomicU64,
}

/// The root VM's test hypercall runs `program` in a guest VM, whose exits `answer` sees; its hypercall goes back.
fn hosting(
    program: &'static [Op],
    answer: impl Fn(&Standard, &User, ExitClass, &Session) + Send + Sync + 'static,
) -> Extension {
    let (own, session) = (Standard::new(), Session::default());
    let standard = own.clone();
    standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        let guest = session.guest.load(Ordering::SeqCst);
        if guest != 0 && exit.vs == guest {
            if exit.class == ExitClass::Hypercall {
                own.expect(user, Call::VsAdvanceAndRun, &[session.root.load(Ordering::SeqCst)]);
            }
            answer(&own, user, exit.class, &session);
        }
        if exit.class != ExitClass::Hypercall || exit.register(user, 0) != TEST_CALL {
            return own.vmexit(user, exit);
        }
        if guest == 0 {
            session.root.store(exit.vs, Ordering::SeqCst);
            session.guest.store(Guest::new(&own, user, 0, program).vs, Ordering::SeqCst);
        }
        own.expect(user, Call::VsAdvanceAndRun, &[session.guest.load(Ordering::SeqCst)]);
    })
}

#[test]
fn an_interrupt_waits_until_the_guest_lets_it_in() {
    const GUEST: [Op; 6] = [
        Op::Wait,
        Op::Set { register: 0, value: 1 },
        Op::Report { register: 0 },
        Op::AllowInterrupts { on: 1 },
        Op::Report { register: 0 },
        Op::Hypercall,
    ];
    let mut lab = Lab::new(hosting(&GUEST, |standard, user, class, session| {
        assert_eq!(class, ExitClass::Wait);
        let (root, guest) = (session.root.load(Ordering::SeqCst), session.guest.load(Ordering::SeqCst));
        let inject = |vs, kind, number| standard.call(user, Call::VsInject, &[vs, kind | number]);
        refuses(inject(root, EVENT_INTERRUPT, FIRST), 1, Error::Denied);
        refuses(inject(guest, EVENT_INTERRUPT, 31), 2, Error::InvalidArgument);
        assert!(inject(guest, EVENT_INTERRUPT, FIRST).is_ok());
        refuses(inject(guest, EVENT_INTERRUPT, SECOND), 2, Error::Busy);
        assert!(inject(guest, EVENT_WITHDRAW, SECOND).is_ok(), "another one: nothing happens");
        refuses(inject(guest, EVENT_INTERRUPT, SECOND), 2, Error::Busy);
        assert!(inject(guest, EVENT_WITHDRAW, FIRST).is_ok());
        assert!(inject(guest, EVENT_INTERRUPT, SECOND).is_ok());
        standard.advance_and_run(user);
    }));
    promoted(&lab.run(&program(&[&TEST])));
    let trace = lab.machine.trace();
    assert_eq!(trace[..3], [Trace::Value(1), Trace::Interrupt(SECOND as u8), Trace::Value(1)]);
}

#[test]
fn the_root_vm_takes_an_interrupt_that_comes_while_a_guest_vm_runs() {
    const GUEST: [Op; 4] =
        [Op::RaiseInterrupt, Op::Set { register: 0, value: 7 }, Op::Report { register: 0 }, Op::Hypercall];
    let interrupts = Arc::new(AtomicU64::new(0));
    let seen = interrupts.clone();
    let mut lab = Lab::new(hosting(&GUEST, move |standard, user, class, session| {
        assert_eq!(class, ExitClass::Interrupt);
        // It comes back at once.
        if seen.fetch_add(1, Ordering::SeqCst) == 0 {
            standard.run(user);
        }
        standard.expect(user, Call::VsRun, &[session.root.load(Ordering::SeqCst)]);
    }));
    promoted(&lab.run(&program(&[&TEST, &TEST])));
    let trace = lab.machine.trace();
    assert_eq!(trace[..2], [Trace::Interrupt(DEVICE_INTERRUPT), Trace::Value(7)]);
    assert_eq!((interrupts.load(Ordering::SeqCst), lab.exits(0, ExitClass::Interrupt)), (2, 2));
}

#[test]
fn without_the_extension_a_guest_vms_exit_goes_to_the_root_vm() {
    const GUEST: [Op; 2] = [Op::RaiseInterrupt, Op::Jump { address: Guest::CODE + 32 }];
    let mut lab = Lab::new(hosting(&GUEST, |standard, user, _, _| {
        standard.expect(user, Call::ControlExit, &[]);
    }));
    let report = [Op::Set { register: 0, value: 9 }, Op::Report { register: 0 }];
    promoted(&lab.run(&program(&[&TEST, &report])));
    assert_eq!(lab.machine.trace()[..2], [Trace::Interrupt(DEVICE_INTERRUPT), Trace::Value(9)]);
}

#[test]
fn a_guest_vm_does_not_keep_a_processor_that_the_root_vm_starts_anew() {
    const ENTRY: u32 = 0x18_0000;
    const GUEST: [Op; 1] = [Op::Jump { address: Guest::CODE }];
    let mut lab = Lab::new(hosting(&GUEST, |standard, user, class, session| {
        assert_eq!(class, ExitClass::Interrupt);
        standard.expect(user, Call::VsRun, &[session.root.load(Ordering::SeqCst)]);
    }));
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 5 }]]));
    let host = Machine::hardware_id(0);
    lab.launch(0, &program(&[&TEST]));
    lab.launch(1, &program(&[&wait_for(1), &[reset(host), start(host, ENTRY)]]));
    meet(&lab, 1);
    eventually("the start", || lab.exits(1, ExitClass::Processor) == 2);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
}
