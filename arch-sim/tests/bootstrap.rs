//! A launch that fails says why and hands back what it was given.

mod common;

use common::{meet, program, promoted, wait_for};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::image::ExtensionImage;
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab, Setup};
use plinth_arch_sim::machine::USER_BASE;
use plinth_arch_sim::standard::Standard;
use plinth_arch_sim::user::{PAGE_FAULT, UNDEFINED};
use plinth_extension_api::abi::{Call, Error, ROOT_VM};
use plinth_kernel::PrepareError;
use plinth_launch::image::ImageError;
use plinth_launch::{LaunchError, LaunchStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn ignore<T>(_: T) {}

fn abandoned(pp: usize, ended: Ended, error: LaunchError, detail: u64) {
    assert_eq!(ended, Ended::Abandoned(LaunchStatus::failed(error, detail), Lab::root_state(pp)));
}

fn launch_fails(extension: Extension, error: LaunchError, detail: u64) {
    let mut lab = Lab::new(extension);
    abandoned(0, lab.run(&Op::STOP), error, detail);
    assert_eq!(lab.kernel.launched_pps(), 0);
    assert_eq!(lab.kernel.object_counts(), [1, 0, 0], "nothing but the root VM is left");
    lab.launch(1, &Op::STOP);
    assert!(matches!(lab.end(1), Ended::Abandoned(..)));
}

fn start_fails(code: impl Fn(&User) + Send + Sync + 'static, error: LaunchError, detail: u64) {
    launch_fails(Extension::new().on(Slot::Start, move |user, _| code(user)), error, detail);
}

fn bootstrap_fails(code: impl Fn(&Standard, &User) + Send + Sync + 'static, error: LaunchError, detail: u64) {
    let standard = Standard::with_fail();
    let own = standard.clone();
    let extension = standard
        .extension()
        .on(Slot::Fail, |_, _| panic!("there is no root VM yet to save"))
        .on(Slot::Bootstrap, move |user, _| code(&own, user));
    launch_fails(extension, error, detail);
}

#[test]
fn a_start_that_faults() {
    start_fails(|user| user.store(0, 0), LaunchError::ExtensionFaulted, PAGE_FAULT);
}

#[test]
fn a_start_that_returns() {
    start_fails(|_| {}, LaunchError::ExtensionFaulted, PAGE_FAULT);
}

#[test]
fn a_start_that_exits() {
    start_fails(|user| ignore(user.call(Call::ControlExit, &[])), LaunchError::ExtensionExited, 0);
}

#[test]
fn a_start_that_registers_nothing() {
    start_fails(|user| ignore(user.call(Call::ControlWait, &[])), LaunchError::ExtensionUnregistered, 0);
}

#[test]
fn a_start_that_registers_half() {
    let standard = Standard::new();
    let start = move |user: &User| {
        standard.open(user);
        let bootstrap = user.address_of(Slot::Start, Slot::Bootstrap);
        standard.expect(user, Call::CallbackRegisterBootstrap, &[bootstrap]);
        let _ = user.call(Call::ControlWait, &[]);
    };
    start_fails(start, LaunchError::ExtensionUnregistered, 0);
}

#[test]
fn a_bootstrap_that_faults() {
    bootstrap_fails(|_, user| user.store(8, 0), LaunchError::ExtensionFaulted, PAGE_FAULT);
}

#[test]
fn a_bootstrap_that_returns() {
    bootstrap_fails(|_, _| {}, LaunchError::ExtensionFaulted, PAGE_FAULT);
}

#[test]
fn a_bootstrap_that_exits() {
    let exit = |_: &Standard, user: &User| ignore(user.call(Call::ControlExit, &[]));
    bootstrap_fails(exit, LaunchError::ExtensionExited, 0);
}

#[test]
fn a_bootstrap_that_waits() {
    let wait = |_: &Standard, user: &User| ignore(user.call(Call::ControlWait, &[]));
    bootstrap_fails(wait, LaunchError::ExtensionExited, 0);
}

#[test]
fn a_bootstrap_that_fails_late_leaves_no_objects() {
    let late = |standard: &Standard, user: &User| {
        standard.root_vs(user, 0);
        standard.expect(user, Call::VpCreate, &[ROOT_VM]);
        user.store(0, 0);
    };
    let standard = Standard::new();
    let own = standard.clone();
    let mut lab = Lab::new(standard.extension().on(Slot::Bootstrap, move |user, _| late(&own, user)));
    abandoned(0, lab.run(&Op::STOP), LaunchError::ExtensionFaulted, PAGE_FAULT);
    let [vms, _, vss] = lab.kernel.object_counts();
    assert_eq!((vms, vss), (1, 0), "the root VS of a processor that was given back is gone");
}

#[test]
fn a_callback_that_is_no_code() {
    let standard = Standard::new();
    let start = move |user: &User| {
        standard.open(user);
        let data = user.entry() + 0x1000;
        standard.expect(user, Call::CallbackRegisterBootstrap, &[data]);
        standard.expect(user, Call::CallbackRegisterVmexit, &[data]);
        let _ = user.call(Call::ControlWait, &[]);
    };
    start_fails(start, LaunchError::ExtensionFaulted, PAGE_FAULT);
}

#[test]
fn a_callback_that_is_no_instruction() {
    let standard = Standard::new();
    let start = move |user: &User| {
        standard.open(user);
        standard.expect(user, Call::CallbackRegisterBootstrap, &[user.entry() + 0x800]);
        standard.expect(user, Call::CallbackRegisterVmexit, &[user.entry()]);
        let _ = user.call(Call::ControlWait, &[]);
    };
    start_fails(start, LaunchError::ExtensionFaulted, UNDEFINED);
}

#[test]
fn the_first_vs_to_run_must_be_the_root_vs() {
    let bootstrap = |standard: &Standard, user: &User| {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let vp = standard.expect(user, Call::VpCreate, &[vm]);
        let vs = standard.expect(user, Call::VsCreate, &[vp, 0]);
        assert!(standard.call(user, Call::VsRun, &[vs]).is_err());
        let root = standard.root_vs(user, 0);
        standard.expect(user, Call::VsRun, &[root]);
    };
    let standard = Standard::new();
    let own = standard.clone();
    let mut lab = Lab::new(standard.extension().on(Slot::Bootstrap, move |user, _| bootstrap(&own, user)));
    let Ended::Promoted(state) = lab.run(&Op::STOP) else { panic!("not promoted") };
    assert_eq!(state.registers[1..], Lab::root_state(0).registers[1..]);
}

#[test]
fn the_root_vs_is_chosen_once_and_rightly() {
    let bootstrap = |standard: &Standard, user: &User, pp: u64| {
        let init = |vs| standard.call(user, Call::VsInitAsRoot, &[vs]);
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let (vp, root_vp) =
            (standard.expect(user, Call::VpCreate, &[vm]), standard.expect(user, Call::VpCreate, &[ROOT_VM]));
        let guest_vs = standard.expect(user, Call::VsCreate, &[vp, pp]);
        let elsewhere = standard.expect(user, Call::VsCreate, &[root_vp, pp + 1]);
        common::refuses(init(guest_vs), 1, Error::Denied);
        common::refuses(init(elsewhere), 1, Error::Denied);
        common::refuses(init(u64::MAX), 1, Error::StaleId);
        let first = standard.root_vs(user, pp);
        common::refuses_call(init(first), Error::WrongState);
        standard.expect(user, Call::VsDestroy, &[first]);
        let second = standard.root_vs(user, pp);
        common::refuses(standard.call(user, Call::VsRun, &[first]), 1, Error::StaleId);
        common::refuses_call(standard.call(user, Call::VsRunCurrent, &[]), Error::WrongState);
        standard.expect(user, Call::VsRun, &[second]);
    };
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Bootstrap, move |user, [pp, ..]| bootstrap(&own, user, pp));
    promoted(&Lab::new(extension).run(&Op::STOP));
}

#[test]
fn nothing_runs_or_is_promoted_before_its_time() {
    let standard = Standard::new();
    let own = standard.clone();
    let start = move |user: &User| {
        own.open(user);
        let root = own.root_vs(user, 0);
        assert!(own.call(user, Call::VsRun, &[root]).is_err(), "in _start");
        assert!(own.call(user, Call::VsPromote, &[root]).is_err(), "before it ever ran");
        assert!(own.call(user, Call::VsRunCurrent, &[]).is_err());
        assert!(own.call(user, Call::VsAdvanceAndRunCurrent, &[]).is_err());
        let _ = user.call(Call::ControlExit, &[]);
    };
    start_fails(start, LaunchError::ExtensionExited, 0);
}

#[test]
fn a_processor_that_refuses_the_root_vs() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.machine.trouble.refuses_entry.store(1, Ordering::SeqCst);
    abandoned(0, lab.run(&Op::STOP), LaunchError::EntryRefused, 0);
    assert_eq!(lab.kernel.launched_pps(), 0);
    assert_eq!(lab.kernel.object_counts()[2], 0);
}

#[test]
fn when_one_of_four_fails_the_others_are_promoted() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.machine.trouble.refuses_entry.store(1 << 2, Ordering::SeqCst);
    let stops_when_told = program(&[&wait_for(1)]);
    for pp in [0, 1] {
        lab.launch(pp, &stops_when_told);
    }
    lab.launch(2, &stops_when_told);
    abandoned(2, lab.end(2), LaunchError::EntryRefused, 0);
    assert_eq!(lab.kernel.launched_pps(), 2);
    meet(&lab, 1);
    for pp in [0, 1] {
        promoted(&lab.end(pp));
    }
}

#[test]
fn a_bootstrap_that_faults_on_one_processor_costs_that_one() {
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Bootstrap, move |user, [pp, ..]| {
        if pp == 1 {
            own.root_vs(user, pp);
            user.load(0x10);
        }
        own.bootstrap_on(user, pp);
    });
    let mut lab = Lab::new(extension);
    lab.launch(0, &program(&[&wait_for(1)]));
    let objects = lab.kernel.object_counts();
    lab.launch(1, &Op::STOP);
    abandoned(1, lab.end(1), LaunchError::ExtensionFaulted, PAGE_FAULT);
    assert_eq!(lab.kernel.object_counts(), objects);
    meet(&lab, 1);
    promoted(&lab.end(0));
}

#[test]
fn a_processor_that_failed_can_be_launched_again() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.launch(0, &program(&[&wait_for(1)]));
    lab.machine.trouble.refuses_entry.store(1 << 1, Ordering::SeqCst);
    lab.launch(1, &Op::STOP);
    abandoned(1, lab.end(1), LaunchError::EntryRefused, 0);
    lab.machine.trouble.refuses_entry.store(0, Ordering::SeqCst);
    let before = lab.kernel.free_frames();
    lab.launch(1, &program(&[&wait_for(1)]));
    assert_eq!(lab.kernel.launched_pps(), 2);
    assert!(lab.kernel.free_frames() + 1 >= before, "its stacks and pages were still there");
    meet(&lab, 1);
    promoted(&lab.end(1));
    promoted(&lab.end(0));
}

#[test]
fn an_application_processor_cannot_be_first() {
    let mut lab = Lab::new(Standard::new().extension());
    lab.launch(1, &Op::STOP);
    abandoned(1, lab.end(1), LaunchError::NotPrepared, 0);
}

fn prepare(setup: &Setup) -> Result<Lab, PrepareError> {
    Lab::with(setup, Standard::new().extension())
}

fn image(image: ExtensionImage) -> Setup {
    Setup { image, ..Setup::default() }
}

#[test]
fn an_image_moves_by_the_loaders_random_bits() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for entropy in [0, 1, 0xFFFF, u64::MAX] {
        let (standard, seen) = (Standard::new(), seen.clone());
        let own = standard.clone();
        let extension = standard.extension().on(Slot::Start, move |user, _| {
            let data = user.entry() - plinth_arch_sim::image::CODE + plinth_arch_sim::image::DATA;
            assert_eq!(user.load(data), data, "the relocation was applied");
            assert_eq!(user.load(data + 8), 7);
            assert_eq!(user.load(data + 0x17F8), 0);
            seen.lock().unwrap().push(user.entry());
            own.start(user);
        });
        let mut lab = Lab::with(&Setup { entropy, ..Setup::default() }, extension).unwrap();
        promoted(&lab.run(&Op::STOP));
    }
    let mut entries = seen.lock().unwrap().clone();
    entries.dedup();
    assert_eq!(entries.len(), 3, "{entries:x?}: the last two have the same low bits");
    assert!(entries.iter().all(|entry| (USER_BASE..USER_BASE + (256 << 30)).contains(entry)));
}

#[test]
fn a_static_image_runs_where_it_was_linked() {
    let linked = ExtensionImage { relocatable: false, base: USER_BASE + (1 << 30), ..Default::default() };
    promoted(&prepare(&image(linked)).unwrap().run(&Op::STOP));
}

#[test]
fn a_static_image_outside_the_extensions_addresses_is_refused() {
    for base in [0, 0x40_0000, 8 << 20, USER_BASE - 0x1000, USER_BASE + (256 << 30) - 0x2000] {
        let linked = ExtensionImage { relocatable: false, base, ..Default::default() };
        let refused = prepare(&image(linked)).err();
        assert_eq!(refused, Some(PrepareError::ExtensionAddress), "linked at {base:#x}");
        assert_eq!(
            LaunchStatus::from(PrepareError::ExtensionAddress).error(),
            Some(LaunchError::BadExtension)
        );
    }
}

#[test]
fn a_relocatable_image_may_be_linked_anywhere() {
    for base in [0x40_0000, 0x1234_5000, (1 << 47) - 0x10_0000] {
        let linked = ExtensionImage { base, ..Default::default() };
        promoted(&prepare(&image(linked)).unwrap().run(&Op::STOP));
    }
}

#[test]
fn a_bad_image_is_named() {
    let foreign = ExtensionImage { machine: 183, ..Default::default() };
    let refused = prepare(&image(foreign)).err();
    assert!(matches!(refused, Some(PrepareError::Extension(ImageError::WrongMachine { .. }))), "{refused:?}");
    let writable_code = ExtensionImage { data_flags: 7, ..Default::default() };
    let refused = prepare(&image(writable_code)).err();
    assert_eq!(refused, Some(PrepareError::Extension(ImageError::WritableAndExecutable { segment: 2 })));
}

#[test]
fn a_pool_that_is_too_small_is_refused_at_every_size() {
    let with = |pool_pages| Lab::with(&Setup { pool_pages, ..Setup::default() }, gives_up());
    let enough = (1..900).find(|&pages| with(pages).is_ok()).expect("the ordinary pool is enough");
    for pages in 1..enough {
        assert_eq!(with(pages).err(), Some(PrepareError::OutOfFrames), "{pages} pages");
    }
    for pages in enough..enough + 100 {
        let mut lab = with(pages).unwrap();
        match lab.run(&Op::STOP) {
            Ended::Promoted(_) => return,
            Ended::Abandoned(status, root) => {
                let expected = [LaunchError::TooLittleMemory, LaunchError::ExtensionExited];
                assert!(status.error().is_some_and(|error| expected.contains(&error)), "{status}");
                assert_eq!(root, Lab::root_state(0));
            }
            ended => panic!("{ended:?}"),
        }
    }
    panic!("it never launches");
}

/// An extension that exits if it cannot make its root VS.
fn gives_up() -> Extension {
    let standard = Standard::new();
    let own = standard.clone();
    standard.extension().on(Slot::Bootstrap, move |user, [pp, ..]| {
        let vs = own
            .call(user, Call::VpCreate, &[ROOT_VM])
            .and_then(|vp| own.call(user, Call::VsCreate, &[vp[0], pp]))
            .and_then(|vs| own.call(user, Call::VsInitAsRoot, &[vs[0]]).map(|_| vs[0]));
        if let Ok(vs) = vs {
            own.expect(user, Call::VsRun, &[vs]);
        }
        let _ = user.call(Call::ControlExit, &[]);
    })
}

#[test]
fn a_contract_that_makes_no_sense_is_refused() {
    for memory_end in [0, 1 << 20, plinth_arch_sim::machine::RESERVATION.end - 0x1000] {
        let refused = prepare(&Setup { memory_end, ..Setup::default() }).err();
        assert_eq!(refused, Some(PrepareError::BadContract), "{memory_end:#x}");
    }
}

#[test]
fn a_memory_map_beyond_the_address_space_is_cut() {
    for memory_end in [plinth_arch_sim::machine::PHYSICAL_END + 1, u64::MAX] {
        promoted(&prepare(&Setup { memory_end, ..Setup::default() }).unwrap().run(&Op::STOP));
    }
}
