//! The other processors: each runs what the first one gives it, with interrupts masked, until it is told to switch itself off.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::{Machine, calls, entry, gic, secondary, system};

/// What a processor can be given to do.
pub(crate) type Job = fn(u64) -> u64;

/// Milliseconds in which a processor does its work.
const PATIENCE: u64 = 30_000;
/// AFFINITY_INFO: off.
const OFF: u64 = 1;

struct Desk {
    job: AtomicU64,
    argument: AtomicU64,
    result: AtomicU64,
}

static DESKS: [Desk; secondary::OTHERS] =
    [const { Desk { job: AtomicU64::new(0), argument: AtomicU64::new(0), result: AtomicU64::new(0) } };
        secondary::OTHERS];

/// The job of a processor that is to switch itself off: no function is there.
const SWITCH_OFF: u64 = 1;

/// All processors of a machine, the first one first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    machine: Machine,
    /// How many there are beside the first.
    others: usize,
}

impl Workers {
    /// Starts the others. `None` where one does not come.
    pub(crate) fn start(machine: Machine) -> Option<Self> {
        let others = machine.processors().count().saturating_sub(1).min(secondary::OTHERS);
        let workers = Self { machine, others };
        (0..others).all(|place| workers.switch_on(place)).then_some(workers)
    }

    pub(crate) fn others(&self) -> core::ops::Range<usize> {
        0..self.others
    }

    pub(crate) fn affinity(&self, place: usize) -> u64 {
        let own = system::affinity();
        self.machine.processors().filter(|affinity| *affinity != own).nth(place).unwrap_or(own)
    }

    fn firmware(&self, call: [u64; 4]) -> u64 {
        calls::result(calls::firmware(self.machine.conduit, call))
    }

    /// Starts one by the firmware, or by Plinth in its place, and waits for it.
    pub(crate) fn switch_on(&self, place: usize) -> bool {
        let before = secondary::arrived();
        let (entry, context) = secondary::prepare_place(place, work, place as u64);
        self.firmware([calls::CPU_ON, self.affinity(place), entry, context]) == 0
            && system::wait(PATIENCE, || secondary::arrived() > before)
            && self.run(
                place,
                |_| {
                    gic::enable(crate::machine().gic);
                    0
                },
                0,
            ) == Some(0)
    }

    /// Has one switch itself off, and waits for that.
    pub(crate) fn switch_off(&self, place: usize) -> bool {
        DESKS[place].job.store(SWITCH_OFF, Ordering::Release);
        let info = || self.firmware([calls::AFFINITY_INFO, self.affinity(place), 0, 0]);
        system::wait(PATIENCE, || info() == OFF)
    }

    /// Gives one something to do.
    pub(crate) fn begin(&self, place: usize, job: Job, argument: u64) {
        DESKS[place].argument.store(argument, Ordering::Relaxed);
        DESKS[place].job.store(job as usize as u64, Ordering::Release);
    }

    /// What came of it, in time.
    pub(crate) fn result(&self, place: usize) -> Option<u64> {
        let desk = &DESKS[place];
        let done = system::wait(PATIENCE, || desk.job.load(Ordering::Acquire) == 0);
        done.then(|| desk.result.load(Ordering::Relaxed))
    }

    pub(crate) fn run(&self, place: usize, job: Job, argument: u64) -> Option<u64> {
        self.begin(place, job, argument);
        self.result(place)
    }

    /// Runs it on all, one after the other, the first processor first. Whether each answers `expected`.
    pub(crate) fn all_answer(&self, job: Job, expected: u64) -> bool {
        job(0) == expected
            && self.others().all(|place| self.run(place, job, place as u64 + 1) == Some(expected))
    }
}

/// What a processor does once it is started.
fn work(place: u64) -> ! {
    let desk = &DESKS[place as usize];
    loop {
        match desk.job.load(Ordering::Acquire) {
            0 => core::hint::spin_loop(),
            SWITCH_OFF => {
                desk.job.store(0, Ordering::Relaxed);
                calls::firmware(Conduit::Smc, [calls::CPU_OFF, 0, 0, 0]);
                entry::stop()
            }
            job => {
                // SAFETY: `begin` put a function of this type there.
                let job = unsafe { core::mem::transmute::<usize, Job>(job as usize) };
                let result = job(desk.argument.load(Ordering::Relaxed));
                desk.result.store(result, Ordering::Relaxed);
                desk.job.store(0, Ordering::Release);
            }
        }
    }
}
