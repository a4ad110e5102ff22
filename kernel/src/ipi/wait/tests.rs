//! Questions to PPs that answer, late or never.

use core::cell::Cell;

use super::*;
use crate::ipi::mailbox::FLUSH;

const VM: Id = Id::from_raw(7);
const OTHER_VM: Id = Id::from_raw(8);

/// A clock that moves on with each look, and what happens at some time.
struct Ticks<F> {
    now: Cell<u64>,
    happens: F,
}

impl<F: Fn(u64)> Clock for Ticks<F> {
    fn now(&self) -> u64 {
        self.now.set(self.now.get() + 1);
        self.now.get()
    }

    fn relax(&self) {
        (self.happens)(self.now.get());
    }
}

/// Runs a guest of `vm` behind a mailbox.
fn running(vm: Id) -> Mailbox {
    let mailbox = Mailbox::new();
    mailbox.set_active_vm(vm);
    assert!(mailbox.enter_guest());
    mailbox
}

/// The answer, the kicks, and how often the PP was lost.
fn ask(mailbox: &Mailbox, happens: impl Fn(u64)) -> (Result<(), Unheard>, u32, u32) {
    let (kicks, losses) = (Cell::new(0), Cell::new(0));
    let clock = Ticks { now: Cell::new(0), happens };
    let kick = |_: &Mailbox| kicks.set(kicks.get() + 1);
    let question = Question { request: FLUSH, vm: VM, kick, clock: &clock, limit: 100 };
    let answer = question.ask([(1, mailbox)].into_iter(), |pp| {
        assert_eq!(pp, 1);
        losses.set(losses.get() + 1);
    });
    (answer, kicks.get(), losses.get())
}

#[test]
fn a_guest_that_leaves_in_time_has_heard() {
    let mailbox = running(VM);
    assert_eq!(
        ask(&mailbox, |now| if now > 20 {
            mailbox.leave_guest()
        }),
        (Ok(()), 1, 0)
    );
    assert!(!mailbox.is_lost());
}

#[test]
fn a_kick_is_sent_again_at_half_time() {
    let mailbox = running(VM);
    assert_eq!(
        ask(&mailbox, |now| if now > 70 {
            mailbox.leave_guest()
        }),
        (Ok(()), 2, 0)
    );
}

#[test]
fn a_guest_that_does_not_leave_is_lost_and_waited_for_once() {
    let mailbox = running(VM);
    assert_eq!(ask(&mailbox, |_| {}), (Err(Unheard), 2, 1));
    assert!(mailbox.is_lost());
    assert_eq!(ask(&mailbox, |_| panic!("it is waited for again")), (Err(Unheard), 0, 0));
    mailbox.leave_guest();
    assert_eq!(ask(&mailbox, |_| {}), (Ok(()), 0, 0), "it cannot run on without having looked");
    assert!(!mailbox.enter_guest(), "the request waits");
    assert!(mailbox.take_requests() & FLUSH != 0 && mailbox.is_found());
    assert!(mailbox.enter_guest());
    assert!(!mailbox.is_lost());
}

#[test]
fn nobody_waits_for_a_guest_of_another_vm() {
    let mailbox = running(OTHER_VM);
    assert_eq!(ask(&mailbox, |_| panic!("it is waited for")), (Ok(()), 0, 0));
    assert!(mailbox.is_deaf_to(FLUSH), "it looks before its next entry");
}
