//! What emulators forgive and the simulated hardware does not: marks, flushes, translations of other processors.

mod common;

use common::{TEST, eventually, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::Trace;
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::{Call, Error, ExitPage, register};
use plinth_hal::Event;
use std::collections::BTreeSet;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the guest finds in CR3 after the extension has written 7 there.
fn written_state(forget_to_mark: bool) -> Vec<u64> {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, exit| {
        standard.expect(user, Call::VsWrite, &[exit.vs, register::X86_CR3, 0x7000]);
        assert_eq!(standard.expect(user, Call::VsRead, &[exit.vs, register::X86_CR3]), 0x7000);
    }));
    lab.machine.trouble.ignores_marks.store(forget_to_mark, Ordering::SeqCst);
    let report = [Op::ReportState { register: register::X86_CR3 }];
    promoted(&lab.run(&program(&[&[Op::SetTables { address: 0x3000 }], &TEST, &report])));
    lab.machine.values()
}

#[test]
fn a_written_register_reaches_the_processor() {
    assert_eq!(written_state(false), [0x7000]);
}

#[test]
fn a_forgotten_mark_shows() {
    assert_eq!(written_state(true), [0x3000]);
}

#[test]
fn what_the_guest_changes_reaches_the_kernel() {
    let mut lab = Lab::new(with_test(&Standard::new(), |standard, user, exit| {
        assert_eq!(standard.expect(user, Call::VsRead, &[exit.vs, register::X86_CR3]), 0x3000);
    }));
    promoted(&lab.run(&program(&[&[Op::SetTables { address: 0x3000 }], &TEST])));
}

/// How far the two processors of a test have come.
#[derive(Default)]
struct Steps {
    page: AtomicU64,
    step: AtomicU64,
}

impl Steps {
    fn reach(&self, step: u64) {
        self.step.store(step, Ordering::SeqCst);
    }

    fn await_step(&self, step: u64) {
        eventually("the other processor", || self.step.load(Ordering::SeqCst) >= step);
    }
}

/// Processor 1 keeps a translation of a page that processor 0 frees meanwhile: the frame must not become
/// anything else while it can be reached, and must come back afterwards.
#[test]
fn a_freed_page_is_nobody_elses_while_another_processor_can_reach_it() {
    let steps = Arc::new(Steps::default());
    let own = steps.clone();
    let mut lab = Lab::new(with_test(&Standard::new(), move |standard, user, exit| {
        if exit.field(user, offset_of!(ExitPage, pp)) == 1 {
            return if own.step.load(Ordering::SeqCst) == 0 {
                keep_a_translation(&own, standard, user)
            } else {
                // It has entered the extension anew: the translation is gone.
                let _ = user.load(own.page.load(Ordering::SeqCst));
            };
        }
        own.await_step(1);
        let page = own.page.load(Ordering::SeqCst);
        standard.expect(user, Call::MemFreePage, &[page]);
        common::refuses(standard.call(user, Call::MemFreePage, &[page]), 1, Error::NotMapped);
        assert!(!all_pages(standard, user).contains(&page), "it is set aside");
        own.reach(2);
        own.await_step(3);
        assert!(all_pages(standard, user).contains(&page), "it is free");
    }));
    let done = Op::Report { register: 6 };
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    lab.launch(1, &program(&[&TEST, &[done], &wait_for(2), &TEST]));
    meet(&lab, 1);
    eventually("the other's return", || lab.machine.trace().len() == 1);
    steps.reach(3);
    promoted(&lab.end(0));
    meet(&lab, 2);
    promoted(&lab.end(1));
    let crash = Trace::Event(Event::Undefined);
    assert_eq!(lab.machine.trace(), [Trace::Value(106), crash], "the extension crashed on its lost page");
}

fn keep_a_translation(steps: &Steps, standard: &Standard, user: &plinth_arch_sim::extension::User) {
    let page = standard.expect(user, Call::MemAllocatePage, &[]);
    user.store(page, 0x0123);
    steps.page.store(page, Ordering::SeqCst);
    steps.reach(1);
    steps.await_step(2);
    assert_eq!(user.load(page), 0x0123, "its processor still knows the way, and nobody else has it");
}

/// Every page that is to be had; all are given back.
fn all_pages(standard: &Standard, user: &plinth_arch_sim::extension::User) -> BTreeSet<u64> {
    let page = || standard.call(user, Call::MemAllocatePage, &[]).ok().map(|page| page[0]);
    let pages: BTreeSet<u64> = std::iter::from_fn(page).collect();
    for page in &pages {
        standard.expect(user, Call::MemFreePage, &[*page]);
    }
    pages
}
