//! Views of a VM's memory, and single-stepping: what hooks are made of.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Guest, MEETING, TEST, TEST_CALL, in_vmexit, program, promoted, refuses, refuses_call};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, Error, ExitClass, ROOT_VM, VERSION};

const ALL: u64 = 7;
const READ_ONLY: u64 = 5;

#[test]
fn a_view_has_permissions_of_its_own_and_the_memory_of_its_vm() {
    in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[]);
        let view = standard.expect(user, Call::VmViewCreate, &[guest.vm]);
        assert_ne!(view, 0);
        let own = |gpa| standard.call(user, Call::VmQuery, &[guest.vm, gpa]);
        let seen = |gpa| standard.call(user, Call::VmViewQuery, &[guest.vm, view, gpa]);
        assert_eq!(seen(Guest::DATA), own(Guest::DATA));
        standard.expect(user, Call::VmViewProtect, &[guest.vm, view, Guest::DATA, 0x1000, 1]);
        assert_eq!((own(Guest::DATA), seen(Guest::DATA)), (Ok([3, 0x1000]), Ok([1, 0x1000])));
        standard.expect(user, Call::VmProtect, &[guest.vm, Guest::CODE, 0x1000, 1]);
        assert_eq!((own(Guest::CODE), seen(Guest::CODE)), (Ok([1, 0x1000]), Ok([5, 0x1000])));
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        standard.expect(user, Call::VmMap, &[guest.vm, 0x9000, page, 0x1000, 3]);
        assert_eq!(seen(0x9000), Ok([3, 0x1000]));
        standard.expect(user, Call::VmUnmap, &[guest.vm, 0x9000, 0x1000]);
        refuses(seen(0x9000), 3, Error::NotMapped);
        standard.expect(user, Call::MemFreePage, &[page]);
        guest.destroy(standard, user);
    });
}

#[test]
fn what_views_refuse() {
    in_vmexit(|standard, user, exit| {
        let guest = Guest::new(standard, user, 0, &[]);
        let views: Vec<_> = (0..7).map(|_| standard.expect(user, Call::VmViewCreate, &[guest.vm])).collect();
        refuses_call(standard.call(user, Call::VmViewCreate, &[guest.vm]), Error::OutOfObjects);
        standard.expect(user, Call::VsSetView, &[guest.vs, views[0]]);
        refuses(standard.call(user, Call::VmViewDestroy, &[guest.vm, views[0]]), 2, Error::Busy);
        standard.expect(user, Call::VmViewDestroy, &[guest.vm, views[1]]);
        for stale in [views[1], 99, u64::MAX] {
            refuses(standard.call(user, Call::VmViewDestroy, &[guest.vm, stale]), 2, Error::StaleId);
            refuses(standard.call(user, Call::VsSetView, &[guest.vs, stale]), 2, Error::StaleId);
            refuses(standard.call(user, Call::VmViewQuery, &[guest.vm, stale, 0]), 2, Error::StaleId);
        }
        refuses(standard.call(user, Call::VsSetView, &[exit.vs, views[2]]), 2, Error::StaleId);
        refuses(standard.call(user, Call::VmViewDestroy, &[guest.vm, 0]), 2, Error::Denied);
        let reservation = plinth_arch_sim::machine::RESERVATION.start;
        let root = standard.expect(user, Call::VmViewCreate, &[ROOT_VM]);
        let protect = [ROOT_VM, root, reservation, 0x1000, ALL];
        refuses(standard.call(user, Call::VmViewProtect, &protect), 3, Error::Denied);
        standard.expect(user, Call::VmViewDestroy, &[ROOT_VM, root]);
        guest.destroy(standard, user);
    });
}

/// What the hook's callback remembers.
#[derive(Default)]
struct Hook {
    view: AtomicU64,
    hits: AtomicU64,
    steps: AtomicU64,
}

impl Hook {
    fn vmexit(&self, standard: &Standard, user: &User, exit: ExitInfo) {
        let turn = |view, on| {
            standard.expect(user, Call::VsSetView, &[exit.vs, view]);
            standard.expect(user, Call::VsStep, &[exit.vs, on]);
            standard.run(user);
        };
        match exit.class {
            ExitClass::Hypercall if exit.register(user, 0) == TEST_CALL => {
                let view = standard.expect(user, Call::VmViewCreate, &[ROOT_VM]);
                standard.expect(user, Call::VmProtect, &[ROOT_VM, MEETING, 0x1000, READ_ONLY]);
                self.view.store(view, Ordering::SeqCst);
                standard.advance_and_run(user);
            }
            ExitClass::Memory => {
                assert_eq!(exit.number(user), MEETING + 8);
                self.hits.fetch_add(1, Ordering::SeqCst);
                turn(self.view.load(Ordering::SeqCst), 1);
            }
            ExitClass::Step => {
                self.steps.fetch_add(1, Ordering::SeqCst);
                turn(0, 0);
            }
            _ => standard.vmexit(user, exit),
        }
    }
}

/// A page is write protected; the VS that writes to it steps over the instruction by a view in which it is not; then
/// it is watched again.
#[test]
fn a_hook_sees_every_write_and_the_root_vm_none_of_it() {
    let (standard, hook) = (Standard::new(), Arc::new(Hook::default()));
    let (own, seen) = (standard.clone(), hook.clone());
    let vmexit = move |user: &User, arguments| seen.vmexit(&own, user, ExitInfo::new(arguments));
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, vmexit));
    let write = |value| [Op::Store { address: MEETING + 8, value }];
    let read = [Op::Load { address: MEETING + 8 }, Op::Report { register: 0 }];
    lab.launch(0, &program(&[&TEST, &write(7), &read, &write(9), &read]));
    promoted(&lab.end(0));
    assert_eq!((hook.hits.load(Ordering::SeqCst), hook.steps.load(Ordering::SeqCst)), (2, 2));
    assert_eq!(lab.exits(0, ExitClass::Step), 2);
    assert_eq!(lab.machine.ram.load(plinth_hal::Spa::new(MEETING + 8)), 9);
}

#[test]
fn an_older_version_does_not_have_what_came_later() {
    in_vmexit(|standard, user, _| {
        standard.expect(user, Call::HandleClose, &[]);
        let old = user.call(Call::HandleOpen, &[1]).expect("version 1 is served")[0];
        for call in Call::ALL.iter().filter(|call| call.since() > 1 && call.group() != 2) {
            refuses_call(user.call(*call, &[old]), Error::UnknownCall);
        }
        assert!(user.call(Call::VmQuery, &[old, ROOT_VM, 0x1000]).is_ok());
        assert!(user.call(Call::HandleClose, &[old]).is_ok());
        standard.open(user);
        refuses(user.call(Call::HandleOpen, &[VERSION + 1]), 0, Error::Unsupported);
    });
}
