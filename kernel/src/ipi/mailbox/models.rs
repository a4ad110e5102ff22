//! What PPs tell each other, under every order of their accesses: `RUSTFLAGS="--cfg loom" cargo test -p plinth-kernel`.
//!
//! A frame is a cell of loom's, which notices when one PP reuses it while another may still reach it. What the
//! hardware does by itself, such as a walk of page tables, is a relaxed access here: only the mailbox orders it.

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::AtomicBool as Hardware;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::*;
use crate::ipi::wait::{Clock, Question};

/// The VM that runs.
const VM: Id = Id::from_raw(7);

/// Time stands still, so that every wait lasts until it is answered.
struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> u64 {
        0
    }

    fn relax(&self) {
        thread::yield_now();
    }
}

/// A PP with a TLB, and what it shares with others.
struct Machine {
    mailbox: Mailbox,
    epoch: AtomicU64,
    /// A kick is on its way. It comes after what its sender stored before: the backends see to that.
    nmi: Hardware,
    wake: Notify,
    /// It has heard a call to start.
    started: Hardware,
    /// The page tables lead to the frame.
    mapped: Hardware,
    frame: UnsafeCell<()>,
}

impl Machine {
    /// One that has launched. Everything in it is written once, since loom makes an atomic at its first access.
    fn new() -> Arc<Self> {
        let machine = Self {
            mailbox: Mailbox::new(),
            epoch: AtomicU64::new(0),
            nmi: Hardware::new(false),
            wake: Notify::new(),
            started: Hardware::new(false),
            mapped: Hardware::new(true),
            frame: UnsafeCell::new(()),
        };
        machine.mailbox.clear();
        machine.mailbox.leave_guest();
        machine.mailbox.leave_user();
        machine.mailbox.set_active_vm(VM);
        machine.mailbox.set_state(PpState::Online);
        machine.epoch.store(0, Ordering::SeqCst);
        Arc::new(machine)
    }

    /// An access to the frame, by a TLB that holds what it met once.
    fn access(&self, cached: &mut bool) {
        *cached |= self.mapped.load(Ordering::Relaxed);
        if *cached {
            self.frame.with(|_| ());
        }
    }

    fn unmap(&self) {
        self.mapped.store(false, Ordering::Relaxed);
    }

    /// The frame is somebody else's now.
    fn reuse(&self) {
        self.frame.with_mut(|_| ());
    }

    fn tell(&self, request: u32) {
        let question =
            Question { request, vm: VM, kick: |_: &Mailbox| self.kick(), clock: &Frozen, limit: 9 };
        let heard = question.ask([(0, &self.mailbox)].into_iter(), |_| unreachable!("no time passes"));
        assert_eq!(heard, Ok(()));
    }

    /// Has it start, as another PP.
    fn start(&self, entry: u64) {
        self.mailbox.start(entry, |call| {
            let started = self.started.swap(true, Ordering::Relaxed);
            assert_eq!(started, call != PpCall::StartCold, "{call:?} meets it in the wrong place");
            true
        });
    }

    fn kick(&self) {
        assert!(!self.nmi.swap(true, Ordering::AcqRel), "a kick while one is in flight");
        self.wake.notify();
    }

    /// Whether an NMI has come; if so, the PP has seen that it was a kick.
    fn is_kicked(&self) -> bool {
        let came = self.nmi.swap(false, Ordering::AcqRel);
        assert!(!came || self.mailbox.finish_kick(), "a kick looks like the guest's own NMI");
        came
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn beside(machine: &Arc<Machine>, work: impl FnOnce(&Machine) + 'static) -> thread::JoinHandle<()> {
    let machine = Arc::clone(machine);
    thread::spawn(move || work(&machine))
}

#[test]
fn no_guest_reaches_a_page_once_the_flush_is_over() {
    check(4, || {
        let machine = Machine::new();
        let guest = beside(&machine, |machine| {
            let mut cached = false;
            for _ in 0..3 {
                if machine.mailbox.enter_guest() {
                    machine.access(&mut cached);
                    machine.mailbox.leave_guest();
                    machine.is_kicked();
                } else if machine.mailbox.take_requests() & FLUSH != 0 {
                    cached = false;
                }
            }
        });
        machine.unmap();
        machine.tell(FLUSH);
        machine.reuse();
        guest.join().unwrap();
    });
}

/// The guest stays until a kick comes: a request without one would keep it there for ever, and loom says so.
#[test]
fn a_guest_that_does_not_exit_is_kicked_out_for_each_request() {
    check(3, || {
        let machine = Machine::new();
        let flush = beside(&machine, |machine| machine.tell(FLUSH));
        let start = beside(&machine, |machine| {
            machine.mailbox.post_start(1);
            if machine.mailbox.start_kick() {
                machine.kick();
            }
        });
        let mut seen = 0;
        while seen != FLUSH | START {
            if !machine.mailbox.enter_guest() {
                seen |= machine.mailbox.take_requests();
                continue;
            }
            machine.wake.wait();
            machine.mailbox.leave_guest();
            machine.is_kicked();
        }
        flush.join().unwrap();
        start.join().unwrap();
        machine.is_kicked();
        assert!(!machine.mailbox.finish_kick(), "a kick is noted that was never sent");
    });
}

#[test]
fn a_freed_page_is_nobodys_while_the_extension_may_reach_it() {
    check(4, || {
        let machine = Machine::new();
        let extension = beside(&machine, |machine| {
            let (mut own, mut cached) = (0, false);
            for _ in 0..2 {
                if let Some(epoch) = machine.mailbox.enter_user(&machine.epoch, own) {
                    (own, cached) = (epoch, false);
                }
                machine.access(&mut cached);
                machine.mailbox.leave_user();
            }
        });
        machine.unmap();
        machine.epoch.fetch_add(1, Ordering::SeqCst);
        if !machine.mailbox.is_behind(machine.epoch.load(Ordering::SeqCst)) {
            machine.reuse();
        }
        extension.join().unwrap();
    });
}

/// Several PPs start the same one: it is reset once, and before any call to start that it may hear.
#[test]
fn a_cold_processor_is_reset_once_and_finds_a_start() {
    check(4, || {
        let machine = Machine::new();
        machine.mailbox.set_state(PpState::Offline);
        let other = beside(&machine, |machine| machine.start(1));
        machine.start(2);
        other.join().unwrap();
        assert!(machine.started.load(Ordering::Relaxed));
        assert_eq!(machine.mailbox.take_requests(), START);
        assert!(matches!(machine.mailbox.take_start_entry(), Some(1 | 2)));
    });
}

/// What is asked of a PP while it arrives is seen by the PP itself, or its sender sees that it has arrived.
#[test]
fn a_processor_that_arrives_hears_what_is_asked_of_it() {
    check(4, || {
        let machine = Machine::new();
        machine.mailbox.set_state(PpState::Starting);
        let arriving = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || {
                machine.mailbox.set_state(PpState::Online);
                !machine.mailbox.enter_guest()
            })
        };
        machine.mailbox.post_start(1);
        let seen = machine.mailbox.state() == PpState::Online;
        let heard = arriving.join().unwrap();
        assert!(heard || seen, "a start is lost");
    });
}
