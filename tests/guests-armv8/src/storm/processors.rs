//! The processors of the storm: which there are, how they start and how they all stop.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_launch::Range;
use plinth_test_guests_armv8::calls::{self, AFFINITY_INFO, CPU_OFF, CPU_ON};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, mmu, secondary, system};

use super::commands;

/// AFFINITY_INFO: on, off.
const ON: u64 = 0;
const OFF: u64 = 1;
/// How long a processor may take, in milliseconds of the machine's own clock.
const PATIENCE: u64 = 20_000;
/// How long one that goes astray is left to.
const A_WHILE: u64 = 50;
/// How often one is started in the moment in which it is off.
const TURNS: u64 = 1000;

/// Whether the others are to join in; else they wait.
static STORM: AtomicBool = AtomicBool::new(false);
/// Whether they are to stop.
static STOP: AtomicBool = AtomicBool::new(false);
/// How often each other processor has come to work.
static ARRIVED: [AtomicU64; secondary::OTHERS] = [const { AtomicU64::new(0) }; secondary::OTHERS];

struct Place(UnsafeCell<Option<Lab>>);

// SAFETY: written once, by the first processor before any other runs.
unsafe impl Sync for Place {}

static LAB: Place = Place(UnsafeCell::new(None));

/// Another processor: its affinity, and what CPU_ON is told for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other {
    pub(crate) number: usize,
    pub(crate) affinity: u64,
    pub(crate) entry: u64,
    pub(crate) context: u64,
}

/// The machine, its processors and the target.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) machine: Machine,
    pub(crate) reservation: Range,
    pub(crate) first: u64,
    others: [Option<Other>; secondary::OTHERS],
}

impl Lab {
    /// Makes ready the processors beside the one that runs this, which alone runs. `None` where there are none.
    pub(crate) fn build(machine: Machine) -> Option<&'static Self> {
        let reservation = machine.reservation()?;
        let first = system::affinity();
        let mut lab = Self { machine, reservation, first, others: [None; secondary::OTHERS] };
        let others = machine.processors().filter(|affinity| *affinity != first);
        for (number, (place, affinity)) in lab.others.iter_mut().zip(others).enumerate() {
            let (entry, context) = secondary::prepare_place(number, work, number as u64);
            *place = Some(Other { number, affinity, entry, context });
        }
        lab.others[0]?;
        // SAFETY: no other processor runs yet.
        let place = unsafe { &mut *LAB.0.get() };
        Some(place.insert(lab))
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &Other> {
        self.others.iter().flatten()
    }

    pub(crate) fn call(&self, arguments: [u64; 4]) -> u64 {
        calls::result(calls::firmware(self.machine.conduit, arguments))
    }

    fn info(&self, other: &Other) -> u64 {
        self.call([AFFINITY_INFO, other.affinity, 0, 0])
    }

    /// Starts a processor that is off. Whether it comes.
    pub(crate) fn starts(&self, other: &Other) -> bool {
        let arrived = || ARRIVED[other.number].load(Ordering::Acquire);
        let before = arrived();
        STOP.store(false, Ordering::SeqCst);
        self.call([CPU_ON, other.affinity, other.entry, other.context]) == 0
            && system::wait(PATIENCE, || arrived() != before)
    }

    /// Has a processor that runs turn off again and again, and starts it as soon as that is possible. Whether it always comes.
    pub(crate) fn turns_around(&self) -> bool {
        let Some(other) = self.others().next() else { return true };
        let arrived = || ARRIVED[other.number].load(Ordering::Acquire);
        let start = || self.call([CPU_ON, other.affinity, other.entry, other.context]);
        STOP.store(true, Ordering::SeqCst);
        (0..TURNS).all(|_| {
            let before = arrived();
            system::wait(PATIENCE, || start() == 0) && system::wait(PATIENCE, || arrived() != before)
        })
    }

    /// Lets all others that run join in.
    pub(crate) fn begin(&self) {
        STOP.store(false, Ordering::SeqCst);
        STORM.store(true, Ordering::SeqCst);
    }

    /// Has all others stop themselves. Whether they do: one may still start another before it sees that it is to stop, so that
    /// all have to be found off twice.
    pub(crate) fn stop_all(&self) -> bool {
        STORM.store(false, Ordering::SeqCst);
        STOP.store(true, Ordering::SeqCst);
        let all_off = || {
            // Whoever sleeps in CPU_SUSPEND.
            gic::send(self.machine.gic, To::Others, 0);
            self.others().all(|other| self.info(other) == OFF)
        };
        system::wait(PATIENCE, || all_off() && all_off())
    }

    /// Stops the processor that runs this.
    pub(crate) fn off(&self) -> ! {
        self.call([CPU_OFF, 0, 0, 0]);
        entry::stop()
    }
}

/// What each other processor does from each of its starts on.
fn work(number: u64) -> ! {
    // SAFETY: the first processor has written it before it started any, and nobody writes it again.
    let lab = unsafe { &*LAB.0.get() };
    let Some(lab) = lab else { entry::stop() };
    gic::enable(lab.machine.gic);
    let number = number as usize;
    ARRIVED[number].fetch_add(1, Ordering::Release);
    while !STOP.load(Ordering::SeqCst) {
        if STORM.load(Ordering::SeqCst) {
            commands::run(lab, number + 1, 1);
        }
    }
    lab.off()
}

/// Sends the others, which are off, where no code is: into the hypervisor's memory, beyond all memory, to half an
/// instruction. Each takes its exceptions by itself, again and again, for want of vectors; nobody gets it back.
pub(crate) fn astray(report: &mut Report, lab: &Lab) {
    let beyond = 1 << 39;
    let misaligned = mmu::image().start + 2;
    let entries = [lab.reservation.start + lab.reservation.size / 2, beyond, misaligned];
    for (other, entry) in lab.others().zip(entries) {
        check!(report, "starts-astray", lab.call([CPU_ON, other.affinity, entry, 0]), 0);
        let comes = system::wait(PATIENCE, || lab.info(other) == ON);
        system::wait(A_WHILE, || false);
        check!(report, "astray", (comes, lab.info(other)), (true, ON));
    }
}
