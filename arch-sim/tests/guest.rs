//! Guest VMs: their life, their memory, and what processors may have cached of it.

mod common;

use common::{Guest, TEST, TEST_CALL, eventually, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, Error, ExitClass, ExitPage, ROOT_VM, register};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a guest's callback remembers between exits.
#[derive(Default)]
struct Session {
    guest: Mutex<Option<Guest>>,
    root: AtomicU64,
    exits: Mutex<Vec<(ExitClass, u64)>>,
}

/// The root VM's test hypercall runs `program` in a guest VM; its hypercall goes back. Other exits of the guest
/// are answered by `answer`.
fn hosting(
    standard: &Arc<Standard>,
    session: &Arc<Session>,
    program: &'static [Op],
    answer: impl Fn(&Standard, &User, ExitInfo, Guest) + Send + Sync + 'static,
) -> Extension {
    let (own, session) = (standard.clone(), session.clone());
    standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        let guest = *session.guest.lock().unwrap();
        let vm = exit.field(user, offset_of!(ExitPage, vm));
        match guest {
            None if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST_CALL => {
                let guest = Guest::new(&own, user, 0, program);
                *session.guest.lock().unwrap() = Some(guest);
                session.root.store(exit.vs, Ordering::SeqCst);
                own.expect(user, Call::VsRun, &[guest.vs]);
            }
            Some(guest) if vm == guest.vm => {
                session.exits.lock().unwrap().push((exit.class, exit.number(user)));
                if exit.class != ExitClass::Hypercall {
                    answer(&own, user, exit, guest);
                    own.run(user);
                }
                let root = session.root.load(Ordering::SeqCst);
                leave_guest(&own, user, guest, root);
            }
            _ => own.vmexit(user, exit),
        }
    })
}

/// Takes the guest apart and goes on with the root VS, after its hypercall.
fn leave_guest(standard: &Standard, user: &User, guest: Guest, root: u64) {
    common::refuses(standard.call(user, Call::VsDestroy, &[guest.vs]), 1, Error::Busy);
    let ip = standard.expect(user, Call::VsRead, &[root, register::INSTRUCTION_POINTER]);
    standard.expect(user, Call::VsWrite, &[root, register::INSTRUCTION_POINTER, ip + 32]);
    standard.expect(user, Call::VsRun, &[root]);
}

#[test]
fn a_guest_vm_runs_and_faults_where_it_has_nothing() {
    const PROGRAM: [Op; 7] = [
        Op::Store { address: Guest::DATA + 8, value: 11 },
        Op::Load { address: Guest::DATA + 8 },
        Op::Report { register: 0 },
        Op::Load { address: 0x80_0000 },
        Op::Report { register: 0 },
        Op::Store { address: Guest::CODE, value: 1 },
        Op::Hypercall,
    ];
    let (standard, session) = (Standard::new(), Arc::new(Session::default()));
    let mut lab = Lab::new(hosting(&standard, &session, &PROGRAM, |standard, user, exit, guest| match exit
        .number(user)
    {
        0x80_0000 => {
            let page = standard.expect(user, Call::MemAllocatePage, &[]);
            user.store(page, 22);
            standard.expect(user, Call::VmMap, &[guest.vm, 0x80_0000, page, 0x1000, 1]);
        }
        _ => standard.advance_and_run(user),
    }));
    promoted(&lab.run(&program(&[&TEST, &[Op::Report { register: 0 }]])));
    assert_eq!(lab.machine.values(), [11, 22, TEST_CALL], "and the root VS has its own registers back");
    let exits = session.exits.lock().unwrap().clone();
    let memory = ExitClass::Memory;
    assert_eq!(exits, [(memory, 0x80_0000), (memory, Guest::CODE), (ExitClass::Hypercall, 0)]);
}

#[test]
fn a_guest_vm_comes_and_goes_without_a_trace() {
    common::in_vmexit(|standard, user, _| {
        for _ in 0..50 {
            Guest::new(standard, user, 0, &[Op::Hypercall]).destroy(standard, user);
        }
    });
}

#[test]
fn what_is_in_use_cannot_be_destroyed() {
    common::in_vmexit(|standard, user, exit| {
        let guest = Guest::new(standard, user, 0, &[Op::Hypercall]);
        let refused = |call, id, error| common::refuses(standard.call(user, call, &[id]), 1, error);
        refused(Call::VmDestroy, guest.vm, Error::Busy);
        refused(Call::VpDestroy, guest.vp, Error::Busy);
        refused(Call::MemFreePage, guest.code, Error::Busy);
        refused(Call::VsDestroy, exit.vs, Error::Busy);
        refused(Call::VmDestroy, ROOT_VM, Error::Denied);
        guest.destroy(standard, user);
        refused(Call::VmDestroy, guest.vm, Error::StaleId);
        refused(Call::VpDestroy, guest.vp, Error::StaleId);
        refused(Call::VsDestroy, guest.vs, Error::StaleId);
        refused(Call::VsRun, guest.vs, Error::StaleId);
        refused(Call::MemFreePage, guest.code, Error::NotMapped);
    });
}

#[test]
fn the_vss_of_other_processors_are_theirs() {
    let root_vs = Arc::new(AtomicU64::new(u64::MAX));
    let theirs = root_vs.clone();
    let mut lab = Lab::new(with_test(&Standard::new(), move |standard, user, exit| {
        if exit.field(user, offset_of!(ExitPage, pp)) == 1 {
            // Its root VS rests while a guest's VS is the active one.
            theirs.store(exit.vs, Ordering::SeqCst);
            let guest = Guest::new(standard, user, 1, &[Op::Jump { address: Guest::CODE }]);
            standard.expect(user, Call::VsRun, &[guest.vs]);
        }
        let vs = theirs.load(Ordering::SeqCst);
        let refused = |call, error| common::refuses(standard.call(user, call, &[vs]), 1, error);
        eventually("the other's switch", || {
            standard.call(user, Call::VsRead, &[vs, register::X86_CR3]).is_ok()
        });
        refused(Call::VsRun, Error::Denied);
        refused(Call::VsDestroy, Error::Denied);
        refused(Call::VsPromote, Error::Denied);
    }));
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    lab.launch(1, &TEST);
    eventually("the other's test", || root_vs.load(Ordering::SeqCst) != u64::MAX);
    meet(&lab, 1);
    promoted(&lab.end(0));
}

/// Processor 1 runs a guest that waits for a flag and then reads a page that processor 0 has unmapped
/// meanwhile. Returns what it read, if it could.
fn read_after_unmap(forget_to_flush: bool) -> Vec<u64> {
    const VICTIM: u64 = 0x80_0000;
    let guest = Arc::new(Mutex::new(None::<(Guest, u64)>));
    let unmapped = Arc::new(AtomicBool::new(false));
    let (shared, done) = (guest.clone(), unmapped.clone());
    let standard = Standard::new();
    let own = standard.clone();
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        let pp = exit.field(user, offset_of!(ExitPage, pp));
        let in_guest = exit.field(user, offset_of!(ExitPage, vm)) != ROOT_VM;
        match exit.class {
            ExitClass::Memory if in_guest => own.inject_and_run(user, exit, 0x30D),
            ExitClass::Hypercall if in_guest => own.run(user),
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL && pp == 1 => {
                let program = [
                    Op::Load { address: VICTIM },
                    Op::Store { address: Guest::DATA, value: 1 },
                    Op::Await { address: Guest::DATA, value: 2 },
                    Op::Set { register: 0, value: 0 },
                    Op::Load { address: VICTIM },
                    Op::Report { register: 0 },
                    Op::Jump { address: Guest::CODE + 6 * 32 },
                ];
                let guest = Guest::new(&own, user, 1, &program);
                let victim = own.expect(user, Call::MemAllocatePage, &[]);
                user.store(victim, 0x5EC2E7);
                own.expect(user, Call::VmMap, &[guest.vm, VICTIM, victim, 0x1000, 3]);
                *shared.lock().unwrap() = Some((guest, victim));
                own.expect(user, Call::VsRun, &[guest.vs]);
            }
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                let (guest, victim) = shared.lock().unwrap().expect("the other was first");
                eventually("the guest's first read", || user.load(guest.data) == 1);
                own.expect(user, Call::VmUnmap, &[guest.vm, VICTIM, 0x1000]);
                own.expect(user, Call::MemFreePage, &[victim]);
                user.store(guest.data, 2);
                done.store(true, Ordering::SeqCst);
                own.advance_and_run(user);
            }
            _ => own.vmexit(user, exit),
        }
    }));
    lab.machine.trouble.ignores_flushes.store(forget_to_flush, Ordering::SeqCst);
    lab.machine.trouble.slow_interrupts.store(true, Ordering::SeqCst);
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    lab.launch(1, &TEST);
    eventually("the guest", || guest.lock().unwrap().is_some());
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert!(unmapped.load(Ordering::SeqCst));
    eventually("the guest's report", || !lab.machine.values().is_empty());
    assert!(lab.exits(1, ExitClass::Kick) > 0);
    lab.machine.values()
}

#[test]
fn an_unmapped_page_is_out_of_reach_of_other_processors() {
    assert_eq!(read_after_unmap(false), [0], "the read faulted");
}

#[test]
fn a_forgotten_flush_shows() {
    assert_eq!(read_after_unmap(true), [0x5EC2E7], "the model reads stale data");
}

#[test]
fn a_permission_that_was_taken_away_is_gone_at_once() {
    const PROGRAM: [Op; 4] = [
        Op::Store { address: Guest::DATA, value: 1 },
        Op::Odd { code: 1 },
        Op::Store { address: Guest::DATA, value: 2 },
        Op::Hypercall,
    ];
    let (standard, session) = (Standard::new(), Arc::new(Session::default()));
    let mut lab = Lab::new(hosting(&standard, &session, &PROGRAM, |standard, user, exit, guest| {
        let permissions = if exit.class == ExitClass::Other { 1 } else { 3 };
        standard.expect(user, Call::VmProtect, &[guest.vm, Guest::DATA, 0x1000, permissions]);
        if exit.class == ExitClass::Other {
            standard.advance_and_run(user);
        }
        assert_eq!(user.load(guest.data), 1);
    }));
    promoted(&lab.run(&program(&[&TEST])));
    let exits: Vec<ExitClass> = session.exits.lock().unwrap().iter().map(|exit| exit.0).collect();
    assert_eq!(exits, [ExitClass::Other, ExitClass::Memory, ExitClass::Hypercall]);
}

#[test]
fn a_read_only_page_becomes_writable() {
    const PROGRAM: [Op; 2] = [Op::Store { address: Guest::CODE + 0x800, value: 7 }, Op::Hypercall];
    let (standard, session) = (Standard::new(), Arc::new(Session::default()));
    let mut lab = Lab::new(hosting(&standard, &session, &PROGRAM, |standard, user, exit, guest| {
        assert_eq!(exit.number(user), Guest::CODE + 0x800);
        standard.expect(user, Call::VmProtect, &[guest.vm, Guest::CODE, 0x1000, 7]);
    }));
    promoted(&lab.run(&program(&[&TEST])));
    let exits: Vec<ExitClass> = session.exits.lock().unwrap().iter().map(|exit| exit.0).collect();
    assert_eq!(exits, [ExitClass::Memory, ExitClass::Hypercall], "one fault, then it works");
}

#[test]
fn a_destroyed_vms_translations_do_not_reach_the_next() {
    let standard = Standard::new();
    let step = Arc::new(AtomicU64::new(0));
    let (own, count) = (standard.clone(), step.clone());
    let guest = Arc::new(Mutex::new(None::<Guest>));
    let root = Arc::new(AtomicU64::new(0));
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        let in_guest = exit.field(user, offset_of!(ExitPage, vm)) != ROOT_VM;
        match exit.class {
            ExitClass::Hypercall if in_guest => {
                let guest = guest.lock().unwrap().expect("it runs");
                leave_guest(&own, user, guest, root.load(Ordering::SeqCst));
            }
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                let old = guest.lock().unwrap().take();
                if let Some(old) = old {
                    // The root VS runs, and takes the flush that this asks for.
                    old.destroy(&own, user);
                    own.advance_and_run(user);
                }
                // The next one gets other frames for the same addresses.
                own.expect(user, Call::MemAllocatePage, &[]);
                root.store(exit.vs, Ordering::SeqCst);
                let read = [Op::Load { address: Guest::DATA }, Op::Report { register: 0 }, Op::Hypercall];
                let new = Guest::new(&own, user, 0, &read);
                user.store(new.data, count.fetch_add(1, Ordering::SeqCst) + 100);
                *guest.lock().unwrap() = Some(new);
                own.expect(user, Call::VsRun, &[new.vs]);
            }
            _ => own.vmexit(user, exit),
        }
    }));
    let five_guests: Vec<Op> = (0..10).flat_map(|_| TEST).collect();
    promoted(&lab.run(&program(&[&five_guests])));
    assert_eq!(lab.machine.values(), [100, 101, 102, 103, 104]);
}

#[test]
fn mappings_tell_what_they_are() {
    common::in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[Op::Hypercall]);
        let query = |gpa| standard.call(user, Call::VmQuery, &[guest.vm, gpa]);
        assert_eq!(query(Guest::CODE + 0x123), Ok([5, 0x1000]));
        assert_eq!(query(Guest::DATA), Ok([3, 0x1000]));
        common::refuses(query(Guest::DATA + 0x1000), 2, Error::NotMapped);
        common::refuses(query(u64::MAX), 2, Error::NotMapped);
        let map = |gpa, page| standard.call(user, Call::VmMap, &[guest.vm, gpa, page, 0x1000, 1]);
        common::refuses(map(Guest::DATA, guest.code), 2, Error::AlreadyMapped);
        guest.destroy(standard, user);
    });
}

#[test]
fn a_mapping_that_fails_halfway_is_undone() {
    common::in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[Op::Hypercall]);
        let map = |at, size| standard.call(user, Call::VmMap, &[guest.vm, 0x100_0000, at, size, 1]);
        common::refuses(map(guest.data, 0x10_0000), 3, Error::NotMapped);
        common::refuses(standard.call(user, Call::VmQuery, &[guest.vm, 0x100_0000]), 2, Error::NotMapped);
        guest.destroy(standard, user);
    });
}
