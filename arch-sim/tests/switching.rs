//! From one VS to another, from one processor to another: what no single callback can show.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Guest, TEST, TEST_CALL, eventually, in_vmexit, meet, program, promoted, refuses, wait_for};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::vs::change_mode;
use plinth_extension_api::abi::{Call, Error, ExitClass, ROOT_VM, register};

/// What the callback remembers.
#[derive(Default)]
struct Session {
    root: AtomicU64,
    guest: AtomicU64,
    attentions: AtomicU64,
}

/// The root VM's hypercall is skipped and a guest runs; the guest's is skipped and the root VM runs.
#[test]
fn a_guest_and_the_root_vm_take_turns() {
    const GUEST: [Op; 2] = [Op::Hypercall, Op::Hypercall];
    let (standard, session) = (Standard::new(), Arc::new(Session::default()));
    let (own, seen) = (standard.clone(), session.clone());
    let vmexit = move |user: &User, arguments| {
        let exit = ExitInfo::new(arguments);
        let (root, guest) = (seen.root.load(Ordering::SeqCst), seen.guest.load(Ordering::SeqCst));
        if exit.class == ExitClass::Hypercall && exit.vs == guest && guest != 0 {
            refuses(own.call(user, Call::VsMigrate, &[root, 1]), 1, Error::Denied);
            own.expect(user, Call::VsAdvanceAndRun, &[root]);
        }
        if exit.class != ExitClass::Hypercall || exit.register(user, 0) != TEST_CALL {
            return own.vmexit(user, exit);
        }
        if guest == 0 {
            seen.root.store(exit.vs, Ordering::SeqCst);
            seen.guest.store(Guest::new(&own, user, 0, &GUEST).vs, Ordering::SeqCst);
        }
        own.expect(user, Call::VsAdvanceAndRun, &[seen.guest.load(Ordering::SeqCst)]);
    };
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, vmexit));
    lab.launch(0, &program(&[&TEST, &TEST]));
    promoted(&lab.end(0));
    assert_eq!(lab.exits(0, ExitClass::Hypercall), 4, "two each");
}

#[test]
fn an_instruction_is_skipped_without_running() {
    in_vmexit(|standard, user, exit| {
        let place = |standard: &Standard| {
            standard.expect(user, Call::VsRead, &[exit.vs, register::INSTRUCTION_POINTER])
        };
        let before = place(standard);
        standard.expect(user, Call::VsAdvance, &[]);
        assert_eq!(place(standard), before + 32);
        standard.expect(user, Call::VsWrite, &[exit.vs, register::INSTRUCTION_POINTER, before]);
    });
}

#[test]
fn a_vs_that_moved_runs_on_its_new_processor_alone() {
    in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[]);
        standard.expect(user, Call::VsMigrate, &[guest.vs, 1]);
        refuses(standard.call(user, Call::VsRun, &[guest.vs]), 1, Error::Denied);
        standard.expect(user, Call::VsMigrate, &[guest.vs, 0]);
        guest.destroy(standard, user);
    });
}

/// An extension that kicks the second processor at the test call, and counts the attentions that come of it.
fn kicking(session: &Arc<Session>) -> Lab {
    let standard = Standard::new();
    let (own, seen) = (standard.clone(), session.clone());
    let vmexit = move |user: &User, arguments| {
        let exit = ExitInfo::new(arguments);
        match exit.class {
            ExitClass::Attention => {
                seen.attentions.fetch_add(1, Ordering::SeqCst);
                own.run(user);
            }
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                own.expect(user, Call::PpKick, &[1]);
                own.advance_and_run(user);
            }
            _ => own.vmexit(user, exit),
        }
    };
    Lab::new(standard.extension().on(Slot::Vmexit, vmexit))
}

/// One processor asks for another's attention while that one's guest runs.
#[test]
fn a_kick_reaches_a_running_guest() {
    let session = Arc::new(Session::default());
    let mut lab = kicking(&session);
    lab.launch(0, &program(&[&wait_for(1), &TEST, &wait_for(2)]));
    lab.launch(1, &program(&[&wait_for(2)]));
    meet(&lab, 1);
    eventually("the kick", || session.attentions.load(Ordering::SeqCst) == 1);
    assert_eq!(lab.exits(1, ExitClass::Attention), 1);
    meet(&lab, 2);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
}

/// A kick that comes while the interrupt controller changes its mode is lost. The next one arrives.
#[test]
fn a_lost_kick_does_not_stand_in_the_way_of_the_next() {
    let session = Arc::new(Session::default());
    let mut lab = kicking(&session);
    lab.launch(0, &program(&[&wait_for(1), &TEST, &wait_for(3), &TEST, &wait_for(4)]));
    lab.launch(1, &program(&[&wait_for(2), &[change_mode()], &wait_for(4)]));
    lab.machine.trouble.loses_kick.store(true, Ordering::SeqCst);
    meet(&lab, 1);
    eventually("a kick", || lab.exits(0, ExitClass::Hypercall) == 1);
    eventually("its loss", || !lab.machine.trouble.loses_kick.load(Ordering::SeqCst));
    meet(&lab, 2);
    eventually("another mode", || session.attentions.load(Ordering::SeqCst) == 1);
    meet(&lab, 3);
    eventually("the next kick", || session.attentions.load(Ordering::SeqCst) == 2);
    assert_eq!(lab.exits(1, ExitClass::Nmi), 0, "the repeated one is no interrupt of the guest's");
    meet(&lab, 4);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
}

/// The root VM's own memory, read and written by the extension.
#[test]
fn the_root_vms_memory_is_read_and_written() {
    in_vmexit(|standard, user, _| {
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        user.store(page, 0x1234);
        let at = common::MEETING + 0xFFC;
        standard.expect(user, Call::VmWriteMemory, &[ROOT_VM, at, page, 8]);
        standard.expect(user, Call::VmReadMemory, &[ROOT_VM, at, page + 16, 8]);
        assert_eq!(user.load(page + 16), 0x1234, "across a page");
        standard.expect(user, Call::MemFreePage, &[page]);
    });
}
