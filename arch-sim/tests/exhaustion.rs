//! When something runs out the call says so, and everything comes back.

mod common;

use common::in_vmexit;
use plinth_arch_sim::extension::User;
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{Call, Error, Failure, ROOT_VM};

/// Repeats a call until it fails; its first outputs and the failure.
fn until_refused(standard: &Standard, user: &User, call: Call, arguments: &[u64]) -> (Vec<u64>, Failure) {
    let mut made = Vec::new();
    loop {
        match standard.call(user, call, arguments) {
            Ok([one, _]) => made.push(one),
            Err(failure) => return (made, failure),
        }
        assert!(made.len() < 10_000, "{call:?} never ends");
    }
}

fn destroy_all(standard: &Standard, user: &User, call: Call, objects: Vec<u64>) {
    for object in objects {
        standard.expect(user, call, &[object]);
    }
}

#[test]
fn pages_run_out_and_come_back() {
    in_vmexit(|standard, user, _| {
        let (first, failure) = until_refused(standard, user, Call::MemAllocatePage, &[]);
        assert_eq!(failure, Error::OutOfMemory.into());
        common::refuses_call(standard.call(user, Call::VmCreate, &[]), Error::OutOfMemory);
        let count = first.len();
        destroy_all(standard, user, Call::MemFreePage, first);
        let (second, _) = until_refused(standard, user, Call::MemAllocatePage, &[]);
        assert_eq!(second.len(), count);
        destroy_all(standard, user, Call::MemFreePage, second);
    });
}

#[test]
fn vms_run_out_and_come_back() {
    in_vmexit(|standard, user, _| {
        for _ in 0..3 {
            let (vms, failure) = until_refused(standard, user, Call::VmCreate, &[]);
            assert_eq!((vms.len(), failure), (15, Error::OutOfObjects.into()));
            destroy_all(standard, user, Call::VmDestroy, vms);
        }
    });
}

#[test]
fn tags_do_not_run_out() {
    in_vmexit(|standard, user, _| {
        for _ in 0..2000 {
            let vm = standard.expect(user, Call::VmCreate, &[]);
            standard.expect(user, Call::VmDestroy, &[vm]);
        }
    });
}

#[test]
fn vps_and_vss_run_out_and_come_back() {
    in_vmexit(|standard, user, _| {
        let (vps, failure) = until_refused(standard, user, Call::VpCreate, &[ROOT_VM]);
        assert_eq!((vps.len(), failure), (127, Error::OutOfObjects.into()));
        let (vss, failure) = until_refused(standard, user, Call::VsCreate, &[vps[0], 0]);
        assert_eq!((vss.len(), failure), (127, Error::OutOfObjects.into()));
        common::refuses(standard.call(user, Call::VpDestroy, &[vps[0]]), 1, Error::Busy);
        destroy_all(standard, user, Call::VsDestroy, vss);
        destroy_all(standard, user, Call::VpDestroy, vps);
    });
}

#[test]
fn every_call_survives_an_empty_pool() {
    in_vmexit(|standard, user, _| {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let vp = standard.expect(user, Call::VpCreate, &[vm]);
        let (mut pages, _) = until_refused(standard, user, Call::MemAllocatePage, &[]);
        let calls: [(Call, &[u64]); 5] = [
            (Call::VmCreate, &[]),
            (Call::VsCreate, &[vp, 0]),
            (Call::VmMap, &[vm, 0x1000, pages[0], 0x1000, 1]),
            // Where a large leaf has to be split.
            (Call::VmProtect, &[ROOT_VM, 0x40_0000, 0x1000, 1]),
            (Call::MemAllocatePage, &[]),
        ];
        for (call, arguments) in calls {
            common::refuses_call(standard.call(user, call, arguments), Error::OutOfMemory);
        }
        // One page more each time: every allocation on the way fails once.
        for _ in 0..8 {
            let freed = pages.pop().expect("many are left");
            standard.expect(user, Call::MemFreePage, &[freed]);
            if let Ok([other, _]) = standard.call(user, Call::VmCreate, &[]) {
                standard.expect(user, Call::VmDestroy, &[other]);
            }
            if standard.call(user, Call::VmMap, &[vm, 0x1000, pages[0], 0x1000, 1]).is_ok() {
                standard.expect(user, Call::VmUnmap, &[vm, 0x1000, 0x1000]);
            }
            if let Ok([vs, _]) = standard.call(user, Call::VsCreate, &[vp, 0]) {
                standard.expect(user, Call::VsDestroy, &[vs]);
            }
        }
        destroy_all(standard, user, Call::MemFreePage, pages);
        standard.expect(user, Call::VpDestroy, &[vp]);
        standard.expect(user, Call::VmDestroy, &[vm]);
    });
}

#[test]
fn a_large_mapping_that_runs_out_is_undone() {
    in_vmexit(|standard, user, _| {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let (mut pages, _) = until_refused(standard, user, Call::MemAllocatePage, &[]);
        for freed in pages.split_off(pages.len() - 4) {
            standard.expect(user, Call::MemFreePage, &[freed]);
        }
        // Three tables for the first page, and one left for the next GiB, which needs three again.
        standard.expect(user, Call::VmMap, &[vm, 0, pages[0], 0x1000, 1]);
        let second = standard.call(user, Call::VmMap, &[vm, 1 << 39, pages[0], 0x1000, 1]);
        common::refuses_call(second, Error::OutOfMemory);
        common::refuses(standard.call(user, Call::VmQuery, &[vm, 1 << 39]), 2, Error::NotMapped);
        standard.expect(user, Call::VmUnmap, &[vm, 0, 0x1000]);
        destroy_all(standard, user, Call::MemFreePage, pages);
        standard.expect(user, Call::VmDestroy, &[vm]);
    });
}
