//! An extension with page tables of its own, for processors that leak what is mapped and not allowed.

mod common;

use common::{TEST, TEST_CALL, eventually, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::format::{LEVELS, decode};
use plinth_arch_sim::lab::{BACKEND_PAGES, ENTRY_CODE, Lab, Setup};
use plinth_arch_sim::machine::{Machine, RESERVATION, USER_BASE};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::Call;
use plinth_hal::page_table::{Entry, Permissions};
use plinth_hal::{PAGE_SIZE, Spa};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn lab(extension: plinth_arch_sim::extension::Extension) -> Lab {
    let setup = Setup { separate_tables: true, ..Setup::default() };
    Lab::with(&setup, extension).expect("the setup is right")
}

/// Every leaf below a table: where it maps, and what it allows.
fn leaves(
    machine: &Machine,
    table: Spa,
    level: u8,
    base: u64,
    found: &mut BTreeMap<u64, (Spa, Permissions)>,
) {
    for index in 0..512 {
        let at = base + (index << (12 + 9 * level));
        match decode(machine.ram.load(Spa::new(table.raw() + index * 8))) {
            Entry::Table(child) if level > 0 => leaves(machine, child, level - 1, at, found),
            Entry::Leaf { spa, attributes } => {
                assert_eq!(level, 0, "{at:#x} is more than a page");
                found.insert(at, (spa, attributes.permissions));
            }
            _ => {}
        }
    }
}

#[test]
fn nothing_of_the_kernel_is_in_them_but_what_entering_takes() {
    let lab = lab(Standard::new().extension());
    let resources = [0, 1].map(|pp| lab.kernel.prepare_pp(pp, BACKEND_PAGES).expect("there is memory"));
    assert_ne!(resources[0].user_root, resources[0].host_root);
    let mut found = BTreeMap::new();
    leaves(lab.machine, resources[0].user_root, LEVELS - 1, 0, &mut found);
    let kernels: Vec<_> =
        found.iter().filter(|(_, (_, allowed))| !allowed.contains(Permissions::USER)).collect();
    let code = Permissions::READ | Permissions::EXECUTE;
    let data = Permissions::READ | Permissions::WRITE;
    let expected = [(ENTRY_CODE.start, code), (resources[0].backend, data), (resources[1].backend, data)];
    let expected: BTreeMap<_, _> = expected.map(|(spa, allowed)| (spa.raw(), (spa, allowed))).into();
    assert_eq!(kernels, expected.iter().collect::<Vec<_>>());
    let below = found.range(..USER_BASE).count();
    assert_eq!(below, expected.len(), "all else is in the extension's part");
}

#[test]
fn what_they_map_for_the_kernel_is_out_of_the_extensions_reach() {
    let setup = Setup { separate_tables: true, ..Setup::default() };
    for address in [RESERVATION.start, RESERVATION.start + PAGE_SIZE, ENTRY_CODE.start.raw() + 8] {
        let extension = with_test(&Standard::new(), move |_, user, _| {
            user.load(address);
            panic!("the extension has read {address:#x}");
        });
        let mut lab = Lab::with(&setup, extension).expect("the setup is right");
        promoted(&lab.run(&program(&[&TEST])));
    }
}

#[test]
fn a_page_that_another_processor_has_freed_is_gone() {
    let (page, freed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (shared, gone) = (page.clone(), freed.clone());
    let extension = with_test(&Standard::new(), move |standard, user, exit| {
        assert_eq!(exit.register(user, 0), TEST_CALL);
        if shared.load(Ordering::SeqCst) == 0 {
            let page = standard.expect(user, Call::MemAllocatePage, &[]);
            user.store(page, 7);
            shared.store(page, Ordering::SeqCst);
            eventually("the other processor", || gone.load(Ordering::SeqCst) != 0);
            return;
        }
        let page = shared.load(Ordering::SeqCst);
        assert_eq!(user.load(page), 7);
        standard.expect(user, Call::MemFreePage, &[page]);
        gone.store(1, Ordering::SeqCst);
        user.load(page);
        panic!("the extension has read a freed page");
    });
    let mut lab = lab(extension);
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    lab.launch(1, &program(&[&wait_for(2), &TEST]));
    meet(&lab, 1);
    eventually("the page", || page.load(Ordering::SeqCst) != 0);
    meet(&lab, 2);
    for pp in 0..2 {
        promoted(&lab.end(pp));
    }
}
