//! A processor whose guest does not stop: nobody waits for it without end, nothing that it may still reach is given away, and
//! the others live.

mod common;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{
    Guest, TEST, TEST_CALL, eventually, id_read, meet, program, promoted, refuses, refuses_call, wait_for,
    with_test,
};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::machine::Machine;
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::vs::{reset, start};
use plinth_extension_api::abi::{Call, Error, ExitClass, ROOT_VM};

/// A page of the root VM's that nothing else uses.
const PAGE: u64 = 0x30_0000;
const READ_ONLY: u64 = 5;
const ALL: u64 = 7;

/// A machine on which a processor has a millisecond to answer.
fn lab(extension: Extension) -> Lab {
    let setup = Setup { command_line: "pp-timeout=1", ..Setup::default() };
    Lab::with(&setup, extension).expect("the setup is right")
}

/// Lets the time pass that a processor has to answer, until something has happened.
fn within_the_bound(what: &str, lab: &Lab, happened: impl Fn() -> bool) {
    eventually(what, || {
        lab.machine.pass(Duration::from_millis(1));
        happened()
    });
}

/// From now on the guest on processor 1 keeps it to itself; or no longer.
fn deafen(lab: &Lab, on: bool) {
    lab.machine.trouble.dead.store(u64::from(on) << 1, Ordering::SeqCst);
}

/// Runs `calls` on processor 0 while processor 1, which runs the root VM, does not answer.
fn beside_a_deaf_processor(calls: impl Fn(&Standard, &User) + Send + Sync + 'static) -> Lab {
    let mut lab = lab(with_test(&Standard::new(), move |standard, user, _| calls(standard, user)));
    lab.launch(0, &program(&[&wait_for(1), &TEST, &id_read(2), &wait_for(2)]));
    lab.launch(1, &program(&[&wait_for(2)]));
    deafen(&lab, true);
    meet(&lab, 1);
    within_the_bound("the calls", &lab, || lab.machine.values() == [0x22]);
    lab
}

/// The lost processor comes back, and both leave.
fn all_leave(mut lab: Lab) {
    deafen(&lab, false);
    meet(&lab, 2);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
}

/// Each call that has to make the others forget something.
#[test]
fn each_call_that_waits_for_a_deaf_processor_fails_in_time() {
    let lab = beside_a_deaf_processor(|standard, user| {
        let calls: [(Call, &[u64]); 3] = [
            (Call::VmFlush, &[ROOT_VM]),
            (Call::VmProtect, &[ROOT_VM, PAGE, 0x1000, READ_ONLY]),
            (Call::VmDeclareIds, &[ROOT_VM, 0, 0]),
        ];
        for (call, arguments) in calls {
            refuses_call(standard.call(user, call, arguments), Error::Unresponsive);
        }
        let view = standard.expect(user, Call::VmViewCreate, &[ROOT_VM]);
        let protect = [ROOT_VM, view, PAGE, 0x1000, ALL];
        refuses_call(standard.call(user, Call::VmViewProtect, &protect), Error::Unresponsive);
        refuses_call(standard.call(user, Call::VmViewDestroy, &[ROOT_VM, view]), Error::Unresponsive);
        let frames = standard.call(user, Call::MemQuery, &[]);
        refuses(standard.call(user, Call::VmViewDestroy, &[ROOT_VM, view]), 2, Error::StaleId);
        assert_eq!(standard.call(user, Call::MemQuery, &[]), frames, "its tables are nobody's");
        // None of these waits for an answer.
        standard.expect(user, Call::PpKick, &[1]);
        standard.expect(user, Call::PpQuery, &[]);
    });
    let before = lab.kernel.free_frames();
    all_leave(lab_with(lab, |lab| assert_eq!(lab.kernel.free_frames(), before)));
}

fn lab_with(lab: Lab, check: impl FnOnce(&Lab)) -> Lab {
    check(&lab);
    lab
}

/// What has nothing to do with the VM that runs there goes on as ever.
#[test]
fn other_vms_come_and_go_beside_a_lost_processor() {
    let lab = beside_a_deaf_processor(|standard, user| {
        refuses_call(standard.call(user, Call::VmFlush, &[ROOT_VM]), Error::Unresponsive);
        let frames = standard.call(user, Call::MemQuery, &[]);
        for _ in 0..3 {
            let guest = Guest::new(standard, user, 0, &[]);
            standard.expect(user, Call::VmFlush, &[guest.vm]);
            standard.expect(user, Call::VmProtect, &[guest.vm, Guest::DATA, 0x1000, 1]);
            guest.destroy(standard, user);
        }
        assert_eq!(standard.call(user, Call::MemQuery, &[]), frames);
    });
    all_leave(lab);
}

/// The root VM stops and starts a processor that does not answer: it is told, and nobody waits.
#[test]
fn a_deaf_processor_is_reset_and_started_when_it_answers() {
    const ENTRY: u32 = 0x18_0000;
    let mut lab = lab(Standard::new().extension());
    lab.load(ENTRY.into(), &program(&[&[Op::Report { register: 5 }]]));
    let id = Machine::hardware_id(1);
    lab.launch(0, &program(&[&wait_for(1), &[reset(id), start(id, ENTRY)], &id_read(2)]));
    lab.launch(1, &wait_for(99));
    deafen(&lab, true);
    meet(&lab, 1);
    promoted(&lab.end(0));
    deafen(&lab, false);
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [0x22, 0]);
}

/// A guest VM that does not stop, on processor 1: its memory stays its own, and what holds it stays busy. When it stops after
/// all it has lost what was taken away.
#[test]
fn the_memory_of_a_lost_guest_is_never_given_away() {
    let (standard, made, faults) =
        (Standard::new(), Arc::new(OnceLock::<Guest>::new()), Arc::new(AtomicU64::new(0)));
    let (own, guest, seen) = (standard.clone(), made.clone(), faults.clone());
    let root = AtomicU64::new(0);
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Memory {
            seen.store(exit.number(user), Ordering::SeqCst);
            own.expect(user, Call::VsRun, &[root.load(Ordering::SeqCst)]);
        }
        if exit.class != ExitClass::Hypercall || exit.register(user, 0) != TEST_CALL {
            return own.vmexit(user, exit);
        }
        let Some(guest) = guest.get() else {
            let new = Guest::new(&own, user, 1, &[Op::Await { address: Guest::DATA, value: 1 }]);
            root.store(exit.vs, Ordering::SeqCst);
            let _ = guest.set(new);
            own.expect(user, Call::VsRun, &[new.vs]);
            return;
        };
        let unmap = [guest.vm, Guest::DATA, 0x1000];
        refuses_call(own.call(user, Call::VmUnmap, &unmap), Error::Unresponsive);
        refuses(own.call(user, Call::MemFreePage, &[guest.data]), 1, Error::Busy);
        refuses_call(
            own.call(user, Call::VmProtect, &[guest.vm, Guest::CODE, 0x1000, 1]),
            Error::Unresponsive,
        );
        refuses(own.call(user, Call::VsDestroy, &[guest.vs]), 1, Error::Busy);
        refuses(own.call(user, Call::VpDestroy, &[guest.vp]), 1, Error::Busy);
        refuses(own.call(user, Call::VmDestroy, &[guest.vm]), 1, Error::Busy);
        own.expect(user, Call::VmFlush, &[ROOT_VM]);
        own.advance_and_run(user);
    });
    let mut lab = lab(extension);
    lab.launch(0, &program(&[&wait_for(1), &TEST, &id_read(2), &wait_for(2)]));
    lab.launch(1, &program(&[&TEST]));
    eventually("the guest", || made.get().is_some());
    std::thread::sleep(Duration::from_millis(20));
    deafen(&lab, true);
    meet(&lab, 1);
    within_the_bound("the calls", &lab, || lab.machine.values() == [0x22]);
    assert_eq!(faults.load(Ordering::SeqCst), 0);
    deafen(&lab, false);
    eventually("the fault of the page that is gone", || faults.load(Ordering::SeqCst) != 0);
    meet(&lab, 2);
    promoted(&lab.end(0));
}

/// A processor comes under the hypervisor while another one does not answer, and its calls fail as in time as anybody's.
#[test]
fn a_processor_launches_beside_a_deaf_one() {
    let extension = with_test(&Standard::new(), |standard, user, _| {
        refuses_call(standard.call(user, Call::VmFlush, &[ROOT_VM]), Error::Unresponsive);
    });
    let mut lab = lab(extension);
    lab.launch(0, &program(&[&wait_for(2)]));
    lab.launch(1, &program(&[&wait_for(2)]));
    deafen(&lab, true);
    lab.launch(2, &program(&[&wait_for(1), &TEST, &id_read(2), &wait_for(2)]));
    meet(&lab, 1);
    within_the_bound("the call", &lab, || lab.machine.values() == [0x22]);
    deafen(&lab, false);
    meet(&lab, 2);
    for pp in 0..3 {
        promoted(&lab.end(pp));
    }
}

/// The extension ends on one processor while another one does not answer: nobody waits for that one, and the kernel passes it
/// through too when it comes.
#[test]
fn an_extension_ends_beside_a_deaf_processor() {
    let extension = with_test(&Standard::new(), |_, user, _| {
        user.raw_call(Call::ControlExit.number(), [0; 6]);
    });
    let mut lab = lab(extension);
    lab.launch(0, &program(&[&wait_for(1), &TEST, &id_read(2), &wait_for(2)]));
    lab.launch(1, &program(&[&wait_for(2), &id_read(2)]));
    deafen(&lab, true);
    meet(&lab, 1);
    within_the_bound("the root VM", &lab, || lab.machine.values() == [0x22]);
    deafen(&lab, false);
    meet(&lab, 2);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [0x22; 2]);
}
