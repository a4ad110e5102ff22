//! The manifest: an extension calls the groups that it declares, and no others.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{TEST, program, promoted, returning_calls, with_test};
use plinth_arch_sim::cpu::DENIED_REGISTERS;
use plinth_arch_sim::image::{ExtensionImage, manifest};
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::machine::OWNED_REGISTER;
use plinth_arch_sim::standard::Standard;
use plinth_arch_sim::vm::{CLOSED_PORT, LAST_OPEN_REGISTER, MAPPED_REGISTERS, OPEN_PORT};
use plinth_extension_api::abi::{
    Call, Error, Failure, GROUPS_ALWAYS, GROUPS_WITHOUT_MANIFEST, Groups, Manifest,
};
use plinth_kernel::PrepareError;
use plinth_launch::image::ImageError;

fn with_notes(notes: Vec<u8>) -> Setup {
    Setup { image: ExtensionImage { notes, ..Default::default() }, ..Setup::default() }
}

/// What the extension may call with such notes is `groups`, and it can be the VMM nevertheless.
fn allows(notes: Vec<u8>, groups: u64) {
    let done = Arc::new(AtomicBool::new(false));
    let mark = done.clone();
    let extension = with_test(&Standard::new(), move |_, user, _| {
        for call in returning_calls() {
            let answer = user.call(call, &[!0; 6]);
            let denied = answer == Err(Failure::from(Error::Denied));
            assert_eq!(denied, groups >> call.group() & 1 == 0, "{call:?}");
        }
        mark.store(true, Ordering::SeqCst);
    });
    let mut lab = Lab::with(&with_notes(notes), extension).unwrap();
    promoted(&lab.run(&program(&[&TEST])));
    assert!(done.load(Ordering::SeqCst), "the test's code has run to its end");
}

#[test]
fn only_what_a_manifest_names_is_allowed() {
    let root = Groups::VP | Groups::VS;
    for more in [Groups::empty(), Groups::VM, Groups::INTRINSIC, Groups::MEMORY | Groups::TIME | Groups::PP] {
        allows(manifest(root | more), (root | more).bits() | GROUPS_ALWAYS);
    }
}

/// What three openings answer.
type Answers = [Result<(), Failure>; 3];

/// What an extension with such groups may open to a guest VM: registers, then ports.
fn opens(groups: Groups) -> (Answers, Answers) {
    let seen = Arc::new(Mutex::new(None));
    let result = seen.clone();
    let extension = with_test(&Standard::new(), move |standard, user, _| {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let open = |call, number| standard.call(user, call, &[vm, number, 1, 0]).map(drop);
        let registers = [LAST_OPEN_REGISTER, DENIED_REGISTERS - 1, OWNED_REGISTER];
        let registers = registers.map(|register| open(Call::VmInterceptRegisters, register));
        let ports = [OPEN_PORT, 0x3F8, CLOSED_PORT];
        let ports = ports.map(|port| open(Call::VmInterceptPorts, u64::from(port)));
        standard.expect(user, Call::VmInterceptRegisters, &[vm, 0, MAPPED_REGISTERS, 3]);
        standard.expect(user, Call::VmDestroy, &[vm]);
        *result.lock().unwrap() = Some((registers, ports));
    });
    let mut lab = Lab::with(&with_notes(manifest(groups)), extension).unwrap();
    promoted(&lab.run(&program(&[&TEST])));
    seen.lock().unwrap().unwrap()
}

#[test]
fn what_a_guest_vm_may_be_given_hangs_on_the_group() {
    const DENIED: Result<(), Failure> = Err(Failure::argument(2, Error::Denied));
    let vms = Groups::VM | Groups::VP | Groups::VS;
    assert_eq!(opens(vms), ([Ok(()), DENIED, DENIED], [Ok(()), DENIED, DENIED]));
    let machine = vms | Groups::INTRINSIC;
    assert_eq!(opens(machine), ([Ok(()), Ok(()), DENIED], [Ok(()), Ok(()), DENIED]));
}

#[test]
fn without_a_manifest_the_machine_is_out_of_reach() {
    allows(Vec::new(), GROUPS_WITHOUT_MANIFEST);
    // Another's note is no manifest, nor is one of another kind, nor half of one.
    let own = manifest(Groups::empty());
    for (at, byte) in [(12, b'p'), (8, 2), (0, 6), (4, 200)] {
        let mut other = own.clone();
        other[at] = byte;
        allows(other, GROUPS_WITHOUT_MANIFEST);
    }
    allows(own[..own.len() - 1].to_vec(), GROUPS_WITHOUT_MANIFEST);
}

#[test]
fn bits_of_no_group_mean_nothing() {
    allows(manifest(Groups::from_bits_retain(!0)), !0);
}

#[test]
fn two_manifests_or_an_odd_one_are_refused() {
    let good = manifest(Groups::all());
    let mut short = good.clone();
    short[4] = 4;
    short.truncate(size_of::<Manifest>() - 4);
    for notes in [[good.clone(), good].concat(), short] {
        let refused = Lab::with(&with_notes(notes), Standard::new().extension()).err();
        assert_eq!(refused, Some(PrepareError::Extension(ImageError::BadNote)));
    }
}
